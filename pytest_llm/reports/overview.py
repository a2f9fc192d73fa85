"""What every report of a run begins with: each test with one status, and how many there are of each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pytest_llm.reports.text import counted as n_of
from pytest_llm.reports.text import render, visible
from pytest_llm.verdicts import WRITTEN, Verdict

#: From what needs a reader most to what needs none; with the words for one test of it, or one file.
STATUSES = {
    "failed": "failed",
    "uncollected": "could not be collected",
    "error": "could not be measured",
    "warned": "passed with a warning",
    "passed": "passed",
    "skipped": "skipped",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One test of a run record."""

    nodeid: str
    status: str
    seconds: float
    file: str
    line: int
    message: str
    verdicts: tuple[dict[str, Any], ...]

    @property
    def why(self) -> str:
        """Why the status is not ``passed``, as text for a terminal: the verdicts, else what the test raised."""
        telling = [Verdict.from_json(verdict) for verdict in self.verdicts if verdict["outcome"] != "pass"]
        return "\n\n".join(map(render, telling)) or "\n".join(map(visible, self.message.split("\n")))


def reported(data: dict[str, Any]) -> list[Entry]:
    """Return what a report lists: the tests, and the files that could not be collected."""
    errors = [
        Entry(one["nodeid"], "uncollected", 0.0, one["nodeid"].partition("::")[0], 1, one["message"], ())
        for one in data["collection_errors"]
    ]
    return _in_order([*errors, *entries(data)])


def entries(data: dict[str, Any]) -> list[Entry]:
    """Return the tests of a run record, what needs a reader first."""
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for verdict in data["verdicts"]:
        verdicts.setdefault(verdict["nodeid"], []).append(verdict)
    tests = {test["nodeid"]: test for test in data["tests"]}
    found = []
    for nodeid in dict.fromkeys([*tests, *verdicts]):
        test = tests.get(
            nodeid, {"outcome": "", "seconds": 0.0, "file": nodeid.partition("::")[0], "line": 1, "message": ""}
        )
        mine = tuple(verdicts.get(nodeid, ()))
        status = _status(test["outcome"], {verdict["outcome"] for verdict in mine})
        found.append(Entry(nodeid, status, test["seconds"], test["file"], test["line"], test["message"], mine))
    return _in_order(found)


def _in_order(found: list[Entry]) -> list[Entry]:
    order = list(STATUSES)
    return sorted(found, key=lambda entry: order.index(entry.status))  # stable


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """Return how many tests have each status, in the order of `STATUSES`, zeros included."""
    counted = Counter(entry.status for entry in found)
    return {status: counted[status] for status in STATUSES}


def in_words(counted: dict[str, int]) -> str:
    """Return the counts as a sentence has them: "2 failed, 1 could not be measured, 40 passed"."""
    shown = {**counted, "uncollected": n_of(counted.get("uncollected", 0), "file")}
    return ", ".join(f"{shown[status]} {STATUSES[status]}" for status, n in counted.items() if n) or "no tests"


def written(data: dict[str, Any]) -> int:
    """Return how many goldens and baselines the run wrote in place of comparing with them."""
    return sum(verdict["status"] in WRITTEN for verdict in data["verdicts"])


def summary(data: dict[str, Any], counted: dict[str, int]) -> str:
    """Return the counts of a run in words, whether it was stopped, and what it wrote."""
    end = f", and the run was stopped ({visible(why)})" if (why := data["stopped"]) else ""
    if n := written(data):
        end += f"; {n} {'golden or baseline was' if n == 1 else 'goldens or baselines were'} written, not compared"
    return in_words(counted) + end


def changes(data: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Return what differs around the models: name, was, now, and how many goldens say so; most first."""
    counted = Counter(
        tuple(change) for verdict in data["verdicts"] for change in (verdict["evidence"] or {}).get("changes", ())
    )
    return [(name, was, now, n) for (name, was, now), n in counted.most_common()]


def _status(outcome: str, verdicts: set[str]) -> str:
    if outcome in ("skipped", "xfailed"):
        return "skipped"
    if outcome in ("unmeasured", "interrupted") or "error" in verdicts:
        return "error"
    if outcome in ("failed", "error") or (not outcome and "fail" in verdicts):
        return "failed"
    # A failing comparison that the test did not assert is for its reader to know.
    return "warned" if verdicts & {"warn", "fail"} else "passed"
