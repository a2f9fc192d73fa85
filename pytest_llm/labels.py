"""What a classifier answers: a label, with what else it might have been."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.results import Origin


class Classification(str):
    """The label a classifier gives to a text: a ``str``, which remembers the rest.

    Attributes:
        scores: each label of the model with its score, in the model's order. Those of a softmax add up to 1; in a
            multi-label model (``problem_type``), and where there is one output, each is a probability by itself
            (sigmoid); a regression's are its outputs. So does the text-classification pipeline of transformers.
        logits: the outputs behind the scores, in the same order.
        origin: see `pytest_llm.results.Origin`.
    """

    scores: dict[str, float]
    logits: tuple[float, ...]
    origin: Origin

    def __new__(
        cls,
        label: str,
        *,
        scores: Mapping[str, float] | None = None,
        logits: Iterable[float] = (),
        origin: Origin | None = None,
    ) -> Classification:
        """Make one."""
        self = super().__new__(cls, label)
        self.scores, self.logits, self.origin = dict(scores or {}), tuple(logits), origin or Origin()
        return self

    @property
    def score(self) -> float:
        """The score of the label."""
        return self.scores[str(self)]

    @property
    def margin(self) -> float:
        """How far the logit of the label is above the next one's, in nats (log odds); infinite where there is none."""
        first, *others = sorted(self.logits, reverse=True)
        return first - others[0] if others else math.inf

    def above(self, threshold: float = 0.5) -> list[str]:
        """Return the labels whose score is at least ``threshold``: what a multi-label model says of the text."""
        return [label for label, score in self.scores.items() if score >= threshold]

    def __str__(self) -> str:
        return str.__str__(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: Origin) -> Classification:
        """Rebuild from the engine's answer: the label is the one with the highest score, the first of several.

        Raises:
            InvalidInputError: two labels of the model have one name.
        """
        labels, logits = data["labels"], data["logits"]
        if len(set(labels)) < len(labels):
            raise InvalidInputError(
                f"two labels of the model have one name: {labels}. Mend id2label in its config.json"
            )
        function: Any = {"softmax": _softmax, "sigmoid": _sigmoid, "none": list}[data["function"]]
        scores = dict(zip(labels, function(logits), strict=True))
        return cls(max(scores, key=scores.__getitem__), scores=scores, logits=logits, origin=origin)


def _softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    odds = [math.exp(logit - highest) for logit in logits]
    return [one / sum(odds) for one in odds]


def _sigmoid(logits: list[float]) -> list[float]:
    # Of -|x|: no exponential is too large for a float.
    odds = [math.exp(-abs(logit)) for logit in logits]
    return [(1 if logit >= 0 else one) / (1 + one) for logit, one in zip(logits, odds, strict=True)]
