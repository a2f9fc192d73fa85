"""The three paired comparisons: means, right-or-wrong, and corpus metrics.

Every one works on differences turned so that a drop is negative, and gives one-sided bounds, each at level
``alpha``, and the p of "it did not get worse".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.stats import binary, bootstrap, clustered, power

Method = Literal["auto", "t", "percentile", "bca"]

#: Differences that spread by no more than this share of the values are equal: baselines keep seven digits.
_ROUNDING = 1e-6
#: A change of no more than this share of the largest is none.
_UNCHANGED = 1e-3


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a paired comparison found.

    Attributes:
        low, high: one-sided bounds of the difference.
        p: of the hypothesis that the new values are not worse.
        se: standard error of the difference.
        mde: smallest true drop that would fail this gate at the wanted power; ``None`` if none would.
        cost: what each example contributed to the difference, negative where it cost. Shape [n].
        method: how it was done, in words.
    """

    low: float
    high: float
    p: float
    se: float
    mde: float | None
    cost: Any
    method: str


@dataclasses.dataclass(frozen=True)
class Design:
    """The choices of a gate that a comparison needs."""

    margin: float
    alpha: float
    power: float
    groups: Sequence[Hashable] | None
    resamples: int
    seed: int


def compare_means(new: Any, base: Any, new_weights: Any, base_weights: Any, design: Design) -> Comparison:
    """Compare two (weighted) means of paired values by t with clustered standard errors.

    The bound on the side of the skewness is ABC's, and so is p: where a few examples lose much, t's passes a drop of
    the margin in 10 to 30 % of runs at a nominal 5 %, and where a few gain much, t fails 6 to 19 % without a change on
    average. p, of a fall as of a rise, is at least what turning the signs of the clusters that changed can give (a
    permutation test), which a few that moved nearly alike would undercut.
    """
    new_mean, new_influence = clustered.weighted_mean(new, new_weights)
    base_mean, base_influence = clustered.weighted_mean(base, base_weights)
    delta, influence = new_mean - base_mean, new_influence - base_influence
    weights = clustered.of_both(new_weights, base_weights)
    spread, clusters = clustered.standard_error(influence, design.groups, weights)
    se = _error(spread, delta, clusters, max(abs(new).max(), abs(base).max()))
    share = clustered.shares(len(influence), design.groups, weights)
    a = bootstrap.acceleration(clustered.moves(influence, design.groups, share)) if se == spread else 0.0
    low, high, p = _t_bounds(delta, se, clusters - 1, design.alpha, max(-a, 0.0), max(a, 0.0))
    cost = new_weights / new_weights.mean() * new - base_weights / base_weights.mean() * base
    p, low, high = _as_few_can_tell(p, low, high, cost, design)
    return Comparison(
        low=low,
        high=high,
        p=p,
        se=se,
        mde=_detectable(se, clusters - 1, int((share > 0).sum()), design),
        cost=cost,
        method="paired t" if design.groups is None else f"paired t over {len(set(design.groups))} groups",
    )


def compare_binary(change: Any, design: Design) -> Comparison:
    """Compare paired right-or-wrong values by their change (-1, 0, 1): exact McNemar, Tango's bounds.

    Where exact McNemar is not sure of a fall, or a rise, neither are the bounds: they hold 0.

    With groups all counts are divided by the design effect, so that they are of independent examples that would tell
    as much (Rao & Scott 1992, Biometrics 48:577; Korn & Graubard 1998, Survey Methodology 24:193).
    """
    n, worse, better = len(change), int((change < 0).sum()), int((change > 0).sum())
    delta, flips = (better - worse) / n, (worse + better) / n
    effect, method = 1.0, "exact McNemar, Tango bounds"
    if design.groups is not None:
        effect = _design_effect(change, (flips - delta**2) / (n - 1), design.groups)
        method += f", {n} examples in {len(set(design.groups))} groups taken for {n / effect:.3g}"
    fell, rose = worse / effect, better / effect
    low, high = binary.tango(fell, rose, n / effect, design.alpha)
    p = binary.mcnemar_exact(fell, rose)
    high = max(high, 0.0) if p > design.alpha else high
    low = min(low, 0.0) if binary.mcnemar_exact(rose, fell) > design.alpha else low
    size = math.floor(n / effect + 1e-9)
    return Comparison(
        low=low,
        high=high,
        p=p,
        se=((flips - delta**2) * effect / n) ** 0.5,
        mde=power.detectable_mcnemar(size, flips, margin=design.margin, alpha=design.alpha, power=design.power),
        cost=change,
        method=method,
    )


def _design_effect(change: Any, variance: float, groups: Sequence[Hashable]) -> float:
    """Return how many times less the examples of groups tell than as many independent ones: 1 to that of whole groups.

    ``variance`` is that of the mean change of independent examples. The few groups that changed tell little of how
    alike the examples of one are: one question that broke is no proof that those like it would not have. So one more
    is counted with them, whose examples are all alike. (Of gates that should not pass on 60 groups that break whole 4 %
    did, and 9 % where groups have 1 to 9 examples; without that one 4 and 11 %, and by t 19 and 17 %.) Groups count by
    what they add to the variance: beside three that broke whole, many with an answer that flipped tell little more.
    """
    import numpy as np

    worst = len(change) * float(np.sum(clustered.shares(len(change), groups) ** 2))
    se, _ = clustered.standard_error(change - change.mean(), groups)
    estimate = min(max(se**2 / variance, 1.0), worst) if variance > 0 else worst
    squares = clustered.sum_by_group(change[:, None], groups) ** 2
    count = float(squares.sum() ** 2 / (squares**2).sum()) if squares.any() else len(squares)
    return float(count * estimate + worst) / (count + 1)


