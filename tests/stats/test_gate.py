import math

import numpy as np
import pytest

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import bleu, chrf, ter
from pytest_llm.metrics.score import Score
from pytest_llm.stats.gate import gate
from pytest_llm.stats.paired import Design, compare_binary, compare_means

from .conftest import mean_score


def accuracy(values, **fields):
    return mean_score([float(v) for v in values], name="accuracy", **fields)


def loss(values, tokens, **fields):
    value = np.dot(values, tokens) / np.sum(tokens)
    return Score(
        value, name="loss", n=len(values), per_example=values, weights=tokens, higher_is_better=False, **fields
    )


@pytest.mark.parametrize(
    "make", [mean_score, lambda v: Score(float(np.mean(v)), name="x", n=4, per_example=v, higher_is_better=False)]
)
def test_identical_passes_whatever_the_margin(make):
    found = gate(make([0.1, 0.2, 0.3, 0.4]), make([0.1, 0.2, 0.3, 0.4]), margin=0.0)
    assert (found.status, found.delta, found.low, found.high, found.p) == ("pass", 0.0, 0.0, 0.0, 1.0)
    assert found.reason == "no example differs"


def test_equal_statistics_that_do_not_explain_the_value_are_no_equal_scores():
    def score(right):
        rows = [[1.0, 1.0]] * 40
        value = right / 40
        return Score(value, name="x", n=40, per_example=[1] * right + [0] * (40 - right), statistics=rows,
                     aggregate=lambda sums: sums[:, 0] / 40)  # fmt: skip

    assert gate(score(20), score(40), margin=0.05).status == "fail"


def test_rounding_below_the_resolution_is_no_difference():
    base = np.linspace(1, 3, 20)
    assert gate(mean_score(base - 1e-8), mean_score(base), margin=0.0).status == "fail"
    assert gate(mean_score(base - 1e-8), mean_score(base), margin=0.0, resolution=1e-6).status == "pass"


def test_rounding_of_an_example_near_zero_is_that_of_the_others():
    base = np.array([2e-7, 0.5, 2.0, 3.0])
    assert gate(mean_score(base + 3e-7), mean_score(base), margin=0.0, resolution=1e-6).method == "every example"
    tiny = gate(mean_score(base[::-1] * 1e-9), mean_score(base * 1e-9), margin=0.0, resolution=1e-6)
    assert tiny.method != "every example"


def test_the_four_ways_out(rng):
    base = rng.normal(0, 1, size=200)
    noise = rng.normal(0, 0.5, size=200)
    noise -= noise.mean()

    def out(drop, margin, n=200):
        found = gate(mean_score((base - drop + noise)[:n]), mean_score(base[:n]), margin=margin)
        return found.status, found.reason

    assert out(0.0, 0.1) == ("pass", "not worse by more than the margin")
    assert out(0.1, 0.2) == ("pass", "significantly lower, but within the margin")
    assert out(0.3, 0.1) == ("fail", "significantly worse, and by more than the margin")
    assert out(0.1, 0.12) == ("inconclusive", "significantly worse; whether by more than the margin cannot be told")
    assert out(0.0, 0.01, n=200)[0] == "inconclusive"


def test_lower_is_better_turns_everything_but_the_signs(rng):
    base = rng.normal(3, 1, size=100)
    new = base + 0.2 + rng.normal(0, 0.3, size=100)
    up = gate(mean_score(-new), mean_score(-base), margin=0.1)
    down = gate(mean_score(new, higher_is_better=False), mean_score(base, higher_is_better=False), margin=0.1)
    assert up.status == down.status == "fail"
    assert (down.low, down.high, down.delta) == pytest.approx((-up.high, -up.low, -up.delta))
    assert (down.p, down.mde, down.worst) == (pytest.approx(up.p), pytest.approx(up.mde), up.worst)
    better = gate(mean_score(base, higher_is_better=False), mean_score(new, higher_is_better=False), margin=0.1)
    assert better.status == "pass"
    assert better.improved
    assert not down.improved


def test_accuracy_names_what_flipped():
    base = accuracy([1] * 30 + [0] * 10, ids=[f"q{i}" for i in range(40)])
    new = accuracy([0] * 8 + [1] * 22 + [1] * 1 + [0] * 9, ids=base.ids)
    found = gate(new, base, margin=0.05)
    assert found.status == "fail"
    assert found.delta == pytest.approx(-7 / 40)
    assert found.newly_failing == tuple(f"q{i}" for i in range(8))
    assert found.newly_passing == ("q30",)
    assert found.flip_rate == pytest.approx(9 / 40)
    assert found.p == pytest.approx(10 / 2**9)  # P(Bin(9, 1/2) >= 8)
    assert found.worst[:8] == tuple(range(8))
    assert found.method == "exact McNemar, Tango bounds"


