"""The gate: is a score worse than its baseline by more than a margin, or not, or can it not be told?"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from pytest_llm.metrics.score import Score
from pytest_llm.stats import clustered
from pytest_llm.stats.paired import Comparison, Design, Method, compare_binary, compare_corpus, compare_means
from pytest_llm.stats.pairs import aligned, check_score, check_terms, check_tokens

Status = Literal["pass", "fail", "inconclusive"]

#: How far a mean of stored (rounded) per-example values may be from the stored value of the metric.
_ROUNDING = 1e-4
#: Scores that are the exponential of a mean of the examples' values, or of their logarithms.
_LOG_KINDS = ("exponential of mean", "mean of logs")
#: The logarithm of the largest bound of such a score, about 1e100: of two texts and a strict alpha it has no end.
_MOST = 230.0


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What a gate found. Differences are new minus baseline, in the metric's own units.

    Attributes:
        status: see `gate`.
        delta: the difference.
        low, high: one-sided bounds of it, each at level alpha; together an interval of confidence 1 - 2 alpha.
            NaN when the comparison is a plain one.
        p: one-sided, of the hypothesis that the new score is not worse. NaN when plain.
        n: paired examples.
        se: standard error of ``delta``. NaN when plain.
        mde: smallest true drop (positive) that would fail the gate at the wanted power; ``None`` if unknown.
        method: how it was decided, in words.
        reason: why the status is what it is, in words.
        newly_failing, newly_passing: ids that went from right to wrong and back; empty unless right-or-wrong.
        flip_rate: their share; NaN unless right-or-wrong.
        improved: whether it is significantly better: the whole interval lies on the better side of 0.
        units: what is independent and has weight: groups, or examples without groups; 0 where values are unknown.
        effective: how many of equal weight would tell as much; ``heaviest`` is the largest share of the weight.
        worst: positions (in the new score) of the examples that cost most, most costly first.
    """

    status: Status
    delta: float
    n: int
    method: str
    reason: str
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    se: float = math.nan
    mde: float | None = None
    newly_failing: tuple[str, ...] = ()
    newly_passing: tuple[str, ...] = ()
    flip_rate: float = math.nan
    units: int = 0
    effective: float = math.nan
    heaviest: float = math.nan
    worst: tuple[int, ...] = ()
    alpha: float = 0.05
    improved: bool = False


