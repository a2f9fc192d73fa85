"""The history for other programs, as text: CSV (a row a check) and JSON (runs, with their tests and checks)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_llm.history.database import History
from pytest_llm.history.rows import Run

_RUN = ("run", "started", "commit", "branch", "dirty", "exit_status", "filtered", "run_seconds", "models", "weights")
_CHECK = ("nodeid", "kind", "name", "status", "outcome", "value", "better", "test_status")
#: What a spreadsheet takes for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(history: History, runs: Sequence[Run]) -> str:
    """Return one row for each check, with its run beside it. A text that a spreadsheet would run begins with ``'``."""
    versions = list(dict.fromkeys(name for run in runs for name in run.environment))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(_cell, (*_RUN, *versions, *_CHECK)))
    for run in runs:
        models = run.models.values()
        about = (
            run.id, run.started, run.commit, run.branch, "" if run.dirty is None else str(run.dirty).lower(),
            run.exit_status, str(run.filtered).lower(), run.seconds, " ".join(model["source"] for model in models),
            " ".join(model["digest"] for model in models), *(run.environment.get(name, "") for name in versions),
        )  # fmt: skip
        for check in checks(history, run):
            writer.writerow(map(_cell, (*about, *check)))
    return stream.getvalue()


def as_json(history: History, runs: Sequence[Run]) -> str:
    """Return the runs, the newest last, each with ``tests`` and ``verdicts``."""
    data: list[dict[str, Any]] = []
    for run in runs:
        rows = history.select("SELECT nodeid, status, seconds FROM tests WHERE run = ? ORDER BY nodeid", (run.number,))
        tests = [dict(zip(("nodeid", "status", "seconds"), row, strict=True)) for row in rows]
        verdicts = [dict(zip(_CHECK, check, strict=True)) for check in checks(history, run)]
        data.append({**run.to_json(), "tests": tests, "verdicts": verdicts})
    return json.dumps({"runs": data}, indent=2) + "\n"


def checks(history: History, run: Run) -> Iterator[tuple[Any, ...]]:
    """Give the checks of a run, in order, as the fields `_CHECK`; ``value`` may be ``None``.

    ``test_status`` is of `pytest_llm.reports.overview.STATUSES`: ``skipped`` for a test that was expected to fail.
    """
    yield from history.select(
        "SELECT v.nodeid, kind, name, v.status, outcome, value, better, t.status FROM verdicts v LEFT JOIN tests t "
        "ON t.run = v.run AND t.nodeid = v.nodeid WHERE v.run = ? ORDER BY position",
        (run.number,),
    )


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet runs (OWASP, CSV injection); numbers are as they are."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value


WRITERS: dict[str, Callable[[History, Sequence[Run]], str]] = {"csv": as_csv, "json": as_json}
