"""Each statistic against its reference, its p under the null and under a shift."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest, kstest

from pytest_llm.monitoring import statistics
from pytest_llm.monitoring.checks import Dealing, numbers

COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8).filter(
    lambda pairs: sum(a for a, _ in pairs) > 0 and sum(b for _, b in pairs) > 0
)


@given(COUNTS)
def test_jensen_shannon_is_the_square_of_scipys_distance(pairs):
    a, b = np.array(pairs).T
    assert statistics.jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2) ** 2, abs=1e-12)


def test_jensen_shannon_is_0_for_equals_and_1_for_strangers():
    assert statistics.jensen_shannon([3, 1], [6, 2]) == pytest.approx(0)
    assert statistics.jensen_shannon([5, 0], [0, 9]) == pytest.approx(1)


def test_psi_by_hand():
    by_hand = (0.2 - 0.1) * math.log(0.2 / 0.1) + 0 + (0.6 - 0.7) * math.log(0.6 / 0.7)
    assert statistics.psi([10, 20, 70], [20, 20, 60]) == pytest.approx(by_hand)
    # An empty bin counts as half an output: of 50 here, of 100 there.
    by_hand = (0.01 - 0.3) * math.log(0.01 / 0.3) + (1.0 - 0.7) * math.log(1.0 / 0.7)
    assert statistics.psi([30, 70], [0, 50]) == pytest.approx(by_hand)


@pytest.mark.parametrize(("reference", "by_chance"), [(30, 0.7), (300, 0.34), (3000, 0.32)])
def test_the_psi_of_thirty_outputs_by_chance(reference, by_chance):
    # docs/monitoring.md: about 0.7 against thirty, about 0.3 against hundreds or thousands
    rng = np.random.default_rng(0)
    lengths = ((rng.lognormal(5, 0.5, 30).round(), rng.lognormal(5, 0.5, reference).round()) for _ in range(200))
    found = [numbers("length", new, old, Dealing(19, i)).statistic for i, (new, old) in enumerate(lengths)]
    assert np.mean(found) == pytest.approx(by_chance, rel=0.12)


def test_psi_and_jensen_shannon_take_many_rows_at_once():
    a, b = np.array([[1, 2, 3], [4, 0, 6]]), np.array([[3, 2, 1], [1, 5, 4]])
    for statistic in (statistics.psi, statistics.jensen_shannon):
        assert statistic(a, b) == pytest.approx([float(statistic(x, y)) for x, y in zip(a, b, strict=True)])


def brute_force_mmd(x, y):
    """Equation 3 of Gretton et al. 2012, term by term, with the median distance of all pairs."""
    both = [*x, *y]
    width = np.median([math.dist(a, b) for a, b in itertools.combinations(both, 2)])

    def k(a, b):
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    def within(z):
        return sum(k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))

    return within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def test_mmd_is_the_brute_force_one():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(7, 3)), random.normal(0.5, size=(9, 3))
    value, _, _ = statistics.mmd_p(np.concatenate([x, y]), 7, permutations=1, seed=0)
    assert value == pytest.approx(brute_force_mmd(x, y), abs=1e-12)


def test_mmd_p_is_that_of_all_dealings():
    random = np.random.default_rng(4)
    vectors = np.concatenate([random.normal(size=(4, 2)), random.normal(1.2, size=(4, 2))])
    observed = brute_force_mmd(vectors[:4], vectors[4:])
    all_of_them = [
        brute_force_mmd(vectors[list(chosen)], np.delete(vectors, chosen, axis=0))
        for chosen in itertools.combinations(range(8), 4)
    ]
    exact = np.mean(np.array(all_of_them) >= observed - 1e-12)
    _, chance, p = statistics.mmd_p(vectors, 4, permutations=19_999, seed=0)
    assert p == pytest.approx(exact, abs=0.015)
    assert chance == pytest.approx(np.mean(all_of_them), abs=0.01)


def test_equal_vectors_have_no_distance_and_no_drift():
    assert statistics.mmd_p(np.ones((10, 3)), 5, permutations=99, seed=0) == (pytest.approx(0), pytest.approx(0), 1.0)


def test_counts_and_rows_deal_the_same_outputs():
    a, b = np.array([8, 1, 3]), np.array([3, 6, 4])
    labels = np.repeat([0, 1, 2, 0, 1, 2], [*a, *b])
    rows = csr_array(np.eye(3)[labels])
    for statistic in (statistics.psi, statistics.jensen_shannon):
        value, chance, p = statistics.counts_p(statistic, a, b, permutations=9_999, seed=1)
        other = statistics.rows_p(statistic, rows, a.sum(), permutations=9_999, seed=2)
        assert other == (pytest.approx(value), pytest.approx(chance, rel=0.1), pytest.approx(p, abs=0.02))


def test_many_dealings_are_not_in_memory_at_once():
    tracemalloc.start()
    statistics.counts_p(statistics.psi, np.full(10, 30), np.full(10, 30), permutations=20_000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # all counts are 1.6 MB, and there are several arrays of that size


def test_the_witness_points_at_what_is_new():
    random = np.random.default_rng(0)
    new = random.normal(4, 0.5, size=(5, 2))
    vectors = np.concatenate([random.normal(size=(20, 2)), random.normal(size=(15, 2)), new])
    assert set(np.argsort(-statistics.witness(vectors, 20))[:5]) == {35, 36, 37, 38, 39}


def lengths_p(random, shift):
    a, b = random.lognormal(5, 0.5, 60), random.lognormal(5 + shift, 0.5, 45)
    return numbers("characters", np.round(a), np.round(b), Dealing(199, int(random.integers(1 << 30)))).p


def languages_p(random, shift):
    a, b = random.multinomial(60, [0.7, 0.2, 0.1]), random.multinomial(45, [0.7 - shift / 2, 0.2 + shift / 2, 0.1])
    return statistics.counts_p(statistics.jensen_shannon, a, b, permutations=199, seed=int(random.integers(1 << 30)))[2]


def words_p(random, shift):
    # The words of a text go together: dealing out words in place of texts would alarm.
    a, b = (random.dirichlet(np.ones(12) / 2 + 2 * s * np.eye(12)[0], 30) for s in (0, shift))
    rows = csr_array(np.array([random.multinomial(25, p) for p in (*a, *b)], dtype=float))
    return statistics.rows_p(statistics.jensen_shannon, rows, 30, permutations=199, seed=int(random.integers(1 << 30)))[
        2
    ]


def embeddings_p(random, shift):
    x, y = random.normal(size=(25, 6)), random.normal(shift, size=(20, 6))
    return statistics.mmd_p(np.concatenate([x, y]), 25, permutations=199, seed=int(random.integers(1 << 30)))[2]


SIMULATED = pytest.mark.parametrize("p_of", [lengths_p, languages_p, words_p, embeddings_p])


@SIMULATED
def test_p_is_uniform_where_nothing_drifted(p_of):
    random = np.random.default_rng(7)
    found = np.array([p_of(random, 0) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        # Valid: never more often than it says, beyond chance. Ties of small counts make some of them conservative.
        assert binomtest(int((found <= level).sum()), len(found), level, alternative="greater").pvalue > 0.001
    if p_of is not languages_p:
        assert kstest(found, "uniform").pvalue > 0.001


@SIMULATED
def test_a_shift_is_seen(p_of):
    random = np.random.default_rng(8)
    found = np.array([p_of(random, 1.0) for _ in range(60)])
    assert (found <= 0.05).mean() >= 0.9
