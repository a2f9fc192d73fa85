"""What a report shows of a golden and a new value side by side, cut to a size that a record of many tests can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llm.environment import another_model, changed
from pytest_llm.evidence import Evidence, Pair, Side
from pytest_llm.golden.diff import first_difference
from pytest_llm.golden.file import Golden
from pytest_llm.golden.surroundings import changed_model
from pytest_llm.golden.values import Array, Recording
from pytest_llm.results import Generation

#: Bounds of one verdict: pairs, characters a text, characters of all texts, and tokens a text.
MAX_PAIRS, MAX_TEXT, MAX_TOTAL, MAX_TOKENS = 32, 20_000, 100_000, 2_000


def side_by_side(golden: Golden | None, new: Golden) -> Evidence:
    """Return the evidence on ``new``: every text that differs, then those that do not, as far as there is room."""
    found = [
        beside(where, old, now, _prompt(now) or messages(new.request.get("prompt")))
        for where, old, now in _parts(None if golden is None else golden.value, new.value, "", golden is not None)
    ]
    found.sort(key=lambda pair: pair.same)  # stable
    pairs: list[Pair] = []
    total = 0
    for pair in found[:MAX_PAIRS]:
        total += sum(len(side.text) for side in (pair.actual, pair.golden) if side)
        if pairs and total > MAX_TOTAL:
            break
        pairs.append(pair)
    return Evidence(pairs=tuple(pairs), omitted=len(found) - len(pairs), changes=_changes(golden, new))


def _parts(old: Any, now: Any, where: str, compared: bool) -> Iterator[tuple[str, Any, Any]]:
    """Give the places of a value with the old and the new text there; ``None`` where there is none."""
    for kind in (list, dict):
        if isinstance(now, kind) and (isinstance(old, kind) or not compared) and _has_text(now):
            old = old if compared else kind()
            places = range(max(len(old), len(now))) if kind is list else sorted({*old, *now})
            for place in places:
                name = f"{where}[{place}]" if kind is list else f"{where}.{place}"
                yield from _parts(_get(old, place), _get(now, place), name, compared and _get(old, place) is not None)
            return
    if (old is not None and compared) or now is not None:
        yield where, old if compared else None, now


def _get(value: Any, place: Any) -> Any:
    try:
        return value[place]
    except (IndexError, KeyError):
        return None


def _has_text(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_has_text, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str)


def beside(where: str, old: Any, now: Any, prompt: tuple[tuple[str, str], ...]) -> Pair:
    """Return two values side by side, cut to `MAX_TEXT` around where they part; ``None`` for one that is not there."""
    before, after = (None if value is None else _text(value) for value in (old, now))
    if before is not None and before == after:
        return Pair(where, _side(now, before, 0), same=True, prompt=prompt)
    start = 0
    if before is not None and after is not None and max(len(before), len(after)) > MAX_TEXT:
        start = max(0, first_difference(before, after) - MAX_TEXT // 4)
    return Pair(
        where,
        None if after is None else _side(now, after, start),
        None if before is None else _side(old, before, start),
        prompt=prompt,
    )


def _side(value: Any, text: str, start: int) -> Side:
    shown = text[start : start + MAX_TEXT]
    if not isinstance(value, Generation) or start or len(value.tokens) > MAX_TOKENS:
        return Side(shown, start, len(text))
    return Side(shown, start, len(text), value.tokens, _nats(value.logprobs), _nats(value.margins))


def _nats(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(round(x, 3) if math.isfinite(x) else None for x in values)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Array):
        with_entries = value.data.size <= 64
        return f"array of shape {value.data.shape}, {value.dtype}" + (f"\n{value.data}" if with_entries else "")
    if isinstance(value, Recording):
        return f"{value.kind}: {_text(value.array)}"
    return json.dumps(value, ensure_ascii=False, indent=2, default=_text)


def _prompt(value: Any) -> tuple[tuple[str, str], ...]:
    return messages(value.origin.request.get("prompt")) if isinstance(value, Generation) else ()


def messages(prompt: Any) -> tuple[tuple[str, str], ...]:
    """Return a prompt as ``(role, text)``, each cut to `MAX_TEXT`."""
    if isinstance(prompt, str):
        return (("", prompt[:MAX_TEXT]),)
    if not isinstance(prompt, (list, tuple)):
        return ()
    found = []
    for message in prompt:
        content = message.get("content")
        shown = message["tool_calls"] if content is None and "tool_calls" in message else content
        found.append((str(message.get("role", "")), _text(shown)[:MAX_TEXT]))
    return tuple(found)


def _changes(golden: Golden | None, new: Golden) -> tuple[tuple[str, str, str], ...]:
    if golden is None:
        return ()
    old, here = golden.environment, new.environment
    fields = {name: (old.get(name), here.get(name)) for name in sorted({*old, *here})} if old and here else {}
    if another_model(golden.model, new.model):
        fields |= changed_model(golden.model, new.model)
    return tuple((name, _brief(was), _brief(now)) for name, (was, now) in fields.items() if changed(name, was, now))


def _brief(value: Any) -> str:
    text = str(value)
    # A digest's first dozen characters tell it apart.
    return "none" if value in (None, "") else text[:12] if len(text) == 64 and text.isalnum() else text[:80]
