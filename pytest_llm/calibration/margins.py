"""From repeated measurements to a margin at a stated rate of false alarms.

Each bound is the larger of two. One is a prediction bound from Student's t, which holds at the stated rate for normal
noise, however few runs there were. The other is the extreme that was seen, which holds for any noise, at a rate that
falls with the number of runs; `guaranteed` says which. Few runs give wide margins, not optimistic ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def drop_margin(values: Sequence[float], alpha: float) -> float:
    """Return by how much a new value may fall short of a baseline, when both are draws like ``values``.

    The difference of two draws has variance 2 s^2: t(1 - alpha, n - 1) * s * sqrt(2). At least the range seen.
    """
    n = len(values)
    return max(_t(alpha, n - 1) * statistics.stdev(values) * math.sqrt(2), max(values) - min(values))


def highest(values: Sequence[float], alpha: float) -> float:
    """Return what one more draw like ``values`` exceeds at most at rate ``alpha``.

    The prediction bound mean + t(1 - alpha, n - 1) * s * sqrt(1 + 1/n). At least the largest seen.
    """
    n = len(values)
    spread = statistics.stdev(values) * math.sqrt(1 + 1 / n)
    return max(statistics.fmean(values) + _t(alpha, n - 1) * spread, max(values))


def success_count(successes: int, seen: int, n: int, alpha: float) -> int:
    """Return the largest count that ``n`` more trials miss at most at rate ``alpha``, 0 when there is none.

    After ``successes`` of ``seen``, the count of ``n`` more is beta-binomial, with Jeffreys' prior Beta(1/2, 1/2).
    """
    from scipy.stats import betabinom

    return int(betabinom.ppf(alpha, n, successes + 0.5, seen - successes + 0.5))


def guaranteed(n: int) -> float:
    """Return the rate at which a `drop_margin` from ``n`` draws raises false alarms at most, whatever the noise.

    A drop beyond the range seen needs a baseline above all ``n``, or a new value below all: each has chance 1/(n+1).
    """
    return min(1.0, 2 / (n + 1))


def rounded_up(x: float, width: float | None = None) -> float:
    """Return the next number from ``x`` upwards that has two significant digits of ``width``, by default of ``x``."""
    width = abs(x) if width is None else width
    if x == 0 or not math.isfinite(x):
        return x
    digits = 1 - math.floor(math.log10(max(width, abs(x) * 1e-6)))
    return round(math.ceil(x * 10.0**digits - 1e-6) / 10.0**digits, max(digits, 0))


def _t(alpha: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - alpha))
