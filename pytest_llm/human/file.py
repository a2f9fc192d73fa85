r"""The ratings beside a module's goldens: ``__llm_snapshots__/<module>/ratings.jsonl``, one line a rating.

Lines are only ever added. Of two by the same rater on the same output the later one holds, so that a rater may change
their mind and a merge may keep both sides (``ratings.jsonl merge=union`` in ``.gitattributes``)::

    {"schema": 1, "test": "tests/test_x.py::test_a", "golden": "1", "where": "[3]", "rater": "ann",
     "output": sha256 of the text, "prompt": sha256 of the prompt's canonical JSON, "model": digest of the weights,
     "revision": sha256 of the golden file, "rating": 1 to 5, "comment": "..."}

A comparison has, in place of ``rating``, ``against`` (sha256 of the other text), ``preference`` (``output``,
``against`` or ``tie``) and ``blind``. What is empty or unknown is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.files import locked, path_tag

SCHEMA = 1
NAME = "ratings.jsonl"
#: The scale.
LOWEST, HIGHEST = 1, 5
#: Characters of a rater's name, and of a comment.
MAX_NAME, MAX_COMMENT = 80, 10_000

_DIGESTS = ("output", "prompt", "model", "revision", "against")
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Rating:
    """One line: what ``rater`` thinks of one output. Every digest is a sha256 in hex, ``""`` when unknown.

    Raises:
        InvalidInputError: a field out of range.
    """

    test: str
    output: str
    rater: str
    rating: int | None = None
    golden: str = ""
    where: str = ""
    prompt: str = ""
    model: str = ""
    revision: str = ""
    against: str = ""
    preference: str = ""
    blind: bool = False
    comment: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind = {"rating": (int, type(None)), "blind": bool}.get(field.name, str)
            value = getattr(self, field.name)
            if not isinstance(value, kind) or (field.name == "rating" and isinstance(value, bool)):  # type: ignore[arg-type]
                raise InvalidInputError(f"a rating's {field.name} is not {value!r:.80}")
        if not self.rater.strip() or len(self.rater) > MAX_NAME or not self.rater.isprintable():
            raise InvalidInputError(f"a rater's name is 1 to {MAX_NAME} visible characters, not {self.rater[:90]!r}")
        if self.rating is not None and not LOWEST <= self.rating <= HIGHEST:
            raise InvalidInputError(f"a rating is {LOWEST} to {HIGHEST}, not {self.rating}")
        if len(self.comment) > MAX_COMMENT:
            raise InvalidInputError(f"a comment has at most {MAX_COMMENT} characters, not {len(self.comment)}")
        if bool(self.against) != (self.preference in ("output", "against", "tie")) or (self.against and self.rating):
            raise InvalidInputError("a preference is output, against or tie, of two outputs, and has no rating")
        wrong = [name for name in _DIGESTS if getattr(self, name) and not _DIGEST.fullmatch(getattr(self, name))]
        if wrong or not self.output:
            raise InvalidInputError(f"a rating's {(wrong or ['output'])[0]} is not the sha256 of anything")

    @property
    def person(self) -> str:
        """Who rated, however the name was typed: two of these are not ``Ann`` and ``ann``, nor half and full width."""
        return " ".join(unicodedata.normalize("NFKC", self.rater).casefold().split())

    @property
    def subject(self) -> tuple[str, str, str]:
        """What is rated: the output, what it answers (its test, where the prompt is unknown), and what against."""
        return self.output, self.prompt or self.test, self.against

    def line(self) -> str:
        """Return the rating as a line of the file."""
        data = {name: value for name, value in vars(self).items() if value not in ("", None, False)}
        if self.preference:
            data["blind"] = self.blind
        text = json.dumps({"schema": SCHEMA, **data}, sort_keys=True, ensure_ascii=False)
        return jsontext.escape_hidden(text) + "\n"


def append(path: Path, rating: Rating, cache_dir: Path) -> None:
    """Add a line. Other raters may add theirs at the same time.

    Raises:
        GoldenError: the file system refused.
    """
    try:
        with locked(cache_dir / "locks" / f"ratings-{path_tag(path)}.lock"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # One write at the end of the file: whoever has another cache, and so another lock, loses nothing either.
            with path.open("ab+", buffering=0) as stream:
                stream.seek(max(0, stream.seek(0, 2) - 1))
                start = b"" if stream.read(1) in (b"", b"\n") else b"\n"
                stream.write(start + rating.line().encode())
    except OSError as error:
        raise GoldenError(f"{path}: the rating could not be written: {error}") from error


def read(path: Path) -> list[Rating]:
    """Return every line of a file, in order; none when there is no file.

    Raises:
        GoldenError: a line is damaged, or a newer pytest_llm wrote it; the message says which.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise GoldenError(f"{path}: the ratings cannot be read: {error}") from error
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def current(ratings: Iterable[Rating]) -> list[Rating]:
    """Return the ratings that hold: of each rater on each output (or pair of outputs), the last."""
    held: dict[Any, Rating] = {}
    for rating in ratings:
        key = (rating.person, *rating.subject)
        held.pop(key, None)
        held[key] = rating
    return list(held.values())


def _parse(line: str, place: str) -> Rating:
    try:
        data = jsontext.load(line)
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
            raise TypeError("no rating: it has no schema number")
        if data["schema"] > SCHEMA:
            raise GoldenError(
                f"{place}: a newer pytest_llm wrote this rating (schema {data['schema']}, this one reads up to "
                f"{SCHEMA}): upgrade pytest-llm-regression"
            )
        rating = Rating(**{name: value for name, value in data.items() if name != "schema"})
        if rating.rating is None and not rating.preference:  # it would take the place of one, as the later line
            raise ValueError("it has no rating and no preference, and a comment goes with one")
        return rating
    except (TypeError, ValueError) as error:
        cure = "resolve the conflict" if "conflict" in str(error) else "repair or delete the line"
        raise GoldenError(f"{place}: this rating cannot be read: {error}; {cure}") from None
