"""How far two next-token distributions are apart, position by position, from the best k of each.

Positions are structured arrays of `dtype`: of a vocabulary only the best k tokens, the text's own and the mass of the
rest are known. So KL is a lower bound: the smallest KL any two full distributions with these can have.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pytest_llm.stats.binary import clustered_wilson
from pytest_llm.stats.clustered import standard_error, weighted_mean

#: Probability below which the rest of a vocabulary is not told from rounding (in float64, of 1 less a sum near 1).
_TINY = 1e-12
_RESAMPLES, _SEED = 1000, 0

#: Percentiles of delta p that are reported.
PERCENTILES = (1, 5, 50, 95, 99)


def dtype(k: int) -> Any:
    """Return the dtype of a position: its token and that one's logprob, the best ``k``, and the mass of the rest."""
    import numpy as np

    return np.dtype(
        [("token", "<i4"), ("logprob", "<f4"), ("ids", "<i4", (k,)), ("logprobs", "<f4", (k,)), ("rest", "<f4")]
    )


def positions(answer: dict[str, Any]) -> Any:
    """Return the predicted positions of an answer to `pytest_llm.requests.Logprobs`, an array of `dtype`."""
    import numpy as np

    predicted = [one for one in answer["positions"] if one["logprob"] is not None]
    k = min((len(one["top"]) for one in predicted), default=0)
    found = np.zeros(len(predicted), dtype(k))
    for i, one in enumerate(predicted):
        top = [logprob for _, _, logprob in one["top"][:k]]
        rest = 1.0 - math.fsum(map(math.exp, top))
        found[i] = one["token_id"], one["logprob"], [other for other, _, _ in one["top"][:k]], top, max(rest, _TINY)
    return found


