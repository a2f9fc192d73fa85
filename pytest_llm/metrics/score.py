"""A score: a number that knows what it measured."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from pytest_llm.errors import InvalidInputError, measured

__tracebackhide__ = measured


class Score(float):
    """A metric's value, usable as a plain ``float``, with the evidence behind it.

    Attributes:
        name: the metric's name, as in ``assert_metric`` ("bleu", "loss", ...).
        n: number of examples.
        higher_is_better: the direction.
        unit: "" for a ratio, "points" for 0-100 scales, "nats/token", ...
        per_example: one value an example, in order; empty when the metric has none.
        weights: the examples' weights in the mean (token counts for a loss); empty means equal.
        statistics: per-example sufficient statistics of a corpus metric (rows of equal length), from
            which the metric of any resample can be computed without reading the text again.
        aggregate: maps summed statistics, an array of shape [R, K], to the R values of the metric.
        ids: example ids, as text, in order; by default "0", "1", ...
        predictions, references: the texts, for showing the worst examples. One string an example.
        gold: the references as JSON data, a list of them an example, where their text does not tell all; else empty.
        faults: why each example does not pass, "" where it does, to be shown; empty where the metric does not say.
        tokens, token_logprobs: a loss's scored tokens as text, and their logprobs in nats: one row of them an example.
        token_ids: a loss's scored tokens as the model counts them, a row of them an example; empty behind a service.
        groups: a label an example, where examples are not independent (one answer, rated once); empty means all are.
        raters: who gave the values, where people did.
        signature: how the metric was configured (sacrebleu's signature, or similar).
        request: digest of the questions that were asked, "" when unknown.
        origin: ``model`` and ``environment`` of the answers, as in `pytest_llm.results.Origin`, and their ``requests``.
    """

    name: str
    n: int
    higher_is_better: bool
    unit: str
    per_example: tuple[float, ...]
    weights: tuple[float, ...]
    statistics: tuple[tuple[float, ...], ...]
    ids: tuple[str, ...]
    predictions: tuple[str, ...]
    references: tuple[str, ...]
    gold: tuple[Any, ...]
    faults: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    token_logprobs: tuple[tuple[float, ...], ...]
    token_ids: tuple[tuple[int, ...], ...]
    groups: tuple[Hashable, ...]
    raters: tuple[str, ...]
    signature: str
    request: str
    origin: dict[str, Any]
    aggregate: Callable[[Any], Any] | None

    def __new__(
        cls,
        value: float,
        *,
        name: str,
        n: int,
        higher_is_better: bool = True,
        unit: str = "",
        per_example: Sequence[float] = (),
        weights: Sequence[float] = (),
        statistics: Sequence[Sequence[float]] = (),
        ids: Sequence[Any] = (),
        predictions: Sequence[str] = (),
        references: Sequence[str] = (),
        gold: Sequence[Any] = (),
        faults: Sequence[str] = (),
        tokens: Sequence[Sequence[str]] = (),
        token_logprobs: Sequence[Sequence[float]] = (),
        token_ids: Sequence[Sequence[int]] = (),
        groups: Sequence[Hashable] = (),
        raters: Sequence[str] = (),
        signature: str = "",
        request: str = "",
        origin: dict[str, Any] | None = None,
        aggregate: Callable[[Any], Any] | None = None,
    ) -> Score:
        """Make a score of ``value``.

        Raises:
            InvalidInputError: ``n`` is no integer, a sequence has not ``n`` entries, or the direction is not true or
                false.
        """
        if higher_is_better not in (True, False):
            raise InvalidInputError(f"Score {name!r}: higher_is_better is True or False, not {higher_is_better!r}")
        self = super().__new__(cls, value)
        try:
            self.name, self.n, self.unit = name, operator.index(n), unit
        except TypeError:
            raise InvalidInputError(f"Score {name!r}: n counts examples, in an integer, not {n!r}") from None
        self.higher_is_better = bool(higher_is_better)
        self.per_example = tuple(float(x) for x in per_example)
        self.weights = tuple(float(x) for x in weights)
        self.statistics = tuple(tuple(float(x) for x in row) for row in statistics)
        self.ids = tuple(map(str, ids)) or tuple(map(str, range(n)))
        self.predictions, self.references = tuple(predictions), tuple(references)
        self.gold, self.faults = tuple(gold), tuple(faults)
        self.tokens = tuple(map(tuple, tokens))
        self.token_logprobs = tuple(map(tuple, token_logprobs))
        self.token_ids = tuple(map(tuple, token_ids))
        self.groups, self.raters = tuple(groups), tuple(raters)
        self.signature, self.request = signature, request
        self.origin, self.aggregate = origin or {}, aggregate
        for field in (
            "per_example", "weights", "statistics", "ids", "predictions", "references", "gold", "faults",
            "tokens", "token_logprobs", "token_ids", "groups",
        ):  # fmt: skip
            size = len(getattr(self, field))
            if size not in (0, n):
                raise InvalidInputError(f"Score {name!r}: {field} needs one entry an example, not {size} for n = {n}")
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, Any]]:
        """Return what a copy, or one from another process, is begun with."""
        return (float(self),), {"name": self.name, "n": self.n}

    def worst(self, k: int = 3) -> list[int]:
        """Return the indices of the ``k`` worst examples, worst first; NaN counts as worst."""
        sign = 1.0 if self.higher_is_better else -1.0

        def badness(i: int) -> tuple[bool, float]:
            value = self.per_example[i]
            return (not math.isnan(value), sign * value)

        return sorted(range(len(self.per_example)), key=badness)[:k]

    def expected(self, i: int) -> str:
        """Return what example ``i`` should have been, with why it is not where that is known; for showing it."""
        text = str(self.references[i]) if self.references else ""
        return f"{text} ({self.faults[i]})" if self.faults and self.faults[i] else text

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name} {float(self):.6g}{unit} (n={self.n})"
