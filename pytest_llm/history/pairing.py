"""The examples of one figure in two run records, in pairs: which are the same, and what their change shows."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any


@dataclasses.dataclass(frozen=True)
class Paired:
    """The change of the examples' values, B minus A, in pairs.

    Attributes:
        n: examples that both runs have; ``unpaired`` are in one only.
        delta, low, high: the mean change (weighted as the metric weighs examples), with its 95 % interval.
        p: two-sided; ``adjusted`` by Holm over the figures of the comparison.
        worse, better: ids of the examples that changed, the most changed first.
        method: the test, in words.
    """

    n: int
    unpaired: int
    delta: float
    low: float
    high: float
    p: float
    worse: tuple[str, ...]
    better: tuple[str, ...]
    method: str
    adjusted: float = math.nan


def paired(old: Any, new: Any, direction: str, *, by_token: bool) -> Paired | str:
    """Compare the values of the examples that both have; where they cannot be, return why, in words or ``""``.

    ``by_token`` tells that they are means over tokens, which must be the same ones: by number, and where it is known.
    """
    if not old or not new:
        return ""
    before, after = counted(old), counted(new)
    places = [(i, j) for i, j in _same(old, new) if i in before and j in after]
    if len(places) < 2:
        return "other questions" if min(len(before), len(after)) > 1 else ""
    were, are = (held.get("tokens") for held in (old, new))  # an older record says nothing of them
    if any((were and are and were[i] != are[j]) or (by_token and before[i][1] != after[j][1]) for i, j in places):
        return "other tokens"
    import numpy as np

    from pytest_llm.stats.paired import Design, compare_binary, compare_means

    x, u = (np.array(column) for column in zip(*(before[i] for i, _ in places), strict=True))
    y, v = (np.array(column) for column in zip(*(after[j] for _, j in places), strict=True))
    ids = [new["ids"][j] if new["ids"] else str(j) for _, j in places]
    groups = _groups(old, new, places)
    change = y - x
    design = Design(margin=0.0, alpha=0.025, power=0.8, groups=groups, resamples=0, seed=0)
    right_or_wrong = {*x.tolist(), *y.tolist()} <= {0.0, 1.0} and (u == 1).all() and (v == 1).all()
    delta = float((y * v).sum() / v.sum() - (x * u).sum() / u.sum())
    if not change.any() and (u == v).all():
        low = high = 0.0
        p, method = 1.0, "no example differs"
    elif groups and len({*groups}) < 2:
        low, high, p, method = -math.inf, math.inf, 1.0, "one group says nothing about the rest"
    else:
        fall, rise = (
            compare_binary(sign * change, design) if right_or_wrong else compare_means(sign * y, sign * x, v, u, design)
            for sign in (1, -1)
        )
        low, high, p, method = fall.low, -rise.low, min(1.0, 2 * fall.p, 2 * rise.p), fall.method
    order = sorted(range(len(ids)), key=lambda i: -abs(change[i]))
    fell, rose = (tuple(ids[i] for i in order if sign * change[i] > 0) for sign in (-1, 1))
    worse, improved = (rose, fell) if direction == "lower" else (fell, rose)
    unpaired = len(before) + len(after) - 2 * len(ids)
    return Paired(len(ids), unpaired, delta, float(low), float(high), p, worse, improved, method)


def _groups(old: Any, new: Any, places: list[tuple[int, int]]) -> list[int] | None:
    """Return the groups of examples at ``places``, as the newer record has them, else the older; ``None`` for none."""
    for held, side in ((new, 1), (old, 0)):
        if held["groups"]:
            return [held["groups"][place[side]] for place in places]
    return None


def counted(held: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """Return value and weight of every example that has a finite one, by its position."""
    values = held["values"]
    weights = held["weights"] or [1.0] * len(values)
    return {
        i: (float(value), float(weight))
        for i, (value, weight) in enumerate(zip(values, weights, strict=False))
        if _number(value) and _number(weight) and weight > 0
    }


def _same(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the positions of the examples that are the same question in both.

    Those of one id, unless what they ask differs. Without ids all, where all ask the same or (of bare figures, of which
    it is not known) there are as many; else those whose question is in either run once: many examples may have one
    reference, and an example that was removed moves the others.
    """
    asked, asks = old["questions"], new["questions"]
    n, m = len(old["values"]), len(new["values"])
    if old["ids"] and new["ids"]:
        places = {id: i for i, id in enumerate(old["ids"])}
        found = [(places[id], j) for j, id in enumerate(new["ids"]) if id in places]
        return [(i, j) for i, j in found if not asked or not asks or asked[i] == asks[j]]
    if asked == asks or not asked or not asks:
        known = bool(asked and asks) or bool(old["ids"]) == bool(new["ids"])
        return [(i, i) for i in range(n)] if known and n == m else []
    once, now = Counter(asked), Counter(asks)
    places = {question: i for i, question in enumerate(asked) if once[question] == 1}
    return [(places[question], j) for j, question in enumerate(asks) if now[question] == 1 and question in places]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