def test_an_alpha_next_to_nothing_is_one():
    found = gate(accuracy([0] * 5 + [1] * 35), accuracy([1] * 40), margin=0.01, alpha=1e-20)
    assert found.status == "inconclusive"
    assert gate(accuracy([0] * 100), accuracy([1] * 100), margin=0.01, alpha=1e-20).status == "fail"


def test_errors_counted_as_right_or_wrong_turn_round():
    base = accuracy([0] * 30 + [1] * 10, higher_is_better=False)
    new = accuracy([1] * 8 + [0] * 22 + [1] * 10, higher_is_better=False)
    found = gate(new, base, margin=0.05)
    assert found.status == "fail"
    assert found.newly_failing == tuple(str(i) for i in range(8))


def test_equal_accuracy_with_churn_is_not_identical():
    base = accuracy([1, 0] * 20)
    new = accuracy([0, 1] * 20)
    found = gate(new, base, margin=0.05)
    assert (found.status, found.delta, found.flip_rate) == ("inconclusive", 0.0, 1.0)


def test_too_few_flips_cannot_fail():
    found = gate(accuracy([0] * 4), accuracy([1] * 4), margin=0.1)
    assert found.status == "inconclusive"
    assert found.mde is None


@pytest.mark.parametrize(("n", "least", "most"), [(10, 0.55, 0.65), (30, 0.17, 0.26), (60, 0.02, 0.075)])
def test_how_often_a_drop_of_the_margin_passes_by_the_size_of_the_suite(rng, n, least, most):
    # docs/gates.md gives these rates: 60 % at 10 examples, 21 % at 30, the promised 5 % from 3 / margin on.
    runs = [gate(accuracy(rng.random(n) >= 0.05), accuracy([1] * n), margin=0.05) for _ in range(600)]
    assert least <= sum(found.status == "pass" for found in runs) / 600 <= most


def broken_groups(rng, count, size, rate, whole=True):
    draws = np.repeat(rng.random(count), size) if whole else rng.random(count * size)
    return gate(
        accuracy(draws >= rate), accuracy([1] * count * size), margin=0.05, groups=list(np.repeat(range(count), size))
    )


def test_groups_that_break_whole_pass_no_more_often_than_alpha(rng):
    runs = [broken_groups(rng, 60, 5, 0.05) for _ in range(600)]
    assert sum(found.status == "pass" for found in runs) / 600 <= 0.075  # 21 % by t
    assert {found.method for found in runs if found.method != "every example"} == {
        "exact McNemar, Tango bounds, 300 examples in 60 groups taken for 60"
    }


@pytest.mark.parametrize("size", [5, 20])
def test_groups_that_break_whole_are_seen_beside_answers_that_flip(rng, size):
    def drops(broken, flips):
        whole = np.repeat(rng.random(60) < broken, size)
        return np.where(whole, -1.0, rng.choice([-1.0, 0.0, 1.0], 60 * size, p=[flips / 2, 1 - flips, flips / 2]))

    design = Design(0.05, 0.05, 0.8, np.repeat(range(60), size).tolist(), 0, 0)
    passed = [compare_binary(drops(0.05, 0.05), design).low > -0.05 for _ in range(500)]
    assert np.mean(passed) <= 0.075  # 8.5 and 11 % while every group that changed spoke for the flips


def test_groups_whose_examples_are_independent_cost_no_power(rng):
    worse = [broken_groups(rng, 60, 5, 0.15, whole=False) for _ in range(100)]
    assert sum(found.status == "fail" for found in worse) >= 95
    same = [broken_groups(rng, 60, 5, 0.01, whole=False) for _ in range(100)]
    assert sum(found.status == "pass" for found in same) >= 90  # 36 if those of a group were always taken for one


def test_groups_of_one_are_examples(rng):
    base, new = accuracy(rng.random(60) < 0.9), accuracy(rng.random(60) < 0.8)
    one, none = gate(new, base, margin=0.02, groups=list(range(60))), gate(new, base, margin=0.02)
    assert (one.low, one.high, one.p, one.mde) == pytest.approx((none.low, none.high, none.p, none.mde))


