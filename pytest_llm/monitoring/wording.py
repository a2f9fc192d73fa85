"""The figures of a check as people read them, the same in the terminal and on the page."""

from __future__ import annotations

from pytest_llm.monitoring.checks import Check
from pytest_llm.monitoring.panel import LARGE, MODERATE
from pytest_llm.reports.text import p_value as p_value
from pytest_llm.reports.text import visible

STATUSES = {"none": "no drift", "small": "small", "drift": "drift"}

#: Parts of a check that are named.
SHOWN = 4

#: What each test is, for the page and the documentation.
TESTS = {
    "psi": "population stability index of ten bins, permutation p",
    "rate": "difference of two rates in percentage points, Fisher's exact p",
    "js": "Jensen-Shannon divergence in bits, permutation p",
    "mmd": "maximum mean discrepancy of embeddings, squared and unbiased, permutation p",
}

_UNITS = {"psi": ("PSI", 3), "js": ("JS", 3), "mmd": ("MMD²", 4)}


def name(check: Check) -> str:
    """Return the check's name, with its segment where it has one."""
    return f"{check.name} [{visible(check.segment)[:40]}]" if check.segment else check.name


def apart(check: Check) -> str:
    """Return how far the windows are apart, with its unit."""
    if check.test == "rate":
        return f"{round(check.statistic * 100, 1) + 0.0:+.1f} pts"  # + 0.0 makes -0.0 plain
    unit, digits = _UNITS[check.test]
    return f"{unit} {_fixed(check.statistic, digits)}"


def chance(check: Check) -> str:
    """Return how far the windows are apart on average where nothing drifted, without the unit; "" for a rate."""
    return "" if check.test == "rate" else _fixed(check.chance, 4)


def _fixed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"


def reading(check: Check) -> str:
    """Return the usual reading of a PSI; "" for what has none."""
    if check.test != "psi":
        return ""
    return "stable" if check.statistic < MODERATE else "moderate" if check.statistic < LARGE else "large"


def share(value: float) -> str:
    """Return a share as a percentage."""
    return f"{value:.2%}" if 0 < value < 0.01 else f"{value:.1%}"


def moved(check: Check, arrow: str = "→") -> str:
    """Return the parts of a check whose shares differ most, as ``en 98.0% → 61.0%``."""
    most = sorted(check.bars, key=lambda bar: -abs(bar.current - bar.reference))[:SHOWN]
    # Bins of lengths are read in their order, and words by what they add to the divergence.
    bars = [bar for bar in check.bars if bar in most] if check.test == "psi" else check.bars[:SHOWN]
    parts = (f"{visible(bar.label)[:40]} {share(bar.reference)} {arrow} {share(bar.current)}" for bar in bars)
    return ", ".join(parts)