def gate(
    new: Score,
    base: Score,
    *,
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    groups: Sequence[Hashable] | None = None,
    method: Method = "auto",
    resamples: int = 10_000,
    seed: int = 0,
    resolution: float = 0.0,
) -> GateResult:
    """Judge ``new`` against ``base``, paired by example id: one-sided non-inferiority with ``margin``.

    In this order, with d the difference turned so that a drop is negative:

    1. no example differs (by more than the share ``resolution`` of its value): pass, identical;
    2. the lower bound of d is above ``-margin``: pass;
    3. d is significantly below 0, and below ``-margin``: fail;
    4. inconclusive: the examples are too few, or too noisy, to tell.

    So with no true change a gate fails with probability about ``alpha``, and with a true drop of the margin it passes
    with probability about ``alpha``, once it has examples enough for step 1: where a share q of all answers breaks, n
    examples show none of it with probability (1 - q)^n, and ask for about 3 / margin of them (3 * range / margin of
    graded ones, 3 / q of a loss); of groups, where whole ones break. Where a few lose much, 2 to 6 % of simulated gates
    on graded examples pass, 8 % on a loss of 100 documents. ``margin=0`` passes only identical or significantly better.

    The comparison is chosen by what the scores hold. Statistics with an aggregate (corpus metrics): paired bootstrap.
    Values that are right or wrong: exact McNemar, Tango's bounds, with groups by their design effect. Other means,
    weighted or not: paired t with clustered standard errors, its bounds corrected for skewness; the exponential of
    a mean (perplexity): the same on the log scale. ``groups`` holds a label an example, in the order of ``new``:
    examples of a group (one document, one seed question) are not independent. ``method`` asks for ``percentile`` or
    ``bca`` bootstrap bounds instead, which follow strongly skewed changes better, but cry wolf where only few examples
    changed. Where nothing can be inferred (one example, or no per-example values that explain the score) the margin
    alone decides, and the result says so; several examples that are one group are inconclusive.

    Raises:
        InvalidInputError: a bad margin, alpha, method or groups; values that are not finite; ids that are repeated or
            differ; a loss over other tokens.
    """
    check_terms(new.n, margin=margin, alpha=alpha, power=power, groups=groups, method=method)
    check_score(new, "the score")
    check_score(base, "the baseline")
    base = aligned(base, new.ids)
    check_tokens(new, base)
    sign = 1.0 if new.higher_is_better else -1.0
    kind = _kind(new, base)
    facts: dict[str, Any] = {"delta": float(new) - float(base), "n": new.n, "alpha": alpha}
    binary = kind == "mean" and not new.weights and {*new.per_example, *base.per_example} <= {0.0, 1.0}
    if binary:
        change = [sign * (x - y) for x, y in zip(new.per_example, base.per_example, strict=True)]
        fell, rose = (tuple(id for id, c in zip(new.ids, change, strict=True) if c == way) for way in (-1, 1))
        facts |= {"newly_failing": fell, "newly_passing": rose, "flip_rate": len(fell + rose) / new.n}
    if kind == "plain":
        return _plain(sign * facts["delta"], margin, kind, facts)
    if kind == "corpus":
        weights = clustered.sizes(new.statistics, base.statistics)
    else:
        weights = clustered.of_both(_weights(new), _weights(base))
    share = clustered.shares(new.n, groups, weights)
    facts["units"] = int((share > 0).sum())
    if _identical(new, base, kind, resolution):
        bounds = {"low": facts["delta"], "high": facts["delta"], "p": 1.0, "se": 0.0}
        return GateResult("pass", method="every example", reason="no example differs", **bounds, **facts)
    if facts["units"] < 2:
        if groups is not None and new.n > 1:
            why = "the examples that count are all of one group, which says nothing about another"
            return GateResult("inconclusive", method="none, of one group", reason=why, **facts)
        return _plain(sign * facts["delta"], margin, kind, facts)
    facts |= {"effective": clustered.effective(share), "heaviest": float(share.max())}

    # A perplexity is compared on the log scale, where the margin is the way to the worst value allowed.
    zero, allowed = float(base), float(base) - sign * margin
    reach = margin
    if kind in _LOG_KINDS:
        zero = math.log(zero)
        reach = sign * (zero - math.log(allowed)) if allowed > 0 else math.inf

    def back(difference: float) -> float:
        """Turn a (turned) difference on the scale of comparison into one of the metric."""
        moved = zero + sign * difference
        return (math.exp(min(moved, _MOST)) if kind in _LOG_KINDS else moved) - float(base)

    design = Design(reach, alpha, power, groups, resamples, seed)
    found = _compare(new, base, kind, binary, method, sign, weights, design)
    delta = sign * facts["delta"] if kind not in _LOG_KINDS else sign * (math.log(new) - zero)
    status, reason = _decide(delta, found, reach, alpha)
    low, high = sorted((back(found.low), back(found.high)))
    return GateResult(
        status,
        reason=reason,
        method=found.method,
        low=low,
        high=high,
        p=found.p,
        se=found.se * float(base) if kind in _LOG_KINDS else found.se,
        mde=None if found.mde is None or math.isinf(found.mde) else abs(back(-found.mde)),
        improved=found.low > 0,
        worst=_worst(found.cost),
        **facts,
    )


def beyond(delta: float, margin: float) -> bool:
    """Whether a (turned) difference is a drop of more than the margin; 0.85 - 0.9 is one of 0.05, and no more."""
    return delta < -margin and not math.isclose(delta, -margin, rel_tol=1e-9)


def _decide(delta: float, found: Comparison, margin: float, alpha: float) -> tuple[Status, str]:
    worse = found.p <= alpha and delta < 0
    if found.low > -margin:
        return "pass", "significantly lower, but within the margin" if worse else "not worse by more than the margin"
    if worse and beyond(delta, margin):
        return "fail", "significantly worse, and by more than the margin"
    if worse:
        return "inconclusive", "significantly worse; whether by more than the margin cannot be told"
    return "inconclusive", "neither a drop nor its absence can be told from this many examples"


