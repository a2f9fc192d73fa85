"""F1 of the entities that a token classifier finds, as the CoNLL shared tasks score it."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import listed, read_ids
from pytest_llm.metrics.score import Score
from pytest_llm.results import joint_origin

__tracebackhide__ = measured


def entity_f1(predictions: Any, references: Any, *, ids: Iterable[Any] | None = None) -> Score:
    """Return the micro-averaged F1 of entities over all texts, in [0, 1].

    An entity counts where its place and its label are those of a reference (Tjong Kim Sang and De Meulder 2003;
    ``seqeval`` counts alike). ``per_example`` is each text's own: 1 where nothing is to be found, and nothing is.
    ``statistics`` are, a text: entities that are right, that were found, that are there.

    Args:
        predictions: what ``llm.tag(texts)`` returned, a list of `Span` a text; or as ``references``.
        references: one list a text of ``(start, end, label)``, in characters; none where there is nothing to find.
        ids: unique names of the texts; by default "0", "1", ...

    Raises:
        InvalidInputError: nothing to measure, unequal lengths, something that is no entity, or no entity in any
            reference.
    """
    found, real = (_texts(what, rows) for what, rows in (("predictions", predictions), ("references", references)))
    if len(found) != len(real):
        raise InvalidInputError(f"entity_f1: {len(found)} predictions but {len(real)} references; give one list a text")
    if not any(real):
        raise InvalidInputError("entity_f1: there is no entity in any reference, so there is nothing to measure")
    rows = [(len(ours & theirs), len(ours), len(theirs)) for ours, theirs in zip(found, real, strict=True)]
    request, origin = joint_origin(predictions)
    return Score(
        _f1(*map(sum, zip(*rows, strict=True))),
        name="entity_f1",
        n=len(rows),
        per_example=[_f1(*row) for row in rows],
        statistics=rows,
        aggregate=_aggregate,
        ids=read_ids("entity_f1", len(rows), ids),
        predictions=list(map(_shown, found)),
        references=list(map(_shown, real)),
        faults=[_fault(ours, theirs) for ours, theirs in zip(found, real, strict=True)],
        request=request,
        origin=origin,
    )


def _texts(what: str, rows: Any) -> list[set[tuple[int, int, str]]]:
    return [{_entity(what, i, one) for one in listed("entity_f1", f"{what} of text {i}", row, "a list of entities")}
            for i, row in enumerate(listed("entity_f1", what, rows, "a list of entities a text"))]  # fmt: skip


def _entity(what: str, i: int, one: Any) -> tuple[int, int, str]:
    given = tuple(getattr(one, name, None) for name in ("start", "end", "label")) if isinstance(one, str) else one
    if isinstance(given, (tuple, list)) and len(given) == 3:
        start, end, label = given
        places = all(isinstance(place, Integral) and not isinstance(place, bool) for place in (start, end))
        if places and isinstance(label, str) and 0 <= start < end:
            return int(start), int(end), label
    why = ": a word, or a tag as 'B-PER', has no place" if isinstance(one, str) else ""
    raise InvalidInputError(
        f"entity_f1: {what} of text {i}: an entity is (start, end, label), its place in characters, not {one!r}{why}"
    )


def _f1(right: float, found: float, real: float) -> float:
    return 2 * right / (found + real) if found + real else 1.0


def _aggregate(sums: Any) -> Any:
    """Return F1 of summed statistics, [R, 3]."""
    import numpy as np

    both = sums[:, 1] + sums[:, 2]
    return np.where(both > 0, 2 * sums[:, 0] / np.maximum(both, 1), 1.0)


def _shown(entities: set[tuple[int, int, str]]) -> str:
    return ", ".join(f"{label} {start}-{end}" for start, end, label in sorted(entities)) or "none"


def _fault(ours: set[tuple[int, int, str]], theirs: set[tuple[int, int, str]]) -> str:
    missed, extra = theirs - ours, ours - theirs
    return "; ".join(f"{word} {_shown(some)}" for word, some in (("missed", missed), ("not there", extra)) if some)
