"""A verdict as plain text: what an assertion raises with."""

from __future__ import annotations

import math
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.evidence import Example
    from pytest_llm.verdicts import Verdict

#: Characters of an example's text shown on a failure; the rest is counted.
EXAMPLE_WIDTH = 300
#: What Unicode calls default-ignorable and Python printable; but of an emoji, the selector of its presentation.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
    "|(?<![#*0-9\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
)
#: Scripts that put no space between words, for a class of a regular expression: Thai, Lao, Tibetan, Burmese, Khmer,
#: kana, Chinese characters.
UNSPACED = (
    "\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
#: Figures that are held against one another.
_COMPARED = ("value", "at_least", "at_most", "baseline")


def render(verdict: Verdict) -> str:
    """Return the headline, the figures, the evidence and the notes, ready for a terminal.

    A model's output is untrusted: control characters are shown as escapes.
    """
    lines = [visible(verdict.headline)]
    if verdict.figures:
        lines.append("  " + "   ".join(f"{visible(name)} {figure(verdict.figures, name)}" for name in verdict.figures))
    lines += ["  " + visible(line) for line in verdict.diff]
    if verdict.examples:
        lines.append(f"  worst {len(verdict.examples)}:" if len(verdict.examples) > 1 else "  worst:")
        for example in verdict.examples:
            lines += _example(example, verdict.kind == "baseline")
    for note in verdict.notes:
        # A command is for copying: it stays on one line.
        width = sys.maxsize if "--llm-" in note or "git mv " in note else 100
        lines += textwrap.wrap(
            visible(note), width, initial_indent="  note: ", subsequent_indent="        ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def number(value: Any, *others: Any) -> str:
    """Return a figure as people read it: six significant digits, no trailing zeros; more to tell it from ``others``."""
    if not _is_number(value):
        return visible(str(value))
    if not math.isfinite(value):
        return str(float(value))
    pairs = [(float(value), float(other)) for other in others if _is_number(other)]
    return apart((".6g", ".9g", ".17g"), *pairs)[0][0] if pairs else f"{float(value):.6g}"


def p_value(p: float) -> str:
    """Return a p-value with two digits."""
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the end of an error on a ``name`` that is none of the ``known``: the nearest of them, if one is near."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else otherwise


def counted(n: int, noun: str) -> str:
    """Return "1 test", "2 tests"."""
    return f"{n} {noun}" + ("" if n == 1 else "s")


def figure(figures: Mapping[str, Any], name: str) -> str:
    """Return the figure called ``name`` with the digits it takes to tell it from what it was held against."""
    others = [figures[other] for other in _COMPARED if other in figures] if name in _COMPARED else []
    return number(figures[name], *others)


def apart(forms: Iterable[str], *pairs: tuple[float, float]) -> list[tuple[str, str]]:
    """Return the pairs in the first of ``forms`` that tells the two of each apart, the last where none does.

    A text that shows a value and its bound as equal contradicts a verdict that they are not. Numbers that differ by
    rounding alone are shown as equal.
    """
    shown: list[tuple[str, str]] = []
    for form in forms:
        shown = [(format(a, form), format(b, form)) for a, b in pairs]
        told = (x != y for x, y in shown)
        if all(ok or math.isclose(a, b, rel_tol=1e-9) for ok, (a, b) in zip(told, pairs, strict=True)):
            break
    return shown


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def visible(text: str) -> str:
    """Return ``text`` with escapes for control, bidirectional, line-breaking and invisible characters."""
    if text.isascii() and text.isprintable():
        return text
    text = _UNSEEN.sub(lambda match: _escaped(match[0]), text)
    return "".join(c if c == "\t" or c.isprintable() else _escaped(c) for c in text)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def short_nodeids(nodeids: Iterable[str]) -> dict[str, str]:
    """Map node ids to ones without the folders of their module, but where two modules share a name."""
    parts = {nodeid: nodeid.partition("::") for nodeid in nodeids}  # a parameter may hold a slash too
    shared = Counter(module.rpartition("/")[2] for module in {module for module, *_ in parts.values()})
    short = {}
    for nodeid, (module, colons, test) in parts.items():
        name = module.rpartition("/")[2]
        short[nodeid] = (module if shared[name] > 1 else name) + colons + test
    return short


def shorten(text: str, width: int = EXAMPLE_WIDTH) -> str:
    """Cut ``text`` to ``width`` characters, saying how many were left out."""
    return text if len(text) <= width else f"{text[:width]}… (+{len(text) - width} characters)"


def one_line(error: BaseException, width: int = 500) -> str:
    """Return what ``error`` says, as others' code words it, in one line of ``width`` characters."""
    return visible(shorten(" ".join(str(error).split()) or type(error).__name__, width))


def _example(example: Example, against_expected: bool) -> list[str]:
    value = "" if example.value is None else f"  {number(example.value)}"
    lines = [f"    [{visible(example.id)}]{value}"]
    if example.expected:
        lines.append(f"      expected: {visible(shorten(example.expected))}")
    lines.append(f"      actual:   {visible(shorten(example.actual))}")
    if not (example.actual.isascii() or example.expected.isascii()) and _same_in_nfc(example.expected, example.actual):
        lines.append("      these differ in their Unicode form only: NFC and NFD are two spellings of one text")
    if example.before and example.before != example.actual:
        from pytest_llm.golden.diff import word_diff

        was, now, more = example.before, example.actual, ""
        if len(was) > EXAMPLE_WIDTH and was.endswith("…"):  # a baseline keeps the beginning of a long answer
            was, now, more = was[:-1], now[: len(was) - 1], "…"
        lines.append(f"      before:   {visible(shorten(was))}{more}")
        diff = f"{shorten(word_diff(was, now))}{more}" if was != now else "nothing in the part that the baseline keeps"
        lines.append(f"      changed:  {diff}")
    elif against_expected and example.expected and set(example.expected.split()) & set(example.actual.split()):
        from pytest_llm.golden.diff import word_diff

        lines.append(f"      differs:  {shorten(word_diff(example.expected, example.actual))}")
    return lines


def _same_in_nfc(a: str, b: str) -> bool:
    from unicodedata import normalize

    return a != b and normalize("NFC", a) == normalize("NFC", b)
