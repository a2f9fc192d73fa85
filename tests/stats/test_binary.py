import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from pytest_llm.errors import InvalidInputError
from pytest_llm.stats.binary import clustered_wilson, mcnemar_exact, tango, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 1), (3, 10), (97, 100), (500, 1000), (20, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_statsmodels(k, n, confidence):
    assert wilson(k, n, confidence) == pytest.approx(
        proportion_confint(k, n, alpha=1 - confidence, method="wilson"), abs=1e-12
    )


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_rate(k, n):
    with pytest.raises(InvalidInputError, match="successes"):
        wilson(k, n)


def test_those_of_one_cluster_are_not_independent():
    assert clustered_wilson([5] * 7 + [0] * 3, [5] * 10) == pytest.approx(wilson(7, 10))
    assert clustered_wilson([5] * 10, [5] * 10) == pytest.approx(wilson(10, 10))
    assert clustered_wilson([1], [2]) == pytest.approx(wilson(0.5, 1))
    worth = 20 * 11 / 12  # ten independent pairs, and one more that is all alike
    assert clustered_wilson([1] * 10, [2] * 10) == pytest.approx(wilson(worth / 2, worth))
    assert clustered_wilson([1] * 7 + [0] * 3, [1] * 10) == pytest.approx(wilson(7, 10))
    with pytest.raises(InvalidInputError, match="cluster"):
        clustered_wilson([], [])


@pytest.mark.parametrize(
    ("count", "size", "rate", "alike", "before"),
    [(2, 10, 0.5, 0.3, 0.80), (3, 50, 0.9, 0.1, 0.83), (5, 10, 0.5, 0.3, 0.90), (10, 50, 0.97, 0.1, 0.86), (20, 5, 0.5, 0.6, 0.94)],
)  # fmt: skip
def test_the_interval_of_few_clusters_holds_the_rate_as_often_as_it_says(rng, count, size, rate, alike, before):
    # before: how often it did while a noisy design effect was believed as it was
    runs, strength = 400, 1 / alike - 1
    rates = rng.beta(rate * strength, (1 - rate) * strength, (runs, count))
    found = [clustered_wilson(row.tolist(), [size] * count) for row in rng.binomial(size, rates)]
    assert np.mean([low <= rate <= high for low, high in found]) >= max(0.925, before)


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (0, 4), (5, 0), (7, 3), (3, 7), (60, 41), (900, 820)])
def test_mcnemar_equals_scipy_and_statsmodels(worse, better):
    p = mcnemar_exact(worse, better)
    if worse + better:
        assert p == pytest.approx(stats.binomtest(worse, worse + better, alternative="greater").pvalue, rel=1e-9)
    two_sided = min(1.0, 2 * min(p, mcnemar_exact(better, worse)))
    assert two_sided == pytest.approx(mcnemar([[0, worse], [better, 0]], exact=True).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("worse", "better", "n", "alpha", "low", "high"),
    [  # published results of R's PropCIs::scoreci.mp, to the digits they were published with
        (25, 28, 618, 0.05, -0.0148, 0.0247),
        (60, 20, 1000, 0.025, -0.0584, -0.0231),
        (41, 48, 549, 0.05, -0.0157, 0.0414),
    ],
)
def test_tango_equals_published_intervals(worse, better, n, alpha, low, high):
    assert tango(worse, better, n, alpha) == pytest.approx((low, high), abs=6e-5)


def _score_by_optimisation(worse, better, n, delta):
    """The score statistic with the restricted maximum of the trinomial likelihood found numerically."""

    def loss(q):  # q = P(worse), so P(better) = q + delta
        return -(worse * np.log(q) + better * np.log(q + delta) + (n - worse - better) * np.log(1 - 2 * q - delta))

    bounds = (max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12)
    q = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return (better - worse - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("worse", "better", "n"), [(7, 3, 40), (1, 12, 30), (9, 9, 200), (2, 1, 12)])
def test_tango_bounds_solve_the_score_equation(worse, better, n):
    low, high = tango(worse, better, n, 0.05)
    z = stats.norm.isf(0.05)
    assert _score_by_optimisation(worse, better, n, low) == pytest.approx(z, abs=1e-4)
    assert _score_by_optimisation(worse, better, n, high) == pytest.approx(-z, abs=1e-4)


def test_tango_at_the_ends():
    low, high = tango(0, 0, 50, 0.05)
    assert -0.06 < low < 0 < high < 0.06  # nothing flipped in 50, which still leaves room
    assert low == pytest.approx(-high)
    assert tango(20, 0, 20, 0.05)[0] == pytest.approx(-1)
    assert tango(0, 20, 20, 0.05)[1] == pytest.approx(1)
    assert tango(9, 4, 30, 0.05) == pytest.approx([-x for x in reversed(tango(4, 9, 30, 0.05))])
