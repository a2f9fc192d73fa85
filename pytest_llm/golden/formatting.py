"""Telling a change of format from a change of content.

Only what carries no meaning is taken away: every letter, digit and sign of the content stays, in order, and nothing
that stood apart is joined. Where a rule could hide another number ("-5" and "- 5", "x²" and "x2", "2*3*4"), it does
not apply, and the difference reads as drift.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection

#: Compatibility forms that mean something else than their plain letters: x² is not x2.
_MEANINGFUL = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>", "<font>")

# Each pattern is linear in the text: a model's answer is untrusted, and may be long.
_FENCE = re.compile(r"[ \t]*(```+|~~~+)([^`]*)$")
_HEADING = re.compile(r"^#{1,6}[ \t]+(?=\S)", re.MULTILINE)
_CODE = re.compile(r"(?<![\w`\\])`([^`\n]+)`(?![\w`])")
_EMPHASIS = re.compile(r"(?<![\w*\\])(\*{1,3})(?=[^\s*])([^\n]{0,300}?[^\s*\\])\1(?![\w*])")
# A bullet before a digit could be a minus, so only words lose theirs; and a plus could be the other line of a patch.
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+(?=[\"'(]?[^\W\d_])", re.MULTILINE)
_AROUND_BRACKETS = re.compile(r" ?([()\[\]{}\"][:,]?) ?")


def format_difference(old: str, new: str) -> tuple[str, ...]:
    """Return the fewest kinds of format that explain the difference; ``()`` when the content differs, or nothing does.

    Kinds: ``Unicode form``, ``Markdown``, ``case``, ``whitespace``.
    """
    if old == new:
        return ()
    if _plain(old, tuple(_STEPS)) == _plain(new, tuple(_STEPS)):
        for size in range(1, len(_STEPS) + 1):
            for kinds in itertools.combinations(_STEPS, size):
                if _plain(old, kinds) == _plain(new, kinds):
                    return kinds
    return ()


def _plain(text: str, kinds: Collection[str]) -> str:
    for kind, step in _STEPS.items():
        if kind in kinds:
            text = step(text)
    return text


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    folded = (
        c if unicodedata.decomposition(c).startswith(_MEANINGFUL) else unicodedata.normalize("NFKC", c) for c in text
    )
    return unicodedata.normalize("NFC", "".join(folded))


def _markdown(text: str) -> str:
    text = _HEADING.sub("", _unfenced(text))
    text = _CODE.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\2", text)
    return _BULLET.sub("", text)


def _unfenced(text: str) -> str:
    """Leave out the two lines of every closed code fence; the language is no word of the answer."""
    kept: list[str | None] = []
    opened: tuple[int, str] | None = None
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if fence and opened and fence[1] == opened[1] and not fence[2].strip():
            kept[opened[0]] = None
            opened = None
            continue
        if fence and not opened:
            opened = len(kept), fence[1]
        kept.append(line)
    return "\n".join(line for line in kept if line is not None)


def _whitespace(text: str) -> str:
    return _AROUND_BRACKETS.sub(r"\1", " ".join(text.split()))


_STEPS = {"Unicode form": _unicode, "Markdown": _markdown, "case": str.casefold, "whitespace": _whitespace}
