"""The standard error of a score."""

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_llm.metrics import Score, bleu, standard_error

VALUES = st.lists(st.floats(-100, 100), min_size=5, max_size=30)


def mean_score(values, weights=()):
    value = np.average(values, weights=weights or None)
    return Score(value, name="m", n=len(values), per_example=values, weights=weights)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_of_a_mean(values):
    assert standard_error(mean_score(values)) == pytest.approx(stats.sem(values), abs=1e-9)


def test_of_a_weighted_mean_agrees_with_a_bootstrap():
    random = np.random.default_rng(7)
    weights = random.integers(1, 50, 300).astype(float)
    values = random.normal(3, 1, 300) + 5 / weights
    draws = random.integers(0, 300, (4000, 300))
    resampled = (weights * values)[draws].sum(axis=1) / weights[draws].sum(axis=1)
    assert standard_error(mean_score(list(values), list(weights))) == pytest.approx(resampled.std(), rel=0.06)


def test_of_a_perplexity():
    random = np.random.default_rng(7)
    losses, weights = random.normal(3, 0.5, 200), random.integers(5, 50, 200).astype(float)
    loss = np.average(losses, weights=weights)
    score = Score(math.exp(loss), name="perplexity", n=200, per_example=np.exp(losses), weights=weights)
    draws = random.integers(0, 200, (4000, 200))
    resampled = np.exp((weights * losses)[draws].sum(axis=1) / weights[draws].sum(axis=1))
    assert standard_error(score) == pytest.approx(resampled.std(), rel=0.06)


def test_of_a_corpus_metric_is_the_jackknife_of_sacrebleu():
    predictions = ["the cat sat on the mat", "a dog", "hello world again", "x y z w", "foo bar baz qux", "no"]
    references = ["the cat sat on a mat", "a dog ran", "hello there world", "x y z q", "foo bar baz", "yes"]
    left_out = [
        sacrebleu.BLEU()
        .corpus_score(predictions[:i] + predictions[i + 1 :], [references[:i] + references[i + 1 :]])
        .score
        for i in range(6)
    ]
    expected = math.sqrt(5 / 6 * ((left_out - np.mean(left_out)) ** 2).sum())
    assert standard_error(bleu(predictions, references)) == pytest.approx(expected, abs=1e-9)


def test_is_none_where_it_cannot_be_known():
    assert standard_error(mean_score([1.0, 2.0, 3.0, 4.0])) is None, "four examples"
    assert standard_error(Score(0.5, name="m", n=10)) is None, "no values of examples"
    assert standard_error(Score(9.0, name="m", n=5, per_example=[1, 2, 3, 4, 5])) is None, "not a mean of these"
    assert standard_error(Score(math.nan, name="m", n=5, per_example=[1, 2, 3, 4, math.nan])) is None
    assert standard_error(mean_score([1.0] * 5, [1.0, 1.0, 1.0, 1.0, 0.0])) is None, "four that count"
    assert standard_error(bleu(["a b c d"] * 4, ["a b c e"] * 4)) is None
