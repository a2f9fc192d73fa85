"""What a classifier or a question-answering model says otherwise than in the golden, in words: scores tell little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_llm.reports.text import counted

#: What a request's answer is, by its kind.
_SAID = {"classify": "label", "extract": "answer"}


def said_otherwise(kind: str, old: Any, new: Any) -> list[str]:
    """Return a note on how many labels, or answers, of a value changed, and to what; none of another ``kind``."""
    if kind not in _SAID:
        return []
    pairs = list(_pairs(old, new))
    moved = [f"{was} → {now}" for was, now in pairs if was != now]
    words = ", ".join(dict.fromkeys(moved)) or "their scores moved"
    return [f"{len(moved)} of {counted(len(pairs), _SAID[kind])} changed: {words}"]


def _pairs(old: Any, new: Any) -> Iterator[tuple[str, str]]:
    """Yield the label that a classifier gave in the golden and gives now, for each text; or the words of an answer."""
    if isinstance(old, list) and isinstance(new, list):
        for one, other in zip(old, new, strict=False):
            yield from _pairs(one, other)
    elif isinstance(old, dict) and isinstance(new, dict):
        if old and new and all(isinstance(one, (int, float)) for one in (*old.values(), *new.values())):
            yield max(old, key=old.__getitem__), max(new, key=new.__getitem__)
        elif "text" in old and "text" in new:
            yield repr(old["text"]), repr(new["text"])
        else:
            yield from _pairs([old[key] for key in old if key in new], [new[key] for key in old if key in new])
