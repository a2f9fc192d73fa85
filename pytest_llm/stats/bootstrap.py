"""The paired bootstrap over sufficient statistics: no text is scored twice.

A metric is a function of summed statistics, so a resample is a row of multinomial counts times the table of
statistics. A mean is the special case of statistics ``(w x, w)`` and the function ``a / b``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

#: Cells of the count matrix held at once: 8 MB.
_CELLS = 1 << 20


def resampled_sums(statistics: Any, resamples: int = 10_000, seed: int = 0) -> Any:
    """Return the statistics [n, K] summed over ``resamples`` draws of n rows with replacement: [resamples, K]."""
    import numpy as np

    table = np.asarray(statistics, dtype=np.float64)
    n, rng = len(table), np.random.default_rng(seed)
    sums = np.empty((resamples, table.shape[1]))
    step = max(1, _CELLS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = rng.integers(0, n, size=(rows, n))
        draws += np.arange(0, rows * n, n)[:, None]
        counts = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        sums[start : start + rows] = counts.astype(np.float64) @ table
    return sums


def contributions(new: Any, base: Any, value: Callable[[Any], Any]) -> Any:
    """Return what each example moves a metric by, from the statistics [n, K] of the new and of the base answers: [n].

    That is the mean of what its new answer changes among the base ones, and its base answer among the new ones; of a
    mean they add up to the whole difference. ``value`` maps summed statistics [R, K] to R values.
    """
    import numpy as np

    change, before, after = new - base, base.sum(axis=0, keepdims=True), new.sum(axis=0, keepdims=True)
    put_in = np.asarray(value(before + change)) - np.asarray(value(before))
    taken_out = np.asarray(value(after)) - np.asarray(value(after - change))
    return (put_in + taken_out) / 2


def bca_constants(replicates: Any, estimate: float, leave_one_out: Any) -> tuple[float, float]:
    """Return bias correction z0 and acceleration a (Efron 1987): ``replicates`` [R], ``leave_one_out`` [n] estimates.

    z0 is infinite when the estimate lies outside all replicates.
    """
    import numpy as np
    from scipy.special import ndtri

    share = (np.mean(replicates < estimate) + np.mean(replicates <= estimate)) / 2
    return float(ndtri(share)), acceleration(leave_one_out.mean() - leave_one_out)


def acceleration(influence: Any) -> float:
    """Return a sixth of the skewness of an estimate with these influences (Efron 1987): below 0, it is of drops."""
    largest = float(abs(influence).max())
    shape = influence / largest if largest > 0 else influence  # powers of the smallest floats are 0
    return float((shape**3).sum()) / (6 * float((shape**2).sum()) ** 1.5) if largest > 0 else 0.0


def abc_errors(t: float, a: float) -> float:
    """Return how many standard errors the bound of a mean lies from it on the side of its skewness, ``t`` without any.

    ``w / (1 - a w)^2`` with ``w = t + a``: the ABC interval, which is BCa's without resamples, and exact for a mean
    (DiCiccio & Efron 1992, Biometrika 79:231; 1996, Statistical Science 11:189, section 4). ``a`` is the acceleration,
    at least 0. Few examples with a tiny alpha would reach its pole, so the bound lies at most ``4 w`` away.
    """
    w = t + a
    return w / max(1 - a * w, 0.5) ** 2


def abc_level(errors: float, a: float) -> float:
    """Return the ``t`` whose `abc_errors` are ``errors``, which are at least 0."""
    w = errors / 4 if a * errors > 2 else 2 * errors / (1 + 2 * a * errors + math.sqrt(1 + 4 * a * errors))
    return w - a


def bounds(
    replicates: Any, z: float, z0: float = 0.0, a: float = 0.0, estimate: float = math.nan
) -> tuple[float, float]:
    """Return the bounds of ``replicates`` at ``-z`` and ``+z``: percentile, or BCa with `bca_constants`.

    Each is one-sided at level ``1 - Phi(z)``, and ``estimate`` lies between them. Past BCa's pole, where one example
    holds most of the weight, and where z0 is infinite, a bound is the extreme replicate.
    """
    import numpy as np
    from scipy.special import ndtr

    def level(side: float) -> float:
        room = 1 - a * (z0 + side)
        return float(ndtr(z0 + (z0 + side) / room)) if math.isfinite(z0) and room > 0 else float(side > 0)

    low, high = np.quantile(replicates, (level(-z), level(z)))
    return float(np.fmin(low, estimate)), float(np.fmax(high, estimate))


def z_of_zero(replicates: Any, z0: float = 0.0, a: float = 0.0) -> float:
    """Return the z at which the upper bound reaches 0: its one-sided p that the truth is >= 0 is ``1 - Phi(z)``.

    Counts one extra replicate at 0 (Davison & Hinkley 1997, section 4.2). Where none reaches 0, which alone says no
    more than 1 in their number, z is that of normal ones with the same median and 99th percentile, and at most 233.
    """
    import numpy as np
    from scipy.special import ndtri

    reached = np.count_nonzero(replicates >= 0)
    z = float(-ndtri((1 + reached) / (1 + len(replicates))))
    if not reached:
        middle, high = np.quantile(replicates, (0.5, 0.99))
        z = max(z, float(ndtri(0.99) * middle / min(middle - high, middle / 100)))
    shifted = z - z0
    if (z0 == 0 and a == 0) or not math.isfinite(shifted):
        return z
    room = 1 + a * shifted  # at 0 or below it no bound reaches 0, at whatever level
    return shifted / room - z0 if room > 0 else math.copysign(math.inf, shifted)


def expanded_z(alpha: float, clusters: float) -> float:
    """Return the z to use for level ``alpha`` with few clusters.

    Bootstrap intervals are too narrow in small samples by sqrt((n - 1) / n), and use z where t is due. The
    "expanded" interval makes up for both (Hesterberg 2015, What Teachers Should Know About the Bootstrap).
    """
    from scipy.special import stdtrit

    return float(-stdtrit(clusters - 1, alpha)) * math.sqrt(clusters / (clusters - 1))


def expanded_p(z: float, clusters: float) -> float:
    """Return the level whose `expanded_z` is ``z``: a one-sided p."""
    from scipy.special import stdtr

    return float(stdtr(clusters - 1, -z / math.sqrt(clusters / (clusters - 1))))
