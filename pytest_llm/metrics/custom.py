"""A metric that is the user's own function."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import listed, mean, read, read_outputs
from pytest_llm.metrics.score import Score

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

    The function gets lists (predictions with their tokens, as the model gave them). It returns one number an
    example, of which the mean is the value; or one number, which says nothing of its examples; or a `Score`.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if isinstance(predictions, str):
        predictions, references = [predictions], None if references is None else [references]
    if references is None:
        examples = read_outputs(name, predictions, ids, labels=True)
    else:
        examples = read(name, predictions, references, ids, labels=True)
    answer = function(predictions, **options) if references is None else function(predictions, references, **options)
    if isinstance(answer, Score):
        return answer
    if isinstance(answer, numbers.Real):
        return examples.score(float(answer), name=name, per_example=(), higher_is_better=higher_is_better)
    each = [float(x) for x in listed(name, "what it returned", answer)]
    if len(each) != len(examples.ids):
        raise InvalidInputError(f"{name}: it returned {len(each)} values for {len(examples.ids)} predictions")
    value = mean(each) if all(map(math.isfinite, each)) else math.nan
    return examples.score(value, name=name, per_example=each, higher_is_better=higher_is_better)