def test_what_outweighs_the_rest_is_told(rng):
    groups = [0] * 200 + [1 + i // 10 for i in range(200)]
    d = rng.normal(size=400)
    found = gate(mean_score(d), mean_score(np.zeros(400)), margin=0.01, groups=groups)
    assert (found.units, found.heaviest) == (21, 0.5)
    assert 2 < found.effective < 4


@pytest.mark.parametrize(("n", "status"), [(2, "inconclusive"), (4, "inconclusive"), (5, "fail")])
@pytest.mark.parametrize("start", [3, 3.1, 10 / 3])
def test_a_few_examples_that_fell_alike_are_no_certainty(n, status, start):
    base = [round(start + i % 2, 6) for i in range(n)]
    found = gate(mean_score([x - 1 for x in base]), mean_score(base), margin=0.05)
    assert found.status == status
    assert found.low < -1 < found.high
    assert 0 < found.p <= 0.25
    up = gate(mean_score(base), mean_score([x - 1 for x in base]), margin=0.05)
    assert up.improved == (n == 5)
    grouped = gate(
        mean_score([x - 1 for x in base * 2]), mean_score(base * 2), margin=0.05, groups=[*range(n), *range(n)]
    )
    assert grouped.status == status


def test_a_few_examples_that_fell_nearly_alike_are_no_certainty():
    for lost in ([1, 1, 1], [1, 1, 2], [1, 1.1, 0.9, 1]):
        found = gate(mean_score([5.0 - x for x in lost]), mean_score([5.0] * len(lost)), margin=0.5)
        assert found.status == "inconclusive"
        assert found.p >= 0.5 ** len(lost), "what turning signs can give"
        assert found.high >= 0
    five = gate(mean_score([4, 4, 4, 4, 3, 5.0]), mean_score([5.0] * 6), margin=0.5)
    assert (five.status, five.p) == ("fail", 0.5**5), "what did not change is not counted"


@pytest.mark.parametrize(
    ("n", "hit", "lost", "noise", "most"),
    [(24, 0.125, 4, 0, 0.041), (100, 0.0625, 0.8, 0, 0.046), (100, 0.0625, 0.8, 0.02, 0.044), (300, 0.025, 0.8, 0, 0.056)],
)  # fmt: skip
def test_a_few_examples_that_lose_much_pass_no_more_often_than_alpha(rng, n, hit, lost, noise, most):
    # docs/gates.md gives these rates; by t 18, 12, 12 and 13 % pass
    base, ones, runs = np.zeros(n), np.ones(n), 1000
    design = Design(hit * lost, 0.05, 0.8, None, 0, 0)
    drops = [noise * rng.normal(size=n) - lost * (rng.random(n) < hit) for _ in range(runs)]
    passed = [not d.any() or compare_means(d, base, ones, ones, design).low > -hit * lost for d in drops]
    assert np.mean(passed) <= most + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_few_sentences_that_fell_alike_are_no_certainty():
    damaged = bleu(["the cat sat on a mat"] * 3, ["the cat sat on the mat"] * 3)
    same = bleu(["the cat sat on the mat"] * 3, ["the cat sat on the mat"] * 3)
    assert gate(damaged, same, margin=1.0).status == "inconclusive"


def test_ratings_that_move_by_chance_fail_no_more_often_than_alpha(rng):
    def fails(n, runs=400):
        pairs = [(rng.integers(2, 5, n), rng.choice([-1, 1], n)) for _ in range(runs)]
        found = [gate(mean_score(base + d), mean_score(base), margin=0.05) for base, d in pairs]
        return sum(one.status == "fail" for one in found) / runs

    assert [fails(n) <= 0.05 for n in (2, 3, 4, 5)] == [True] * 4


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_a_few_examples_that_moved_by_chance_are_no_improvement(rng, n):
    def loss_of(values):
        return mean_score(values, name="loss", higher_is_better=False)

    base = 2 + rng.random((300, n))
    moved = base + rng.choice([-1, 1], base.shape) * rng.uniform(0.095, 0.105, base.shape)
    found = [gate(loss_of(y), loss_of(x), margin=0.0) for x, y in zip(base, moved, strict=True)]
    assert np.mean([one.status == "pass" for one in found]) <= 0.05  # 26, 12 and 6 % by t with 2, 3 and 4
    assert not any(one.improved for one in found if n < 5)
    coins = [gate(accuracy(x), accuracy(1 - x), margin=0.0) for x in rng.integers(0, 2, (200, n))]
    assert np.mean([one.status == "pass" for one in coins]) <= 0.06  # by Tango's bound 12 % with 3


@pytest.mark.parametrize(
    ("n", "share", "gain", "most"), [(100, 0.05, 0.95, 0.04), (30, 0.1, 0.9, 0.05), (100, 0.1, 0.9, 0.05)]
)
def test_a_few_examples_that_gain_much_hide_no_more_than_alpha(rng, n, share, gain, most):
    # no change on average; by t 12, 18 and 9 % fail
    zeros, ones, runs = np.zeros(n), np.ones(n), 1000
    design = Design(0.0, 0.05, 0.8, None, 0, 0)
    drawn = np.where(rng.random((runs, n)) < share, gain, -share * gain / (1 - share)) + 0.001 * rng.normal(
        size=(runs, n)
    )
    found = [compare_means(d, zeros, ones, ones, design) for d in drawn]
    assert np.mean([one.p <= 0.05 for one in found]) <= most + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert [one.p <= 0.05 for one in found] == [one.high <= 0 for one in found]


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.05), (4, 0.05), (5, 0.01), (6, 0.01)])
def test_so_few_graded_examples_see_no_drop(rng, n, alpha):
    base = 0.9 + 0.01 * rng.random(n)
    found = gate(mean_score(base - 0.8 + 0.01 * rng.random(n)), mean_score(base), margin=0.01, alpha=alpha)
    assert (found.status, found.mde) == ("inconclusive", None)
    one_more = gate(*(mean_score([*x, y]) for x, y in ((base - 0.8, 0.101), (base, 0.9))), margin=0.01, alpha=alpha)
    assert (one_more.mde is None) == (n not in (4, 6))


