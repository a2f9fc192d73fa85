"""Which examples, documents and tokens a failed gate comes from."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

from pytest_llm.baselines.entry import LIKELIHOODS, Entry, nats
from pytest_llm.evidence import Example
from pytest_llm.metrics.score import Score
from pytest_llm.stats.bootstrap import contributions

#: Examples or documents shown, tokens shown, and tokens shown around each.
SHOWN, TOKENS, BEFORE, AFTER = 3, 8, 6, 3
#: Of more groups, each of which is a document rather than a language or a topic, none is named.
GROUPS = 50


def evidence(
    score: Score, new: Score, old: Score, before: Entry, places: Sequence[int]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Return what cost most: examples side by side, or rows of text where there is nothing to put side by side.

    Args:
        score: as the test gave it, with its texts and tokens.
        new: the same, as it was compared.
        old: its baseline, as it was compared, in the same order.
        before: the baseline as it was stored.
        places: the examples by cost, where the comparison knows it.
    """
    if score.name in LIKELIHOODS and new.per_example and old.per_example:
        return (), (*_documents(score, new, old), *_tokens(score, before))
    places, cost = _by_cost(new, old, places)
    said = dict(zip(before.order, before.predictions, strict=False))
    labels = {i: _label(new, old, i, cost) for i in places[:SHOWN]}
    if not score.predictions:
        return (), tuple(f"[{label}]" for label in labels.values())
    return tuple(
        Example(
            label,
            score.expected(i),
            str(score.predictions[i]),
            before=said.get(score.ids[i], ""),
        )
        for i, label in labels.items()
    ), ()


def worst_groups(new: Score, old: Score, groups: Sequence[Hashable] | None) -> list[str]:
    """Return which of a few ``groups`` lost most, as a note; none where nothing is known of them.

    A group's value is the metric's of its examples alone.
    """
    names = list(dict.fromkeys(groups or ()))
    if not 1 < len(names) <= GROUPS or not (new.per_example and old.per_example):
        return []
    sign = 1 if new.higher_is_better else -1
    values = [
        [_value(side, [i for i, one in enumerate(groups or ()) if one == name]) for side in (old, new)]
        for name in names
    ]
    lost = [(sign * (now - before), name, before, now) for name, (before, now) in zip(names, values, strict=True)]
    lost = sorted((one for one in lost if one[0] < 0), key=lambda one: one[0])[:SHOWN]
    shown = ", ".join(f"{name} {short(before)} -> {short(now)}" for _, name, before, now in lost)
    return [f"groups that lost most, of {len(names)}: {shown}"] if lost else []


def _value(side: Score, places: Sequence[int]) -> float:
    if side.aggregate and side.statistics:
        import numpy as np

        sums = np.asarray([side.statistics[i] for i in places]).sum(axis=0, keepdims=True)
        with np.errstate(all="ignore"):  # a group may have no value
            return float(side.aggregate(sums)[0])
    weights = [side.weights[i] if side.weights else 1.0 for i in places]
    logs = side.name == "perplexity"
    values = [math.log(side.per_example[i]) if logs else side.per_example[i] for i in places]
    mean = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / (math.fsum(weights) or math.nan)
    return math.exp(mean) if logs else mean


def _by_cost(new: Score, old: Score, places: Sequence[int]) -> tuple[list[int], list[float]]:
    """Return the examples that cost something, most first, and what each cost where that is not plain to see."""
    sign = 1 if new.higher_is_better else -1
    if new.aggregate and new.statistics and old.statistics:
        import numpy as np

        moved = contributions(np.asarray(new.statistics), np.asarray(old.statistics), new.aggregate)
        cost = [-sign * float(x) for x in moved]
        return sorted((i for i in range(new.n) if cost[i] > 0), key=lambda i: -cost[i]), cost
    if not places and new.per_example and old.per_example:
        change = [sign * (x - y) for x, y in zip(new.per_example, old.per_example, strict=True)]
        places = sorted((i for i in range(new.n) if change[i] < 0), key=lambda i: change[i])
    return list(places), []


