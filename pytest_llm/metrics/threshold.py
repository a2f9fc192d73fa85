"""A threshold on a metric: whether it makes sense, and the verdict on a score."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.evidence import Example, PerExample
from pytest_llm.metrics.registry import TOLERANCE, Metric, of
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.uncertainty import standard_error
from pytest_llm.reports.text import apart
from pytest_llm.stats.binary import rate_error
from pytest_llm.verdicts import Outcome, Verdict

__tracebackhide__ = measured


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A bound that was checked to make sense; ``notes`` say what is odd about it."""

    limit: float
    at_least: bool
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The argument's name: ``at_least`` or ``at_most``."""
        return "at_least" if self.at_least else "at_most"

    def allows(self, value: float) -> bool:
        """Whether ``value`` is on the right side."""
        slack = TOLERANCE * max(1.0, abs(self.limit))
        return value >= self.limit - slack if self.at_least else value <= self.limit + slack


def threshold(
    metric: Metric | None, at_least: Any, at_most: Any, *, name: str = "", higher_is_better: bool | None = None
) -> Threshold:
    """Check the bound on ``metric``, or on an unknown metric called ``name``.

    Raises:
        InvalidInputError: no bound or two, not a number, on the wrong side, or out of the metric's range.
    """
    label = metric.label if metric else name
    if (at_least is None) == (at_most is None):
        raise InvalidInputError(f"{label}: give one bound, at_least= or at_most=")
    upward = at_least is not None
    limit = at_least if upward else at_most
    if isinstance(limit, bool) or not isinstance(limit, numbers.Real) or not math.isfinite(limit):
        raise InvalidInputError(f"{label}: the bound must be a finite number, not {limit!r}")
    limit = float(limit)
    better = metric.higher_is_better if metric else higher_is_better
    if better is not None and better != upward:
        direction, right, wrong = ("higher", "at_least", "at_most") if better else ("lower", "at_most", "at_least")
        raise InvalidInputError(f"{label}: {direction} is better, so its bound is {right}=, not {wrong}=")
    return Threshold(limit, upward, _oddities(metric, limit, upward) if metric else ())


def _oddities(metric: Metric, limit: float, upward: bool) -> tuple[str, ...]:
    fault = metric.fault(limit)
    if fault:
        raise InvalidInputError(fault)
    if metric.unit == "points" and 0 < limit < 1:
        points = f"{metric.label} is in points, where 100 is one hundred percent: did you mean {limit * 100:g}?"
        if upward:  # next to every value passes
            raise InvalidInputError(points)
        return (points,)
    if upward and limit == metric.lowest:
        return (f"every value passes this bound: {metric.label} is never below {metric.lowest:g}",)
    return ()


def judge(score: Score, bound: Threshold) -> Verdict:
    """Return the verdict on ``score``.

    It is ``invalid`` (an error) when the score or one of its examples is not finite, or no value of its metric, and a
    ``warn`` when the bound holds but is odd, or within two standard errors of the value.
    """
    metric = of(score)
    label = metric.label if metric else score.name
    figures: dict[str, Any] = {"value": float(score), bound.word: bound.limit, "n": score.n}
    weights = score.weights or (1.0,) * len(score.per_example)
    broken = [i for i, x in enumerate(score.per_example) if weights[i] and not math.isfinite(x)]
    fault = metric.fault(score) if metric else ""
    if broken or fault or not math.isfinite(score):
        return _invalid(score, label, figures, broken, fault)
    passed = bound.allows(score)
    notes = list(bound.notes)
    error = standard_error(score)
    if error == 0 and _unanimous(score, metric):
        error = rate_error(round(sum(score.per_example)), score.n)
    if error is not None:
        figures["standard error"] = error
        if error > 0 and bound.limit != _best(metric) and abs(score - bound.limit) <= 2 * error:
            notes.append("the bound is within two standard errors of the value: this threshold will flake")
    outcome: Outcome = "fail" if not passed else "warn" if notes else "pass"
    if not passed and score.signature:
        notes.append(f"measured as {score.signature}")
    value, limit = _apart(float(score), bound.limit, score.unit)
    relation = {
        (True, True): "is at least", (True, False): "is at most", (False, True): "is below", (False, False): "is above"
    }[passed, bound.at_least]  # fmt: skip
    return Verdict(
        kind="threshold",
        name=score.name,
        status="pass" if passed else "fail",
        outcome=outcome,
        headline=f"{label} {value} {relation} {limit}",
        figures=figures,
        examples=() if outcome == "pass" else _worst(score, metric),
        notes=tuple(notes),
        per_example=PerExample.of(score),
    )


def _invalid(score: Score, label: str, figures: dict[str, Any], broken: list[int], fault: str) -> Verdict:
    notes = ["nothing was measured, so this is an error and not a regression"]
    if broken:
        shown = ", ".join(score.ids[i] for i in broken[:10]) + (", ..." if len(broken) > 10 else "")
        notes.append(f"{len(broken)} of {score.n} examples are not finite: {shown}")
    return Verdict(
        kind="threshold",
        name=score.name,
        status="invalid",
        outcome="error",
        headline=fault
        or (f"{label} is {float(score)}" if not math.isfinite(score) else f"{label} has examples without a value"),
        figures=figures,
        examples=tuple(_example(score, i) for i in broken[:3]),
        notes=tuple(notes),
    )


def _worst(score: Score, metric: Metric | None) -> tuple[Example, ...]:
    """Return the three worst examples, without those that nothing is better than."""
    best = _best(metric)
    worst = [i for i in score.worst(3) if best is None or not math.isclose(score.per_example[i], best)]
    return tuple(_example(score, i) for i in worst)


def _unanimous(score: Score, metric: Metric | None) -> bool:
    """Whether all examples are right, or all wrong: that they do not vary is no proof that the next is so too."""
    share = metric is not None and (metric.lowest, metric.highest) == (0, 1)
    return share and not score.weights and {*score.per_example} in ({0.0}, {1.0})


def _best(metric: Metric | None) -> float | None:
    """Return the value nothing is better than."""
    return None if metric is None else metric.highest if metric.higher_is_better else metric.lowest


def _example(score: Score, i: int) -> Example:
    return Example(
        id=score.ids[i],
        expected=score.expected(i),
        actual=score.predictions[i] if score.predictions else "",
        value=score.per_example[i],
    )


def _apart(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Return both as text, with as many digits as it takes to show the limit as it is and the two apart."""
    forms = (".1f", ".3f", ".9g", ".17g") if unit == "points" else (".3g", ".6g", ".9g", ".17g")
    return apart((form for form in forms if float(format(limit, form)) == limit), (value, limit))[0]
