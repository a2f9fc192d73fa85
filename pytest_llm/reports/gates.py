"""The gates of a run as aligned rows: value, bound, evidence, status, test; and what the rows cannot say below them."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llm.reports.text import figure, number, p_value, short_nodeids, visible
from pytest_llm.stats.correction import Adjusted, adjust
from pytest_llm.verdicts import Verdict

if TYPE_CHECKING:
    from pytest_llm.settings import Settings

#: Passing gates listed without ``-v``; the rest is counted.
PASSING_SHOWN = 8

_CORRECTIONS = {"holm": ("Holm", "Holm's correction"), "bh": ("BH", "the Benjamini-Hochberg correction")}


def gate_rows(
    gates: Sequence[Verdict], settings: Settings, *, everything: bool, width: int, expected: Collection[str] = ()
) -> Iterator[tuple[str, Verdict | None]]:
    """Give the lines of the section and the verdict each is about, for its colour; notes wrap to ``width`` columns.

    ``expected`` are the tests that were expected to fail, and did: what failed in them needs no reader.
    """
    adjusted = {id(one.verdict): one for one in adjust(gates, settings.correction)}  # type: ignore[arg-type]
    # What was written, or improved, comes before what is as it was.
    fine = [gate for gate in gates if gate.outcome == "pass" or gate.nodeid in expected]
    passing = sorted(fine, key=lambda gate: gate.status == "pass")
    shown = [gate for gate in gates if gate.outcome != "pass" and gate.nodeid not in expected]
    shown += passing if everything else passing[:PASSING_SHOWN]
    tests = short_nodeids(gate.nodeid for gate in gates)
    rows = [
        [
            gate.name,
            *_bound(gate),
            _evidence(gate, adjusted, settings),
            _status(gate, expected),
            tests[gate.nodeid],
        ]
        for gate in shown
    ]
    table = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row, gate in zip(table, shown, strict=True):
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True) if w).rstrip(), gate
        for note in _notes(gate, adjusted.get(id(gate)), len(adjusted), settings):
            for line in _wrapped(visible(note), width):
                yield line, gate
    if len(gates) > len(shown):
        what = "that passed" if passing[PASSING_SHOWN].status == "pass" else "that did not fail"
        yield f"and {len(gates) - len(shown)} more {what} (-v lists them)", None
    elsewhere = Counter(gate.figures["environment"] for gate in passing if "environment" in gate.figures)
    for moved, count in elsewhere.items():
        what = "1 gate passed" if count == 1 else f"{count} gates passed"
        yield from ((line, None) for line in _wrapped(visible(f"{what} in another environment: {moved}"), width, ""))


def _bound(gate: Verdict) -> tuple[str, str]:
    """Return a gate's value, and what it was held against."""
    figures = gate.figures
    value = figure(figures, "value") if "value" in figures else ""
    if "at_least" in figures:
        return value, f">= {figure(figures, 'at_least')}"
    if "at_most" in figures:
        return value, f"<= {figure(figures, 'at_most')}"
    if "baseline" in figures:
        variant = f" {figures['variant']}" if "variant" in figures else ""
        return value, f"baseline {figure(figures, 'baseline')}{variant}, margin {number(figures.get('margin', 0))}"
    return value, ""


def _evidence(gate: Verdict, adjusted: dict[int, Adjusted], settings: Settings) -> str:
    """Return p, p as corrected over the run where that is another, and what a mean hides or a gate could have seen."""
    found, parts = adjusted.get(id(gate)), []
    if found is not None:
        parts.append(f"p {p_value(found.p)}")
        if found.p_adjusted != found.p:
            parts.append(f"{_CORRECTIONS[settings.correction][0]} {p_value(found.p_adjusted)}")
    if "broke" in gate.figures:
        parts.append(f"{gate.figures['broke']} broke, {gate.figures['mended']} mended")
    if gate.status == "inconclusive":
        drop = gate.figures.get("detectable drop")
        parts.append("sees no drop" if drop is None else f"sees {number(drop)}")
    return ", ".join(parts)


def _notes(gate: Verdict, found: Adjusted | None, m: int, settings: Settings) -> Iterator[str]:
    if found is not None and found.survives is False and settings.correction != "none":
        yield f"would not survive {_CORRECTIONS[settings.correction][1]} over the {m} gates of this run"
    # What fails says all of it where it fails; a warning and an improvement are said only here.
    if gate.outcome == "warn" or gate.status == "improved":
        yield from gate.notes


def _wrapped(note: str, width: int, indent: str = "  ") -> list[str]:
    if "--llm-" in note:  # a command is for copying: it stays on one line
        return [indent + note]
    return textwrap.wrap(note, max(width, 40), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _status(gate: Verdict, expected: Collection[str]) -> str:
    """Return the status, or ``warn`` for a pass that carries a warning."""
    if gate.outcome in ("fail", "error") and gate.nodeid in expected:
        return f"{gate.status} (expected)"
    return "warn" if gate.outcome == "warn" and gate.status == "pass" else gate.status
