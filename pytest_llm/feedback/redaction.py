"""Blotting out what plainly names a person: e-mail addresses, telephone and card numbers.

Simple patterns, no promise: a name or an address in plain words stays. Review the cases before committing them.
"""

from __future__ import annotations

import re

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_DIGITS = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,}(?![\w-])")
#: Where a card may begin and end in such a run, beside its date and code; and the characters it has at most.
_BEGINS, _ENDS, _CARD = re.compile(r"(?<!\d)\d{4}"), re.compile(r"\d(?!\d)"), 37
#: International, or with separators: a plain run of digits is more often an order number than a telephone. No date.
_PHONE = re.compile(
    r"(?<![\w.])(?!\d{4}-\d\d-\d\d)(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?)?|\(\d{2,4}\)[ .-]?|\d{2,4}[ .-])"
    r"(?:\d{2,4}[ .-]?){1,4}\d{2,4}(?![\w.]\d|\w)"
)


def redact(text: str) -> str:
    """Return ``text`` with ``[email]``, ``[card]`` (a number that passes Luhn's check) and ``[phone]``."""
    text = _EMAIL.sub("[email]", text)
    text = _DIGITS.sub(lambda match: _cards(match[0]), text)
    return _PHONE.sub(lambda match: "[phone]" if 9 <= sum(map(str.isdigit, match[0])) <= 15 else match[0], text)


def _cards(run: str) -> str:
    """Blot out the cards in a run of digits: all of it if that is one, else the longest at each place."""
    if _luhn(run):
        return "[card]"
    parts, at = [], 0
    for begin in (match.start() for match in _BEGINS.finditer(run)):
        ends = [match.end() for match in _ENDS.finditer(run[: begin + _CARD + 1], begin)] if begin >= at else []
        end = next((end for end in reversed(ends) if _luhn(run[begin:end])), None)
        if end is not None:
            parts += [run[at:begin], "[card]"]
            at = end
    return "".join([*parts, run[at:]])


def _luhn(number: str) -> bool:
    digits = [int(c) for c in reversed(number) if c.isdigit()]
    return (
        13 <= len(digits) <= 19
        and sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0
    )
