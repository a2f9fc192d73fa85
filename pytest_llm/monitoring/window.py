"""A window of production outputs: a JSON Lines file, one output a line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import SURROGATE

#: Bad lines named in an error; the rest is counted.
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Window:
    """Outputs in the order of their file.

    ``segments`` has the value of the field that was asked for, one an output. ``tokens`` (lengths in tokens) and
    ``cut`` (finish reason "length") are empty unless every line has them.
    """

    path: str
    texts: tuple[str, ...]
    segments: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    cut: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, segment: str) -> Window:
        """Return the outputs of one segment."""
        chosen = [i for i, name in enumerate(self.segments) if name == segment]

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in chosen) if values else ()

        return Window(self.path, some(self.texts), some(self.segments), some(self.tokens), some(self.cut))


def read(path: Path, *, field: str = "output", by: str = "", minimum: int = 1) -> Window:
    """Read a window.

    Args:
        path: JSON Lines, UTF-8.
        field: where the output is: a key, or a path such as ``choices.0.message.content``.
        by: the field to divide the window by, if any; numbers and booleans are read as text.
        minimum: outputs it must have.

    Raises:
        InvalidInputError: the file cannot be read, a line is no object or lacks a field, too few outputs.
    """
    texts, segments, tokens, cut, wrong = [], [], [], [], []
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig"))
                    text = _get(row, field)
                    if not isinstance(text, str):
                        raise ValueError(f"{field} is {json.dumps(text)[:40]}, not text")
                    segments.append(_segment(row, by) if by else "")
                except KeyError as error:
                    wrong.append(f"line {number} has no field {error}")
                except (ValueError, RecursionError) as error:
                    wrong.append(f"line {number}: {error}")
                else:
                    texts.append(SURROGATE.sub("\ufffd", text))
                    tokens.append(
                        next((row[n] for n in ("completion_tokens", "tokens") if _is_count(row.get(n))), None)
                    )
                    cut.append(row.get("finish_reason"))
    except OSError as error:
        raise InvalidInputError(f"{path}: the outputs cannot be read: {error.strerror}") from None
    if wrong:
        more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InvalidInputError(f"{path}: {'; '.join(wrong[:_NAMED])}{more}")
    if len(texts) < minimum:
        raise InvalidInputError(f"{path}: {len(texts)} outputs are too few to compare: at least {minimum} are needed")
    return Window(
        str(path),
        tuple(texts),
        tuple(segments) if by else (),
        tuple(tokens) if all(count is not None for count in tokens) else (),  # type: ignore[arg-type]
        tuple(reason == "length" for reason in cut) if all(isinstance(reason, str) for reason in cut) else (),
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53  # a float has it exactly


def _segment(row: Any, by: str) -> str:
    value = _get(row, by)
    if isinstance(value, (dict, list)):
        raise ValueError(f"{by} is {json.dumps(value)[:40]}, not one value")
    return SURROGATE.sub("\ufffd", value if isinstance(value, str) else json.dumps(value))


def _get(row: Any, path: str) -> Any:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(path)
    return value


def has_field(path: Path, name: str) -> bool:
    """Whether the first line of a file has the field ``name``. A file that cannot be read has none."""
    try:
        with path.open("rb") as stream:
            _get(json.loads(stream.readline()), name)
    except (OSError, ValueError, KeyError, RecursionError):
        return False
    return True
