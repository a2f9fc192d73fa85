import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from pytest_llm.stats.power import (
    detectable_mcnemar,
    detectable_mean,
    power_of_mcnemar,
    required_mcnemar,
    required_n,
)


def test_detectable_mean_has_the_power_it_says():
    for margin in (0.0, 0.02, 0.5):
        drop, critical = detectable_mean(0.1, 30, margin=margin, power=0.8), max(margin, 0.1 * stats.t.ppf(0.95, 30))
        assert drop > margin
        assert stats.t.cdf((drop - critical) / 0.1, 30) == pytest.approx(0.8)


def test_required_n_equals_statsmodels():
    for drop in (0.3, 1.0, 1.5):
        n = TTestPower().solve_power(effect_size=drop, alpha=0.05, power=0.8, alternative="larger")
        assert required_n(drop, 1.0) == int(np.ceil(n))
    assert required_n(1.0, 1000.0) == 6_182_558, "the normal approximation"
    assert required_n(2.0, 1.0) == 5, "t asks for 4, of which no drop can fail: 2^-4 > 0.05"
    assert required_n(2.0, 1.0, alpha=0.01) == 7
    assert required_n(0.3, 1.0, margin=0.22) > required_n(0.3, 1.0)
    with pytest.raises(ValueError, match="within the margin"):
        required_n(0.3, 1.0, margin=0.3)


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_power_of_mcnemar_is_the_sum_over_all_tables(margin):
    n, worse, better = 25, 0.3, 0.08
    total = 0.0
    for w in range(n + 1):
        for b in range(n + 1 - w):
            if w + b and stats.binom.sf(w - 1, w + b, 0.5) <= 0.05 and (w - b) / n > margin + 1e-12:
                total += stats.multinomial.pmf([w, b, n - w - b], n, [worse, better, 1 - worse - better])
    assert power_of_mcnemar(n, worse, better, margin=margin) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(("flips", "margin"), [(0.02, 0.05), (0.05, 0.05), (0.3, 0.02), (0.0, 0.4)])
def test_required_pairs_have_the_power_they_are_for(flips, margin):
    drop = 2 * margin
    n, flip = required_mcnemar(drop, flips, margin=margin), max(flips, drop)
    power = power_of_mcnemar(n, (flip + drop) / 2, (flip - drop) / 2, margin=margin)
    assert 0.8 <= power < 0.86
    with pytest.raises(ValueError, match="within the margin"):
        required_mcnemar(margin, flips, margin=margin)


def test_detectable_drop_in_accuracy():
    for flips in (0.0, 0.2):
        drop = detectable_mcnemar(100, flips)
        flip = max(drop, flips)
        assert power_of_mcnemar(100, (flip + drop) / 2, (flip - drop) / 2) == pytest.approx(0.8, abs=0.01)
    assert detectable_mcnemar(400, 0.2) < detectable_mcnemar(100, 0.2)
    assert detectable_mcnemar(4, 0.5) is None  # four flips out of four still have p = 1/16
