"""Repeated samples of one question: pass@k and pass^k."""

from __future__ import annotations

import math

from pytest_llm.errors import InvalidInputError


def pass_at_k(n: int, successes: int, k: int) -> float:
    """Return the chance that at least one of ``k`` samples succeeds: ``1 - C(n-c, k) / C(n, k)``.

    The unbiased estimator from ``n`` samples with ``successes`` right (Chen et al. 2021, arXiv 2107.03374).
    """
    _check(n, successes, k)
    return 1 - math.comb(n - successes, k) / math.comb(n, k)


def pass_hat_k(n: int, successes: int, k: int) -> float:
    """Return pass^k, the chance that all of ``k`` samples succeed: ``C(c, k) / C(n, k)`` (tau-bench, 2406.12045)."""
    _check(n, successes, k)
    return math.comb(successes, k) / math.comb(n, k)


def needed(n: int, min_success: float | int) -> int:
    """Return how many of ``n`` repeats must succeed: a float is a rate in (0, 1], an int a count in [1, n].

    Raises:
        InvalidInputError: it is outside its range.
    """
    if isinstance(min_success, float):
        if not 0 < min_success <= 1:
            raise InvalidInputError(
                f"min_success={min_success} is a rate: it must lie in (0, 1]; use an int for a count"
            )
        return math.ceil(n * min_success - 1e-9)
    if isinstance(min_success, bool) or not 1 <= min_success <= n:
        raise InvalidInputError(f"min_success={min_success} is a count: it must lie between 1 and n={n}")
    return min_success


def _check(n: int, successes: int, k: int) -> None:
    if not (0 <= successes <= n and 1 <= k <= n):
        raise InvalidInputError(f"pass@k needs 0 <= successes <= n and 1 <= k <= n, not c={successes}, n={n}, k={k}")
