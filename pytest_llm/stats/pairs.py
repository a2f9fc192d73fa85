"""Made ready for a comparison: two scores that measured something, on the same examples in one order, and its terms."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Hashable, Sequence
from typing import Any, get_args

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics.score import Score
from pytest_llm.stats.paired import Method

#: Scores that are means over tokens.
BY_TOKEN = ("loss", "perplexity")


def aligned(base: Score, ids: tuple[str, ...]) -> Score:
    """Return ``base`` with its examples in the order of ``ids``.

    Raises:
        InvalidInputError: they are not the same examples.
    """
    if base.ids == ids:
        return base
    if sorted(base.ids) != sorted(ids):
        raise InvalidInputError("the score and its baseline are not of the same examples: their ids differ")
    place = {id: i for i, id in enumerate(base.ids)}
    order = [place[id] for id in ids]

    def moved(rows: Sequence[Any]) -> list[Any]:
        return [rows[i] for i in order] if rows else []

    return Score(
        float(base),
        name=base.name,
        n=base.n,
        higher_is_better=base.higher_is_better,
        ids=ids,
        per_example=moved(base.per_example),
        weights=moved(base.weights),
        statistics=moved(base.statistics),
        token_ids=moved(base.token_ids),
    )


def check_tokens(new: Score, base: Score) -> None:
    """Refuse losses of texts that were not read as the same tokens; the examples of both are in one order.

    Raises:
        InvalidInputError: their numbers differ, or they do where both are known.
    """
    known = new.token_ids and base.token_ids and new.token_ids != base.token_ids
    if known or (new.name in BY_TOKEN and new.weights != base.weights):
        raise other_tokens(new.weights, base.weights)


def other_tokens(now: Sequence[float], before: Sequence[float]) -> InvalidInputError:
    """Return the error that texts were read as other tokens than in the baseline, given their numbers of tokens."""
    return InvalidInputError(
        f"the texts are {sum(now):.0f} tokens here and {sum(before):.0f}{' others' * (sum(now) == sum(before))} in the "
        "baseline: the tokenizer changed, and nats a token of different tokens cannot be compared; compare bits per "
        "byte: llm.bits_per_byte(texts)"
    )


def check_score(score: Score, what: str) -> None:
    """Refuse a score that measures nothing.

    Raises:
        InvalidInputError: it, or part of its evidence, is not finite; no examples; repeated ids. Says ``what`` it is.
    """
    problems = (
        (score.n > 0, "has no examples"),
        (len(set(score.ids)) == score.n, "has example ids that are repeated"),
        (math.isfinite(score), f"is {float(score)}: nothing was measured"),
        (all(map(math.isfinite, score.per_example)), "has examples whose value is not finite"),
        (all(map(math.isfinite, itertools.chain(*score.statistics))), "has statistics that are not finite"),
        (all(w >= 0 and math.isfinite(w) for w in score.weights), "has weights that are not finite"),
        (not score.weights or sum(score.weights) > 0, "has weights that add up to nothing"),
    )
    for ok, problem in problems:
        if not ok:
            raise InvalidInputError(f"{what} {problem}")


def check_terms(
    n: int, *, margin: float, alpha: float, power: float, groups: Sequence[Hashable] | None, method: str
) -> None:
    """Refuse terms of a gate on ``n`` examples that make no sense.

    Raises:
        InvalidInputError: naming the term.
    """
    known = ", ".join(map(repr, get_args(Method)))
    problems = (
        (is_number(margin) and margin >= 0, f"margin must be a finite number of at least 0, not {margin!r}"),
        (is_number(alpha) and 0 < alpha < 0.5, f"alpha must lie between 0 and 0.5, not {alpha!r}"),
        (is_number(power) and 0 < power < 1, f"power must lie between 0 and 1, not {power!r}"),
        (method in get_args(Method), f"method must be one of {known}, not {method!r}"),
        (groups is None or len(groups) == n, f"groups needs one label an example ({n}), not {len(groups or ())}"),
    )
    for ok, problem in problems:
        if not ok:
            raise InvalidInputError(problem)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
