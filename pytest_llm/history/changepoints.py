"""Where a series changed its level: binary segmentation of means, each split tested by permutation.

The split of a stretch is where the CUSUM of means is largest, ``|mean(left) - mean(right)| * sqrt(n_l n_r / n)``
(Scott & Knott 1974; the same split as ``ruptures.Binseg(model="l2")``). Its p is the share of random orders of the same
values that have a split as large somewhere: exact under "the order says nothing", whatever the distribution, so one
outlier is no change. A stretch is divided as long as p is at most alpha; where the whole series is noise, the chance of
any mark is therefore alpha.

Greedy answers of the same weights have no noise: their figures stand still until something changes. Such steps are
marked without a test, which would ask for ten runs or more, where every level but the last was held exactly for
`SHORTEST` runs. A figure that is a fair coin looks like that in at most 5 % of series (of 7 or 8 runs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

#: Runs on either side of a change.
SHORTEST = 3
ALPHA = 0.01
#: 999 orders can show a p of 0.001; more would mark little else.
ORDERS = 999
#: Orders drawn at once.
_BATCH = 100
#: Values this close, relatively, are the same: rounding between machines.
_SAME = 1e-9


class Change(NamedTuple):
    """A change: ``at`` is the index of the first run of the new level. With both means, and p (0: without noise)."""

    at: int
    before: float
    after: float
    p: float


def changes(values: Sequence[float], *, orders: int = ORDERS, seed: int = 0) -> list[Change]:
    """Return the changes of a series of finite values, in order.

    The means are of the stretches between changes. The same series gives the same answer: ``seed`` draws the orders.
    """
    n = len(values)
    if n < 2 * SHORTEST or min(values) == max(values):
        return []
    found = _steps(values)
    if found is None:
        import numpy as np

        found = {}
        _divide(np.asarray(values, dtype=np.float64), 0, n, orders, np.random.default_rng(seed), found)
    ends = [0, *sorted(found), n]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in zip(ends, ends[1:], strict=False)]
    return [Change(at, means[i], means[i + 1], found[at]) for i, at in enumerate(ends[1:-1])]


def _steps(values: Sequence[float]) -> dict[int, float] | None:
    """Return where a series without noise steps; ``None`` when it is not one."""
    starts = [0] + [i for i in range(1, len(values)) if not math.isclose(values[i], values[i - 1], rel_tol=_SAME)]
    lengths = [b - a for a, b in zip(starts, [*starts[1:], len(values)], strict=True)]
    if any(length < SHORTEST for length in lengths[:-1]):
        return None
    return {start: 0.0 for start, length in zip(starts[1:], lengths[1:], strict=True) if length >= SHORTEST}


def _divide(values: Any, low: int, high: int, orders: int, rng: Any, found: dict[int, float]) -> None:
    import numpy as np

    part = values[low:high]
    if len(part) < 2 * SHORTEST or part.min() == part.max():
        return
    part = part - part.mean()
    split, largest = split_of(part[None])
    as_large, done, most = 0, 0, ALPHA * (1 + orders) - 1
    while done < orders and as_large <= most:  # beyond, more orders cannot bring p down to it
        batch = min(_BATCH, orders - done)
        _, others = split_of(rng.permuted(np.tile(part, (batch, 1)), axis=1))
        as_large += int((others >= largest[0] * (1 - _SAME)).sum())
        done += batch
    p = (1 + as_large) / (1 + done)
    if p <= ALPHA:
        at = low + int(split[0])
        found[at] = p
        _divide(values, low, at, orders, rng, found)
        _divide(values, at, high, orders, rng, found)


def split_of(rows: Any) -> tuple[Any, Any]:
    """Return the best split of each of the rows [R, n], whose means are 0, and its CUSUM: [R] and [R]."""
    import numpy as np

    n = rows.shape[1]
    left = np.arange(SHORTEST, n - SHORTEST + 1)
    # With a mean of 0, left and right differ by their sums alone.
    size = np.abs(np.cumsum(rows, axis=1)[:, left - 1]) * np.sqrt(n / (left * (n - left)))
    best = size.argmax(axis=1)
    return left[best], size[np.arange(len(rows)), best]