def compare_corpus(
    new: Any, base: Any, value: Callable[[Any], Any], design: Design, weights: Any, method: Method = "auto"
) -> Comparison:
    """Compare two metrics of paired examples by the bootstrap over their sufficient statistics.

    ``new`` and ``base`` have shape [n, K]: what ``value`` maps, summed, from [R, K] to R values, higher better. Groups
    are resampled whole. ``method`` takes percentile or BCa bounds, expanded for small samples. By default the bounds
    are the wider of percentile ones and t with the larger of the bootstrap's and the jackknife's standard error, the
    lower one ABC's: where few examples changed, percentiles (and BCa more so) fail 7 to 10 % of harmless runs at a
    nominal 5 %, and t does not. ``weights`` and p count as in `compare_means`.

    Raises:
        InvalidInputError: a resample's metric is not a number.
    """
    import numpy as np

    def difference(sums: Any) -> Any:
        return np.asarray(value(sums[:, : new.shape[1]])) - np.asarray(value(sums[:, new.shape[1] :]))

    rows = clustered.sum_by_group(np.hstack([new, base]), design.groups)
    clusters = clustered.effective(clustered.shares(len(new), design.groups, weights))
    with np.errstate(all="ignore"):  # what comes out is looked at instead
        replicates = difference(bootstrap.resampled_sums(rows, design.resamples, design.seed))
        left_out = difference(rows.sum(axis=0) - rows)
        cost = bootstrap.contributions(new, base, value)
    estimate = float(difference(rows.sum(axis=0, keepdims=True))[0])
    if not all(np.isfinite(found).all() for found in (replicates, left_out, cost)):
        raise InvalidInputError("the metric is not a number on some resamples of the examples: it cannot be gated")
    z0, a = bootstrap.bca_constants(replicates, estimate, left_out) if method == "bca" else (0.0, 0.0)
    size = len(rows) if method == "auto" else clusters  # where t has the few clusters that count
    low, high = bootstrap.bounds(replicates, bootstrap.expanded_z(design.alpha, size), z0, a, estimate)
    p = bootstrap.expanded_p(bootstrap.z_of_zero(replicates, z0, a), size)
    jackknife = math.sqrt((1 - 1 / len(rows)) * float(np.sum((left_out - estimate) ** 2)))
    spread = max(float(replicates.std()) * math.sqrt(clusters / (clusters - 1)), jackknife)
    se = _error(spread, estimate, clusters, abs(estimate))
    if method == "auto":
        skew = bootstrap.acceleration(left_out.mean() - left_out) if se == spread else 0.0
        t_low, t_high, t_p = _t_bounds(estimate, se, clusters - 1, design.alpha, max(-skew, 0.0))
        low, high, p = min(low, t_low), max(high, t_high), max(p, t_p)
    p, low, high = _as_few_can_tell(p, low, high, cost, design)
    return Comparison(
        low=low,
        high=high,
        p=p,
        se=se,
        mde=_detectable(se, clusters - 1, len(rows), design),
        cost=cost,
        method=f"paired {'BCa ' if method == 'bca' else ''}bootstrap, {design.resamples} resamples"
        + ("" if design.groups is None else f" of {len(rows)} groups"),
    )


def _detectable(se: float, df: float, clusters: int, design: Design) -> float | None:
    """Return the smallest true drop that fails; ``None`` where so few clusters cannot even if all fall."""
    if clusters < power.fewest(design.alpha):
        return None
    return power.detectable_mean(se, df, margin=design.margin, alpha=design.alpha, power=design.power)


def _as_few_can_tell(p: float, low: float, high: float, cost: Any, design: Design) -> tuple[float, float, float]:
    """Return p and the bounds, no surer than turning the signs of the clusters that changed (a permutation test)."""
    import numpy as np

    change = abs(clustered.sum_by_group(cost[:, None], design.groups))
    least = float(0.5 ** np.count_nonzero(change > _UNCHANGED * change.max()))
    p = max(p, least)
    return p, min(low, 0.0) if least > design.alpha else low, max(high, 0.0) if p > design.alpha else high


def _error(se: float, estimate: float, clusters: float, scale: float) -> float:
    """Return the standard error of ``estimate``: not 0 where all differences, of values of size ``scale``, are equal.

    Ratings often differ by one point or none: two that both fell say little, as two coins fall alike half the time.
    Equal differences then have the spread that they have about 0, their own size, as under a test of signs: at an alpha
    of 0.05 it takes five of them to fail. Where ratings moved up or down by a point at random, 26 % of gates on two
    examples failed without this, 13 % on three and 6 % on four; now none.
    """
    if se * math.sqrt(clusters) > _ROUNDING * scale:
        return se
    return max(se, abs(estimate) / math.sqrt(clusters))


def _t_bounds(
    estimate: float, se: float, df: float, alpha: float, drops: float = 0.0, gains: float = 0.0
) -> tuple[float, float, float]:
    """Return one-sided bounds at level ``alpha``, and the p of "not below 0", ABC's for what is skewed.

    ``drops`` and ``gains`` are the acceleration to that side, at least 0.
    """
    from scipy.special import stdtr, stdtrit

    t = -float(stdtrit(df, alpha))
    low, high = estimate - bootstrap.abc_errors(t, drops) * se, estimate + bootstrap.abc_errors(t, gains) * se
    if se == 0:
        return low, high, float(estimate >= 0)
    errors = -estimate / se
    return low, high, float(stdtr(df, -bootstrap.abc_level(errors, gains) if errors > 0 else -errors))
