"""A window of production outputs: a JSON Lines file, one output a line."""

from __future__ import annotations

import codecs
import dataclasses
import random
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.monitoring import logs

#: Bad lines named; the rest is counted.
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Window:
    """Outputs in the order of their file.

    A text is ``None`` where the model gave none, as in a tool call. ``segments`` has the value of the field that was
    asked for, one an output; ``tokens`` (lengths in tokens) and ``ended`` (finish reasons) have ``None`` for a line
    that does not say. Each is empty where nothing is known. ``left_out`` says what was wrong with each line that
    is no output here; ``related`` counts the outputs left out as there is another of the same value of ``one_per``.
    """

    path: str
    texts: tuple[str | None, ...]
    segments: tuple[str, ...] = ()
    tokens: tuple[int | None, ...] = ()
    ended: tuple[str | None, ...] = ()
    left_out: tuple[str, ...] = ()
    one_per: str = ""
    related: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def told(self) -> tuple[str, ...]:
        """The outputs that have a text."""
        return tuple(text for text in self.texts if text is not None)

    def only(self, segment: str) -> Window:
        """Return the outputs of one segment."""
        chosen = [i for i, name in enumerate(self.segments) if name == segment]

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in chosen) if values else ()

        return Window(self.path, some(self.texts), some(self.segments), some(self.tokens), some(self.ended))


def read(
    path: Path,
    *,
    field: str = "output",
    by: str = "",
    one_per: str = "",
    optional: bool = False,
    minimum: int = 1,
    skip_bad: int = 0,
) -> Window:
    """Read a window.

    Args:
        path: JSON Lines, UTF-8, or gzip of it; it is read once, so it may be a pipe.
        field: where the output is: a key, or a path such as ``choices.0.message.content``.
        by: the field to divide the window by, if any; numbers and booleans are read as text.
        one_per: the field (a conversation, a user) of whose every value one output counts, if any.
        optional: the window may have no field ``by``, and is not divided then; but all lines have it, or none.
        minimum: outputs it must have.
        skip_bad: lines at most that are left out for being no object or lacking a field.

    Raises:
        InvalidInputError: the file cannot be read, more bad lines than ``skip_bad``, too few outputs.
    """
    found: dict[int, logs.Output] = {}
    wrong: dict[int, str] = {}
    array = False
    for number, line in logs.lines(path):
        if not (found or wrong):
            array = line.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
        try:
            found[number] = logs.parse(line, field, by, one_per)
        except KeyError as error:
            wrong[number] = f"line {number} has no field {error}"
        except (ValueError, RecursionError) as error:
            wrong[number] = f"line {number}: {error}"
    divided = bool(by) and not (optional and all(one.segment is None for one in found.values()))
    if divided:
        wrong |= {n: f"line {n} has no field {by!r}" for n, one in found.items() if one.segment is None}
    if one_per:
        wrong |= {n: f"line {n} has no field {one_per!r}" for n, one in found.items() if one.unit is None}
    bad = tuple(wrong[number] for number in sorted(wrong))
    if len(bad) > skip_bad and array:
        raise InvalidInputError(f"{path}: a JSON array, where one object a line is wanted: jq -c '.[]' FILE")
    if len(bad) > skip_bad:
        hint = f" (--skip-bad={len(bad)} leaves out as many)" if len(bad) < len(found) else ""
        raise InvalidInputError(f"{path}: {named(bad)}{hint}")
    told = [one for number, one in found.items() if number not in wrong]
    outputs = _one_of_each(told) if one_per else told
    if len(outputs) < minimum:
        raise InvalidInputError(
            f"{path}: {len(outputs)} outputs are too few to compare: at least {minimum} are needed"
            + (f" (of {len(told)}, one per {one_per})" if one_per else "")
        )
    return Window(
        str(path),
        tuple(one.text for one in outputs),
        tuple(one.segment or "" for one in outputs) if divided else (),
        tuple(one.tokens for one in outputs),
        tuple(one.ended for one in outputs),
        bad,
        one_per,
        len(told) - len(outputs),
    )


def _one_of_each(outputs: list[logs.Output]) -> list[logs.Output]:
    """Return one output of each unit, drawn by chance that the unit alone seeds: the same in every run."""
    units: dict[str, list[int]] = {}
    for i, one in enumerate(outputs):
        units.setdefault(str(one.unit), []).append(i)
    return [outputs[i] for i in sorted(random.Random(unit).choice(some) for unit, some in units.items())]


def named(bad: tuple[str, ...]) -> str:
    """Return the first of what was wrong, and how many more there are."""
    more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return f"{'; '.join(bad[:_NAMED])}{more}"
