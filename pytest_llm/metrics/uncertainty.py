"""How far a metric's value would move with other examples of the same kind."""

from __future__ import annotations

import math

from pytest_llm.metrics.score import Score

#: With fewer examples a standard error says nothing.
FEWEST = 5


def standard_error(score: Score) -> float | None:
    """Return the standard error of ``score`` over examples, in its own unit; ``None`` when it cannot be known.

    * A corpus metric: the delete-one jackknife of its statistics (Tukey 1958; Efron and Stein 1981),
      ``sqrt((n - 1) / n * sum((t_i - mean t)^2))``.
    * A weighted mean r = sum(w x) / sum(w): ``sqrt(n / (n - 1) * sum((w_i (x_i - r))^2)) / sum(w)``, the
      linearised ratio estimator (Cochran 1977, 6.4), which for equal weights is s / sqrt(n).
    * A geometric mean (perplexity): the value times that of the logarithms (delta method).

    It is ``None`` below `FEWEST` examples, for a figure that is no such mean, and for NaN.
    """
    if score.n < FEWEST or not math.isfinite(score):
        return None
    if score.statistics and score.aggregate is not None:
        import numpy as np

        rows = np.array(score.statistics)
        left_out = np.asarray(score.aggregate(rows.sum(axis=0) - rows))
        return _finite(math.sqrt((score.n - 1) / score.n * float(((left_out - left_out.mean()) ** 2).sum())))
    if not score.per_example:
        return None
    weights = score.weights or (1.0,) * score.n
    counted = [(w, x) for w, x in zip(weights, score.per_example, strict=True) if w]
    center, error = _weighted(counted)
    if math.isclose(center, score, rel_tol=1e-6, abs_tol=1e-9):
        return _finite(error)
    if all(x > 0 for _, x in counted):
        center, error = _weighted([(w, math.log(x)) for w, x in counted])
        if score > 0 and math.isclose(center, math.log(score), rel_tol=1e-6, abs_tol=1e-9):
            return _finite(score * error)
    return None


def _weighted(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the weighted mean of ``(weight, value)`` pairs and its standard error."""
    total, n = math.fsum(w for w, _ in pairs), len(pairs)
    if n < FEWEST or not total > 0:
        return math.nan, math.nan
    center = math.fsum(w * x for w, x in pairs) / total
    spread = math.hypot(*(w * (x - center) for w, x in pairs))  # which no large value makes overflow
    return center, math.sqrt(n / (n - 1)) * spread / total


def _finite(error: float) -> float | None:
    return error if math.isfinite(error) else None
