"""A verdict as plain text: what an assertion raises with."""

from __future__ import annotations

import math
import sys
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.evidence import Example
    from pytest_llm.verdicts import Verdict

#: Characters of an example's text shown on a failure; the rest is counted.
EXAMPLE_WIDTH = 300


def render(verdict: Verdict) -> str:
    """Return the headline, the figures, the evidence and the notes, ready for a terminal.

    A model's output is untrusted: control characters are shown as escapes.
    """
    lines = [visible(verdict.headline)]
    if verdict.figures:
        lines.append("  " + "   ".join(f"{name} {number(value)}" for name, value in verdict.figures.items()))
    lines += ["  " + visible(line) for line in verdict.diff]
    if verdict.examples:
        lines.append(f"  worst {len(verdict.examples)}:" if len(verdict.examples) > 1 else "  worst:")
        for example in verdict.examples:
            lines += _example(example, verdict.kind == "baseline")
    for note in verdict.notes:
        # A command is for copying: it stays on one line.
        width = sys.maxsize if "--llm-" in note else 100
        lines += textwrap.wrap(
            visible(note), width, initial_indent="  note: ", subsequent_indent="        ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def number(value: Any) -> str:
    """Return a figure as people read it: six significant digits, no trailing zeros."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return visible(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return f"{float(value):.6g}"


def visible(text: str) -> str:
    """Return ``text`` with control, bidirectional and line-breaking characters escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c == "\t" or (c.isprintable() and not "\u200b" <= c <= "\u200f") else c.encode("unicode_escape").decode()
        for c in text
    )


def shorten(text: str, width: int = EXAMPLE_WIDTH) -> str:
    """Cut ``text`` to ``width`` characters, saying how many were left out."""
    return text if len(text) <= width else f"{text[:width]}… (+{len(text) - width} characters)"


def _example(example: Example, against_expected: bool) -> list[str]:
    value = "" if example.value is None else f"  {number(example.value)}"
    lines = [f"    [{visible(example.id)}]{value}"]
    if example.expected:
        lines.append(f"      expected: {visible(shorten(example.expected))}")
    lines.append(f"      actual:   {visible(shorten(example.actual))}")
    if example.before and example.before != example.actual:
        from pytest_llm.golden.diff import word_diff

        lines.append(f"      before:   {visible(shorten(example.before))}")
        lines.append(f"      changed:  {shorten(word_diff(example.before, example.actual))}")
    elif against_expected and example.expected and set(example.expected.split()) & set(example.actual.split()):
        from pytest_llm.golden.diff import word_diff

        lines.append(f"      differs:  {shorten(word_diff(example.expected, example.actual))}")
    return lines
