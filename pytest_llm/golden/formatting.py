"""Telling a change of format from a change of content.

Only what carries no meaning is taken away: every letter, digit and sign of the content stays, in order, and nothing
that stood apart is joined. Where a rule could hide another number ("-5" and "- 5", "x²" and "x2", "2*3*4"), it does
not apply, and the difference reads as drift.
"""

from __future__ import annotations

import re
import unicodedata

#: Compatibility forms that mean something else than their plain letters: x² is not x2.
_MEANINGFUL = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>", "<font>")

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(?=\S)", re.MULTILINE)
_CODE = re.compile(r"(?<![\w`\\])`([^`\n]+)`(?![\w`])")
_EMPHASIS = re.compile(r"(?<![\w*\\])(\*{1,3})(?=[^\s*])([^\n]*?[^\s*\\])\1(?![\w*])")
# A bullet before a digit could be a minus, so only letters lose theirs.
_BULLET = re.compile(r"^[ \t]*[-*+•][ \t]+(?=[\"'(]?[^\W\d_])", re.MULTILINE)
_AROUND_BRACKETS = re.compile(r"\s*([()\[\]{}\"][:,]?)\s*")


def format_difference(old: str, new: str) -> tuple[str, ...]:
    """Return which kinds of format the two texts differ in; ``()`` when their content differs (or nothing does).

    Kinds: ``Unicode form``, ``Markdown``, ``case``, ``whitespace``.
    """
    if old == new or _plain(old) != _plain(new):
        return ()
    needed = tuple(kind for kind in _STEPS if _plain(old, without=kind) != _plain(new, without=kind))
    # Where any one of two steps would do, neither is needed alone: name them all.
    return needed or tuple(_STEPS)


def _plain(text: str, without: str = "") -> str:
    for kind, step in _STEPS.items():
        if kind != without:
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
    text = _FENCE.sub(r"\2", text)
    text = _HEADING.sub("", text)
    text = _CODE.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\2", text)
    return _BULLET.sub("", text)


def _case(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _whitespace(text: str) -> str:
    return " ".join(_AROUND_BRACKETS.sub(r"\1", text).split())


_STEPS = {"Unicode form": _unicode, "Markdown": _markdown, "case": _case, "whitespace": _whitespace}
