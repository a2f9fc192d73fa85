"""What a line of a log says: the output at a path, and beside it why it ended and how many tokens it took."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import whole

#: Names of APIs for why an output ended, and the values (in lower case) of one that was cut short.
_FINISH = ("finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason")
CUT = ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded")
#: Names for the tokens of an output, and for the objects that hold them.
_TOKENS = ("completion_tokens", "output_tokens", "tokens", "outputTokens", "candidatesTokenCount", "eval_count")
_HOLDERS = ("usage", "usageMetadata")
#: Bytes of a line: gzip makes a few megabytes of any number of blanks.
LONGEST = 64 << 20
#: UTF-32's mark begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class Output(NamedTuple):
    """One output; ``None`` for a text that is null (a tool call, say), and for what the line does not have.

    ``ended`` is why it ended, in lower case.
    """

    text: str | None
    segment: str | None
    tokens: int | None
    ended: str | None
    unit: str | None


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1; gzip is told by its first bytes.

    Raises:
        InvalidInputError: the file cannot be read, its first bytes are the mark of another encoding than UTF-8, or a
            line is longer than `LONGEST`.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.peek(2)[:2] == b"\x1f\x8b"
            yield from _lines(gzip.GzipFile(fileobj=stream) if packed else stream, path)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path}: the outputs cannot be read: {why}") from None


def _lines(stream: BinaryIO | gzip.GzipFile, path: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST + 1), b""), 1):
        if len(line) > LONGEST:
            raise InvalidInputError(f"{path}:{number}: a line of more than {LONGEST >> 20} MB, which no output has")
        encoding = next((name for mark, name in _MARKS.items() if line.startswith(mark)), "") if number == 1 else ""
        if encoding:
            raise InvalidInputError(f"{path}: the outputs are {encoding} by their byte order mark, not UTF-8")
        if line.strip():
            yield number, line


def parse(line: bytes, field: str, by: str, one_per: str = "") -> Output:
    """Return what a line says of its output; its unit is the value of ``one_per``.

    Why it ended, and its tokens, are looked for in the objects that hold ``field``, the nearest first, and in their
    ``usage``.

    Raises:
        KeyError: it has no ``field``.
        ValueError: it is no JSON object, the output no text, the segment or unit no single value.
        RecursionError: it is nested too deeply.
    """
    try:
        row = json.loads(line.decode("utf-8-sig").strip())
    except json.JSONDecodeError as error:  # its own line number is always 1
        raise ValueError(f"{error.msg} (character {error.pos + 1})") from None
    *around, text = _way(row, field)
    if not (text is None or isinstance(text, str)):
        raise ValueError(f"{field} is {json.dumps(text)[:40]}, not text")
    finish = _beside(around, _FINISH, lambda value: isinstance(value, str)) or _response_end(around)
    return Output(
        None if text is None else whole(text),
        _segment(row, by) if by else None,
        _beside(around, _TOKENS, _is_count),
        None if finish is None else whole(finish.lower()),
        _segment(row, one_per) if one_per else None,
    )


def _beside(around: Sequence[Any], names: Sequence[str], is_one: Callable[[Any], bool]) -> Any:
    """Return the first value under one of the names that is one, from the innermost object outwards."""
    for one in reversed(around):
        for place in (one, *(one.get(name) for name in _HOLDERS)) if isinstance(one, dict) else ():
            for name in names:
                if isinstance(place, dict) and is_one(place.get(name)):
                    return place[name]
    return None


def _response_end(around: Sequence[Any]) -> str | None:
    """Return why an answer of OpenAI's Responses API ended, which it says of those alone that ended early."""
    for one in around:
        if isinstance(one, dict) and "incomplete_details" in one and one.get("status") in ("completed", "incomplete"):
            details = one["incomplete_details"]
            return str(details.get("reason")) if isinstance(details, dict) else "completed"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53  # a float has it exactly


def _segment(row: Any, by: str) -> str | None:
    try:
        value = _way(row, by)[-1]
    except KeyError:
        return None
    if isinstance(value, (dict, list)):
        raise ValueError(f"{by} is {json.dumps(value)[:40]}, not one value")
    return whole(value if isinstance(value, str) else json.dumps(value))


def _way(row: Any, path: str) -> list[Any]:
    """Return the values on the way to the one at ``path``, from the row to the value itself."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if path in row:
        return [row, row[path]]
    way: list[Any] = [row]
    for part in path.split("."):
        value = way[-1]
        if isinstance(value, dict) and part in value:
            way.append(value[part])
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            way.append(value[int(part)])
        else:
            raise KeyError(path)
    return way
