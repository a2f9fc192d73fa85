"""JSON as committed files spell it: made to be read in a pull request, and to hold any text exactly."""

from __future__ import annotations

import json
import re
from typing import Any

from pytest_llm.files import strict_json

#: Characters written as escapes: lone surrogates (UTF-8 cannot hold them), and everything that would not show, or
#: would reorder what shows, in a diff, as a model's answer is untrusted text; but not what joins emoji or letters.
_HIDDEN = re.compile(
    "[\ud800-\udfff\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\U000e0000-\U000e0fff]"
)
#: Numbers in a row of a table that is still written on one line.
_LONG_ROW = 40
_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: |\r?$)", re.MULTILINE)


class JSONTextError(ValueError):
    """The text is not JSON that `dump` could have written. The message says why, ``line`` where (0 when unknown)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def dump(data: Any, wrap: int = 0) -> str:
    """Return ``data`` as JSON: sorted keys, indent 2, one line for a list of numbers, a final newline.

    ``tokens`` stay on one line too: one token a line would bury the text in a diff. With ``wrap``, a list of numbers
    has so many a line, but for the short rows of a table.

    Raises:
        ValueError: a NaN or an infinity.
    """
    return escape_hidden(_node(data, "", wrap)) + "\n"


def escape_hidden(text: str) -> str:
    """Return JSON with the characters escaped that would not show in a diff, would reorder it, or are not UTF-8."""
    return _HIDDEN.sub(_escape, text)


def load(text: str) -> Any:
    """Parse what `dump` wrote, and nothing a careless merge could have made of it.

    Raises:
        JSONTextError: not JSON, merge-conflict markers, a key twice, or a NaN.
    """
    try:
        return strict_json(text)
    except json.JSONDecodeError as error:
        conflict = _CONFLICT.search(text)
        if conflict:
            line = text.count("\n", 0, conflict.start()) + 1
            raise JSONTextError(f"merge-conflict markers ({conflict[1]})", line) from None
        raise JSONTextError(f"not JSON: {error.msg} at column {error.colno}", error.lineno) from None
    except RecursionError:
        raise JSONTextError("not JSON: nested too deep") from None
    except ValueError as error:
        raise JSONTextError(f"not JSON: {error}") from None


def _node(value: Any, indent: str, wrap: int, row: bool = False) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [
            f"{inner}{_flat(key)}: {_flat(value[key]) if key == 'tokens' else _node(value[key], inner, wrap)}"
            for key in sorted(value)
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and value:
        if all(x is None or isinstance(x, (int, float)) for x in value):
            if not wrap or (row and len(value) <= _LONG_ROW):
                return _flat(value)
            cells = [", ".join(map(_flat, value[i : i + wrap])) for i in range(0, len(value), wrap)]
        else:
            cells = [_node(x, inner, wrap, row=True) for x in value]
        return "[\n" + ",\n".join(inner + cell for cell in cells) + f"\n{indent}]"
    return _flat(value)


def _flat(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
