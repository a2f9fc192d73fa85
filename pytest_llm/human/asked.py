"""Outputs that a test asked people about and that nobody has rated: kept in the cache until somebody has.

``pytest-llm review --web`` shows them beside the goldens, so a test needs no golden to have its answers rated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from pathlib import Path
from typing import Any

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError
from pytest_llm.files import digest_of, path_tag, write_atomic
from pytest_llm.golden import FOLDER
from pytest_llm.human.outputs import Output
from pytest_llm.record import RunRecord, current


@dataclasses.dataclass(frozen=True)
class Asked:
    """What one test waits for. ``folder`` is where its module's goldens are, and so its ratings."""

    folder: Path
    nodeid: str
    outputs: tuple[Output, ...]


#: What the test that runs waits for, by its session: it may ask several times, as a test with subtests does.
_so_far: weakref.WeakKeyDictionary[RunRecord, Asked] = weakref.WeakKeyDictionary()


def ask(cache_dir: Path, root: Path, asked: Asked) -> None:
    """Keep the outputs that ``asked.nodeid`` waits for, all that it asked about in this run; without any, forget it."""
    run = current()
    before = _so_far.get(run) if run else None
    if before and before.nodeid == asked.nodeid:
        asked = dataclasses.replace(asked, outputs=(*before.outputs, *asked.outputs))
    if run:
        _so_far[run] = asked
    file = _folder(cache_dir, root) / f"{digest_of(asked.nodeid)}.json"
    if asked.outputs:
        data: dict[str, Any] = {**dataclasses.asdict(asked), "folder": str(asked.folder.absolute())}
        write_atomic(file, jsontext.dump(data))
    else:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()


def asked_for(cache_dir: Path, root: Path) -> list[Asked]:
    """Return what the tests of the project at ``root`` wait for.

    Raises:
        GoldenError: a file is damaged, or would put ratings elsewhere; the message says which to delete.
    """
    return [_load(file, root.resolve()) for file in sorted(_folder(cache_dir, root).glob("*.json"))]


def _folder(cache_dir: Path, root: Path) -> Path:
    return cache_dir / "unrated" / path_tag(root)


def _load(file: Path, root: Path) -> Asked:
    try:
        data = jsontext.load(file.read_text("utf-8"))
        folder = Path(data["folder"])
        if folder.parent.name != FOLDER or not folder.resolve().is_relative_to(root):
            raise ValueError(f"{folder} is no folder of goldens in {root}")
        return Asked(folder, data["nodeid"], tuple(Output(**one) for one in data["outputs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenError(f"{file}: these outputs cannot be read ({error!r}); delete the file") from error
