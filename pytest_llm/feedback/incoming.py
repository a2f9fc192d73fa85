"""Reports from production: one JSON object a line, in the spellings that people export.

Only what a test needs is kept: the question, the output, the vote, the correction, the model and the tags. A user's
id is never kept, and neither is a report's own: they, and the time, go with the rest into a digest that tells reports
apart.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import digest_of

#: What a field may be called, the first that is there counts.
NAMES = {
    "prompt": ("prompt", "messages", "input", "question"),
    "output": ("output", "response", "completion", "answer"),
    "vote": ("vote", "thumbs", "feedback", "rating"),
    "correction": ("correction", "corrected", "expected"),
    "id": ("id", "report_id"),
    "user": ("user", "user_id"),
    "model": ("model",),
    "time": ("time", "timestamp", "created_at"),
    "tags": ("tags", "tag"),
}
_UP = {"up", "1", "+1", "1.0", "true", "yes", "good", "like", "liked", "positive", "thumbs_up", "thumbs-up", "👍"}
_DOWN = {
    "down",
    "-1",
    "-1.0",
    "false",
    "no",
    "bad",
    "dislike",
    "disliked",
    "negative",
    "thumbs_down",
    "thumbs-down",
    "👎",
}

Vote = Literal["up", "down"]


@dataclasses.dataclass(frozen=True)
class Report:
    """One person's word on one output. ``key`` tells it from every other report."""

    key: str
    turns: tuple[dict[str, str], ...]
    output: str
    vote: Vote
    correction: str = ""
    model: str = ""
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BadLine:
    """A line that is no report, and why."""

    number: int
    why: str


def read_reports(
    path: Path, fields: Mapping[str, str] | None = None, clean: Callable[[str], str] = lambda text: text
) -> Iterator[Report | BadLine]:
    """Give each line as a report, or as what is wrong with it.

    A report without an id is told from others by all it says; of lines that say exactly the same, the second is
    another report than the first, and the same as the second in a later export.

    Args:
        path: the JSON Lines file, UTF-8.
        fields: what a field is called there, as ``{"prompt": "request"}``; by default `NAMES`.
        clean: applied to every text that is kept.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    names = {**NAMES, **{ours: (theirs,) for ours, theirs in (fields or {}).items()}}
    seen: Counter[str] = Counter()
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield _report(text, number, names, clean, seen)
    except OSError as error:
        raise InvalidInputError(f"{path}: the reports cannot be read: {error.strerror}") from None


def _report(
    line: bytes, number: int, names: Mapping[str, tuple[str, ...]], clean: Callable[[str], str], seen: Counter[str]
) -> Report | BadLine:
    try:
        data = json.loads(line.strip().decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("a report is a JSON object")
        given = {ours: _first(data, theirs) for ours, theirs in names.items()}
        vote, correction = given["vote"], clean(_text(given, "correction"))
        turns = _turns(given["prompt"], names["prompt"], clean)
        if given["output"] is None:
            raise ValueError(f"no output ({' or '.join(names['output'])})")
        if vote is None and not correction:
            raise ValueError(f"neither a vote ({' or '.join(names['vote'])}) nor a correction")
        report = Report(
            "",
            turns,
            clean(_text(given, "output")),
            "down" if vote is None else _vote(vote),
            correction,
            _text(given, "model"),
            _tags(given["tags"]),
        )
        if report.vote == "up" and not report.output.strip():
            raise ValueError("thumbs up for an empty output")
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "not JSON this can read: nested too deep")
    except ValueError as error:
        return BadLine(number, str(error))
    if given["id"] is not None:
        key = digest_of({"id": str(given["id"])})[:16]
    else:
        content = digest_of({**dataclasses.asdict(report), "user": str(given["user"]), "time": str(given["time"])})
        seen[content] += 1
        key = digest_of([content, seen[content]])[:16]
    return dataclasses.replace(report, key=key)


def _first(data: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((data[name] for name in names if data.get(name) is not None), None)


def _text(given: dict[str, Any], name: str) -> str:
    value = given[name]
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is text, not {value!r:.60}")
    return value or ""


def _turns(prompt: Any, names: tuple[str, ...], clean: Callable[[str], str]) -> tuple[dict[str, str], ...]:
    if prompt is None:
        raise ValueError(f"no question ({' or '.join(names)})")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"a question is text or a list of chat messages, not {prompt!r:.60}")
    asked = []
    for turn in turns:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"a chat message has a role and a content, both text: {turn!r:.60}")
        asked.append({"role": role, "content": clean(content)})
    if asked[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's: it belongs in output")
    if not asked[-1]["content"].strip():
        raise ValueError("the question is empty")
    return tuple(asked)


def _vote(value: Any) -> Vote:
    spelled = str(value).strip().casefold()
    if spelled in _UP or spelled in _DOWN:
        return "up" if spelled in _UP else "down"
    hint = ": it may mean no vote or thumbs down; write -1 for down" if spelled == "0" else ""
    raise ValueError(f"{value!r:.60} is no vote (up/down, 1/-1, true/false, good/bad){hint}")


def _tags(value: Any) -> tuple[str, ...]:
    tags = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"tags are texts, not {value!r:.60}")
    return tuple(sorted({tag.strip() for tag in tags} - {""}))
