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


def standard_error(influence: Any, groups: Sequence[Hashable] | None = None) -> tuple[float, int]:
    """Return the standard error of an estimate from its influences, and the number of independent clusters G.

    ``sqrt(G / (G - 1) * sum over clusters of (sum of influences)^2) / n`` (Miller, arXiv 2411.00640, with the
    usual small-sample factor, so that clusters of one give the paired t test). Use t with G - 1 degrees of freedom.
    Needs G >= 2.
    """
    import numpy as np

    sums = sum_by_group(np.asarray(influence)[:, None], groups)[:, 0]
    g = len(sums)
    return float(np.sqrt(g / (g - 1) * np.sum(sums**2)) / len(influence)), g


def sum_by_group(rows: Any, groups: Sequence[Hashable] | None) -> Any:
    """Sum ``rows`` [n, K] within each group, giving [G, K] in order of first appearance; as they are without groups."""
    import numpy as np

    if groups is None:
        return rows
    place = {label: i for i, label in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(place), rows.shape[1]))
    np.add.at(sums, [place[label] for label in groups], rows)
    return sums
