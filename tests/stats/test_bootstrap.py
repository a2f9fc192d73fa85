import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest, _compute_p_value
from scipy import stats

from pytest_llm.metrics import Score, bleu, chrf, ter
from pytest_llm.stats import bootstrap
from pytest_llm.stats.gate import gate


def test_sums_are_those_of_resampled_rows():
    rows = np.array([[1.0, 0.0], [0.0, 10.0], [100.0, 1000.0]])
    sums = bootstrap.resampled_sums(rows, 5000, seed=3)
    assert sums.shape == (5000, 2)
    # Every draw holds three rows: read the counts back from the digits.
    c0, c2, c1 = sums[:, 0] % 100, sums[:, 0] // 100, sums[:, 1] % 1000 / 10
    assert set(c0 + c1 + c2) == {3.0}
    counts = np.array([c0.mean(), c1.mean(), c2.mean()])
    assert counts == pytest.approx([1, 1, 1], abs=4 * np.sqrt(2 / 3 / 5000))
    assert c0.var() == pytest.approx(2 / 3, rel=0.1)


def test_seed_and_chunks_do_not_show(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    whole = bootstrap.resampled_sums(rows, 200, seed=1)
    assert np.array_equal(whole, bootstrap.resampled_sums(rows, 200, seed=1))
    assert not np.array_equal(whole, bootstrap.resampled_sums(rows, 200, seed=2))
    monkeypatch.setattr(bootstrap, "_CELLS", 7 * 50)  # chunks of 7, the last one short
    assert bootstrap.resampled_sums(rows, 200, seed=1) == pytest.approx(whole)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("n", [12, 80])
def test_bounds_equal_scipy_on_the_same_resamples(rng, method, n):
    d = rng.exponential(size=n) - 0.8  # skewed, so that BCa has something to correct
    reference = stats.bootstrap((d,), np.mean, n_resamples=4000, confidence_level=0.9, method=method, rng=rng)
    z0 = a = 0.0
    if method == "BCa":
        left_out = (d.sum() - d) / (n - 1)
        z0, a = bootstrap.bca_constants(reference.bootstrap_distribution, d.mean(), left_out)
        assert abs(a) > 0.01
    low, high = bootstrap.bounds(reference.bootstrap_distribution, stats.norm.isf(0.05), z0, a)
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval), rel=1e-9)


def abc_algorithm(x, z):
    """The ABC bound of a mean by its published algorithm, with numerical derivatives of the statistic of weights."""
    n, eps = len(x), 1e-3
    centre = np.full(n, 1 / n)

    def statistic(weights):
        return weights @ x / weights.sum()

    def moved(towards, by):
        return statistic(centre + by * (towards - centre))

    unit = np.eye(n)
    first = np.array([(moved(u, eps) - moved(u, -eps)) / (2 * eps) for u in unit])
    second = np.array([(moved(u, eps) - 2 * statistic(centre) + moved(u, -eps)) / eps**2 for u in unit])
    sigma = np.sqrt(np.sum(first**2)) / n
    a = np.sum(first**3) / (6 * np.sum(first**2) ** 1.5)
    delta = first / (n**2 * sigma)
    step = [statistic(centre + by * eps * delta) for by in (1, 0, -1)]
    curvature = (step[0] - 2 * step[1] + step[2]) / (2 * sigma * eps**2)
    bias = np.sum(second) / (2 * n**2)
    z0 = stats.norm.ppf(2 * stats.norm.cdf(a) * stats.norm.cdf(curvature - bias / sigma))
    w = z0 + z
    return statistic(centre + w / (1 - a * w) ** 2 * delta)


def test_abc_is_the_published_algorithm(rng):
    x = rng.exponential(size=25)
    influence = x - x.mean()
    a, sigma, z = bootstrap.acceleration(influence), x.std() / 5, stats.norm.isf(0.05)
    assert a == pytest.approx(stats.skew(x) / 30)
    assert x.mean() + sigma * bootstrap.abc_errors(z, a) == pytest.approx(abc_algorithm(x, z), rel=1e-4)
    assert bootstrap.abc_errors(z, 0.0) == z
    # one of many that changed is a Poisson count: the exact bound of 1 is 4.74
    assert 1 + bootstrap.abc_errors(z, 1 / 6) == pytest.approx(stats.chi2.ppf(0.95, 4) / 2, abs=0.03)
    assert bootstrap.abc_errors(100.0, 1 / 6) < 401, "finite, however few the examples"


@pytest.mark.parametrize("constants", [(0.0, 0.0), (0.1, 0.03)])
def test_p_is_where_the_upper_bound_reaches_zero(rng, constants):
    replicates = rng.normal(-1.2, 1, size=20_000)
    z = bootstrap.z_of_zero(replicates, *constants)
    assert bootstrap.bounds(replicates, z, *constants)[1] == pytest.approx(0, abs=0.01)


def test_p_where_no_resample_reaches_zero_goes_on_as_the_resamples_do(rng):
    replicates = rng.normal(-1, 1, size=20_000)
    z = [bootstrap.z_of_zero(replicates - shift) for shift in (0, 3, 6, 12, 1e9)]
    assert z[:4] == pytest.approx([1, 4, 7, 13], rel=0.1)
    assert z[4] > 100
    assert bootstrap.z_of_zero(np.full(100, -1.0)) > 100, "of resamples that are all alike"
    assert bootstrap.z_of_zero(replicates - 12, 0.1, -0.1) == np.inf, "BCa bounds reach 0 at no level"