def kl(golden: Any, new: Any) -> Any:
    """Return a lower bound on KL(golden || new) at every position, in nats, float64 [positions].

    Tokens among the best of both, and the text's own, are compared by themselves. For those among the best of one side
    only, the other side's mass is not known, but it is at most their number times the least of its best k. Of all
    masses within these limits the ones with the smallest KL are taken; merging the tokens into few events can only
    lower KL (data processing inequality), so the result never exceeds the true one. It equals it when k is the
    vocabulary.
    """
    import numpy as np

    n, k = golden["ids"].shape
    p, p_own, p_rest = _probabilities(golden)
    q, q_own, q_rest = _probabilities(new)
    row = np.arange(n)[:, None] << 32
    width = new["ids"].shape[1]
    _, at, at_new = np.intersect1d(
        (row + golden["ids"]).ravel(), (row + new["ids"]).ravel(), assume_unique=True, return_indices=True
    )
    both = _term(p.ravel()[at], q.ravel()[at_new])
    lost, gained = np.ones(n * k, bool), np.ones(n * width, bool)
    lost[at], gained[at_new] = False, False
    lost, gained = lost.reshape(n, k), gained.reshape(n, width)
    own, own_new = lost & _is_own(golden), gained & _is_own(new)
    of_own = _term((p * own).sum(1) + p_own, (q * own_new).sum(1) + q_own)
    shared = np.bincount(at // k, weights=both, minlength=n) + of_own
    lost, gained = lost & ~own, gained & ~own_new
    a, b = (p * lost).sum(1), (q * gained).sum(1)
    a_most = np.minimum(lost.sum(1) * q.min(1), q_rest)
    b_most = np.minimum(gained.sum(1) * p.min(1), p_rest)
    return np.maximum(shared + _least(a, a_most, p_rest, b, b_most, q_rest), 0.0)


def _least(a: Any, a_most: Any, p_rest: Any, b: Any, b_most: Any, q_rest: Any) -> Any:
    """Return the least KL of three events: golden (a, x, p_rest - x), new (y, b, q_rest - y), x and y unknown.

    It is convex in x <= b_most and y <= a_most, so its minimum is at one of four points: each unknown at its limit, or
    where its event has the same ratio as the rest.
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        free = (a + p_rest) / (b + q_rest)
        y_held = p_rest / (b + q_rest - a_most)
        x_held = (a + p_rest - b_most) / q_rest
        choices = [(b * free, a / free), (b * y_held, a_most), (b_most, a / x_held), (b_most, a_most)]
        found = [
            _term(a, y) + _term(x, b) + _term(p_rest - x, q_rest - y)
            for x, y in ((np.fmin(x, b_most), np.fmin(y, a_most)) for x, y in choices)
        ]
    return np.fmin.reduce(found)


def _term(p: Any, q: Any) -> Any:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0.0)


def _is_own(side: Any) -> Any:
    return side["ids"] == side["token"][:, None]


def _probabilities(side: Any) -> tuple[Any, Any, Any]:
    """Return what the best k have, the text's own token (0 where it is among these), and the rest without it."""
    import numpy as np

    p, own = np.exp(side["logprobs"].astype(np.float64)), np.exp(side["logprob"].astype(np.float64))
    own[_is_own(side).any(1)] = 0.0
    rest = np.maximum(side["rest"].astype(np.float64) - own, _TINY)
    # Stored in float32, so they are made to sum to 1 again: what is left of the rounding is of second order.
    total = p.sum(1) + own + rest
    return p / total[:, None], own / total, rest / total


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval (``None``: it has none)."""

    value: float
    low: float | None = None
    high: float | None = None


def figures(golden: Any, new: Any, texts: Sequence[int]) -> tuple[dict[str, Estimate], Any]:
    """Return what llama.cpp's ``perplexity --kl-divergence`` reports, each with its uncertainty, and KL by position.

    ``texts`` is the number of the text of every position. Tokens of one text are not independent, so intervals are
    clustered by text: by its standard error (t) for means and the perplexity ratio; by resampling texts for
    percentiles; by the design effect (Wilson) for top-1 agreement. With one text, its tokens are taken as independent.
    Delta p is the change of the probability of the text's own token.
    """
    import numpy as np

    groups = list(texts) if len(set(texts)) > 1 else list(range(len(texts)))
    divergence = kl(golden, new)
    delta = np.exp(new["logprob"].astype(np.float64)) - np.exp(golden["logprob"].astype(np.float64))
    nll = golden["logprob"].astype(np.float64) - new["logprob"].astype(np.float64)
    agree = golden["ids"][:, 0] == new["ids"][:, 0]
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    agreed = np.bincount(place, agree)
    squares = _mean(delta**2, groups)
    rms = math.sqrt(squares.value)
    spread = _percentiles(divergence, (50, 99), groups)
    ratio = _mean(nll, groups)
    found = {
        "mean_kl": _mean(divergence, groups),
        "median_kl": spread[0],
        "p99_kl": spread[1],
        "max_kl": Estimate(float(divergence.max())),
        "top1": Estimate(float(agree.mean()), *clustered_wilson(agreed.tolist(), sizes.tolist())),
        "mean_delta_p": _mean(delta, groups),
        "rms_delta_p": Estimate(rms, *(None if x is None else math.sqrt(max(x, 0.0)) for x in _ends(squares))),
        "perplexity_ratio": Estimate(*(None if x is None else _exp(x) for x in (ratio.value, *_ends(ratio)))),  # type: ignore[arg-type]
    }
    for percentile, one in zip(PERCENTILES, _percentiles(delta, PERCENTILES, groups), strict=True):
        found[f"p{percentile}_delta_p"] = one
    return found, divergence


def _ends(estimate: Estimate) -> tuple[float | None, float | None]:
    return estimate.low, estimate.high


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))


def _mean(values: Any, groups: list[int]) -> Estimate:
    mean, influence = weighted_mean(values)
    if len(set(groups)) < 2:
        return Estimate(mean)
    from scipy.special import stdtrit

    error, clusters = standard_error(influence, groups)
    reach = float(stdtrit(clusters - 1, 0.975)) * error
    return Estimate(mean, mean - reach, mean + reach)


def _percentiles(values: Any, wanted: Sequence[int], groups: list[int]) -> list[Estimate]:
    """Return percentiles, interpolated as llama.cpp and numpy do, resampling groups for their intervals."""
    import numpy as np

    order = np.argsort(values)
    ranked, labels = np.asarray(values)[order], np.asarray(groups)[order]
    _, place = np.unique(labels, return_inverse=True)
    clusters = int(place.max()) + 1
    weights = np.ones((1, clusters))
    if clusters > 1:
        drawn = np.random.default_rng(_SEED).multinomial(clusters, np.full(clusters, 1 / clusters), _RESAMPLES)
        weights = np.concatenate([weights, drawn])
    found = np.empty((len(weights), len(wanted)))
    for i, weight in enumerate(weights):
        below = np.cumsum(weight[place])
        part, rank = np.modf(np.asarray(wanted) / 100 * (below[-1] - 1))
        low, high = (ranked[np.searchsorted(below, np.minimum(rank + x, below[-1] - 1), "right")] for x in (0, 1))
        found[i] = low + part * (high - low)
    ends = np.quantile(found[1:], (0.025, 0.975), axis=0) if clusters > 1 else [[None] * len(wanted)] * 2
    return [
        Estimate(float(value), None if low is None else float(low), None if high is None else float(high))
        for value, low, high in zip(found[0], *ends, strict=True)
    ]
