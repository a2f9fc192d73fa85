"""The bounds of a distribution golden: what each figure may be, and how it is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.golden import noise
from pytest_llm.golden.divergence import PERCENTILES, Estimate
from pytest_llm.reports.text import did_you_mean


@dataclasses.dataclass(frozen=True)
class Bound:
    """A bound ``name`` on ``figure`` of `pytest_llm.golden.divergence.figures`, and its ``default``.

    A figure's distance from that of two equal distributions is what a bound limits and a noise floor raises: nats, the
    change of a probability (either way), the share of positions that do not agree, or the log of a ratio (either way).
    """

    name: str
    figure: str
    label: str
    default: float = math.inf
    unit: Literal["nats", "change", "agreement", "ratio"] = "change"

    def distance(self, value: float) -> float:
        """Return how far ``value`` of the figure is from that of two equal distributions."""
        if self.unit == "agreement":
            return 1.0 - value
        return abs(math.log(max(value, 1e-300))) if self.unit == "ratio" else abs(value)

    def value(self, distance: float) -> float:
        """Return the figure at ``distance`` (of a ratio, the larger of two)."""
        if self.unit == "agreement":
            return 1.0 - distance
        return math.exp(min(distance, 700.0)) if self.unit == "ratio" else distance

    def shown(self, value: float) -> str:
        """Return a value of the figure as text."""
        if self.unit == "agreement":
            return f"{100 * value:.2f} %"
        if self.unit == "ratio":
            return f"{value:.6f}"
        return f"{value:.3g}" if self.unit == "nats" else f"{100 * value:.3g} %"

    @property
    def sign(self) -> str:
        """What stands before a value: only the least a divergence can be is known."""
        return ">= " if self.unit == "nats" else ""


#: In float32 on a CPU, another batch, attention or thread count moved SmolLM2-135M by 1e-11 nats (mean) and 5e-11
#: (max); noise of 1 % of the norm of one layer's weights by 1e-4 and 1e-3. `limits` raises the perplexity ratio's.
BOUNDS = {
    bound.name: bound
    for bound in (
        Bound("max_mean_kl", "mean_kl", "KL mean", 1e-6, "nats"),
        Bound("max_median_kl", "median_kl", "KL median", unit="nats"),
        Bound("max_p99_kl", "p99_kl", "KL p99", unit="nats"),
        Bound("max_kl", "max_kl", "KL max", 1e-4, "nats"),
        Bound("min_top1", "top1", "top-1 agreement", 0.0, "agreement"),
        Bound("max_mean_delta_p", "mean_delta_p", "delta p mean"),
        Bound("max_rms_delta_p", "rms_delta_p", "delta p RMS"),
        *(Bound(f"max_p{p}_delta_p", f"p{p}_delta_p", f"delta p p{p}") for p in PERCENTILES),
        Bound("max_perplexity_ratio", "perplexity_ratio", "perplexity ratio", 1.0, "ratio"),
    )
}


def check(given: Mapping[str, float]) -> None:
    """Check the bounds that a test gives.

    Raises:
        InvalidInputError: no such bound, or a value that is none.
    """
    for name, value in given.items():
        if name not in BOUNDS:
            hint = did_you_mean(name, BOUNDS, f": there are {', '.join(BOUNDS)}")
            raise InvalidInputError(f"check_distribution() has no bound {name!r}{hint}")
        unit = BOUNDS[name].unit
        least, most = (1.0 if unit == "ratio" else 0.0), (1.0 if unit == "agreement" else math.inf)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise InvalidInputError(f"{name}={value!r} is no bound: it is a number from {least:g} to {most:g}")


def limits(given: Mapping[str, float], floor: Any) -> dict[str, float]:
    """Return by name of every bound the largest distance allowed: that ``given``, else its default.

    It is never below a multiple of the noise floor. Where no perplexity ratio is given, the mean KL's limit d sets it:
    of a model that is d nats away, logprobs differ by a root mean square of about sqrt(2 d). KL alone would miss a
    text's token that was improbable, and has become a thousand times more so.
    """
    found = {
        name: max(
            bound.distance(given.get(name, bound.default)), noise.FACTOR * (noise.floor_of(floor, bound.name) or 0.0)
        )
        for name, bound in BOUNDS.items()
    }
    if "max_perplexity_ratio" not in given:
        found["max_perplexity_ratio"] = max(found["max_perplexity_ratio"], math.sqrt(2 * found["max_mean_kl"]))
    return found


def beyond(found: Mapping[str, Estimate], limits: Mapping[str, float]) -> list[Bound]:
    """Return the bounds whose figures are further from those of equal distributions than ``limits`` allow."""
    return [one for name, one in BOUNDS.items() if one.distance(found[one.figure].value) > limits[name]]


def table(found: Mapping[str, Estimate], limits: Mapping[str, float], floor: Any) -> list[str]:
    """Return every figure with its interval, what it may be, and the noise floor, as aligned lines."""
    lines = [("", "value", "95 % interval", "allowed", "noise floor")]
    over = beyond(found, limits)
    for name, bound in BOUNDS.items():
        one, limit, moved = found[bound.figure], limits[name], noise.floor_of(floor, name)
        interval = "" if one.low is None or one.high is None else f"{bound.shown(one.low)} to {bound.shown(one.high)}"
        allowed = (">= " if bound.unit == "agreement" else "<= ") + bound.shown(bound.value(limit))
        if limit >= (1.0 if bound.unit == "agreement" else math.inf):
            allowed = "any"
        last = "" if moved is None else bound.shown(bound.value(moved))
        last += "  <-- beyond" if bound in over else ""
        lines.append((bound.label, bound.sign + bound.shown(one.value), interval, allowed, last))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
