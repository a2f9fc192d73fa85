import itertools
from fractions import Fraction

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from pytest_llm.errors import InvalidInputError
from pytest_llm.stats.correction import adjust, adjust_p
from pytest_llm.stats.passk import needed, pass_at_k, pass_hat_k
from pytest_llm.verdicts import Verdict


@pytest.mark.parametrize(("ours", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
@pytest.mark.parametrize("m", [1, 2, 25])
def test_adjusted_p_equals_statsmodels(rng, ours, theirs, m):
    p = np.round(rng.random(m) ** 3, 2)  # rounded: with ties
    assert adjust_p(list(p), ours) == pytest.approx(multipletests(p, method=theirs)[1], abs=1e-12)


def test_no_correction_and_an_unknown_one():
    assert adjust_p([0.03, 0.01], "none") == [0.03, 0.01]
    assert adjust_p([], "holm") == []
    with pytest.raises(ValueError, match="holm, bh or none"):
        adjust_p([0.1], "bonferoni")


def verdict(name, status, p=None, alpha=0.05, value=0.8):
    figures = {"value": value, "baseline": 0.9, "margin": 0.05}
    figures |= {"confidence": 1 - 2 * alpha, "p": p} if p is not None else {}
    return Verdict("baseline", name, status, "fail" if status == "fail" else "pass", name, figures)


def test_a_run_says_which_failures_survive():
    run = [
        verdict("clear", "fail", p=0.001),
        verdict("thin", "fail", p=0.04),
        verdict("fine", "pass", p=0.6),
        verdict("plain", "fail"),
        Verdict("golden", "text", "drifted", "fail", "text"),
    ]
    found = {a.verdict.name: (a.p_adjusted, a.survives) for a in adjust(run)}
    assert found == {"clear": (0.003, True), "thin": (0.08, False), "fine": (0.6, None)}
    assert {a.verdict.name: a.survives for a in adjust(run, "none")} == {"clear": True, "thin": True, "fine": None}


def test_a_failure_survives_at_its_own_alpha():
    run = [verdict("lenient", "fail", p=0.08, alpha=0.2), verdict("strict", "fail", p=0.009, alpha=0.01)]
    assert [a.survives for a in adjust(run)] == [True, False]
    assert [a.survives for a in adjust(run[:1])] == [True]
    assert adjust([verdict("just", "fail", p=0.05)])[0].survives
    assert adjust([verdict("tiny", "fail", p=1e-5, alpha=1e-5)])[0].survives


def test_no_correction_is_said_to_undo_a_failure_that_was_not_for_p():
    run = [
        verdict("broken examples", "fail", p=0.9, value=0.95),
        verdict("length", "fail", p=0.03, value=0.88),
        verdict("too few", "fail", p=0.3),
    ]
    assert [a.survives for a in adjust(run)] == [None] * 3


@pytest.mark.parametrize(("n", "c"), [(6, 0), (6, 1), (6, 3), (6, 6)])
@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_pass_at_k_counts_subsets(n, c, k):
    outcomes = [i < c for i in range(n)]
    draws = list(itertools.combinations(outcomes, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(Fraction(sum(map(any, draws)), len(draws))), abs=1e-12)
    assert pass_hat_k(n, c, k) == pytest.approx(float(Fraction(sum(map(all, draws)), len(draws))), abs=1e-12)


def test_pass_at_k_equals_the_papers_program():
    n, c, k = 200, 13, 100  # Chen et al. 2021, figure 3: the numerically stable product
    assert pass_at_k(n, c, k) == pytest.approx(1 - np.prod(1 - k / np.arange(n - c + 1, n + 1)), abs=1e-12)


@pytest.mark.parametrize("wrong", [(5, 6, 1), (5, 2, 6), (5, 2, 0)])
def test_pass_at_k_refuses_impossible_counts(wrong):
    with pytest.raises(InvalidInputError, match="pass@k needs"):
        pass_at_k(*wrong)


@pytest.mark.parametrize(("n", "least", "need"), [(10, 0.8, 8), (3, 0.7, 3), (10, 0.3, 3), (5, 1.0, 5), (5, 1, 1)])
def test_needed(n, least, need):
    assert needed(n, least) == need


@pytest.mark.parametrize("least", [0.0, 1.1, 0, 6, True])
def test_needed_refuses(least):
    with pytest.raises(InvalidInputError, match="min_success"):
        needed(5, least)
