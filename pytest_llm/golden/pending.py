"""Pending candidates: new goldens that wait for a reader's yes or no, without running the model again.

Each mismatch leaves one JSON file under ``<cache>/pending/<hash of the golden's folder>/`` with all that accepting
needs: one a golden, from whatever root its test ran. They are found again by the folder the user stands in, so one
cache serves many checkouts.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError
from pytest_llm.files import locked_where_possible, path_tag, write_atomic
from pytest_llm.golden import FOLDER
from pytest_llm.golden.file import write
from pytest_llm.verdicts import Verdict


class Candidate(NamedTuple):
    """A new golden that would replace ``path``.

    ``base`` is the sha256 of the golden it was compared with, ``""`` when there was none; ``sha256`` that of ``file``.
    """

    file: Path
    path: Path
    nodeid: str
    verdict: Verdict
    base: str
    content: str
    sidecar: bytes | None = None
    sha256: str = ""

    def accept(self) -> None:
        """Write the golden exactly as the run that failed would have, and forget the candidate.

        Raises:
            GoldenError: the golden is not the one this was compared with, or cannot be written; or as for `reject`.
        """
        if self.path.parent.parent.name != FOLDER or ".." in self.path.parts or self.path.suffix != ".json":
            raise GoldenError(f"{self.file}: {self.path} is not a golden; delete this candidate")
        with self._held():
            if digest(self.path) != self.base:
                raise GoldenError(
                    f"{self.path}: the golden changed since this candidate was made; run its test again: {self.nodeid}"
                )
            write(self.path, self.content, self.sidecar)
            self.file.unlink()

    def reject(self) -> None:
        """Forget the candidate; the golden stays as it is.

        Raises:
            GoldenError: it is not there any more, or another one is: somebody reviewed it, or its test ran again.
        """
        with self._held():
            self.file.unlink()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the golden while this candidate still waits for it."""
        with golden_lock(self.file.parents[2], self.path):
            now = digest(self.file)
            if not now:
                raise GoldenError(
                    f"{self.path}: this candidate is gone: it was accepted or rejected meanwhile, or its test passed"
                )
            if now != self.sha256:
                raise GoldenError(f"{self.path}: its test ran again and left another candidate: review that one")
            yield


def save_candidate(cache_dir: Path, path: Path, verdict: Verdict, content: str, sidecar: bytes | None) -> None:
    """Keep what ``path`` would become, beside the verdict that stopped it."""
    data: dict[str, Any] = {
        "golden": str(path.absolute()),
        "base": digest(path),
        "nodeid": verdict.nodeid,
        "verdict": verdict.to_json(),
        "content": content,
        "sidecar": None if sidecar is None else base64.b64encode(sidecar).decode(),
        "sha256": _sha256(content, sidecar),
    }
    with golden_lock(cache_dir, path):  # not while somebody settles an older one
        write_atomic(_candidate_file(cache_dir, path), json.dumps(data, allow_nan=False))


def discard_candidate(cache_dir: Path, path: Path) -> None:
    """Forget the candidate of a golden that now passes, or that is removed."""
    folder = _candidate_folder(cache_dir, os.path.dirname(path))  # noqa: PTH120 (once for each golden that passes)
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    with contextlib.suppress(OSError):  # there is none; in a cache that cannot be written it stays
        _candidate_file(cache_dir, path).unlink()


def discard_candidates_of(cache_dir: Path, goldens: Mapping[str, str], nodeid: str) -> None:
    """Forget the candidates of a test that is expected to fail: what it says is not to be accepted.

    ``goldens`` maps a golden's path to the node id of the test that used it.
    """
    for folder in {Path(path).parent for path, test in goldens.items() if test == nodeid}:
        with contextlib.suppress(OSError):  # a cache that cannot be read has none
            for file in _candidate_folder(cache_dir, folder).glob("*.json"):
                with contextlib.suppress(OSError, GoldenError):
                    if _load(file).nodeid == nodeid:
                        file.unlink()


