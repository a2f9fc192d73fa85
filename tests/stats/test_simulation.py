"""Seeded simulations, small versions of ``make bench``'s: gates cry wolf no more often than they say."""

import pytest

from tests.benchmarks.bench_gates import ALPHA, CASES, POWER, simulate

RUNS = 300


def error(rate):
    return (rate * (1 - rate) / RUNS) ** 0.5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_false_alarms_and_power(case):
    found = simulate(case, RUNS, resamples=500)
    # Three standard errors: of sixteen such rates in few runs, one is likely beyond two by chance alone.
    assert found.false_fail <= ALPHA + 3 * error(ALPHA)
    if case.still_only:
        return
    assert found.false_pass <= ALPHA + 3 * error(ALPHA)
    assert found.power == pytest.approx(POWER, abs=0.05 + 2 * error(POWER))
    assert found.margin_power == pytest.approx(POWER, abs=0.05 + 2 * error(POWER))
