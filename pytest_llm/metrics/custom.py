"""A metric that is the user's own function."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, LLMError, measured
from pytest_llm.metrics.inputs import Examples, configured, listed, mean, read, read_outputs
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import counted

__tracebackhide__ = measured


def custom(
    function: Callable[..., Any],
    predictions: Any,
    references: Any = None,
    *,
    ids: Iterable[Any] | None = None,
    higher_is_better: bool | None = None,
    **options: Any,
) -> Score:
    """Return the `Score` of ``function(predictions[, references], **options)``.

    The function gets what was given as lists of one entry an example, whatever that is (a text with its tokens, a
    ranking, a vector), or as arrays. It returns one number an example, of which the mean is the value; or one number,
    which says nothing of its examples; or a `Score`. Its name and options, those that a `functools.partial` sets among
    them, are the signature by which a baseline knows the metric: numbers, texts, containers and arrays by what they
    hold, answers of a model by what was asked, a model that judges (`llm_loader`) by its weights or its service's name,
    any other object by its ``signature``, a text, or its class. Its code is no part of that. Without
    ``higher_is_better`` the direction is that of the `Score` it returned, or else higher.

    Raises:
        InvalidInputError: the function raised something else than `LLMError` (it is the cause), or returned what is
            none of these, or a `Score` that contradicts ``ids`` or ``higher_is_better``.
    """
    name, settings = _configuration(function)
    if isinstance(predictions, str):
        predictions, references = [predictions], None if references is None else [references]
    predictions = _kept(name, "predictions", predictions)
    if references is None:
        examples = read_outputs(name, predictions, ids, kind="anything")
    else:
        references = _kept(name, "references", references)
        examples = read(name, predictions, references, ids, kind="anything")
    try:
        inputs = (predictions,) if references is None else (predictions, references)
        answer = function(*inputs, **options)
    except LLMError:
        raise
    except Exception as error:  # the judge's own code; an AssertionError in it is not a regression
        raise InvalidInputError(f"{name} could not be computed: {type(error).__name__}: {error}") from error
    signature = configured(name, {**settings, **options})
    if isinstance(answer, Score):
        return _own(name, answer, signature or name, examples, ids is not None, higher_is_better)
    direction = True if higher_is_better is None else higher_is_better
    about: dict[str, Any] = {"name": name, "higher_is_better": direction, "signature": signature}
    if getattr(answer, "ndim", None) == 0:  # an array or a tensor of one number
        answer = answer.item()
    if isinstance(answer, numbers.Real):
        return examples.score(float(answer), per_example=(), **about)
    found = listed(name, "what it returned", answer, "a number, or one an example")
    if len(found) != len(examples.ids):
        raise InvalidInputError(
            f"{name}: it returned {counted(len(found), 'value')} for {counted(len(examples.ids), 'prediction')}; it "
            "returns a number, or one an example"
        )
    each = [_number(name, id, x) for id, x in zip(examples.ids, found, strict=True)]
    value = mean(each) if all(map(math.isfinite, each)) else math.nan
    return examples.score(value, per_example=each, **about)


def _own(
    name: str, score: Score, signature: str, examples: Examples, named: bool, higher_is_better: bool | None
) -> Score:
    """Return the function's own ``score`` of these examples, with its ``signature``, and the ids where it has none."""
    if higher_is_better not in (None, score.higher_is_better):
        better, bound = ("higher", "at_most") if score.higher_is_better else ("lower", "at_least")
        raise InvalidInputError(
            f"{score.name}: {better} is better, says the Score that {name} returned, and higher_is_better="
            f"{higher_is_better} (or {bound}=) contradicts it"
        )
    about: dict[str, Any] = {"signature": f"{score.signature or score.name}|{signature}"}
    if named and score.ids != examples.ids:
        if score.n != len(examples.ids) or score.ids != tuple(map(str, range(score.n))):
            raise InvalidInputError(
                f"{name}: ids= names other examples than the Score that it returned, of {counted(score.n, 'example')}"
            )
        about["ids"] = examples.ids
    if not score.request:
        about |= {"request": examples.request, "origin": examples.origin}
    return Score(float(score), **{**vars(score), **about})


def _configuration(function: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """Return the function's name, and what a partial has set of it: positional arguments by their place."""
    settings: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        settings = {**{str(i): x for i, x in enumerate(function.args)}, **function.keywords, **settings}
        function = function.func
    return getattr(function, "__name__", type(function).__name__), settings


def _kept(name: str, what: str, values: Any) -> Any:
    """Return ``values`` as a list, which can be read twice; an array or a tensor as it is."""
    return values if hasattr(values, "tolist") else listed(name, what, values)


def _number(name: str, id: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name}: it returned {value!r:.80} for example [{id}], which is no number") from error
