"""Reports from production: one JSON object a line, in the spellings that people export.

Only what a test needs is kept: the question, the output, the vote, the correction, the model and the tags. A user's
id is never kept, and neither is a report's own: they, and the time, go with the rest into a digest that tells reports
apart. Of a user there is a digest too, another for each question, so that one person's word counts once.

A number may be a vote, or stars, of which 1 is the worst. It is a vote where all numbers of its field in the file are 1
or -1, and -1 is among them or the field's name means thumbs.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.feedback import turns as chat
from pytest_llm.feedback.cases import SEPARATOR, case_id, person, report_of
from pytest_llm.feedback.turns import Turn
from pytest_llm.files import digest_of, whole
from pytest_llm.reports.text import shorten

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
#: Names of a vote that mean no stars: a 1 is thumbs up though no line has a -1.
_THUMBS = ("vote", "thumbs")
_UP = {"up", "+1", "true", "yes", "good", "like", "liked", "positive", "thumbs_up", "thumbs-up", "👍"}
_DOWN = {"down", "false", "no", "bad", "dislike", "disliked", "negative", "thumbs_down", "thumbs-down", "👎"}

#: Characters of what is said about a bad line.
_SHOWN = 200

Vote = Literal["up", "down"]


@dataclasses.dataclass(frozen=True)
class Report:
    """One person's word on one output. ``key`` tells it from every other report, and its user from others."""

    key: str
    turns: tuple[Turn, ...]
    output: str
    vote: Vote
    correction: str = ""
    model: str = ""
    tags: tuple[str, ...] = ()

    @property
    def about(self) -> dict[str, str]:
        """What a later vote of the same report leaves as it is."""
        return {"question": case_id(self.turns), "output": self.output, "user": person(self.key)}


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
    another report than the first, and the same as the second in a later export. Lines of one id that are of several
    questions, outputs or users are no reports: the id tells nothing apart.

    Args:
        path: the JSON Lines file, UTF-8.
        fields: what a field is called there, as ``{"prompt": "request"}``; by default `NAMES`.
        clean: applied to every text that is kept, and to what is said of a bad line.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    names = {**NAMES, **{ours: (theirs,) for ours, theirs in (fields or {}).items()}}
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise InvalidInputError(f"{path}: the reports cannot be read: {error.strerror}") from None
    given = {number: _given(line, number, names) for number, line in enumerate(lines, 1) if line.strip()}
    numbers: dict[str, set[float]] = {}
    for one in given.values():
        if not isinstance(one, BadLine) and _is_number(one["vote"]):
            numbers.setdefault(one["called"], set()).add(float(one["vote"]))
    seen: Counter[str] = Counter()
    found = {
        number: one if isinstance(one, BadLine) else _report(one, number, names, clean, seen, numbers)
        for number, one in given.items()
    }
    # Of each thing that the reports of an id are about, the first line.
    things: dict[str, dict[tuple[str, ...], int]] = {}
    for number, report in found.items():
        if isinstance(report, Report):
            things.setdefault(report_of(report.key), {}).setdefault(tuple(report.about.values()), number)
    for number, report in found.items():
        yield report if isinstance(report, BadLine) else _told_apart(report, number, things[report_of(report.key)])


def _told_apart(report: Report, number: int, things: Mapping[tuple[str, ...], int]) -> Report | BadLine:
    about = report.about
    for thing, line in things.items():
        for (name, mine), other in zip(about.items(), thing, strict=True):
            if mine != other:
                why = f"its id is that of line {line} too, which has another {name}"
                return BadLine(number, f"{why}: give each report an id of its own, or none")
    return report


def _given(line: bytes, number: int, names: Mapping[str, tuple[str, ...]]) -> dict[str, Any] | BadLine:
    """Return what a line says by our names of fields, and what its vote is ``called``."""
    try:
        data = json.loads(line.strip().decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "not JSON this can read: nested too deep")
    except ValueError as error:
        return BadLine(number, str(error))
    if not isinstance(data, dict):
        return BadLine(number, "a report is a JSON object")
    called = {ours: next((name for name in theirs if data.get(name) is not None), "") for ours, theirs in names.items()}
    return {**{ours: data.get(name) for ours, name in called.items()}, "called": called["vote"]}


