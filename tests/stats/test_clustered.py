import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from pytest_llm.stats.clustered import standard_error, weighted_mean
from pytest_llm.stats.paired import Design, compare_means


def design(**changes):
    return Design(
        **{"margin": 0.0, "alpha": 0.05, "power": 0.8, "groups": None, "resamples": 100, "seed": 0, **changes}
    )


def test_means_equal_the_paired_t_test(rng):
    base = rng.normal(size=40)
    new = base + rng.normal(-0.1, 0.5, size=40)
    ones = np.ones(40)
    found = compare_means(new, base, ones, ones, design())
    reference = stats.ttest_rel(new, base, alternative="less")
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    two_sided = stats.ttest_rel(new, base).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((two_sided.low, two_sided.high), rel=1e-9)
    assert found.cost == pytest.approx(new - base)


def test_clustered_error_equals_statsmodels(rng):
    groups = np.repeat(np.arange(12), 5)
    d = rng.normal(size=60) + rng.normal(size=12)[groups]
    _, influence = weighted_mean(d)
    se, clusters = standard_error(influence, list(groups))
    fit = sm.OLS(d, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert clusters == 12
    assert se == pytest.approx(fit.bse[0], rel=1e-9)
    found = compare_means(d, np.zeros(60), np.ones(60), np.ones(60), design(groups=list(groups)))
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int(0.1)[0]), rel=1e-9)
    assert se > 1.5 * standard_error(influence)[0]  # ignoring the groups would claim far more than is known


def test_loss_equals_the_ratio_estimator(rng):
    tokens = rng.integers(5, 200, size=30).astype(float)
    new, base = rng.normal(3, 1, size=(2, 30))
    found = compare_means(-new, -base, tokens, tokens, design())
    nll = tokens * (new - base)
    r = nll.sum() / tokens.sum()
    e = nll - r * tokens
    se = np.sqrt(30 / 29 * (e**2).sum()) / tokens.sum()
    assert found.se == pytest.approx(se, rel=1e-12)
    assert (found.low + found.high) / 2 == pytest.approx(-r, rel=1e-12)


def test_weighted_mean_is_the_regression_on_a_constant(rng):
    tokens = rng.integers(5, 200, size=50).astype(float)
    values = rng.normal(3, 1, size=50)
    mean, influence = weighted_mean(values, tokens)
    fit = sm.WLS(values, np.ones(50), weights=tokens).fit(cov_type="HC1")
    assert mean == pytest.approx(fit.params[0], rel=1e-12)
    assert standard_error(influence)[0] == pytest.approx(fit.bse[0], rel=1e-9)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
