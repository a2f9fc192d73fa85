"""What the tables of the history hold of a run record, and a run as it comes out of them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections import Counter
from typing import Any, NamedTuple

from pytest_llm.history.runfile import no_record
from pytest_llm.reports.overview import STATUSES, entries, reported

_ID = re.compile(r"[0-9]{8}T[0-9]{9}Z-[0-9a-f]{8}")
#: What makes a model another one.
MODEL = ("source", "revision", "digest", "adapter", "dtype", "device")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the history.

    Attributes:
        number: its key in the database.
        counts: tests, and files that could not be collected, by status (`pytest_llm.reports.overview.STATUSES`), those
            that are not 0.
        models: the fields `MODEL` of each model, and the digests of its ``parts`` where the run knew them, by the key
            that tests name it with.
        environment: versions by distribution, python, platform.
        dirty: whether tracked files differed from the commit; ``None`` where unknown.
    """

    number: int
    id: str
    started: str
    seconds: float
    exit_status: int
    filtered: bool
    commit: str
    branch: str
    dirty: bool | None
    counts: dict[str, int]
    models: dict[str, dict[str, Any]]
    environment: dict[str, str]

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Run:
        """Rebuild one from its row."""
        *fields, counts, models, environment = row
        number, id, started, seconds, status, filtered, commit, branch, dirty = fields
        return cls(
            number, id, started, seconds, status, bool(filtered), commit, branch,
            None if dirty is None else bool(dirty),
            json.loads(counts), json.loads(models), json.loads(environment),
        )  # fmt: skip

    @property
    def short(self) -> str:
        """The random part of the id, by which people name the run."""
        return self.id.rpartition("-")[2]

    @property
    def revision(self) -> str:
        """The commit, shortened, with a star where files differed from it."""
        return f"{self.commit[:7]}{'*' if self.dirty else ''}"

    def uses(self, model: str) -> bool:
        """Whether a model's source or digest has ``model`` in it."""
        return any(model in one["source"] or one["digest"].startswith(model) for one in self.models.values())

    def to_json(self) -> dict[str, Any]:
        """Return the run as data for other programs."""
        data = dataclasses.asdict(self)
        del data["number"]
        return {**data, "models": list(self.models.values())}


class Rows(NamedTuple):
    """The rows of one record: of ``runs`` (without its number), of ``tests`` and ``verdicts`` (without the run)."""

    run: tuple[Any, ...]
    tests: list[tuple[Any, ...]]
    verdicts: list[tuple[Any, ...]]


def of_record(data: dict[str, Any]) -> Rows:
    """Return the rows of a run record.

    Raises:
        InvalidInputError: it is no record; the message says what is wrong.
    """
    try:
        if not _ID.fullmatch(data["id"]):
            raise ValueError(f"{data['id']!r:.60} is no id of a run")
        return _of_record(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise no_record(error) from None


def better(verdict: dict[str, Any]) -> str:
    """Return which way a verdict's figure is better: ``higher``, ``lower``, or ``""`` when it does not say."""
    said = (verdict.get("evidence") or {}).get("higher_is_better")
    figures = verdict["figures"]
    if said is None and ("at_least" in figures) != ("at_most" in figures):
        said = "at_least" in figures
    return "" if said is None else "higher" if said else "lower"


def value_of(verdict: dict[str, Any]) -> float | None:
    """Return the finite number that a check measured, if it did."""
    value = verdict["figures"].get("value")
    if verdict["kind"] == "golden" or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def model_of(use: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a model another one, and its ``parts``."""
    parts = {_text(name): _text(digest) for name, digest in (use.get("parts") or {}).items()}
    return {**{name: _text(use[name]) for name in MODEL}, **({"parts": parts} if parts else {})}


def _of_record(data: dict[str, Any]) -> Rows:
    found = entries(data)
    asked: dict[str, set[str]] = {}
    for one in data["requests"]:
        asked.setdefault(_text(one["nodeid"]), set()).add(_text(one["model"]))
    counted = Counter(entry.status for entry in reported(data))
    git, dirty = data["git"], data["git"]["dirty"]
    run = (
        data["id"], _moment(data["started"]), _seconds(data["seconds"]), _whole(data["exit_status"]),
        bool(data["filtered"]), _text(git["commit"]), _text(git["branch"]),
        dirty if isinstance(dirty, bool) else None,
        json.dumps({status: counted[status] for status in STATUSES if counted[status]}),
        json.dumps({_text(key): model_of(use) for key, use in data["models"].items()}),
        json.dumps({_text(name): _text(version) for name, version in data["environment"].items()}),
    )  # fmt: skip
    tests = [
        (nodeid, entry.status, _seconds(entry.seconds), json.dumps(sorted(asked.get(nodeid, ()))))
        for entry in found
        for nodeid in (_text(entry.nodeid),)
    ]
    verdicts = [
        (
            position, *(_text(one[name]) for name in ("nodeid", "kind", "name", "status", "outcome")), value_of(one),
            better(one),
        )
        for position, one in enumerate(data["verdicts"])
    ]  # fmt: skip
    return Rows(run, tests, verdicts)


def _text(value: Any) -> str:
    """Return text that SQLite can hold: UTF-8 has no half of a surrogate pair."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _moment(value: Any) -> str:
    time.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r:.40} seconds")
    return seconds


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"{value!r:.40} is no exit status")
    return value
