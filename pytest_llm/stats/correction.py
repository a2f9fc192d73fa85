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

    ``survives`` says whether a failed gate still fails at ``alpha`` after the correction; ``None`` if it did not fail.
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


def adjust(verdicts: Iterable[Verdict], method: Correction = "holm", alpha: float = 0.05) -> list[Adjusted]:
    """Correct over all verdicts of a run that carry a ``p`` figure (gates with an interval); the rest are left out."""
    gates = [v for v in verdicts if v.kind == "baseline" and isinstance(v.figures.get("p"), (int, float))]
    p_values = [float(v.figures["p"]) for v in gates]
    return [
        Adjusted(v, p, adjusted, adjusted <= alpha if v.status == "fail" else None)
        for v, p, adjusted in zip(gates, p_values, adjust_p(p_values, method), strict=True)
    ]
