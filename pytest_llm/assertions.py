"""Assertions on metrics: a value, a bound, and on failure the examples that cost most.

Each returns the `Score`. It raises ``AssertionError`` when the bound is missed, and `InvalidInputError` when
nothing could be measured: unusable input, a bound that makes no sense, a value that is NaN or infinite.
A bound within two standard errors of the value passes with a warning.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics import human, registry
from pytest_llm.metrics.inputs import References, Texts
from pytest_llm.metrics.rouge import check_kind
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.threshold import judge, threshold
from pytest_llm.record import settle

if TYPE_CHECKING:
    from pytest_llm.metrics.similarity import Encoder

__tracebackhide__ = measured


def assert_metric(
    metric: str | Score | Callable[..., Any],
    predictions: Any = None,
    references: Any = None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    **options: Any,
) -> Score:
    """Assert that a metric is at least, or at most, a bound.

    Args:
        metric: the name of a metric (``"bleu"``, or ``"evaluate:wer"`` for any module of ``evaluate``), an
            ``evaluate`` module, a `Score` computed before, or a function of predictions (and references)
            that returns a number, one number an example, or a `Score`.
        predictions: one text, or one an example; left out for a `Score`.
        references: one reference an example or several; left out for a metric that needs none.
        at_least: the bound where higher is better.
        at_most: the bound where lower is better.
        options: of the metric: ``ids=``, ``tokenize=``, ``key=``, ...
    """
    if isinstance(metric, Score):
        if predictions is not None or references is not None or options:
            raise InvalidInputError(f"{metric.name}: a Score is already computed; it takes a bound and nothing else")
        bound = threshold(
            registry.of(metric), at_least, at_most, name=metric.name, higher_is_better=metric.higher_is_better
        )
        settle(judge(metric, bound))
        return metric
    function = registry.get(metric)
    known = function if isinstance(function, registry.Metric) else None
    # Before the work: a bound that makes no sense costs nothing.
    threshold(known, at_least, at_most, name=str(getattr(metric, "__name__", metric)))
    if known is None:  # nobody else knows the direction
        options.setdefault("higher_is_better", at_least is not None)
    return assert_metric(function(predictions, references, **options), at_least=at_least, at_most=at_most)


def assert_bleu(predictions: Texts, references: References, *, at_least: float, **options: Any) -> Score:
    """Assert corpus BLEU in points (0-100); the options are those of `pytest_llm.metrics.bleu`."""
    return assert_metric("bleu", predictions, references, at_least=at_least, **options)


def assert_chrf(predictions: Texts, references: References, *, at_least: float, **options: Any) -> Score:
    """Assert corpus chrF in points (0-100); the options are those of `pytest_llm.metrics.chrf`."""
    return assert_metric("chrf", predictions, references, at_least=at_least, **options)


def assert_ter(predictions: Texts, references: References, *, at_most: float, **options: Any) -> Score:
    """Assert corpus TER in points (lower is better); the options are those of `pytest_llm.metrics.ter`."""
    return assert_metric("ter", predictions, references, at_most=at_most, **options)


def assert_rouge(
    predictions: Texts, references: References, *, at_least: float, kind: str = "rougeL", **options: Any
) -> Score:
    """Assert mean ROUGE F (0-1): ``kind`` is rouge1, rouge2, rougeL or rougeLsum; see `pytest_llm.metrics.rouge`."""
    check_kind(kind)
    return assert_metric(kind, predictions, references, at_least=at_least, **options)


def assert_exact_match(predictions: Texts, references: References, *, at_least: float, **options: Any) -> Score:
    """Assert the fraction of exact matches (0-1) after SQuAD normalisation, by which ``-5`` equals ``5``.

    ``normalize=False`` compares the texts as they are; see `pytest_llm.metrics.exact_match`.
    """
    return assert_metric("exact_match", predictions, references, at_least=at_least, **options)


def assert_f1(predictions: Texts, references: References, *, at_least: float, **options: Any) -> Score:
    """Assert the mean token F1 (0-1) after SQuAD normalisation; see `pytest_llm.metrics.f1`."""
    return assert_metric("f1", predictions, references, at_least=at_least, **options)


def assert_accuracy(predictions: Any, references: Any, *, at_least: float, **options: Any) -> Score:
    """Assert the fraction of labels that are right (0-1); see `pytest_llm.metrics.accuracy`."""
    return assert_metric("accuracy", predictions, references, at_least=at_least, **options)


def assert_loss(loss: float, *, at_most: float) -> Score:
    """Assert a loss in nats a token: what ``llm.loss(texts)`` returned, or a number."""
    return _assert_made("loss", loss, at_most)


def assert_perplexity(perplexity: float, *, at_most: float) -> Score:
    """Assert a perplexity: what ``llm.perplexity(texts)`` returned, or a number."""
    return _assert_made("perplexity", perplexity, at_most)


def assert_bits_per_byte(bits: float, *, at_most: float) -> Score:
    """Assert a loss in bits a byte: what ``llm.bits_per_byte(texts)`` returned, or a number."""
    return _assert_made("bits_per_byte", bits, at_most)


def assert_similar(
    predictions: Any, references: Any, *, at_least: float, encoder: Encoder | None = None, **options: Any
) -> Score:
    """Assert the mean cosine similarity (-1 to 1) of vectors, or of texts that ``encoder`` embeds."""
    return assert_metric("similarity", predictions, references, at_least=at_least, encoder=encoder, **options)


def assert_json(
    outputs: Texts, schema: dict[str, Any] | bool | None = None, *, at_least: float = 1.0, **options: Any
) -> Score:
    """Assert that every output (or a fraction of them) is JSON that satisfies ``schema``."""
    return assert_metric("valid_json", outputs, schema, at_least=at_least, **options)


def assert_matches(outputs: Texts, pattern: str | re.Pattern[str], *, at_least: float = 1.0, **options: Any) -> Score:
    """Assert that ``pattern`` is found in every output, or a fraction; ``full=True`` matches all of the text."""
    return assert_metric("matches", outputs, pattern, at_least=at_least, **options)


def assert_contains(outputs: Texts, expected: References, *, at_least: float = 1.0, **options: Any) -> Score:
    """Assert that every output (or a fraction) contains ``expected``: one text for all, or one entry an example.

    An entry is a text, or a list of which any one is enough; for a single output ``expected`` is its entry. To ask for
    all of several texts, assert each on its own.
    """
    return assert_metric("contains", outputs, expected, at_least=at_least, **options)


def assert_human_rating(
    outputs: Texts,
    *,
    at_least: float,
    raters_at_least: int = 1,
    agreement_at_least: float | None = None,
    ratings: Any = None,
    ids: Iterable[Any] | None = None,
) -> Score:
    """Assert the mean rating (1-5) that people gave these very outputs (`pytest_llm.metrics.human_rating`).

    An output that changed has no rating, and without one (or with fewer than ``raters_at_least``) nothing is measured.
    Nor is it where Krippendorff's alpha (ordinal, at most 1) of the ratings is below ``agreement_at_least``, or fewer
    than five outputs (all of them, of fewer) have two ratings: a mean of raters who do not agree means little.
    """
    bound = threshold(registry.find(human.NAME), at_least, None)
    if agreement_at_least is not None and not (
        isinstance(agreement_at_least, numbers.Real) and -1 <= agreement_at_least <= 1
    ):
        raise InvalidInputError(f"agreement_at_least: an alpha is at most 1, not {agreement_at_least!r}")
    found = human.measure(outputs, ratings, ids, raters_at_least, note=True)
    score = found.score()
    verdict = found.described(judge(score, bound))
    settle(verdict if agreement_at_least is None else found.agreeing(verdict, agreement_at_least))
    return score


def _assert_made(name: str, value: Any, at_most: float) -> Score:
    """Assert a figure that the model made."""
    if isinstance(value, Score):
        if value.name != name and registry.find(value.name):
            raise InvalidInputError(f"assert_{name} got {value.name}: use assert_{value.name}, or pass llm.{name}(...)")
        return assert_metric(value, at_most=at_most)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInputError(
            f"assert_{name} takes a number or what llm.{name}(texts) returned, not {type(value).__name__}"
        )
    metric = registry.find(name)
    unit = metric.unit if metric else ""
    return assert_metric(Score(float(value), name=name, n=1, higher_is_better=False, unit=unit), at_most=at_most)
