"""A stretch of a text that a model points at: a named entity, or the answer to a question in a passage."""

from __future__ import annotations

from typing import Any

from pytest_llm.results import Origin, Parts


class Span(str):
    """The stretch of a text from one character to another: a ``str``, which remembers where it stands.

    Attributes:
        start: the place of its first character in the text.
        end: the place after its last one: ``text[start:end]`` is the span.
        label: what it is, as the model calls it (``PER``); empty where the model has no name for it.
        score: the model's probability for it, 0 to 1.
        origin: see `pytest_llm.results.Origin`.
    """

    start: int
    end: int
    label: str
    score: float
    origin: Origin

    def __new__(
        cls,
        text: str,
        start: int = 0,
        end: int = 0,
        *,
        label: str = "",
        score: float = 1.0,
        origin: Origin | None = None,
    ) -> Span:
        """Make one. (A copy is made of its text alone, and then given its attributes.)"""
        self = super().__new__(cls, text)
        self.start, self.end, self.label, self.score = start, end, label, score
        self.origin = origin or Origin()
        return self

    def __str__(self) -> str:
        return str.__str__(self)

    def to_json(self) -> dict[str, Any]:
        """Return the span (not its origin) as JSON data."""
        label = {"label": self.label} if self.label else {}
        return {"text": str(self), **label, "start": self.start, "end": self.end, "score": self.score}


def spans(answer: dict[str, Any], origin: Origin) -> list[Span]:
    """Rebuild the spans of a text from the engine's answer."""
    found = (
        Span(one["text"], one["start"], one["end"], label=one["label"], score=one["score"], origin=origin)
        for one in answer["spans"]
    )
    return Parts(found, origin)
