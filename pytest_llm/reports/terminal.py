"""The summary section at the end of a run: models, goldens, gates, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_llm.reports.text import number, shorten, visible
from pytest_llm.verdicts import DRIFT_STATUSES, Verdict

if TYPE_CHECKING:
    import pytest

    from pytest_llm.options import Settings
    from pytest_llm.record import ModelUse, RunRecord

#: Passing gates listed without ``-v``; the rest is counted.
PASSING_SHOWN = 8
_COLOURS = {"pass": {"green": True}, "warn": {"yellow": True}, "fail": {"red": True}, "error": {"red": True}}
_LABEL = 10


def write_summary(reporter: pytest.TerminalReporter, run: RunRecord, settings: Settings) -> None:
    """Write the section. Only what a run used has a line in it."""
    reporter.write_sep("=", "model regression")
    for use in run.models.values():
        _line(reporter, "model", _model(use))
    goldens = [verdict for verdict in run.verdicts if verdict.kind == "golden"]
    if goldens:
        counts = Counter(verdict.status for verdict in goldens)
        _line(reporter, "goldens", ", ".join(f"{counts[s]} {s}" for s in DRIFT_STATUSES if counts[s]))
        for verdict in goldens:
            if verdict.outcome != "pass":
                _line(reporter, "", f"{verdict.status:<12}{visible(verdict.nodeid)} ({visible(verdict.name)})", verdict)
    gates = [verdict for verdict in run.verdicts if verdict.kind != "golden"]
    if gates:
        _gates(reporter, gates, everything=reporter.verbosity > 0)
    _next_steps(reporter, run, goldens, settings)


def _gates(reporter: pytest.TerminalReporter, gates: list[Verdict], *, everything: bool) -> None:
    passing = [verdict for verdict in gates if verdict.outcome == "pass"]
    shown = [verdict for verdict in gates if verdict.outcome != "pass"]
    shown += passing if everything else passing[:PASSING_SHOWN]
    rows = [(gate.name, *_bound(gate), _status(gate), gate.nodeid.rpartition("/")[2]) for gate in shown]
    widths = [max(len(visible(row[i])) for row in rows) for i in range(4)]
    for index, (row, gate) in enumerate(zip(rows, shown, strict=True)):
        cells = [visible(cell).ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        _line(reporter, "" if index else "gates", "  ".join([*cells, visible(row[4])]), gate)
        if gate.outcome == "warn":
            for note in gate.notes:
                _line(reporter, "", "  " + visible(note), gate)
    if len(gates) > len(shown):
        _line(reporter, "", f"and {len(gates) - len(shown)} more that passed (-v lists them)")


def _status(gate: Verdict) -> str:
    """Return the status, or ``warn`` for a pass that carries a warning."""
    return "warn" if gate.outcome == "warn" and gate.status == "pass" else gate.status


def _bound(gate: Verdict) -> tuple[str, str]:
    """Return a gate's value, and what it was held against."""
    figures = gate.figures
    value = number(figures.get("value", ""))
    if "at_least" in figures:
        return value, f">= {number(figures['at_least'])}"
    if "at_most" in figures:
        return value, f"<= {number(figures['at_most'])}"
    if "baseline" in figures:
        return value, f"baseline {number(figures['baseline'])}, margin {number(figures.get('margin', 0))}"
    return value, ""


def _model(use: ModelUse) -> str:
    answers = f"{use.asked} answer{'s' * (use.asked != 1)}: {use.from_store} from the store, {use.computed} computed"
    answers += f" ({use.ahead} ahead)" if use.ahead else ""
    loaded = f"loaded in {use.load_seconds:.1f} s" if use.loaded else "no weights loaded"
    adapter = f" + {visible(shorten(use.adapter, 40))}" if use.adapter else ""
    return (
        f"{visible(shorten(use.source, 60))}{adapter}  {use.digest[:12]}  {use.dtype} {use.device}  {answers}; {loaded}"
    )


def _next_steps(
    reporter: pytest.TerminalReporter, run: RunRecord, goldens: Iterable[Verdict], settings: Settings
) -> None:
    waiting = sum(verdict.outcome == "fail" and verdict.status != "missing" for verdict in goldens)
    missing = sum(verdict.status == "missing" for verdict in run.verdicts)
    if waiting:
        _line(reporter, "next", f"{_count(waiting, 'candidate waits', 'candidates wait')} for you: pytest-llm review")
    if missing:
        what = _count(missing, "golden or baseline is", "goldens or baselines are")
        _line(reporter, "next", f"{what} missing: pytest --llm-update=new writes them")
    if run.obsolete:
        what = _count(len(run.obsolete), "golden that no test uses is", "goldens that no test uses are")
        _line(reporter, "next", f"{what} obsolete: pytest-llm prune")


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _line(reporter: pytest.TerminalReporter, label: str, text: str, verdict: Verdict | None = None) -> None:
    reporter.write(label.ljust(_LABEL))
    reporter.write_line(text, **(_COLOURS[verdict.outcome] if verdict is not None else {}))
