"""Many gates, one run: p-values adjusted for how many there were.

A gate fails its own test at its own alpha, whatever the other tests of the run find: a test's outcome must not
depend on which others were selected. The summary of a run then says which failures would not survive the
correction, which is where to look first for a false alarm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from pytest_llm.verdicts import Verdict

Correction = Literal["holm", "bh", "none"]


@dataclasses.dataclass(frozen=True)
class Adjusted:
    """A gate's verdict with its p as it stands and as corrected over the run.

    ``survives`` says whether a comparison that failed still would at its own alpha after the correction. It is ``None``
    where the comparison did not fail, whatever else did (broken examples, the answers' length).
    """

    verdict: Verdict
    p: float
    p_adjusted: float
    survives: bool | None


def adjust_p(p_values: Sequence[float], method: Correction = "holm") -> list[float]:
    """Return adjusted p-values, in order: Holm (1979), Benjamini-Hochberg (1995), or as they are."""
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = list(p_values)
    if method == "holm":
        worst = 0.0
        for rank, i in enumerate(order):
            worst = max(worst, min(1.0, (m - rank) * p_values[i]))
            adjusted[i] = worst
    elif method == "bh":
        best = 1.0
        for rank in range(m, 0, -1):
            i = order[rank - 1]
            best = min(best, p_values[i] * m / rank)
            adjusted[i] = best
    elif method != "none":
        raise ValueError(f"unknown correction {method!r}: holm, bh or none")
    return adjusted


def adjust(verdicts: Iterable[Verdict], method: Correction = "holm") -> list[Adjusted]:
    """Correct over all verdicts of a run that carry a ``p`` figure (gates with an interval); the rest are left out."""
    gates = [v for v in verdicts if v.kind == "baseline" and isinstance(v.figures.get("p"), (int, float))]
    p_values = [float(v.figures["p"]) for v in gates]
    return [
        Adjusted(v, p, adjusted, adjusted <= _alpha(v) if _worse(v) else None)
        for v, p, adjusted in zip(gates, p_values, adjust_p(p_values, method), strict=True)
    ]


def _worse(gate: Verdict) -> bool:
    """Whether the comparison itself failed: significantly, and by more than the margin."""
    figures = gate.figures
    if gate.status != "fail" or figures["p"] > _alpha(gate):
        return False
    from pytest_llm.stats.gate import beyond

    return beyond(-abs(figures["value"] - figures["baseline"]), figures["margin"])  # the worse way, where p is small


def _alpha(gate: Verdict) -> float:
    """Return the gate's own alpha, of which its interval has one at each end."""
    return round((1 - float(gate.figures["confidence"])) / 2, 12)
