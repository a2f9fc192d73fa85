"""The committed file of feedback cases: JSON Lines, one case a line, sorted by id.

    {"schema": 1, "id": ..., "prompt": ... | "messages": [...], "reference": ..., "ignored": ...,
     "corrections": [{"text", "reports": [key, ...]}], "answers": [{"text", "up": [key, ...], "down": [key, ...]}],
     "tags": [...], "models": [...]}

What is empty is left out. ``reference`` and ``ignored`` are a reviewer's to write. Two lines of one id, as a merge
that keeps both sides gives, are read as one case, unless reviewers wrote different things.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError, InvalidInputError, measured
from pytest_llm.feedback import turns as chat
from pytest_llm.feedback.cases import Answer, Correction, FeedbackCase, case_id, single
from pytest_llm.files import write_atomic

__tracebackhide__ = measured

SCHEMA = 1

#: Fields of a line, in the order they are written.
_FIELDS = ("schema", "id", "prompt", "messages", "reference", "ignored", "corrections", "answers", "tags", "models")


def read(path: Path) -> dict[str, FeedbackCase] | None:
    """Return the cases of the file by id; ``None`` when there is no such file.

    Raises:
        GoldenError: a line that is no case, or one that a newer version wrote; two lines in which reviewers differ.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise GoldenError(f"{path}: the feedback cases cannot be read: {error}") from None
    cases: dict[str, FeedbackCase] = {}
    written: dict[tuple[str, str], int] = {}  # the line of what a reviewer wrote
    # Not splitlines(): a text may hold U+2028, which JSON does not escape.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            case = _case(line, f"{path}:{number}")
            before = cases.get(case.id, case)
            for name, old, new in (
                ("reference", before.pinned, case.pinned),
                ("ignored", before.ignored, case.ignored),
            ):
                if new and old not in ("", new):
                    raise GoldenError(
                        f"{path}:{number}: the same case is in line {written[case.id, name]} with another {name}, "
                        f"{old!r:.80} and here {new!r:.80}: keep one"
                    )
                if new:
                    written.setdefault((case.id, name), number)
            cases[case.id] = before.joined(case)
    return cases


def write(path: Path, cases: Iterable[FeedbackCase]) -> None:
    """Make the file hold these cases; it is left alone when it does.

    Raises:
        InvalidInputError: the file system refused.
    """
    text = "".join(_line(case) for case in sorted(cases, key=lambda case: case.id))
    try:
        if not (path.exists() and path.read_bytes() == text.encode()):
            write_atomic(path, text)
    except OSError as error:
        raise InvalidInputError(f"{path}: the feedback cases could not be written: {error}") from None


def _line(case: FeedbackCase) -> str:
    data = {
        "schema": SCHEMA,
        "id": case.id,
        **({"prompt": case.turns[0]["content"]} if single(case.turns) else {"messages": list(case.turns)}),
        "reference": case.pinned,
        "ignored": case.ignored,
        "corrections": [{"text": one.text, "reports": one.reports} for one in case.corrections],
        "answers": [
            {"text": one.text, **{name: keys for name, keys in (("up", one.up), ("down", one.down)) if keys}}
            for one in case.answers
        ],
        "tags": case.tags,
        "models": case.models,
    }
    kept = {name: value for name, value in data.items() if value or name in ("prompt", "messages")}
    return jsontext.escape_hidden(json.dumps(kept, ensure_ascii=False)) + "\n"


def _case(line: str, where: str) -> FeedbackCase:
    try:
        data = jsontext.load(line)
    except jsontext.JSONTextError as error:
        raise GoldenError(f"{where}: the feedback case cannot be read: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise GoldenError(f"{where}: no feedback case: it has no schema number")
    if schema > SCHEMA:
        raise GoldenError(f"{where}: a newer pytest_llm wrote this case (schema {schema}): upgrade")
    try:
        unknown = sorted(set(data) - set(_FIELDS))
        if unknown:
            raise ValueError(f"there is no field {unknown[0]!r}; it has {', '.join(_FIELDS)}")
        name = _text(data["id"])
        turns = [{"role": "user", "content": data["prompt"]}] if "prompt" in data else data["messages"]
        asked = chat.read(turns)
        case = FeedbackCase(
            name,
            asked,
            tuple(
                Answer(_text(one["text"]), _texts(one, "up"), _texts(one, "down")) for one in data.get("answers", [])
            ),
            tuple(Correction(_text(one["text"]), _texts(one, "reports")) for one in data.get("corrections", [])),
            _texts(data, "models"),
            _texts(data, "tags"),
            _text(data.get("reference", "")),
            _text(data.get("ignored", "")),
        )
    except KeyError as error:
        raise GoldenError(f"{where}: the feedback case has no {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise GoldenError(f"{where}: a field does not hold what it should: {error}") from None
    if case.id != case_id(asked):
        raise GoldenError(f"{where}: the question was edited: its id is now {case_id(asked)}, not {case.id}")
    return case


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not text")
    return value


def _texts(data: dict[str, Any], name: str) -> tuple[str, ...]:
    values = data.get(name, [])
    if not isinstance(values, list):
        raise TypeError(f"{name} is a list")
    return tuple(map(_text, values))
