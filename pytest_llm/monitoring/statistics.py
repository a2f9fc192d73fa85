"""How far two windows are apart, and how often chance alone takes outputs of one kind as far.

Every p but that of rates is a permutation p: the outputs of both windows are dealt out anew, and p is
``(1 + dealings at least as far apart) / (1 + dealings)`` (Phipson and Smyth 2010), which is valid at any sample size.
That asks of a statistic that whatever it chooses from data (bins, bandwidth, vocabulary) is chosen from both windows
together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

#: Dealings computed at once.
_CHUNK = 256


def psi(reference: Any, current: Any) -> Array:
    """Return the population stability index of counts [..., bins]: sum of (q - p) ln(q / p).

    p and q are the shares of the bins (Siddiqi 2006; below 0.1 is read as stable, from 0.25 as shifted). An empty bin
    counts as half an output, without which the index would be infinite.
    """
    import numpy as np

    p, q = (np.maximum(x, 0.5) / x.sum(axis=-1, keepdims=True) for x in map(np.asarray, (reference, current)))
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(reference: Any, current: Any) -> Array:
    """Return the Jensen-Shannon divergence of counts [..., bins], in bits, 0 to 1 (Lin 1991).

    It is the square of ``scipy.spatial.distance.jensenshannon(p, q, base=2)``.
    """
    import numpy as np
    from scipy.special import xlogy

    p, q = (x / x.sum(axis=-1, keepdims=True) for x in map(np.asarray, (reference, current)))
    return np.asarray((xlogy(p, p) + xlogy(q, q) - xlogy(p + q, (p + q) / 2)).sum(axis=-1) / (2 * np.log(2)))


def fisher(reference: int, n: int, current: int, m: int) -> float:
    """Return the two-sided p of Fisher's exact test that ``reference`` of n and ``current`` of m are one rate."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[reference, n - reference], [current, m - current]]).pvalue)


def counts_p(
    statistic: Callable[[Any, Any], Array], reference: Any, current: Any, *, permutations: int, seed: int
) -> tuple[float, float, float]:
    """Compare two rows of counts of single outputs, one an output.

    Dealing outputs of fixed bins out anew is to draw counts from a multivariate hypergeometric distribution.

    Returns:
        The statistic, its mean over the dealings (what chance alone gives), and its p.
    """
    import numpy as np

    reference, current = np.asarray(reference), np.asarray(current)
    both, n = reference + current, int(reference.sum())
    random = np.random.default_rng(seed)

    def of(count: int) -> Array:
        dealt = random.multivariate_hypergeometric(both, n, size=count)
        return statistic(dealt, both - dealt)

    return _p(float(statistic(reference, current)), _in_chunks(of, permutations))


def rows_p(
    statistic: Callable[[Any, Any], Array], rows: Any, n: int, *, permutations: int, seed: int
) -> tuple[float, float, float]:
    """Compare sums of rows: the first ``n`` outputs with the rest, each a (sparse) row of counts [outputs, bins].

    As `counts_p`, for outputs that are in several bins at once, as a text is in many words.
    """
    import numpy as np

    total = np.asarray(rows.sum(axis=0)).ravel()

    def of(dealt: Array) -> Array:
        sums = np.asarray((rows.T @ dealt.T).T)
        return statistic(sums, total - sums)

    first = np.zeros((1, rows.shape[0]))
    first[:, :n] = 1
    return _p(float(of(first)[0]), _dealt(of, rows.shape[0], n, permutations, seed))


def mmd_p(vectors: Any, n: int, *, permutations: int, seed: int) -> tuple[float, float, float]:
    """Compare the first ``n`` vectors with the rest: the squared maximum mean discrepancy, unbiased.

    Equation 3 of Gretton et al. 2012 (JMLR 13:723) under an RBF kernel ``exp(-|x - y|^2 / (2 h^2))`` with h the median
    distance of all pairs. Returns what `counts_p` does; an unbiased estimate can be below 0.

    Args:
        vectors: [N, d].
        n: vectors of the reference, at least 2 and at most N - 2.
        permutations: dealings.
        seed: of the dealings.
    """
    import numpy as np

    kernel = rbf(vectors)
    np.fill_diagonal(kernel, 0.0)
    size = len(kernel)
    m, rows, total = size - n, kernel.sum(axis=1), float(kernel.sum())

    def of(dealt: Array) -> Array:
        within = ((dealt @ kernel) * dealt).sum(axis=1)
        across = dealt @ rows - within
        others = total - within - 2 * across
        return np.asarray(within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m))

    first = np.zeros((1, size))
    first[:, :n] = 1
    return _p(float(of(first)[0]), _dealt(of, size, n, permutations, seed))


def rbf(vectors: Any) -> Array:
    """Return the RBF kernel matrix [N, N] of vectors [N, d], its bandwidth the median distance of all pairs."""
    import numpy as np
    from scipy.spatial.distance import pdist, squareform

    distances = pdist(np.asarray(vectors, dtype=np.float64))
    # Where more than half the outputs are the same the median is 0, and the mean is the scale that is left.
    width = float(np.median(distances)) or float(distances.mean()) or 1.0
    return np.asarray(np.exp(-(squareform(distances) ** 2) / (2 * width**2)))


def witness(vectors: Any, n: int) -> Array:
    """Return for each vector how much nearer it is to the current window than to the reference (the first n).

    The witness function of the MMD (Gretton et al. 2012, section 2.3), a vector's likeness to itself left out.
    """
    import numpy as np

    kernel = rbf(vectors)
    np.fill_diagonal(kernel, np.nan)
    return np.asarray(np.nanmean(kernel[:, n:], axis=1) - np.nanmean(kernel[:, :n], axis=1))


def _dealt(of: Callable[[Array], Array], size: int, n: int, permutations: int, seed: int) -> Array:
    """Return a statistic for ``permutations`` random choices of ``n`` of ``size`` outputs, as rows of 0 and 1."""
    import numpy as np

    random = np.random.default_rng(seed)

    def some(count: int) -> Array:
        chosen = np.argpartition(random.random((count, size)), n - 1, axis=1)[:, :n]
        dealt = np.zeros((count, size))
        np.put_along_axis(dealt, chosen, 1.0, axis=1)
        return of(dealt)

    return _in_chunks(some, permutations)


def _in_chunks(of: Callable[[int], Array], permutations: int) -> Array:
    """Return the statistics of ``permutations`` dealings, of which ``of`` deals as many at once as it is told."""
    import numpy as np

    return np.concatenate([of(min(_CHUNK, permutations - start)) for start in range(0, permutations, _CHUNK)])


def _p(observed: float, dealt: Array) -> tuple[float, float, float]:
    # Equal dealings may differ in the last digits, by the order of their sums.
    further = int((dealt >= observed - 1e-10 * max(1.0, abs(observed))).sum())
    return observed, float(dealt.mean()), (1 + further) / (1 + len(dealt))
