"""The standard streams of a command: neither a reader that leaves early nor a narrow encoding ends it.

On GitHub Actions nothing in them commands the runner. pytest tells it not to listen (`pytest_llm.reports.github`); the
line that does so would spoil JSON for a program, and the runner reads the two streams in no certain order.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from pytest_llm.errors import LLMError

#: What the runner takes for a command: "::" where a line begins, after spaces or none, and "##[" anywhere.
_COMMAND = re.compile(r"(?:\A|[\r\n])\s*::|##\[")


class _Patient(io.RawIOBase):
    """Output whose reader (head, less) may have seen enough: what comes after that is dropped.

    The command goes on, as its exit code says what it found.
    """

    def __init__(self, raw: Any) -> None:
        self._raw, self._over = raw, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def write(self, data: Any) -> int | None:
        """Write as `io.RawIOBase` does.

        Raises:
            LLMError: it cannot be written, as on a full disk.
        """
        if not self._over:
            try:
                return self._raw.write(data)  # type: ignore[no-any-return]
            except OSError as error:
                self._over = True
                if not isinstance(error, BrokenPipeError):
                    raise LLMError(f"the output cannot be written: {error}") from None
        return len(data)


class _Unheard(io.TextIOWrapper):
    r"""Text in which the runner finds no command: the last character of what begins one is written as its escape.

    ``\u003a`` and ``\u005b`` are the same to who reads JSON.
    """

    #: What was written of the line, where more of it may become a command.
    _line = ""

    def write(self, text: str) -> int:
        """Write as `io.TextIOWrapper` does."""
        whole = _COMMAND.sub(lambda found: f"{found[0][:-1]}\\u{ord(found[0][-1]):04x}", self._line + text)
        super().write(whole[len(self._line) :])
        line = re.split(r"[\r\n]", whole)[-1]
        self._line = f".{line[-2:]}" if len(line.lstrip()) > 2 else line
        return len(text)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Make the standard streams so, where they are the process's own. What is written to a closed one is dropped."""
    kept = sys.stdout, sys.stderr
    sys.stdout = _wrapped(kept[0]) if kept[0] is sys.__stdout__ else kept[0]
    sys.stderr = _wrapped(kept[1]) if kept[1] is sys.__stderr__ else kept[1]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(LLMError):
                stream.flush()
        sys.stdout, sys.stderr = kept


def _wrapped(stream: Any) -> io.TextIOWrapper:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (a path of no file)
    stream.flush()
    writer = io.BufferedWriter(_Patient(getattr(stream.buffer, "raw", stream.buffer)))
    lines = stream.line_buffering or stream.write_through
    kind = _Unheard if os.environ.get("GITHUB_ACTIONS") == "true" else io.TextIOWrapper
    return kind(writer, stream.encoding, "backslashreplace", line_buffering=lines)


def shows(text: str) -> bool:
    """Whether the encoding of the standard output has ``text``: what is ours has a spelling in ASCII where not.

    What a model said has none: it is shown as its escapes, which no other text is shown as.
    """
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
