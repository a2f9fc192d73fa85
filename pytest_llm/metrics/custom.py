"""A metric that is the user's own function."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, LLMError, measured
from pytest_llm.metrics.inputs import configured, listed, mean, read, read_outputs
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import counted

__tracebackhide__ = measured


def custom(
    function: Callable[..., Any],
    predictions: Any,
    references: Any = None,
    *,
    ids: Iterable[Any] | None = None,
    higher_is_better: bool = True,
    **options: Any,
) -> Score:
    """Return the `Score` of ``function(predictions[, references], **options)``.

    The function gets what was given as lists of one entry an example, whatever that is (a text with its tokens, a
    ranking, a vector), or as arrays. It returns one number an example, of which the mean is the value; or one number,
    which says nothing of its examples; or a `Score`. Its name and options, those that a `functools.partial` sets among
    them, are the signature by which a baseline knows the metric: numbers, texts, containers and arrays by what they
    hold, answers of a model by what was asked, any other object by its class. Its code is no part of that.

    Raises:
        InvalidInputError: the function raised something else than `LLMError` (it is the cause), or returned what is
            none of these.
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
    if isinstance(answer, Score):
        return answer
    signature = configured(name, {**settings, **options})
    about: dict[str, Any] = {"name": name, "higher_is_better": higher_is_better, "signature": signature}
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
