"""What changed between a baseline and a new score, besides the figures."""

from __future__ import annotations

import re

from pytest_llm import variants
from pytest_llm.baselines import questions
from pytest_llm.baselines.entry import Entry
from pytest_llm.environment import another_model, changed, engine_changed
from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics.registry import find
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import shorten
from pytest_llm.stats.pairs import other_tokens

#: Where the signatures of sacrebleu and of `pytest_llm.metrics.rouge` have its version.
_LIBRARY = re.compile(r"^(nrefs:.*?)\|version:([^|]*)|\|rouge-score:([^|]*)")


def of_question(score: Score, now: Entry, before: Entry) -> list[str]:
    """Return what makes the two answers to different questions, in words; empty when they can be compared.

    ``now`` is the entry of ``score``, whose examples may stand in another order than those of ``before``.
    """
    found = []
    order = before.order
    mine, theirs = set(score.ids), set(order)
    request = questions.asked(score, order) if mine == theirs else now.request
    if request and before.request and request != before.request:
        found.append("the prompts or generation settings changed")
    if mine != theirs:
        added, removed = len(mine - theirs), len(theirs - mine)
        found.append(f"the examples changed ({added} added, {removed} removed, {len(mine & theirs)} kept)")
    elif before.references != questions.held_to(score, order):
        found.append("the reference texts changed")
    width = {len(e.statistics[0]) for e in (now, before) if e.statistics}
    if _configured(now) != _configured(before) or len(width) > 1:
        was = before.signature or "which an older pytest_llm did not say"
        found.append(f"the metric is another, or configured differently ({was} -> {now.signature})")
    return found


def of_environment(now: Entry, before: Entry) -> str:
    """Return what is not as it was when the baseline was made, ``""`` when nothing (or nothing known)."""
    known = now.environment and before.environment
    was, there = ({**(one.environment if known else {}), **_versions(one)} for one in (before, now))
    return ", ".join(
        f"{key} {was.get(key) or 'none'} -> {there.get(key) or 'none'}"
        for key in sorted({*was, *there})
        if changed(key, was.get(key), there.get(key))
    )


def of_raters(now: Entry, before: Entry) -> str:
    """Return that nobody rated both, where that is so, else ``""``."""
    if not now.raters or not before.raters or set(now.raters) & set(before.raters):
        return ""
    were, are = (shorten(", ".join(entry.raters), 60) for entry in (before, now))
    return f"nobody rated both: the baseline is of {were}, this score of {are}; one person's 3 may be another's 4"


def around(now: Entry, before: Entry) -> list[str]:
    """Return notes on the environment and the raters, to be read before the model is blamed, and on the model."""
    moved = of_environment(now, before)
    notes: list[str] = []
    if moved:
        notes += filter(None, [engine_changed(before.environment, now.environment)])
        notes.append(f"the environment changed since the baseline, which may explain this: {moved}")
    notes += filter(None, [of_raters(now, before)])
    if now.model and before.model and _named(now) != _named(before):
        part = another_model(before.model, now.model)
        with_part = f", with {part}" if part not in ("", "another model") else ""
        notes.append(f"the baseline was made by {_named(before)}, this score by {_named(now)}{with_part}")
    return notes


def check_variant(names: variants.Names, before: Entry) -> None:
    """Refuse a variant's entry that was measured in an environment its name does not describe (a renamed file).

    Raises:
        InvalidInputError: naming both.
    """
    if before.environment and variants.holding(names, before.environment) != names:
        raise InvalidInputError(
            f"the baseline @{'+'.join(names)} was measured elsewhere ({variants.describe(before.environment)}): "
            "measure it again with --llm-update=all"
        )


def check_comparable(score: Score, now: Entry, before: Entry) -> None:
    """Refuse two figures that do not measure the same thing; ``now`` is the entry of ``score``.

    Raises:
        InvalidInputError: another unit or direction, a baseline on another scale, or a loss over other tokens.
    """
    if now.unit != before.unit or now.higher_is_better != before.higher_is_better:
        raise InvalidInputError(
            f"the baseline is {_measured(before)}, this score {_measured(now)}: they are not the same metric; check "
            "the name, or move the baseline with --llm-update=all"
        )
    metric = find(score.name)
    fault = metric.fault(before.value) if metric and metric.unit == before.unit else ""
    if fault:
        raise InvalidInputError(f"in the baseline, {fault}; measure it again with --llm-update=all")
    tokens = questions.read_as(score, before.order)
    if tokens and before.tokens and tokens != before.tokens:
        raise other_tokens(now.weights, before.weights)


def _configured(entry: Entry) -> str:
    """Return the metric's signature without the version of the library that computed it."""
    return _LIBRARY.sub(r"\1", entry.signature)


def _versions(entry: Entry) -> dict[str, str]:
    found = _LIBRARY.search(entry.signature)
    return {"sacrebleu" if found[2] else "rouge-score": found[2] or found[3]} if found else {}


def _measured(entry: Entry) -> str:
    return f"in {entry.unit or 'no unit'}, {'higher' if entry.higher_is_better else 'lower'} is better"


def _named(entry: Entry) -> str:
    model = entry.model
    parts = [str(model.get("source", "?")), *(f"{k} {model[k]}" for k in ("revision", "adapter") if model.get(k))]
    return f"{', '.join(parts)} ({str(model.get('digest', ''))[:12] or 'no digest'})"