def list_pending(cache_dir: Path, under: Path) -> list[Candidate]:
    """Return the candidates for goldens below the folder ``under``, by path.

    A damaged file of another project is left to that one.

    Raises:
        GoldenError: a candidate file of ``under`` is damaged; the message says which to delete.
    """
    found: list[Candidate] = []
    homes = {under.absolute(), under.resolve()}
    for file in (cache_dir / "pending").glob("*/*.json"):
        try:
            one = _load(file)
        except GoldenError:
            if any(_candidate_folder(cache_dir, folder) == file.parent for folder in under.rglob(f"{FOLDER}/*")):
                raise
            continue
        # Where it lies by its name, or by what its folders lead to: either may be a link.
        places = one.path, Path(os.path.realpath(one.path))
        found += [one] if any(place.is_relative_to(home) for place in places for home in homes) else []
    return sorted(found, key=lambda one: one.path)


def elsewhere(cache_dir: Path, under: Path) -> dict[Path, int]:
    """Count the candidates for the same goldens as below ``under`` in other checkouts, by the folder of each."""
    found: Counter[Path] = Counter()
    for file in (cache_dir / "pending").glob("*/*.json"):
        with contextlib.suppress(GoldenError):
            one = _load(file)
            for folder in one.path.parents[2:]:
                here = under / one.path.relative_to(folder)
                if one.base and here != one.path and digest(here) == one.base:
                    found[folder] += 1
                    break
    return found


def number(cache_dir: Path, under: Path, candidates: Sequence[Candidate]) -> list[tuple[Path, str]]:
    """Keep the numbers by which somebody is shown ``candidates``, for `numbered`: 1 is the first; and return that."""
    rows = [(one.file, one.sha256) for one in candidates]
    with contextlib.suppress(OSError):  # where nothing can be written, nothing can be accepted either
        write_atomic(_numbers_file(cache_dir, under), json.dumps([(str(file), sha256) for file, sha256 in rows]))
    return rows


def numbered(cache_dir: Path, under: Path) -> list[tuple[Path, str]]:
    """Return the file and the sha256 of each candidate below ``under``, as last numbered; none where none were."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [(Path(file), sha256) for file, sha256 in json.loads(_numbers_file(cache_dir, under).read_bytes())]
    return []


def digest(path: Path) -> str:
    """Return the sha256 of a file's content; ``""`` when there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def golden_lock(cache_dir: Path, path: Path) -> Iterator[None]:
    """Hold a golden against other workers and against ``pytest-llm review``.

    Without a lock where the cache cannot be written: nobody can hold it there.

    Raises:
        GoldenError: another process does not let go of it, or the file system refused what is done under it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked_where_possible(cache_dir / "locks" / f"golden-{path_tag(path)}.lock"))
        except TimeoutError as error:
            raise GoldenError(f"{path}: another process holds this golden: {error}") from error
        except OSError as error:
            raise GoldenError(f"{path}: it cannot be locked: {error}") from error
        try:
            yield
        except OSError as error:
            raise GoldenError(f"{path}: the file system refused: {error}") from error


def _candidate_file(cache_dir: Path, path: Path) -> Path:
    return _candidate_folder(cache_dir, path.parent) / path.name


def _numbers_file(cache_dir: Path, under: Path) -> Path:
    return cache_dir / "pending" / f"{path_tag(under)}.numbers"


@functools.lru_cache(maxsize=16)
def _candidate_folder(cache_dir: Path, folder: Path | str) -> Path:
    """Return where candidates for the goldens in ``folder`` lie, by whatever link that is reached."""
    return cache_dir / "pending" / path_tag(Path(os.path.realpath(folder)))


def _sha256(content: str, sidecar: bytes | None) -> str:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass") + (sidecar or b"")).hexdigest()


def _load(file: Path) -> Candidate:
    try:
        raw = file.read_bytes()
        data = jsontext.load(raw.decode("utf-8"))
        os.path.realpath(data["golden"])  # raises where it can be no path
        content, sidecar = data["content"], None if data["sidecar"] is None else base64.b64decode(data["sidecar"])
        if data.get("sha256", "") not in ("", _sha256(content, sidecar)):  # an older version wrote none
            raise ValueError("its content is not what the test left")
        return Candidate(
            file=file,
            path=Path(data["golden"]),
            nodeid=data["nodeid"],
            verdict=Verdict.from_json(data["verdict"]),
            base=data["base"],
            content=content,
            sidecar=sidecar,
            sha256=hashlib.sha256(raw).hexdigest(),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GoldenError(
            f"{file}: this pending candidate cannot be read ({error!r}); delete the file, and run its test again"
        ) from error
