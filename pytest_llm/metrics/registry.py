"""Every metric by name, with what a threshold on it may be."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.accuracy import accuracy
from pytest_llm.metrics.custom import custom
from pytest_llm.metrics.entities import entity_f1
from pytest_llm.metrics.evaluate_module import evaluate_module
from pytest_llm.metrics.human import human_rating
from pytest_llm.metrics.rouge import rouge
from pytest_llm.metrics.sacre import bleu, chrf, sentence_bleu, ter
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.similarity import similarity
from pytest_llm.metrics.squad import exact_match, f1
from pytest_llm.metrics.text import contains, matches, valid_json
from pytest_llm.reports.text import did_you_mean

__tracebackhide__ = measured

#: A value this close to its bound, relatively, is on it: sacrebleu's perfect BLEU is 100.00000000000004.
TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: call it with predictions, references and its options to get a `Score`.

    ``label`` is how reports write it; ``lowest`` and ``highest`` are the values it can take.
    """

    name: str
    label: str
    function: Callable[..., Score]
    higher_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    unit: str = ""

    def __call__(self, *inputs: Any, **options: Any) -> Score:
        """Compute the metric.

        Raises:
            InvalidInputError: unusable input, or an option the metric does not have.
        """
        known = inspect.signature(self.function).parameters
        for option in options:
            if option not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                hint = did_you_mean(option, known, f"; it has {', '.join(known)}")
                raise InvalidInputError(f"{self.name} has no option {option!r}{hint}")
        return self.function(*inputs, **options)

    def fault(self, value: float) -> str:
        """Say why no value of this metric can be ``value``, and what may have been meant; ``""`` if one can."""
        slack = TOLERANCE * max(1.0, abs(value))
        if not math.isfinite(value) or self.lowest - slack <= value <= self.highest + slack:
            return ""
        low, high = f"{self.lowest:g}", f"{self.highest:g}"
        span = f"never below {low}" if math.isinf(self.highest) else f"between {low} and {high}"
        unit, hint = f" {self.unit}" if self.unit else "", ""
        if self.highest == 1 < value <= 100:
            hint = f"; did you mean {value / 100:g}?"
        elif self.name == "perplexity":
            hint = "; is this the loss, of which it is exp()?"
        return f"{self.label}: no value can be {value:g}, it is {span}{unit}{hint}"


def _made_by(method: str, *_: Any, **__: Any) -> Score:
    raise InvalidInputError(f"{method} is the model's to compute: pass what llm.{method}(texts) returned")


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("bleu", "BLEU", bleu, highest=100.0, unit="points"),
        Metric("sentence_bleu", "sentence BLEU", sentence_bleu, highest=100.0, unit="points"),
        Metric("chrf", "chrF", chrf, highest=100.0, unit="points"),
        Metric("ter", "TER", ter, higher_is_better=False, highest=math.inf, unit="points"),
        Metric("rouge1", "ROUGE-1", functools.partial(rouge, kind="rouge1")),
        Metric("rouge2", "ROUGE-2", functools.partial(rouge, kind="rouge2")),
        Metric("rougeL", "ROUGE-L", functools.partial(rouge, kind="rougeL")),
        Metric("rougeLsum", "ROUGE-Lsum", functools.partial(rouge, kind="rougeLsum")),
        Metric("exact_match", "exact match", exact_match),
        Metric("f1", "token F1", f1),
        Metric("accuracy", "accuracy", accuracy),
        Metric("entity_f1", "entity F1", entity_f1),
        Metric("matches", "fraction matching the pattern", matches),
        Metric("contains", "fraction containing what was expected", contains),
        Metric("valid_json", "fraction of valid JSON", valid_json),
        Metric("human_rating", "mean human rating", human_rating, lowest=1.0, highest=5.0),
        Metric("similarity", "similarity", similarity, lowest=-1.0),
        Metric("loss", "loss", functools.partial(_made_by, "loss"), False, highest=math.inf, unit="nats/token"),
        Metric("perplexity", "perplexity", functools.partial(_made_by, "perplexity"), False, 1.0, math.inf),
        Metric(
            "bits_per_byte",
            "bits per byte",
            functools.partial(_made_by, "bits_per_byte"),
            False,
            highest=math.inf,
            unit="bits/byte",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the name of every metric."""
    return tuple(_METRICS)


def find(name: str) -> Metric | None:
    """Return the metric called ``name``, or ``None``."""
    return _METRICS.get(name)


def of(score: Score) -> Metric | None:
    """Return the metric that made ``score``, ``None`` when it is not one of these."""
    metric = _METRICS.get(score.name)
    return metric if metric and metric.unit == score.unit else None


def get(metric: Any) -> Metric | Callable[..., Score]:
    """Return what computes ``metric``.

    Args:
        metric: the name of one; ``"evaluate:NAME_OR_PATH"`` or an ``EvaluationModule``, as for `evaluate_module`;
            or a function, as for `custom`.

    Raises:
        InvalidInputError: there is no such metric; the message proposes the nearest name.
    """
    for known in _METRICS.values():
        if metric in (known.name, known) or metric is known.function:
            return known
    if callable(metric):  # before what has compute(): a metric of torchmetrics is called and has one
        return functools.partial(custom, metric)
    if callable(getattr(metric, "compute", None)):
        return functools.partial(evaluate_module, metric)
    if not isinstance(metric, str):
        raise InvalidInputError(f"a metric is a name, a function, an evaluate module or a Score, not {metric!r}")
    if metric.startswith("evaluate:"):
        return functools.partial(evaluate_module, metric.removeprefix("evaluate:"))
    folded = {known.casefold(): known for known in (*_METRICS, *(m.label for m in _METRICS.values()))}
    close = difflib.get_close_matches(metric.casefold(), folded, n=1)
    meant = next((m.name for m in _METRICS.values() if close and folded[close[0]] in (m.name, m.label)), None)
    hint = f"; did you mean {meant!r}?" if meant else "."
    raise InvalidInputError(
        f"there is no metric {metric!r}{hint} Known are {', '.join(_METRICS)}, and any other as 'evaluate:NAME_OR_PATH'"
    )
