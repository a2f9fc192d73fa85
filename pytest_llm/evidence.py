"""What a verdict carries for reports and for later runs: examples, texts side by side, series, values per example.

Data only. Most checks pass without any of it, and a run of such checks never imports this.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pytest_llm.files import digest_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_llm.metrics.score import Score

#: Per-example values that a verdict carries at most.
EXAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Example:
    """One example shown side by side in a report.

    ``value`` is the example's own score where the metric has one, ``before`` what the baseline's answer was.
    """

    id: str
    expected: str
    actual: str
    value: float | None = None
    before: str = ""


@dataclasses.dataclass(frozen=True)
class Side:
    """One text of a `Pair`, from character ``start`` of ``length`` in all, with the tokens of an answer.

    ``logprobs`` and ``margins`` are nats, one a token, ``None`` where infinite (`pytest_llm.results.Generation`).
    """

    text: str
    start: int = 0
    length: int = 0
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    margins: tuple[float | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pair:
    """A golden and what the model says now. Without a golden there is none yet; ``same`` says that both are equal.

    ``where`` is the place in a value of many parts (``[3]``). ``prompt`` is what was asked, as ``(role, text)``.
    """

    where: str
    actual: Side | None
    golden: Side | None = None
    same: bool = False
    prompt: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Series:
    """Figures along one axis, to be drawn: an error by layer, a divergence by position. ``limit`` is a bound."""

    title: str
    x: str
    y: str
    values: tuple[float | None, ...]
    limit: float | None = None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a report draws and a terminal has no room for; bounded in size by whoever makes it.

    ``omitted`` counts pairs left out. ``changes`` are what differs around the model: ``(name, was, now)``.
    ``higher_is_better`` is the direction of a gate's figure.
    """

    pairs: tuple[Pair, ...] = ()
    omitted: int = 0
    series: tuple[Series, ...] = ()
    changes: tuple[tuple[str, str, str], ...] = ()
    higher_is_better: bool | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evidence:
        """Rebuild what ``dataclasses.asdict`` gave, after a way through JSON or without one."""
        return cls(
            pairs=tuple(_pair(pair) for pair in data["pairs"]),
            omitted=data["omitted"],
            series=tuple(Series(**{**one, "values": tuple(one["values"])}) for one in data["series"]),
            changes=tuple((name, was, now) for name, was, now in data["changes"]),
            higher_is_better=data["higher_is_better"],
        )


@dataclasses.dataclass(frozen=True)
class PerExample:
    """The values behind a score, by which two runs are compared in pairs.

    ``ids`` is empty for the default "0", "1", ...; ``weights`` is empty where all are equal. ``questions`` has a short
    digest of what each example asks (its prompt and references, a loss's text), and is empty where none is known.
    ``groups`` numbers the group of each, and is empty where none were given. ``tokens`` has a short digest of the
    tokens that each text of a loss was read as, and is empty where they are not known.
    """

    values: tuple[float, ...]
    ids: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    questions: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, score: Score, groups: Sequence[Hashable] | None = None) -> PerExample | None:
        """Take them from ``score``, and its groups by default; ``None`` for no values, or more than `EXAMPLES`."""
        if not 0 < len(score.per_example) <= EXAMPLES:
            return None
        named = score.ids != tuple(map(str, range(score.n)))
        values, weights = (tuple(float(f"{x:.7g}") for x in row) for row in (score.per_example, score.weights))
        labels = score.groups if groups is None else groups
        number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        numbers = tuple(number[label] for label in labels)
        tokens = tuple(digest_of(row)[:12] for row in score.token_ids)
        return cls(values, score.ids if named else (), weights, _questions(score), numbers, tokens)


def _questions(score: Score) -> tuple[str, ...]:
    if score.token_logprobs:  # a loss: its texts are the question
        asked: list[Any] = list(map(str, score.predictions))
    else:
        origins = (getattr(text, "origin", None) for text in score.predictions)
        prompts = [origin.request.get("prompt") if origin else None for origin in origins] or [None] * score.n
        held = list(map(str, score.references or [""] * score.n))
        for i, gold in enumerate(score.gold):
            if any(isinstance(one, dict) for one in gold):  # answers of the model itself, by what was asked
                held[i] = gold
        asked = list(zip(prompts, held, strict=True))
        if not any(prompt or reference for prompt, reference in asked):
            return ()
    return tuple(digest_of(one)[:12] for one in asked)


def _pair(data: dict[str, Any]) -> Pair:
    sides = {name: data[name] and _side(data[name]) for name in ("actual", "golden")}
    return Pair(**{**data, **sides, "prompt": tuple((role, text) for role, text in data["prompt"])})


def _side(data: dict[str, Any]) -> Side:
    return Side(**{**data, **{name: tuple(data[name]) for name in ("tokens", "logprobs", "margins")}})