def _label(new: Score, old: Score, i: int, cost: Sequence[float]) -> str:
    label = new.ids[i]
    if new.per_example and old.per_example:
        label += f": {short(old.per_example[i])} -> {short(new.per_example[i])}"
    return label + (f", cost {short(cost[i])}{unit_of(new)} of the whole" if cost else "")


def _documents(score: Score, new: Score, old: Score) -> Iterator[str]:
    """Give the documents whose total NLL rose most, with their share of the rise of all."""
    sized_by = "bytes" if score.name == "bits_per_byte" else "tokens"
    pairs = list(zip(_totals(score, new), _totals(score, old), strict=True))
    rises = [mine - base for mine, base in pairs]
    whole = math.fsum(rises)
    places = sorted((i for i, rise in enumerate(rises) if rise > 0), key=lambda i: -rises[i])[:SHOWN]
    if places:
        yield f"documents that worsened most, of {new.n}:"
    for i in places:
        share = f", {rises[i] / whole:.0%} of the rise" if whole > 0 else ""
        size = f" over {new.weights[i]:.0f} {sized_by}" if new.weights else ""
        text = f"  {_cut(str(score.predictions[i]))}" if score.predictions else ""
        change = f"{short(old.per_example[i])} -> {short(new.per_example[i])}{unit_of(new)}"
        yield f"  [{new.ids[i]}] {change}{size}{share}{text}"


def _totals(score: Score, side: Score) -> list[float]:
    weights = side.weights or (1.0,) * side.n
    values = [math.log(x) if score.name == "perplexity" else x for x in side.per_example]
    return [w * x for w, x in zip(weights, values, strict=True)]


def _tokens(score: Score, before: Entry) -> Iterator[str]:
    """Give the tokens whose NLL rose most, over all documents whose tokens the baseline kept."""
    stored = dict(zip(before.order, before.token_nll, strict=False))
    found, compared = [], 0
    for i, row in enumerate(score.token_logprobs):
        old = stored.get(score.ids[i], ())
        if row and old:
            if len(old) != len(row):  # another tokenizer, whose tokens are others where their number is the same too
                return
            compared += 1
            now = nats(row)
            found += [(x - y, i, t, y, x) for t, (x, y) in enumerate(zip(now, old, strict=True)) if x > y]
    if not found:
        return
    of = "" if compared == score.n else f" in the {compared} documents whose tokens the baseline has"
    yield f"tokens that worsened most{of}, in nats:"
    found.sort(key=lambda one: -one[0])
    for rise, i, t, old_nll, new_nll in found[:TOKENS]:
        if rise < found[0][0] / 10:  # the noise beside what stands out
            break
        yield f"  +{rise:<6.2f}{old_nll:>6.2f} -> {new_nll:<6.2f}[{score.ids[i]}] {_context(score, i, t)}"


def _context(score: Score, i: int, t: int) -> str:
    """Return the token, marked, among its neighbours; its position where its text is not known."""
    tokens = score.tokens[i] if score.tokens else ()
    if len(tokens) != len(score.token_logprobs[i]):
        return f"token {t}"
    lead = "…" if t > BEFORE else ""
    rest = "…" if t + 1 + AFTER < len(tokens) else ""
    before, after = "".join(tokens[max(0, t - BEFORE) : t]), "".join(tokens[t + 1 : t + 1 + AFTER])
    token = tokens[t].lstrip(" ") or tokens[t]
    return f"{lead}{before}{' ' * (len(tokens[t]) - len(token))}»{token}«{after}{rest}"


def _cut(text: str, width: int = 50) -> str:
    return text if len(text) <= width else text[:width] + "…"


def unit_of(score: Score) -> str:
    """Return the unit after a space, "" where there is none."""
    return f" {score.unit}" if score.unit else ""


def short(x: float) -> str:
    """Return four significant digits."""
    return str(float(f"{x:.4g}"))
