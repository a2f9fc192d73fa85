"""Means and token-weighted means, with standard errors that respect groups of related examples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any


def weighted_mean(values: Any, weights: Any = None) -> tuple[float, Any]:
    """Return the mean ``sum(w x) / sum(w)`` and each example's influence on it, an array of shape [n].

    The influence is the delta method's linearisation of a ratio, ``w_i (x_i - mean) / mean(w)``; it sums to 0.
    For a loss, ``x`` is nats a token and ``w`` the token count, so the mean is the token-weighted NLL and the
    influence is ``e_i / mean(tokens)`` of the ratio estimator (Cochran, Sampling Techniques, section 6.4).
    """
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None or len(weights) == 0 else np.asarray(weights, dtype=np.float64)
    w = w / w.mean()
    mean = float((w * x).mean())
    return mean, w * (x - mean)


def standard_error(
    influence: Any, groups: Sequence[Hashable] | None = None, weights: Any = None
) -> tuple[float, float]:
    """Return the standard error of an estimate from its influences, and how many equal clusters would tell as much.

    That number is of independent clusters, G where all weigh the same and fewer where some outweigh the rest; use t
    with one less degrees of freedom. The error is the jackknife's over clusters, ``sqrt((G - 1) / G * sum over clusters
    of (sum of influences / (1 - a))^2) / n``, where ``a`` is the cluster's share of ``weights`` (of the examples
    without): what leaving it out would move (MacKinnon, Nielsen & Webb 2023, Journal of Applied Econometrics 38:671).
    Equal clusters have Miller's (arXiv 2411.00640) with the factor G / (G - 1), and those of one the paired t test.
    Needs two clusters that have weight.
    """
    import numpy as np

    share = shares(len(influence), groups, weights)
    g = np.count_nonzero(share)
    moved = moves(influence, groups, share)
    return float(np.sqrt((g - 1) / g * np.sum(moved**2)) / len(influence)), effective(share)


def moves(influence: Any, groups: Sequence[Hashable] | None, share: Any) -> Any:
    """Return what leaving out each cluster would move an estimate, from its influences and times their number: [G].

    ``share`` is each cluster's of the weight; see `shares`.
    """
    import numpy as np

    return sum_by_group(np.asarray(influence)[:, None], groups)[:, 0] / _rest(share)


def shares(n: int, groups: Sequence[Hashable] | None, weights: Any = None) -> Any:
    """Return what share of the weight of ``n`` examples each group holds, [G]; each example, without groups."""
    import numpy as np

    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    sums = sum_by_group(w[:, None], groups)[:, 0]
    return sums / sums.sum()


def of_both(new: Any, base: Any) -> Any:
    """Return the weights of examples in the difference of two weighted means."""
    return new / new.mean() + base / base.mean()


def sizes(new: Any, base: Any) -> Any:
    """Return the weights of a corpus metric's examples: the largest of the statistics [n, K] that both scores have.

    Of BLEU, chrF and TER that is the length of the reference, unless both answers are longer.
    """
    import numpy as np

    found = np.min([np.abs(rows).max(axis=1) for rows in (new, base)], axis=0)
    return found if np.count_nonzero(found) > 1 else np.ones_like(found)


def effective(share: Any) -> float:
    """Return how many equal clusters tell as much of a variance as clusters with these shares of the weight.

    One more than Satterthwaite's degrees of freedom of the jackknife variance, ``(E V)^2 / (Var V / 2)``, in clusters
    whose sums vary as their weights (Bell & McCaffrey 2002, Survey Methodology 28:169). With q = a / (1 - a) that is
    ``(sum q)^2 / (sum q^2 + (sum q^2)^2 - sum q^4)``. Without groups, and for equal ones, it is their number.
    """
    import numpy as np

    q = share / _rest(share)
    squares = np.sum(q**2)
    return 1 + float(np.sum(q) ** 2 / (squares + squares**2 - np.sum(q**4)))


def _rest(share: Any) -> Any:
    import numpy as np

    return np.maximum(1 - share, 1e-6)  # where no other counts; its powers of four still tell the others apart


def sum_by_group(rows: Any, groups: Sequence[Hashable] | None) -> Any:
    """Sum ``rows`` [n, K] within each group, giving [G, K] in order of first appearance; as they are without groups."""
    import numpy as np

    if groups is None:
        return rows
    place = {label: i for i, label in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(place), rows.shape[1]))
    np.add.at(sums, [place[label] for label in groups], rows)
    return sums
