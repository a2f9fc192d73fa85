"""What a check holds a score to: its terms, whether they make sense, and whether they leave room to fail."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics.registry import Metric, of
from pytest_llm.metrics.score import Score
from pytest_llm.stats.gate import beyond, check_terms, is_number
from pytest_llm.stats.paired import Method

Level = Literal["warn", "fail"]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What `pytest_llm.baselines.baseline.Baseline.check` was asked to hold the score to."""

    margin: float
    alpha: float
    power: float
    groups: tuple[Hashable, ...] | None
    method: Method
    max_broken: int | None
    broken_by: float | None
    length_band: tuple[float, float] | None
    length_level: Level
    strict: bool

    def check(self, score: Score) -> None:
        """Refuse terms that make no sense, of themselves or for ``score``, also when a baseline is only being written.

        Raises:
            InvalidInputError: naming the term, or the range that the score is out of.
        """
        check_terms(
            score.n, margin=self.margin, alpha=self.alpha, power=self.power, groups=self.groups, method=self.method
        )
        counts = isinstance(self.max_broken, numbers.Integral) and is_number(self.max_broken)
        if self.max_broken is not None and not (counts and self.max_broken >= 0):
            raise InvalidInputError(f"max_broken counts examples: it cannot be {self.max_broken!r}")
        if self.broken_by is not None and (
            self.max_broken is None or not is_number(self.broken_by) or not self.broken_by > 0
        ):
            raise InvalidInputError("broken_by is a positive amount, and needs max_broken")
        if self.length_band is not None and not _is_band(self.length_band):
            raise InvalidInputError(f"length_band is (lowest, highest) ratio, not {self.length_band!r}")
        if self.length_level not in ("warn", "fail"):
            raise InvalidInputError(f"length_level must be 'warn' or 'fail', not {self.length_level!r}")
        metric = of(score)
        fault = metric.fault(score) if metric else ""
        if fault:
            raise InvalidInputError(fault)
        low, high = _range(metric)
        if math.isfinite(high - low) and self.margin >= high - low:
            raise InvalidInputError(
                f"margin={self.margin:g} can never be exceeded: {score.name} lies between {low:g} and {high:g}, and "
                "the margin is in its units"
            )

    def cannot_fail(self, score: Score, base: Score) -> str:
        """Return why no value could ever be worse than that of ``base`` by more than the margin; ``""`` if one can."""
        if self.max_broken is not None or beyond(-room(score, base), self.margin):
            return ""
        return (
            f"nothing can be worse than {float(base):.4g} by more than {self.margin:g}, so this check cannot fail; "
            "with a smaller margin it can"
        )


def room(score: Score, base: Score) -> float:
    """Return how much worse than ``base`` a value of its metric can be, infinite when unknown: no drop is larger."""
    low, high = reach(score, base)
    return -low if base.higher_is_better else high


def reach(score: Score, base: Score) -> tuple[float, float]:
    """Return the least and the most that a value of the metric can differ from ``base``, infinite when unknown."""
    low, high = _range(of(base))
    if base.per_example and {*base.per_example, *score.per_example} <= {0, 1}:
        low, high = 0.0, 1.0
    return low - base, high - base


def labels(groups: Any) -> tuple[Hashable, ...] | None:
    """Return the groups of examples as they are kept.

    Raises:
        InvalidInputError: they are no labels in order: text, a set, or things that cannot be told apart by ``==``.
    """
    if groups is None:
        return None
    if isinstance(groups, (str, bytes, set, frozenset, Mapping)) or not isinstance(groups, Iterable):
        raise InvalidInputError(f"groups holds a label an example, in their order: it cannot be {groups!r:.80}")
    found = tuple(groups)
    for label in found:
        if not isinstance(label, Hashable) or label != label:
            raise InvalidInputError(f"a label of groups is text or a number, not {label!r:.80}")
    return found


def _range(metric: Metric | None) -> tuple[float, float]:
    return (metric.lowest, metric.highest) if metric else (-math.inf, math.inf)


def _is_band(band: Any) -> bool:
    pair = isinstance(band, (tuple, list)) and len(band) == 2 and all(isinstance(x, numbers.Real) for x in band)
    return pair and 0 <= band[0] <= band[1]  # the upper one may be infinite
