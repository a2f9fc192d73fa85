"""What a check holds a score to: its terms, whether they make sense, and whether they leave room to fail."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics.inputs import missing
from pytest_llm.metrics.registry import Metric, of
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import counted
from pytest_llm.stats import power
from pytest_llm.stats.gate import GateResult, beyond
from pytest_llm.stats.paired import Method
from pytest_llm.stats.pairs import check_terms, is_number

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

    def __post_init__(self) -> None:
        """Take numbers of any kind (numpy's, a fraction) as floats."""
        for name in ("margin", "alpha", "power", "broken_by"):
            if is_number(getattr(self, name)):
                object.__setattr__(self, name, float(getattr(self, name)))

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
        if self.max_broken is not None:
            self._limit(score)
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
        """Return why no value could ever be worse than that of ``base`` by more than the margin; ``""`` if one can.

        Nor could more examples break than may.
        """
        if beyond(-room(score, base), self.margin):
            return ""
        said = f"nothing can be worse than {float(base):.4g} by more than {self.margin:g}"
        if self.max_broken is None:
            return f"{said}, so this check cannot fail; with a smaller margin it can"
        left = self._breakable(score, base)
        if left > self.max_broken:
            return ""
        return (
            f"{said}, and only {counted(left, 'example')} can still break ({self.max_broken} may), so this check "
            "cannot fail; with a smaller margin or max_broken it can"
        )

    def too_few(self, score: Score, base: Score, found: GateResult) -> str:
        """Return why examples as few as those of ``found`` fail by no drop, even if all fall; ``""`` if they can.

        One example, or none with values, is compared plainly. Strict gates fail on what cannot be told.
        """
        least = power.fewest(self.alpha)
        plain = math.isnan(found.p) or (found.units < 2 and (self.groups is None or found.n < 2))
        # groups of right or wrong answers are taken for as many examples as tell as much
        shared = self.groups is not None and self.method == "auto" and not math.isnan(found.flip_rate)
        if self.strict or plain or found.units >= least or (shared and found.units > 1):
            return ""
        if self.max_broken is not None and self._breakable(score, base) > self.max_broken:
            return ""
        what = counted(found.units, "example" if self.groups is None else "group")
        return f"no drop can be told from {what}, so this check cannot fail; with {least} or more it can"

    def broken(self, score: Score, base: Score) -> list[str]:
        """Return the ids of the examples of ``score`` that broke, compared with ``base``, which has them in its order.

        Raises:
            InvalidInputError: either has no values of examples, or graded ones, and there is no ``broken_by``.
        """
        limit = max(map(self._limit, (score, base)))
        sign = 1 if score.higher_is_better else -1
        pairs = zip(score.ids, score.per_example, base.per_example, strict=True)
        return [id for id, x, y in pairs if beyond(sign * (x - y), limit)]

    def _breakable(self, score: Score, base: Score) -> int:
        """Return how many examples of ``base`` are not yet so bad that they could not break."""
        low, high = _values(score, base)
        limit = max(map(self._limit, (score, base)))
        return sum(beyond(low - x if base.higher_is_better else x - high, limit) for x in base.per_example)

    def _limit(self, score: Score) -> float:
        """Return by how much an example of ``score`` must get worse to be broken."""
        if not score.per_example:
            raise InvalidInputError("max_broken needs per-example values, which this score does not have")
        if self.broken_by is None and not {*score.per_example} <= {0, 1}:
            raise InvalidInputError("max_broken needs broken_by=AMOUNT where examples are not simply right or wrong")
        return 0.5 if self.broken_by is None else self.broken_by


def room(score: Score, base: Score) -> float:
    """Return how much worse than ``base`` a value of its metric can be, infinite when unknown: no drop is larger."""
    low, high = reach(score, base)
    return -low if base.higher_is_better else high


def reach(score: Score, base: Score) -> tuple[float, float]:
    """Return the least and the most that a value of the metric can differ from ``base``, infinite when unknown."""
    low, high = _values(score, base)
    return low - base, high - base


def _values(score: Score, base: Score) -> tuple[float, float]:
    """Return the least and the largest value that an example can have, and so the mean."""
    if base.per_example and {*base.per_example, *score.per_example} <= {0, 1}:
        return 0.0, 1.0
    return _range(of(base))


def labels(groups: Any) -> tuple[Hashable, ...] | None:
    """Return the groups of examples as they are kept.

    Raises:
        InvalidInputError: they are no labels in order: text, a set, or things that cannot be told apart by ``==``.
    """
    if groups is None:
        return None
    if isinstance(groups, (str, bytes, set, frozenset, Mapping)) or not isinstance(groups, Iterable):
        raise InvalidInputError(f"groups holds a label an example, in their order: it cannot be {groups!r:.80}")
    found = tuple(label.tolist() if hasattr(label, "tolist") else label for label in groups)
    for label in found:
        if label is not None and (not isinstance(label, Hashable) or missing(label) or _is_itself_only(label)):
            raise InvalidInputError(f"a label of groups is text or a number, not {label!r:.80}")
    return found


def _is_itself_only(label: Hashable) -> bool:
    """Whether ``label`` is equal to no other object, so that each would be a group of its own."""
    return type(label).__hash__ is object.__hash__


def _range(metric: Metric | None) -> tuple[float, float]:
    return (metric.lowest, metric.highest) if metric else (-math.inf, math.inf)


def _is_band(band: Any) -> bool:
    pair = isinstance(band, (tuple, list)) and len(band) == 2 and all(isinstance(x, numbers.Real) for x in band)
    return pair and 0 <= band[0] <= band[1]  # the upper one may be infinite
