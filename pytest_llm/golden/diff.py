"""What a reader sees of two texts that differ: changed lines, the changed words underlined."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llm.reports.text import UNSPACED, visible

#: Rows of a diff, lines compared, and characters of a line: a runaway answer must not make a report unreadable, or
#: the comparison (quadratic in the lines that differ) slow.
MAX_ROWS, MAX_LINES, MAX_WIDTH = 40, 200, 160

#: Of a text compared word by word: characters compared, and words and spaces kept beside a change.
MAX_TEXT, KEPT = 2_000, 10

#: What stands for a combining mark, of which ``re`` has no class: it belongs to the character before it.
_MARK = "\ue000"
#: White space, a character of a script without spaces between words, a word of another one, or any other character.
_WORDS = re.compile(rf"\s+|[{UNSPACED}]{_MARK}*|(?:(?![{UNSPACED}])[\w{_MARK}])+|[^\w\s]{_MARK}*")


def first_difference(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return the first place where two sequences differ; the length of the shorter, where the other goes on."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def line_diff(old: str, new: str) -> tuple[str, ...]:
    """Return where the texts part, one line of context, and the lines of ``old`` (-) and ``new`` (+) that differ.

    A row ``?`` underlines the changed words of the line above it. Characters that do not show are escaped.
    """
    if old == new:
        return ()
    a, b = old.split("\n"), new.split("\n")
    start = first_difference(a, b)
    end = first_difference(a[start:][::-1], b[start:][::-1])
    column = first_difference(a[start] if start < len(a) else "", b[start] if start < len(b) else "")
    rows = [f"@@ first difference: line {start + 1}, column {column + 1} @@"]
    rows += [f"  {_crop(a[start - 1])}"] if start else []
    mid_a, mid_b = a[start : len(a) - end], b[start : len(b) - end]
    hidden = max(len(mid_a), len(mid_b)) - MAX_LINES
    rows += _changes(mid_a[:MAX_LINES], mid_b[:MAX_LINES])
    if len(rows) > MAX_ROWS or hidden > 0:
        left = max(len(rows) - MAX_ROWS, 0) + max(hidden, 0)
        rows = [*rows[:MAX_ROWS], f"… (+{left} lines)"]
    return tuple(rows)


def word_diff(old: str, new: str) -> str:
    """Return both texts in one: ``the [-red-]{+blue+} hat``; characters that do not show are escaped.

    Long runs of equal words are cut to their ends, and long texts around the first change.
    """
    start = max(0, first_difference(old, new) - MAX_TEXT // 4)
    a, b = (_words(text[start : start + MAX_TEXT]) for text in (old, new))
    shown = ""
    for tag, i, i2, j, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            lead = a[i : i + KEPT] if i or j else []
            rest = a[i2 - KEPT : i2] if i2 < len(a) or j2 < len(b) else []
            cut = i2 - i > 2 * KEPT
            shown += visible("".join([*lead, "…", *rest] if cut else a[i:i2]))
        else:
            shown += f"[-{visible(''.join(a[i:i2]))}-]" if i < i2 else ""
            shown += f"{{+{visible(''.join(b[j:j2]))}+}}" if j < j2 else ""
    return shown


def _words(text: str) -> list[str]:
    """Return the parts of ``text`` that change as one: together they are the text."""
    shape = text if text.isascii() else "".join(_MARK if unicodedata.category(c)[0] == "M" else c for c in text)
    return [text[found.start() : found.end()] for found in _WORDS.finditer(shape)]


def _changes(a: list[str], b: list[str]) -> Iterator[str]:
    for tag, i, i2, j, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            shown = a[i:i2] if i2 - i <= 3 else [a[i], f"… ({i2 - i - 2} equal lines)", a[i2 - 1]]
            yield from (f"  {_crop(line)}" for line in shown)
            continue
        pairs = min(i2 - i, j2 - j)
        for k in range(pairs):
            yield from _pair(a[i + k], b[j + k])
        yield from (f"- {_crop(line)}" for line in a[i + pairs : i2])
        yield from (f"+ {_crop(line)}" for line in b[j + pairs : j2])


def _pair(x: str, y: str) -> Iterator[str]:
    start = max(0, first_difference(x, y) - MAX_WIDTH // 3) if max(len(x), len(y)) > MAX_WIDTH else 0
    x, y, lead = _crop(x, start), _crop(y, start), 2 if start else 0
    words_x, words_y = _words(x), _words(y)
    marks_x, marks_y = "", ""
    for tag, i, i2, j, j2 in difflib.SequenceMatcher(None, words_x, words_y, autojunk=False).get_opcodes():
        mark = " " if tag == "equal" else "^"
        marks_x += _under("".join(words_x[i:i2]), mark)
        marks_y += _under("".join(words_y[j:j2]), mark)
    for sign, text, marks in (("-", x, marks_x), ("+", y, marks_y)):
        yield f"{sign} {text}"
        if "^" in marks[lead:]:
            yield f"? {marks.rstrip()}"


def _crop(line: str, start: int = 0) -> str:
    """Return the part of ``line`` from column ``start`` as it is shown."""
    shown = visible(line[start : start + MAX_WIDTH])
    return ("… " if start else "") + shown + ("…" if start + MAX_WIDTH < len(line) else "")


def _under(text: str, mark: str) -> str:
    # A tab stays a tab and a wide character takes two columns, so that the marks stand under what they mean.
    return "".join(
        "\t" if c == "\t" and mark == " " else mark * (2 if unicodedata.east_asian_width(c) in "WF" else 1)
        for c in text
        if unicodedata.category(c) not in ("Mn", "Me")
    )
