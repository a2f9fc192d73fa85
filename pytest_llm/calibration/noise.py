"""How far a golden's value moved between two runs, in the units of the tolerances that a check takes."""

from __future__ import annotations

from typing import Any

from pytest_llm.golden.drift import Rules
from pytest_llm.golden.values import Array
from pytest_llm.results import Generation


def changes(old: Any, new: Any, rules: Rules) -> dict[str, float]:
    """Return the largest change of two normalised values, by the tolerance it needs.

    ``logprob_margin``: nats by which the margin of a token over its runner-up moved. Where the answers part, the
    preference went from one token to the other, and both margins are counted: that change, not the length of what
    follows, is what a near-tie must allow. ``atol``: of numbers, what ``rtol`` does not cover. ``text``: 1 where
    texts differ without such evidence, or the values have another form. A sampled answer gives nothing: it is
    another one in every run.
    """
    found: dict[str, float] = {}
    _walk(old, new, rules, found)
    return found


def _walk(old: Any, new: Any, rules: Rules, found: dict[str, float]) -> None:
    if isinstance(new, Generation) and new.origin.request.get("do_sample"):
        return
    if isinstance(old, Generation) and isinstance(new, Generation) and old.token_ids and new.token_ids:
        _note(found, "logprob_margin", _margin_change(old, new))
    elif isinstance(old, Array) and isinstance(new, Array) and old.data.shape == new.data.shape:
        _note(found, "atol", _array_change(old.data, new.data, rules.rtol))
    elif isinstance(old, float) and isinstance(new, float):
        _note(found, "atol", max(0.0, abs(old - new) - rules.rtol * max(abs(old), abs(new))))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for x, y in zip(old, new, strict=True):
            _walk(x, y, rules, found)
    elif isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            _walk(old[key], new[key], rules, found)
    else:
        _note(found, "text", float(type(old) is not type(new) or old != new))


def _note(found: dict[str, float], tolerance: str, change: float) -> None:
    found[tolerance] = max(found.get(tolerance, 0.0), change)


def _margin_change(old: Generation, new: Generation) -> float:
    worst = 0.0
    for a, b, x, y in zip(old.token_ids, new.token_ids, old.margins, new.margins, strict=False):
        if a != b:
            return max(worst, abs(x) + abs(y))
        worst = max(worst, abs(x - y))
    return worst


def _array_change(old: Any, new: Any, rtol: float) -> float:
    import numpy as np

    if not old.size:
        return 0.0
    kind = np.complex128 if "c" in old.dtype.kind + new.dtype.kind else np.float64
    a, b = old.astype(kind), new.astype(kind)
    with np.errstate(invalid="ignore"):  # equal infinities, which differ by nothing
        return max(0.0, float(np.max(np.where(a == b, 0.0, abs(a - b) - rtol * np.maximum(abs(a), abs(b))))))
