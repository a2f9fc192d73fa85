"""The goldens of a project with their texts: what people can rate without a run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_llm.errors import GoldenError
from pytest_llm.golden import FOLDER
from pytest_llm.golden.file import decode
from pytest_llm.human.outputs import Output, of_golden

_SKIPPED = frozenset({"node_modules", "venv", "build", "dist"})


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of one golden: its file (and the sha256 of that), its test, its name."""

    path: Path
    revision: str
    nodeid: str
    name: str
    outputs: tuple[Output, ...]


def folders(root: Path) -> Iterator[Path]:
    """Give the folders of goldens below ``root``, one a test module, by path; hidden and installed ones are not it."""
    for place, names, _ in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in _SKIPPED)
        if Path(place).name == FOLDER:
            yield from (Path(place) / name for name in names)
            names.clear()


def texts(path: Path) -> Texts | None:
    """Return the texts of the golden at ``path``; ``None`` when it holds none, is gone or cannot be read."""
    try:
        raw = path.read_bytes()
        golden = decode(raw, path)
    except (OSError, GoldenError):  # the test that uses it says so
        return None
    outputs = tuple(of_golden(golden))
    revision = hashlib.sha256(raw).hexdigest()
    return Texts(path, revision, golden.nodeid, path.stem.rpartition("--")[2], outputs) if outputs else None
