"""What a gate could have seen: power, the minimum detectable effect, the sample size needed.

Effects are drops, in the metric's units and positive. A gate fails when the drop is significant *and* larger than
its margin, so a margin above the critical value is what limits it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

#: Examples from which on the normal approximation is as good.
_LARGE = 10_000


def fewest(alpha: float) -> int:
    """Return how many examples (or groups) must all fall for a gate to fail: turning k signs gives no p below 2^-k."""
    return math.ceil(-math.log2(alpha) - 1e-9)


def detectable_mean(se: float, df: float, *, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true drop that fails a gate with probability ``power``: ``max(margin, t_a se) + t_b se``."""
    from scipy.special import stdtrit

    return max(margin, -float(stdtrit(df, alpha)) * se) + float(stdtrit(df, power)) * se


def required_n(drop: float, sd: float, *, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many examples show a true ``drop`` with probability ``power``, by the noncentral t.

    ``sd`` is the standard deviation of the paired per-example differences.

    Raises:
        ValueError: ``drop`` is not larger than the margin: no number of examples makes that gate fail reliably.
    """
    from scipy.special import nctdtr, ndtri, stdtrit

    if not drop > margin:
        raise ValueError(f"a drop of {drop} within the margin {margin} cannot fail the gate")
    z_alpha, z_power = float(ndtri(1 - alpha)), float(ndtri(power))
    root = max((z_alpha + z_power) * sd / drop, z_power * sd / (drop - margin))
    n = max(fewest(alpha), math.ceil(root**2))  # by the normal, which is a few short
    while n < _LARGE and nctdtr(n - 1, drop * math.sqrt(n) / sd, -stdtrit(n - 1, alpha)) > 1 - power:
        n += 1
    return n


def power_of_mcnemar(n: int, worse: float, better: float, *, margin: float = 0.0, alpha: float = 0.05) -> float:
    """Return the chance that an exact McNemar gate on ``n`` pairs fails.

    ``worse`` and ``better`` are the true probabilities of a pair going from right to wrong, and back. Exact: sums
    over the number of flips (Duffy 1984), for flips within 8 standard deviations of their mean.
    """
    import numpy as np
    from scipy.special import gammaln, xlog1py, xlogy

    flip = min(worse + better, 1.0)
    if flip <= 0:
        return 0.0
    spread = 8 * math.sqrt(n * flip * (1 - flip)) + 8
    m = np.arange(max(1, math.floor(n * flip - spread)), min(n, math.ceil(n * flip + spread)) + 1)
    log_pmf = gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) + xlogy(m, flip) + xlog1py(n - m, -flip)
    least = np.maximum(_critical_flips(n, alpha)[m], np.floor((m + margin * n) / 2 + 1e-9) + 1)
    return float(np.sum(np.exp(log_pmf) * _at_least(least, m, worse / flip)))


def detectable_mcnemar(
    n: int, flip_rate: float, *, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Return the smallest true drop in accuracy that fails an exact McNemar gate with probability ``power``.

    Assumes the flip rate that was seen, or the drop itself where it is larger. ``None``: with this few examples
    not even a total collapse would.
    """

    def chance(drop: float) -> float:
        flip = max(flip_rate, drop)
        return power_of_mcnemar(n, (flip + drop) / 2, (flip - drop) / 2, margin=margin, alpha=alpha)

    if chance(1.0) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= power else (middle, high)
    return high


def required_mcnemar(
    drop: float, flip_rate: float, *, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return about how many pairs an exact McNemar gate needs to fail on a true ``drop`` with probability ``power``.

    Assumes the flip rate that was seen, or the drop itself where it is larger.

    Raises:
        ValueError: ``drop`` is not larger than the margin: no number of examples makes that gate fail reliably.
    """
    flip = max(flip_rate, drop)
    low = required_n(drop, math.sqrt(max(flip - drop**2, 0.0)) or drop / 100, margin=margin, alpha=alpha, power=power)

    def enough(n: int) -> bool:
        return power_of_mcnemar(n, (flip + drop) / 2, (flip - drop) / 2, margin=margin, alpha=alpha) >= power

    high = low
    while high < _LARGE and not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@functools.lru_cache(maxsize=8)
def _critical_flips(n: int, alpha: float) -> Any:
    """Return, for 0 to ``n`` flips, the least count of worse ones with an exact McNemar p <= ``alpha``: [n + 1]."""
    import numpy as np
    from scipy.special import ndtri

    m = np.arange(n + 1)
    # The normal approximation is off by two at most; the exact tail picks among its neighbours.
    guess = np.floor(m / 2 - ndtri(alpha) * np.sqrt(m) / 2)
    candidates = guess[:, None] + np.arange(-2, 4)
    significant = _at_least(candidates, m[:, None], 0.5) <= alpha
    return candidates[m, significant.argmax(axis=1)]


def _at_least(k: Any, m: Any, rate: float) -> Any:
    """Return P(Binomial(m, rate) >= k), elementwise."""
    import numpy as np
    from scipy.special import betainc

    inside = np.clip(k, 1, m)
    tail = betainc(inside, m - inside + 1, min(rate, 1.0))
    return np.where(k <= 0, 1.0, np.where(k > m, 0.0, tail))
