import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from pytest_llm.stats.clustered import effective, standard_error, weighted_mean
from pytest_llm.stats.paired import Design, compare_means


def design(**changes):
    return Design(
        **{"margin": 0.0, "alpha": 0.05, "power": 0.8, "groups": None, "resamples": 100, "seed": 0, **changes}
    )


def test_means_equal_the_paired_t_test(rng):
    base, noise, ones = rng.normal(size=40), rng.normal(0, 0.5, size=20), np.ones(40)
    new = base - 0.1 + np.concatenate([noise, -noise])  # no skewness
    found = compare_means(new, base, ones, ones, design())
    reference = stats.ttest_rel(new, base, alternative="less")
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    two_sided = stats.ttest_rel(new, base).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((two_sided.low, two_sided.high), rel=1e-9)
    assert found.cost == pytest.approx(new - base)


def test_clustered_error_equals_statsmodels(rng):
    groups = np.repeat(np.arange(12), 5)
    d = rng.normal(size=60) + rng.normal(size=12)[groups]
    d[30:] = -d[:30]  # no skewness
    _, influence = weighted_mean(d)
    se, clusters = standard_error(influence, list(groups))
    fit = sm.OLS(d, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert clusters == pytest.approx(12)
    assert se == pytest.approx(fit.bse[0], rel=1e-9)
    found = compare_means(d, np.zeros(60), np.ones(60), np.ones(60), design(groups=list(groups)))
    assert found.high == pytest.approx(fit.conf_int(0.1)[0][1], rel=1e-9)
    assert se > 1.5 * standard_error(influence)[0]  # ignoring the groups would claim far more than is known


def test_loss_equals_the_jackknife_of_the_ratio(rng):
    tokens = rng.integers(5, 200, size=30).astype(float)
    new, base = rng.normal(3, 1, size=(2, 30))
    found = compare_means(-new, -base, tokens, tokens, design())
    nll = tokens * (new - base)
    ratio = nll.sum() / tokens.sum()
    left_out = (nll.sum() - nll) / (tokens.sum() - tokens)
    assert found.se == pytest.approx(np.sqrt(29 / 30 * np.sum((left_out - ratio) ** 2)), rel=1e-12)
    assert found.high == pytest.approx(-ratio + stats.t.ppf(0.95, effective(tokens / tokens.sum()) - 1) * found.se)


@pytest.mark.parametrize("groups", [None, list(range(200)) * 2])
def test_the_bound_of_skewed_changes_is_bcas(rng, groups):
    d = -0.8 * (rng.random(200) < 0.06)
    reference = stats.bootstrap((d,), np.mean, n_resamples=20_000, confidence_level=0.9, method="BCa", rng=rng)
    d = np.tile(d, 2) if groups else d
    drops, rises = (compare_means(x, 0 * d, np.ones(len(d)), np.ones(len(d)), design(groups=groups)) for x in (d, -d))
    assert drops.low == pytest.approx(reference.confidence_interval.low, rel=0.02)
    assert drops.low < drops.high - 2.1 * (drops.high - d.mean()), "lower than t's"
    assert (rises.low, rises.high) == pytest.approx((-drops.high, -drops.low))
    at_bound = compare_means(-d + drops.low, 0 * d, np.ones(len(d)), np.ones(len(d)), design(groups=groups))
    assert (at_bound.high, at_bound.p) == (pytest.approx(0, abs=1e-9), pytest.approx(0.05)), "p is that of the bound"


def test_weighted_mean_is_the_regression_on_a_constant(rng):
    tokens = rng.integers(5, 200, size=50).astype(float)
    values = rng.normal(3, 1, size=50)
    mean, influence = weighted_mean(values, tokens)
    fit = sm.WLS(values, np.ones(50), weights=tokens).fit(cov_type="HC3")
    assert mean == pytest.approx(fit.params[0], rel=1e-12)
    se, _ = standard_error(influence, weights=tokens)
    assert se == pytest.approx(np.sqrt(49 / 50) * fit.bse[0], rel=1e-9)
    assert influence.sum() == pytest.approx(0, abs=1e-9)


def test_groups_of_unequal_size_are_left_out_whole(rng):
    groups = np.repeat(np.arange(5), [40, 3, 5, 8, 2])
    d = rng.normal(size=58) + rng.normal(size=5)[groups]
    _, influence = weighted_mean(d)
    left_out = np.array([d[groups != g].mean() for g in range(5)])
    se, _ = standard_error(influence, list(groups))
    assert se == pytest.approx(np.sqrt(4 / 5 * np.sum((left_out - d.mean()) ** 2)), rel=1e-12)


@pytest.mark.parametrize("sizes", [[7] * 9, [200] + [10] * 20, [500] + [1] * 20, [2**i for i in range(9)]])
def test_degrees_of_freedom_are_satterthwaites(rng, sizes):
    share = np.array(sizes) / np.sum(sizes)
    # (sum of a cluster) - share * total, of independent examples, over 1 - share; exactly, and drawn
    apart = (np.eye(len(share)) - share[:, None]) / (1 - share)[:, None]
    covariance = apart @ np.diag(share) @ apart.T
    assert effective(share) - 1 == pytest.approx(np.trace(covariance) ** 2 / np.sum(covariance**2), rel=1e-9)
    drawn = np.sum((rng.normal(size=(40_000, len(share))) * np.sqrt(share) @ apart.T) ** 2, axis=1)
    assert effective(share) - 1 == pytest.approx(2 * drawn.mean() ** 2 / drawn.var(), rel=0.05)
    assert effective(share) <= len(share) + 1e-9
    assert (effective(share) == pytest.approx(len(share))) == (len(set(sizes)) == 1)


def test_a_cluster_beside_which_no_other_counts_says_nothing():
    weights = np.array([1e18, 1.0, 1.0])
    _, influence = weighted_mean([1.0, 2.0, 5.0], weights)
    se, clusters = standard_error(influence, weights=weights)
    assert np.isfinite(se)
    assert clusters == pytest.approx(2, abs=1e-3)
    _, weightless = weighted_mean([1.0, 2.0, 5.0], [1, 1, 0])
    assert standard_error(weightless, weights=[1, 1, 0])[1] == pytest.approx(2)


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [
        ([200] + [10] * 20, None),
        ([200, 200] + [2] * 30, None),
        ([500] + [1] * 20, None),
        ([1] * 60, [100] * 3 + [1] * 57),
    ],
    ids=["one-large", "two-large", "one-alone", "long-documents"],
)
def test_no_more_false_alarms_where_some_outweigh_the_rest(rng, sizes, weights):
    # with the usual factor and G - 1 degrees of freedom: 18, 21, 50 and 16 %
    groups = np.repeat(np.arange(len(sizes)), sizes)
    ones = np.ones(len(groups)) if weights is None else np.array(weights, dtype=float)
    alarms = 0
    for _ in range(600):
        d = 0.3 * rng.normal(size=len(sizes))[groups] + 0.3 * rng.normal(size=len(groups))
        alarms += compare_means(d, 0 * d, ones, ones, design(groups=list(groups))).p <= 0.05
    assert alarms / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
