"""The three paired comparisons: means, right-or-wrong, and corpus metrics.

Every one works on differences turned so that a drop is negative, and gives one-sided bounds, each at level
``alpha``, and the p of "it did not get worse".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.stats import binary, bootstrap, clustered, power


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
    """Compare two (weighted) means of paired values by t with clustered standard errors."""
    from scipy.special import stdtr, stdtrit

    new_mean, new_influence = clustered.weighted_mean(new, new_weights)
    base_mean, base_influence = clustered.weighted_mean(base, base_weights)
    delta, influence = new_mean - base_mean, new_influence - base_influence
    se, clusters = clustered.standard_error(influence, design.groups)
    df = clusters - 1
    half = -float(stdtrit(df, design.alpha)) * se
    return Comparison(
        low=delta - half,
        high=delta + half,
        p=float(stdtr(df, delta / se)) if se > 0 else float(delta >= 0),
        se=se,
        mde=power.detectable_mean(se, df, margin=design.margin, alpha=design.alpha, power=design.power),
        cost=influence + delta,
        method="paired t" if design.groups is None else f"paired t over {clusters} groups",
    )


def compare_binary(change: Any, design: Design) -> Comparison:
    """Compare paired right-or-wrong values by their change (-1, 0, 1): exact McNemar, Tango's bounds."""
    n, worse, better = len(change), int((change < 0).sum()), int((change > 0).sum())
    low, high = binary.tango(worse, better, n, design.alpha)
    delta, flips = (better - worse) / n, (worse + better) / n
    return Comparison(
        low=low,
        high=high,
        p=binary.mcnemar_exact(worse, better),
        se=((flips - delta**2) / n) ** 0.5,
        mde=power.detectable_mcnemar(n, flips, margin=design.margin, alpha=design.alpha, power=design.power),
        cost=change,
        method="exact McNemar, Tango bounds",
    )


def compare_corpus(
    statistics: Any, difference: Callable[[Any], Any], design: Design, *, corrected: bool = False
) -> Comparison:
    """Compare two metrics of paired examples by the bootstrap over their sufficient statistics.

    ``statistics`` has shape [n, K]: what ``difference`` maps, summed, from [R, K] to R differences. Groups are
    resampled whole. ``corrected`` takes BCa in place of percentile bounds; both are expanded for small samples.

    Raises:
        InvalidInputError: a resample's metric is not a number.
    """
    import numpy as np

    rows = clustered.sum_by_group(statistics, design.groups)
    clusters = len(rows)
    estimate = float(difference(rows.sum(axis=0, keepdims=True))[0])
    replicates = np.asarray(difference(bootstrap.resampled_sums(rows, design.resamples, design.seed)))
    if not np.isfinite(replicates).all():
        raise InvalidInputError("the metric is not a number on some resamples of the examples: it cannot be gated")
    z0 = a = 0.0
    if corrected:
        left_out = np.asarray(difference(bootstrap.leave_one_out_sums(rows)))
        z0, a = bootstrap.bca_constants(replicates, estimate, left_out)
    low, high = bootstrap.bounds(replicates, bootstrap.expanded_z(design.alpha, clusters), z0, a)
    se = float(replicates.std()) * (clusters / (clusters - 1)) ** 0.5
    cost = estimate - np.asarray(difference(bootstrap.leave_one_out_sums(statistics)))
    return Comparison(
        low=low,
        high=high,
        p=bootstrap.expanded_p(bootstrap.z_of_zero(replicates, z0, a), clusters),
        se=se,
        mde=power.detectable_mean(se, clusters - 1, margin=design.margin, alpha=design.alpha, power=design.power),
        cost=cost,
        method=f"paired {'BCa ' if corrected else ''}bootstrap, {design.resamples} resamples"
        + ("" if design.groups is None else f" of {clusters} groups"),
    )