@pytest.mark.parametrize("z0", [-np.inf, -1.0, 0.0, 1.0, np.inf])
@pytest.mark.parametrize("a", [-0.6, 0.0, 0.6])
def test_bca_past_its_pole_is_the_extreme_replicate(rng, z0, a):
    replicates = rng.normal(size=1000)
    low, high = bootstrap.bounds(replicates, 4.0, z0, a, 0.5)
    assert min(replicates) <= low <= 0.5 <= high <= max(replicates)
    if a and z0:  # with 4 errors to each side one of them is past the pole
        assert low == min(replicates) or high == max(replicates)
    assert not np.isnan([bootstrap.z_of_zero(replicates + shift, z0, a) for shift in (-9, 0, 9)]).any()


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
def test_what_a_sentence_moves_the_metric_by_is_that_of_the_texts_with_it_changed(rng, metric):
    references, before, after = _systems(rng, 8, 0.3)
    whole = [metric(texts, references) for texts in (before, after)]
    found = bootstrap.contributions(*(np.array(score.statistics) for score in whole[::-1]), whole[0].aggregate)

    def swapped(i):
        put_in, taken_out = ([*x[:i], y[i], *x[i + 1 :]] for x, y in ((before, after), (after, before)))
        return (metric(put_in, references) - whole[0] + whole[1] - metric(taken_out, references)) / 2

    assert found == pytest.approx([swapped(i) for i in range(8)], abs=1e-9)
    assert found.sum() == pytest.approx(whole[1] - whole[0], rel=1e-9 if metric is ter else 0.5)


@pytest.mark.parametrize("n", [3, 20, 1000])
def test_expanded_levels_are_wider_and_invert(n):
    z = bootstrap.expanded_z(0.05, n)
    assert z > stats.norm.isf(0.05)
    assert bootstrap.expanded_p(z, n) == pytest.approx(0.05, rel=1e-9)


def _systems(rng, n, noise):
    words = np.array([f"word{i}" for i in range(200)])
    references = [list(rng.choice(words, rng.integers(8, 20))) for _ in range(n)]

    def system(p):
        return [" ".join(w if rng.random() > p else str(rng.choice(words)) for w in r) for r in references]

    return [" ".join(r) for r in references], system(0.3), system(0.3 + noise)


@pytest.mark.parametrize("noise", [0.02, 0.04])
def test_bleu_p_equals_sacrebleu_paired_bootstrap(rng, noise):
    references, before, after = _systems(rng, 150, noise)
    base, new = bleu(before, references), bleu(after, references)
    table = np.hstack([new.statistics, base.statistics])
    sums, k = bootstrap.resampled_sums(table, 10_000), len(new.statistics[0])
    differences = new.aggregate(sums[:, :k]) - new.aggregate(sums[:, k:])
    # sacrebleu's own p formula on our replicates, against sacrebleu run as a whole.
    ours = _compute_p_value(np.abs(differences) - np.abs(differences).mean(), abs(new - base))
    test = PairedTest([("base", before), ("new", after)], {"BLEU": sacrebleu.BLEU()}, [references], "bs", 2000)
    theirs = test()[1]["BLEU"][1]
    assert theirs.score == pytest.approx(float(new), abs=1e-9)
    assert ours == pytest.approx(theirs.p_value, abs=4 * np.sqrt(max(ours, 0.001) / 2000))
    found = gate(new, base, margin=0.0)
    assert found.delta == pytest.approx(new - base)
    assert found.low < found.delta < found.high
    # The gate's own p is one-sided and expanded for small samples: the same evidence, a little more careful.
    assert found.p == pytest.approx(np.mean(differences >= 0), abs=0.01)


def test_a_few_sentences_that_break_pass_no_more_often_than_alpha(rng):
    # of 100 sentences 5 % become another text; with t's bound 12 % pass
    words, refusal = np.array([f"w{i}" for i in range(60)]), "i am sorry"
    references = [" ".join(rng.choice(words, 15)) for _ in range(100)]
    answers = [" ".join(w if rng.random() > 0.15 else "x" for w in text.split()) for text in references]
    base, broken = bleu(answers, references), [bleu([refusal] * 100, references), bleu(answers, references)]
    rows = np.array(broken[0].statistics), np.array(broken[1].statistics)

    def score(hit):
        table = np.where(hit[:, None], *rows)
        value = float(base.aggregate(table.sum(0, keepdims=True))[0])
        return Score(value, name="bleu", n=100, statistics=table, aggregate=base.aggregate)

    hits = rng.random((300, 100)) < 0.05
    drop = base - np.mean([score(hit) for hit in hits])
    passed = [gate(score(hit), base, margin=drop, resamples=300).status == "pass" for hit in hits]
    assert np.mean(passed) <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_the_default_is_the_wider_of_percentiles_and_t_on_the_example_of_the_docs():
    # docs/gates.md and docs/statistics.md: six of 32 sentences said "sleepy old" for "lazy"
    words = ["red", "blue", "green", "white", "black", "brown", "grey", "pink"]
    texts = [f"the quick {a} fox jumps over the lazy {b} dog" for a in words[:4] for b in words]
    base = bleu(texts, texts)
    new = bleu([text.replace("lazy", "sleepy old") if i < 6 else text for i, text in enumerate(texts)], texts)
    found, percentiles = (gate(new, base, margin=1.0, method=method) for method in ("auto", "percentile"))
    half = stats.t.ppf(0.95, 31) * found.se
    assert (found.delta - half, found.delta + half) == pytest.approx((-12.00, -2.78), abs=0.005)
    assert (percentiles.low, percentiles.high) == pytest.approx((-12.17, -2.49), abs=0.005)
    assert (found.low, found.high) == pytest.approx((-13.01, -2.49), abs=0.005), "ABC's, which follows the skewness"
    assert stats.t.cdf(found.delta / found.se, 31) == pytest.approx(0.0053, abs=5e-5)
    assert found.p == percentiles.p == 0.5**6, "of six that changed, turning signs gives no less"
