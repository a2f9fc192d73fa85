"""An output against what people said: near what they liked or wrote, and not what they turned down."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.feedback.cases import FeedbackCase, normalised
from pytest_llm.golden.diff import line_diff
from pytest_llm.golden.evidence import side_by_side
from pytest_llm.golden.file import Golden
from pytest_llm.metrics import registry
from pytest_llm.metrics.threshold import threshold
from pytest_llm.record import settle
from pytest_llm.reports.text import number, shorten
from pytest_llm.verdicts import Verdict

__tracebackhide__ = measured

#: The default metric works on characters, in every script, and forgives another order of words; points of chrF.
METRIC, AT_LEAST = "chrf", 50.0
#: Share of a metric's highest value from which an output is one that was turned down, said again.
AGAIN = 0.9


def assert_feedback(
    case: FeedbackCase, output: str, *, metric: str = METRIC, at_least: float | None = None, **options: Any
) -> Verdict:
    """Assert that ``output`` answers ``case`` as people asked.

    It fails when it says again what was turned down (but for case and white space), unless that is, letter by letter,
    the reference or a golden. With one of these it fails too when it is less than ``at_least`` like all of them, or
    more like an output that was turned down than like any of them. With none, it fails when it is `AGAIN` of the
    metric's highest value like what was turned down.

    Args:
        case: a parameter that `feedback_cases` gave.
        output: one answer of the model.
        metric: a similarity, of the names `assert_metric` takes: chrf, rougeL, f1, exact_match, similarity, ...
        at_least: its bound, in the metric's units; 50 points of chrF by default.
        options: of the metric, as ``encoder=`` of ``similarity``.

    Raises:
        AssertionError: people would not have liked it.
        InvalidInputError: this is no case, the output is no text, the case holds nothing to compare with, or the metric
            does not fit, or is NaN.
    """
    if not isinstance(case, FeedbackCase):
        raise InvalidInputError(f"assert_feedback takes a case that feedback_cases(...) gave, not {case!r:.80}")
    if not isinstance(output, str):
        raise InvalidInputError(f"feedback case {case.id}: an output is one text, not {type(output).__name__}")
    if not case.expected and not case.rejected:
        raise InvalidInputError(
            f"feedback case {case.id}: as many thumbs up as down, and no correction: nothing to check"
        )
    known = registry.get(metric)
    if not isinstance(known, registry.Metric) or not known.higher_is_better or known.name in ("accuracy", "valid_json"):
        raise InvalidInputError(f"assert_feedback: {metric!r} is no similarity of two texts; chrf, rougeL, f1, ... are")
    bound = threshold(known, AT_LEAST if at_least is None and metric == METRIC else at_least, None)

    def like(texts: Sequence[str]) -> dict[str, float]:
        values = {text: float(known(str(output), text, **options)) if text else 0.0 for text in texts}
        for text, value in values.items():
            if math.isnan(value):  # which is neither near nor far, and no bound stops it
                raise InvalidInputError(f"feedback case {case.id}: {known.label} to {shorten(text)!r} is nan")
        return values

    # A correction may change what the metric does not see: a space for chrF, punctuation for f1. So an output that was
    # turned down fails for what it is, unless it is the very text that people asked for (another spelling of one).
    asked_for = output.strip() in (text.strip() for text in case.expected)
    again = [] if asked_for else [text for text in case.rejected if normalised(text) == normalised(output)]
    # Without a letter there is nothing to be like, and a metric may refuse it; said again, it is told above.
    spoken = [text for text in case.rejected if any(map(str.isalnum, text))]
    disliked = {**dict.fromkeys(case.rejected, 0.0), **like(spoken), **dict.fromkeys(again, known.highest)}
    liked = like(case.expected)
    best, value = max(liked.items(), key=lambda item: item[1], default=("", 0.0))
    worst, nearest = max(disliked.items(), key=lambda item: item[1], default=("", 0.0))
    said = "the reference" if best == case.reference else "a golden"
    if liked and not again:
        # Sharing words with the right answer is not enough for what shares more of them with a wrong one.
        bound = dataclasses.replace(bound, limit=max(bound.limit, nearest))
        failed = not bound.allows(value)
        figures: dict[str, Any] = {"value": value, "at_least": bound.limit}
        headline = (
            f"{known.label} {number(value)} to {said} is {'below' if failed else 'at least'} {number(bound.limit)}"
        )
        if failed and nearest == bound.limit:
            headline = f"{known.label} {number(value)} to {said}, but {number(nearest)} to what was turned down"
    else:
        value, limit = nearest, AGAIN * known.highest
        failed = value >= limit
        figures = {"value": value, "at_most": limit}
        headline = (
            f"{known.label} {number(value)} to what was turned down is {'at least' if failed else 'below'} {limit:g}"
        )
    if failed and again:
        headline = "an output that was turned down came back"
    up, down = case.votes
    notes = [f"{up} thumbs up, {down} thumbs down, {sum(c.score for c in case.corrections)} corrected"]
    notes += [f"turned down: {shorten(worst)}"] if worst else []
    new = Golden.of(output, "")
    return settle(
        Verdict(
            kind="threshold",
            name="feedback",
            status="fail" if failed else "pass",
            outcome="fail" if failed else "pass",
            headline=f"feedback: {headline}",
            figures=figures,
            notes=tuple(notes) if failed else (),
            diff=(line_diff(best, str(output)) if best else (f"+ {shorten(output)}",)) if failed else (),
            evidence=side_by_side(Golden("", best, {}, {}, {}) if best else None, new),
        )
    )
