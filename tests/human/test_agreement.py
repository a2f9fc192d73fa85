"""Agreement against the implementations that others use."""

import math

import hypothesis
import hypothesis.strategies as st
import krippendorff
import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from pytest_llm.errors import InvalidInputError
from pytest_llm.human import agreement
from pytest_llm.human.agreement import alpha_interval, cohen_kappa, krippendorff_alpha

#: Krippendorff (2011), example C: four observers, twelve units, gaps.
TABLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ]
)


def items_of(table):
    return [[int(x) for x in column if not np.isnan(x)] for column in np.asarray(table).T]


def test_alpha_of_the_published_example():
    alpha = krippendorff_alpha(items_of(TABLE))
    assert round(alpha, 3) == 0.815
    assert alpha == pytest.approx(krippendorff.alpha(TABLE, level_of_measurement="ordinal"), abs=1e-12)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.integers(2, 5).flatmap(
        lambda raters: st.lists(
            st.lists(st.sampled_from([1, 2, 3, 4, 5, None]), min_size=raters, max_size=raters), min_size=1, max_size=12
        )
    )
)
def test_alpha_of_any_ratings(rows):
    table = np.array([[np.nan if x is None else x for x in row] for row in rows], dtype=float).T
    alpha = krippendorff_alpha([[x for x in row if x is not None] for row in rows])
    paired = [x for row in rows if sum(v is not None for v in row) > 1 for x in row if x is not None]
    if len(set(paired)) < 2:
        assert math.isnan(alpha)
    else:
        # The reference counts values that stand alone in an item among the domain, where they weigh nothing.
        assert alpha == pytest.approx(krippendorff.alpha(table, level_of_measurement="ordinal"), abs=1e-9)


def test_the_interval_is_of_resampled_items(monkeypatch):
    monkeypatch.setattr(agreement, "RESAMPLES", 200)
    items = [item for item in items_of(TABLE) if len(item) > 1]
    columns = np.array([item + [np.nan] * (4 - len(item)) for item in items])
    draws = np.random.default_rng(0).integers(0, len(items), size=(200, len(items)))
    alphas = [krippendorff.alpha(columns[draw].T, level_of_measurement="ordinal") for draw in draws]
    assert alpha_interval(items) == pytest.approx(np.quantile(alphas, [0.025, 0.975]))
    assert alpha_interval(items[:7]) is None
    assert alpha_interval([[3, 3]] * 9) is None


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30))
def test_kappa_of_any_two_raters(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    table = np.zeros((5, 5))
    np.add.at(table, (np.array(first) - 1, np.array(second) - 1), 1)
    for weights, theirs in (("", None), ("quadratic", "fc")):
        kappa = cohen_kappa(first, second, weights)
        if len({*first, *second}) < 2:
            assert math.isnan(kappa)
        else:
            assert kappa == pytest.approx(cohens_kappa(table, wt=theirs, return_results=False), abs=1e-9)


def test_kappa_of_nothing():
    with pytest.raises(InvalidInputError, match="two ratings an item, not 1 and 0"):
        cohen_kappa([1], [])
