"""A comparison as one HTML file that needs nothing else: no network, no script.

The template escapes every text, and a content security policy lets nothing run and nothing load.
"""

from __future__ import annotations

from pytest_llm import environment
from pytest_llm.monitoring import wording
from pytest_llm.monitoring.checks import Check
from pytest_llm.monitoring.panel import FLOORS, Comparison
from pytest_llm.reports.html import asset, source_hash, template
from pytest_llm.stats.binary import wilson


def html(found: Comparison) -> str:
    """Return the page of a comparison."""
    from markupsafe import Markup

    style = asset("report.css") + asset("scroll.css") + asset("monitor.css")
    return template(asset("monitor.html.j2")).render(
        found=found,
        floors=FLOORS,
        wording=wording,
        interval=_interval,
        scale=_scale,
        version=environment.version("pytest-llm-regression"),
        style=Markup(style),
        style_hash=source_hash(style),
    )


def _interval(check: Check, side: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate, of the reference (0) or the current window (1)."""
    n = check.sizes[side]
    share = check.bars[0].current if side else check.bars[0].reference
    return wilson(round(share * n), n)


def _scale(found: Comparison, check: Check) -> float:
    """Return the share that a full bar stands for: one for all rates, so that their bars can be compared."""
    if check.test != "rate":
        return max(0.0001, *(share for bar in check.bars for share in (bar.reference, bar.current)))
    most = max(_interval(one, side)[1] for one in found.checks if one.test == "rate" for side in (0, 1))
    return next((full for full in (0.05, 0.1, 0.2, 0.5) if most <= full), 1.0)
