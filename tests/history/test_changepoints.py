"""Where a level changed: against ruptures, and against noise."""

import numpy as np
import pytest
import ruptures

from pytest_llm.history.changepoints import ALPHA, SHORTEST, changes, split_of


def places(values, **options):
    return [change.at for change in changes([float(x) for x in values], **options)]


@pytest.mark.parametrize("seed", range(12))
def test_the_splits_are_those_of_ruptures(seed):
    rng = np.random.default_rng(seed)
    levels, lengths = rng.normal(0, 4, size=4), rng.integers(8, 25, size=4)
    values = np.concatenate([rng.normal(level, 1, size=n) for level, n in zip(levels, lengths, strict=True)])
    found = changes(values.tolist())
    assert found
    reference = ruptures.Binseg(model="l2", min_size=SHORTEST, jump=1).fit(values)
    assert [change.at for change in found] == reference.predict(n_bkps=len(found))[:-1]
    ends = [0, *(change.at for change in found), len(values)]
    means = [values[a:b].mean() for a, b in zip(ends, ends[1:], strict=False)]
    assert [change.before for change in found] == pytest.approx(means[:-1])
    assert [change.after for change in found] == pytest.approx(means[1:])


def test_the_size_of_a_split_is_the_drop_in_squared_error():
    """CUSUM squared is what an l2 split saves, so the largest is the best."""
    values = np.random.default_rng(5).normal(size=30)
    values -= values.mean()
    (at,), (size,) = split_of(values[None])
    saved = [
        (values**2).sum() - sum(((part - part.mean()) ** 2).sum() for part in (values[:i], values[i:]))
        for i in range(3, 28)
    ]
    assert at == 3 + int(np.argmax(saved))
    assert size**2 == pytest.approx(max(saved))


NOISE = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2, size=n),
    "one in ten fails": lambda rng, n: rng.binomial(20, 0.9, size=n) / 20,
}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("n", [8, 20, 60])
def test_noise_alone_is_marked_no_more_often_than_alpha_says(kind, n):
    rng = np.random.default_rng(n)
    alarms = sum(bool(places(NOISE[kind](rng, n), orders=199, seed=i)) for i in range(400))
    assert alarms <= 400 * ALPHA + 3 * (400 * ALPHA) ** 0.5  # three standard deviations above


def test_a_fair_coin_is_the_worst_case_of_the_rule_for_steps():
    rng = np.random.default_rng(0)
    for n in (6, 8, 12):
        assert sum(bool(places(rng.integers(0, 2, size=n), orders=199, seed=i)) for i in range(600)) < 600 * 0.075


def test_steps_without_noise_need_three_runs_on_either_side():
    assert places([1, 1, 1, 2, 2]) == []
    assert places([1, 1, 1, 2, 2, 2]) == [3]
    assert places([1] * 5 + [2] * 4 + [1] * 3 + [3]) == [5, 9]
    assert [change.p for change in changes([1.0] * 3 + [2.0] * 3)] == [0.0]


def test_one_outlier_is_no_change():
    assert places([0.5] * 10 + [0.1] + [0.5] * 10) == []


def test_too_short_or_constant():
    assert places([]) == places([1]) == places([1, 2, 3, 4, 5]) == places([2] * 50) == []


def test_the_same_series_gives_the_same_answer():
    values = np.random.default_rng(3).normal(size=80).tolist()
    values[40:] = [x + 2 for x in values[40:]]
    assert changes(values) == changes(values) != []