def test_groups_make_a_gate_more_careful(rng):
    groups = np.repeat(np.arange(10), 20)
    d = np.linspace(-1, 1, 10)[groups] - 0.25 + rng.normal(0, 0.1, size=200)
    base, new = mean_score(np.zeros(200)), mean_score(d)
    naive, careful = gate(new, base, margin=0.0), gate(new, base, margin=0.0, groups=list(groups))
    assert naive.status == "fail"
    assert careful.status == "inconclusive"
    assert "10 groups" in careful.method
    resampled = gate(new, base, margin=0.0, groups=list(groups), method="percentile")
    assert resampled.status == "inconclusive"
    assert (resampled.low, resampled.high) == pytest.approx((careful.low, careful.high), abs=0.1)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_of_a_weighted_mean_agrees_with_its_formula(rng, method):
    tokens = rng.integers(20, 200, size=150).astype(float)
    base = rng.normal(3, 0.5, size=150)
    new = base + 0.05 + rng.normal(0, 0.1, size=150)
    plain = gate(loss(new, tokens), loss(base, tokens), margin=0.01)
    resampled = gate(loss(new, tokens), loss(base, tokens), margin=0.01, method=method)
    assert plain.status == resampled.status == "fail"
    assert (resampled.low, resampled.high) == pytest.approx((plain.low, plain.high), abs=0.002)
    assert resampled.worst[:5] == plain.worst[:5]


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize(("tokens", "n"), [(5_000, 10), (20_000, 30)])
def test_bounds_hold_the_difference_where_one_document_has_most_of_the_tokens(rng, method, tokens, n):
    def worse():
        base = rng.normal(2.5, 0.4, n)
        weights = [tokens, *[20] * (n - 1)]
        new, base = loss(base + rng.normal(0.1, 0.3, n), weights), loss(base, weights)
        return gate(new, base, margin=0.05, method=method, resamples=500)

    found = [worse() for _ in range(60)]
    assert all(one.low <= one.delta <= one.high for one in found)  # of BCa's 1 in 8 did
    assert not any(one.status == "pass" and one.delta > 0.05 for one in found)


def test_a_loss_over_other_tokens_is_refused():
    base = loss([2.0, 3.0], [10, 20])
    with pytest.raises(InvalidInputError, match="31 tokens here and 30 in the baseline: the tokenizer changed"):
        gate(loss([2.0, 3.0], [11, 20]), base, margin=9)
    with pytest.raises(InvalidInputError, match="30 tokens here and 30 others in the baseline"):
        gate(loss([2.0, 3.0], [20, 10]), base, margin=9)
    moved = loss([3.0, 2.0], [20, 10], ids=["1", "0"])
    assert gate(moved, base, margin=9).status == "pass"