def _plain(delta: float, margin: float, kind: str, facts: dict[str, Any]) -> GateResult:
    many = kind == "plain" and facts["n"] > 1
    why = "there are no per-example values that explain the score" if many else "one example says nothing of the rest"
    return GateResult(
        "fail" if beyond(delta, margin) else "pass",
        method="plain comparison, no interval",
        reason=f"{'beyond' if beyond(delta, margin) else 'within'} the margin; {why}",
        **facts,
    )


def _compare(
    new: Score, base: Score, kind: str, binary: bool, method: Method, sign: float, weights: Any, design: Design
) -> Comparison:
    import numpy as np

    if kind == "corpus":
        aggregate = new.aggregate
        assert aggregate is not None
        rows = np.asarray(new.statistics), np.asarray(base.statistics)
        return compare_corpus(*rows, lambda sums: sign * np.asarray(aggregate(sums)), design, weights, method)
    x, y = np.asarray(new.per_example), np.asarray(base.per_example)
    if kind == "mean of logs":
        x, y = np.log(x), np.log(y)
    if binary and method == "auto":
        return compare_binary(sign * (x - y), design)
    u, v = _weights(new), _weights(base)
    if method in ("auto", "t"):
        return compare_means(sign * x, sign * y, u, v, design)

    def mean(sums: Any) -> Any:
        return sign * sums[:, 0] / sums[:, 1]

    rows = np.column_stack([u * x, u]), np.column_stack([v * y, v])
    return compare_corpus(*rows, mean, design, weights, method)


def _weights(score: Score) -> Any:
    import numpy as np

    return np.asarray(score.weights or np.ones(score.n))


def _kind(new: Score, base: Score) -> str:
    """Return how the values of both scores come from their examples; "plain" when that is not known."""
    if new.aggregate and new.statistics and base.statistics:
        import numpy as np

        sums = np.array([np.sum(new.statistics, axis=0), np.sum(base.statistics, axis=0)])
        if np.allclose(new.aggregate(sums), [new, base], rtol=0, atol=_ROUNDING * max(abs(new), abs(base))):
            return "corpus"
    if not (new.per_example and base.per_example):
        return "plain"
    return next((kind for kind in ("mean", *_LOG_KINDS) if _explains(new, kind) and _explains(base, kind)), "plain")


def _explains(score: Score, kind: str) -> bool:
    values, goal = list(score.per_example), float(score)
    if kind in _LOG_KINDS:
        if goal <= 0 or (kind == "mean of logs" and min(values) <= 0):
            return False
        goal = math.log(goal)
    if kind == "mean of logs":
        values = [math.log(x) for x in values]
    weights = score.weights or (1.0,) * score.n
    mean = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / math.fsum(weights)
    # of values that cancel out, the mean is as exact as they are; a logarithm's rounding is that of 1
    scale = 1.0 if kind in _LOG_KINDS else max(map(abs, values))
    return math.isclose(mean, goal, rel_tol=_ROUNDING, abs_tol=_ROUNDING * scale)


def _identical(new: Score, base: Score, kind: str, resolution: float) -> bool:
    if kind == "corpus":
        return new.statistics == base.statistics
    # Near 0 rounding does not shrink with the value, as log-probabilities are differences of logits. So a floor: that
    # of a typical example, and of a value of 1 (a nat, a share) at most, lest large examples hide what the others do.
    floor = resolution * min(1.0, statistics.median(map(abs, base.per_example))) if base.per_example else 0.0
    pairs = zip(new.per_example, base.per_example, strict=True)
    same = all(math.isclose(x, y, rel_tol=resolution, abs_tol=floor) for x, y in pairs)
    return same and new.weights == base.weights


def _worst(cost: Any) -> tuple[int, ...]:
    import numpy as np

    return tuple(int(i) for i in np.argsort(cost, kind="stable") if cost[i] < 0)
