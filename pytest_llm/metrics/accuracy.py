"""Accuracy: how many labels are right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import listed, missing, read
from pytest_llm.metrics.score import Score

__tracebackhide__ = measured


def accuracy(predictions: Any, references: Any, *, ids: Iterable[Any] | None = None) -> Score:
    """Return the fraction of predictions equal to (one of) their reference labels, in [0, 1].

    Labels are compared as they are: texts, numbers or any value with ``==``. A prediction that is missing (``None``,
    NaN, ``pandas.NA``) is no answer, and wrong.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), a reference that is missing, text on
            one side and something else on the other, which would never be equal, or one-hot rows in place of labels.
    """
    references = _labels("references", references)
    predictions = _labels("predictions", predictions)
    examples = read("accuracy", predictions, references, ids, kind="labels")
    examples.check_references(
        "accuracy", lambda label: not missing(label), "can be met by no answer; leave out what nobody has labelled"
    )
    right = []
    for i, (prediction, some) in enumerate(zip(examples.predictions, examples.references, strict=True)):
        for reference in some:
            if not missing(prediction) and isinstance(prediction, str) != isinstance(reference, str):
                raise InvalidInputError(
                    f"accuracy: prediction {i} is {prediction!r} ({type(prediction).__name__}) and its reference "
                    f"{reference!r} ({type(reference).__name__}); convert one, they can never be equal"
                )
        right.append(float(not missing(prediction) and any(bool(prediction == reference) for reference in some)))
    return examples.score(name="accuracy", per_example=right)


def _labels(what: str, values: Any) -> Any:
    """Return ``values`` as they are, or listed; refuse rows of numbers, which would be read as alternatives.

    Raises:
        InvalidInputError: an array of two dimensions or more, or lists that are all one-hot and equally long.
    """
    if isinstance(values, str) or values is None:
        return values
    wide = getattr(values, "ndim", 1) > 1
    values = listed("accuracy", what, values)
    widths = set(map(_width, values))
    if wide or any(getattr(row, "ndim", 0) for row in values) or (len(widths) == 1 and widths != {0}):
        raise InvalidInputError(
            f"accuracy: {what} are rows of numbers, one-hot or scores, and a label is one value an example: give the "
            "place of each row's largest, array.argmax(-1)"
        )
    return values


def _width(row: Any) -> int:
    """Return the length of a one-hot row, 0 for anything else."""
    hot = isinstance(row, (list, tuple)) and len(row) > 1 and row.count(1) == 1 and row.count(0) == len(row) - 1
    return len(row) if hot else 0
