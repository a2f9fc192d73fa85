"""Accuracy: how many labels are right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import read
from pytest_llm.metrics.score import Score

__tracebackhide__ = measured


def accuracy(predictions: Any, references: Any, *, ids: Iterable[Any] | None = None) -> Score:
    """Return the fraction of predictions equal to (one of) their reference labels, in [0, 1].

    Labels are compared as they are: texts, numbers or any value with ``==``; ``None`` is no answer, and wrong.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), or text on one side and
            something else on the other, which would never be equal.
    """
    examples = read("accuracy", predictions, references, ids, labels=True)
    right = []
    for i, (prediction, some) in enumerate(zip(examples.predictions, examples.references, strict=True)):
        for reference in some:
            if prediction is not None and isinstance(prediction, str) != isinstance(reference, str):
                raise InvalidInputError(
                    f"accuracy: prediction {i} is {prediction!r} ({type(prediction).__name__}) and its reference "
                    f"{reference!r} ({type(reference).__name__}); convert one, they can never be equal"
                )
        right.append(float(any(bool(prediction == reference) for reference in some)))
    return examples.score(name="accuracy", per_example=right)