def test_perplexity_is_compared_by_its_ratio(rng):
    tokens = rng.integers(20, 200, size=100).astype(float)
    base = rng.normal(3, 0.5, size=100)
    new = base + 0.04 + rng.normal(0, 0.05, size=100)

    def perplexity(values, each):
        value = math.exp(np.dot(values, tokens) / tokens.sum())
        return Score(value, name="perplexity", n=100, per_example=each(values), weights=tokens, higher_is_better=False)

    nats = gate(loss(new, tokens), loss(base, tokens), margin=0.02)
    own = gate(
        perplexity(new, np.exp), perplexity(base, np.exp), margin=math.exp(float(loss(base, tokens))) * math.expm1(0.02)
    )
    same = gate(
        perplexity(new, np.array),
        perplexity(base, np.array),
        margin=math.exp(float(loss(base, tokens))) * math.expm1(0.02),
    )
    start = math.exp(float(loss(base, tokens)))
    assert own.status == same.status == nats.status
    assert own.p == pytest.approx(nats.p) == pytest.approx(same.p)
    for ours, log in ((own.low, nats.low), (own.high, nats.high), (own.delta, nats.delta), (own.mde, nats.mde)):
        assert ours == pytest.approx(start * math.expm1(log))


@pytest.mark.parametrize(("scale", "method"), [(1e-120, "auto"), (1e-120, "bca"), (1e90, "auto")])
def test_values_whose_squares_or_cubes_are_no_floats(rng, scale, method):
    base = rng.random(30)
    found, usual = (
        gate(mean_score(unit * base * (base > 0.2)), mean_score(unit * base), margin=unit * 0.01, method=method)
        for unit in (scale, 1.0)
    )
    assert (found.status, found.p) == (usual.status, pytest.approx(usual.p, rel=1e-6))
    assert (found.low, found.high) == pytest.approx((usual.low * scale, usual.high * scale), rel=1e-6)


def test_a_perplexity_whose_bound_no_float_can_hold():
    def perplexity(*nats):
        value = math.exp(sum(nats) / 2)
        return Score(value, name="perplexity", n=2, per_example=np.exp(nats), higher_is_better=False)

    found = gate(perplexity(3, 8), perplexity(2, 2), margin=1, alpha=0.001)
    assert (found.status, found.low) == ("inconclusive", pytest.approx(-float(perplexity(2, 2))))
    assert found.high > 1e99


SENTENCES = [
    f"the {('old', 'red', 'big', 'wet', 'sad')[i % 5]} {('cat', 'dog', 'owl', 'cow')[i % 4]} sat on the "
    f"{('mat', 'hill', 'roof')[i % 3]} and looked at the {('sun', 'moon')[i % 2]} for a long time"
    for i in range(40)
]


@pytest.mark.parametrize(("metric", "margin"), [(bleu, 2.0), (chrf, 1.0), (ter, 2.0)])
def test_corpus_metrics(rng, metric, margin):
    def spoiled(rate):
        return [" ".join(w for w in s.split() if rng.random() > rate) for s in SENTENCES]

    good = metric(spoiled(0.1), SENTENCES)
    bad = metric(spoiled(0.35), SENTENCES)
    fail, same, back = (gate(*pair, margin=margin) for pair in ((bad, good), (good, good), (good, bad)))
    assert (fail.status, same.status, back.status) == ("fail", "pass", "pass")
    assert back.improved
    assert same.method == "every example"
    assert fail.low < fail.delta < fail.high
    assert math.copysign(1, fail.delta) == (1 if metric is ter else -1)
    corrected = gate(bad, good, margin=margin, method="bca")
    assert (corrected.low, corrected.high) == pytest.approx((fail.low, fail.high), rel=0.2)
    # The sentence said to cost most is the one whose absence would help most.
    keep = [i for i in range(len(SENTENCES)) if i != fail.worst[0]]
    without = [float(s.aggregate(np.asarray(s.statistics)[keep].sum(0, keepdims=True))[0]) for s in (bad, good)]
    gain = abs(fail.delta) - abs(without[0] - without[1])
    assert gain > 0
    assert repr(gate(bad, good, margin=margin)) == repr(fail)  # seeded; NaN is not itself


def test_pairs_by_id_whatever_the_order(rng):
    values, drop = rng.normal(size=50), rng.normal(0.3, 0.2, size=50)
    ids = [f"e{i}" for i in range(50)]
    order = rng.permutation(50)
    base = mean_score(values, ids=ids)
    shuffled = mean_score((values - drop)[order], ids=[ids[i] for i in order])
    plain = mean_score(values - drop, ids=ids)
    a, b = gate(shuffled, base, margin=0.1), gate(plain, base, margin=0.1)
    assert (a.low, a.high, a.p) == pytest.approx((b.low, b.high, b.p))
    assert shuffled.ids[a.worst[0]] == plain.ids[b.worst[0]]