def _report(
    given: dict[str, Any],
    number: int,
    names: Mapping[str, tuple[str, ...]],
    clean: Callable[[str], str],
    seen: Counter[str],
    numbers: Mapping[str, set[float]],
) -> Report | BadLine:
    try:
        vote, correction = given["vote"], _text(given, "correction")
        turns = _turns(given["prompt"], names["prompt"])
        if given["output"] is None:
            raise ValueError(f"no output ({' or '.join(names['output'])})")
        if vote is None and not correction:
            raise ValueError(f"neither a vote ({' or '.join(names['vote'])}) nor a correction")
        report = Report(
            "",
            turns,
            _text(given, "output"),
            "down" if vote is None else _vote(vote, given["called"], numbers),
            correction,
            _text(given, "model"),
            _tags(given["tags"]),
        )
        if report.vote == "up" and not report.output.strip():
            raise ValueError("thumbs up for an empty output")
    except ValueError as error:
        return BadLine(number, shorten(clean(str(error)), _SHOWN))
    user = "" if given["user"] is None else str(given["user"])
    # Of the text before it is cleaned: an import that blots out more knows the reports of one that did not.
    if given["id"] is not None and str(given["id"]).strip():
        key = digest_of({"id": str(given["id"])})[:16]
    else:
        content = digest_of({**dataclasses.asdict(report), "user": user, "time": str(given["time"])})
        seen[content] += 1
        key = digest_of([content, seen[content]])[:16]
    # Half of a surrogate pair may be answered, but not asked.
    turns = tuple(chat.mapped(turn, lambda text: clean(whole(text))) for turn in turns)
    if user.strip():
        key += SEPARATOR + digest_of({"user": user, "case": case_id(turns)})[:8]
    return dataclasses.replace(
        report, key=key, turns=turns, output=clean(report.output), correction=clean(report.correction),
        model=clean(report.model), tags=cleaned(report.tags, clean),
    )  # fmt: skip


def cleaned(names: Iterable[str], clean: Callable[[str], str]) -> tuple[str, ...]:
    """Return what ``clean`` makes of tags or models, each once and sorted."""
    return tuple(sorted(set(map(clean, names))))


def _text(given: dict[str, Any], name: str) -> str:
    value = given[name]
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is text, not {value!r}")
    return value or ""


def _turns(prompt: Any, names: tuple[str, ...]) -> tuple[Turn, ...]:
    if prompt is None:
        raise ValueError(f"no question ({' or '.join(names)})")
    asked = chat.read([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
    if asked[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's: it belongs in output")
    if not chat.text(asked[-1]).strip() and not chat.question(asked[-1]):
        raise ValueError("the question is empty")
    return asked


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number, or text that spells one; +1 is a word, 👍."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool) and not str(value).strip().startswith("+")


def _vote(value: Any, called: str, numbers: Mapping[str, set[float]]) -> Vote:
    spelled = str(value).strip().casefold()
    if spelled in _UP or spelled in _DOWN:
        return "up" if spelled in _UP else "down"
    if not _is_number(value):
        raise ValueError(f"no vote (up/down, 1/-1, true/false, good/bad): {value!r}")
    found = numbers[called]
    if found <= {1, -1} and (-1 in found or called in _THUMBS):
        return "up" if float(value) == 1 else "down"
    if found == {1}:
        why = f"all are 1 here, which may be the worst of stars: write up or down, or call the field {_THUMBS[0]}"
    else:
        some = ", ".join(f"{x:g}" for x in sorted(found)[:6]) + (", ..." if len(found) > 6 else "")
        why = f"these are {some}, which may be stars, or none: write up or down for each"
    raise ValueError(f"{value!r} may be no vote: numbers of {called!r} are votes where all are 1 or -1, and {why}")


def _tags(value: Any) -> tuple[str, ...]:
    tags = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"tags are texts, not {value!r}")
    return tuple(sorted({tag.strip() for tag in tags} - {""}))