@pytest.mark.parametrize(
    ("new", "base", "status", "why"),
    [
        (Score(0.8, name="x", n=1), Score(0.9, name="x", n=1), "fail", "one example"),
        (Score(0.86, name="x", n=1), Score(0.9, name="x", n=1), "pass", "one example"),
        (Score(0.8, name="x", n=30), Score(0.9, name="x", n=30), "fail", "no per-example values"),
        (
            Score(0.8, name="x", n=3, per_example=[0, 0, 0]),
            Score(0.9, name="x", n=3, per_example=[1, 1, 1]),
            "fail",
            "no per-example values that explain",
        ),
        (
            Score(0.8, name="x", n=2, statistics=[[1], [2]], aggregate=lambda sums: sums[:, 0]),
            Score(0.9, name="x", n=2, statistics=[[1], [3]]),
            "fail",
            "no per-example values that explain",
        ),
    ],
)
def test_where_nothing_can_be_inferred_the_margin_decides_and_says_so(new, base, status, why):
    found = gate(new, base, margin=0.05)
    assert found.status == status
    assert why in found.reason
    assert "no interval" in found.method
    assert math.isnan(found.p)
    assert math.isnan(found.low)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_largest_of_small_values_is_not_judged_by_their_mean(scale):
    def largest(values):
        return Score(max(values) * scale, name="x", n=len(values), per_example=[v * scale for v in values])

    found = gate(largest([0.5, 0.1, 0.1, 0.2]), largest([0.9, 0.1, 0.1, 0.2]), margin=0.1 * scale)
    assert (found.status, found.method) == ("fail", "plain comparison, no interval")
    mean = gate(*(mean_score([v * scale for v in x]) for x in ([1, -1, 2, -2.1], [1, -1, 2, -2])), margin=scale)
    assert mean.method == "paired t"


@pytest.mark.parametrize("lost", [1, 4, 6, 60, 100])
@pytest.mark.parametrize("weights", [(), [1] * 100])
def test_one_group_is_one_observation(lost, weights):
    new, base = (accuracy([0] * k + [1] * (100 - k), weights=weights) for k in (lost, 0))
    found = gate(new, base, margin=0.05, groups=["doc"] * 100)
    assert (found.status, found.mde, found.improved) == ("inconclusive", None, False)
    assert found.reason == "the examples that count are all of one group, which says nothing about another"
    assert found.newly_failing == (new.ids[:lost] if not weights else ())
    assert gate(base, base, margin=0.05, groups=["doc"] * 100).status == "pass"


GOOD = [0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("new", "terms", "message"),
    [
        (mean_score(GOOD), {"margin": -0.1}, "margin"),
        (mean_score(GOOD), {"margin": math.nan}, "margin"),
        (mean_score(GOOD), {"margin": 0.1, "alpha": 0.5}, "alpha"),
        (mean_score(GOOD), {"margin": 0.1, "groups": ["a"]}, "one label an example"),
        (Score(math.nan, name="x", n=3), {"margin": 0.1}, "the score is nan"),
        (Score(0.5, name="x", n=3, per_example=[0.5, math.inf, 1]), {"margin": 0.1}, "not finite"),
        (Score(0.5, name="x", n=0), {"margin": 0.1}, "no examples"),
        (mean_score(GOOD, ids=["a", "a", "b"]), {"margin": 0.1}, "repeated"),
        (mean_score(GOOD, ids=["a", "b", "c"]), {"margin": 0.1}, "ids differ"),
        (mean_score([*GOOD, 0.9]), {"margin": 0.1}, "ids differ"),
    ],
)
def test_what_cannot_be_measured_is_an_error(new, terms, message):
    with pytest.raises(InvalidInputError, match=message):
        gate(new, mean_score(GOOD), **terms)


def test_a_metric_that_breaks_on_resamples_is_an_error():
    def log_ratio(sums):
        with np.errstate(divide="ignore"):
            return np.log(sums[:, 0])

    rows = [[0.0]] * 3 + [[1.0]]
    base = Score(0.0, name="x", n=4, statistics=rows, aggregate=log_ratio)
    new = Score(0.0, name="x", n=4, statistics=rows[::-1], aggregate=log_ratio)
    with pytest.raises(InvalidInputError, match="not a number on some resamples"):
        gate(new, base, margin=0.1)
