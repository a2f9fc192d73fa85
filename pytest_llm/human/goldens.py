"""The goldens of a project, and the candidates for them, with their texts: what people can rate without a run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_llm.errors import GoldenError, LLMError
from pytest_llm.golden import FOLDER
from pytest_llm.golden.file import decode
from pytest_llm.golden.pending import Candidate
from pytest_llm.human.outputs import Output, of_golden

_SKIPPED = frozenset({"node_modules", "venv", "build", "dist"})


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of one golden, or of a candidate for it: the golden's file (and its sha256), its test, its name."""

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
    return Texts(path, revision, golden.nodeid, _name(path), outputs) if outputs else None


def new_texts(candidate: Candidate) -> Texts | None:
    """Return the texts of a candidate; ``None`` when it holds none, or an array that lies beside them."""
    try:
        outputs = tuple(of_golden(decode(candidate.content.encode("utf-8"), candidate.path)))
    except LLMError:
        return None
    path = candidate.path
    return Texts(path, candidate.base, candidate.nodeid, _name(path), outputs) if outputs else None


def differing(golden: Texts | None, new: Texts) -> Iterator[tuple[Output, Output]]:
    """Give each text of a candidate with the golden's that it differs from: of one place, and of one question.

    There are none where the golden is not the one that the candidate was compared with.
    """
    before = {old.where: old for old in golden.outputs} if golden and golden.revision == new.revision else {}
    for output in new.outputs:
        old = before.get(output.where)
        if old and old.text != output.text and old.question == output.question:
            yield output, old


def _name(path: Path) -> str:
    return path.stem.rpartition("--")[2]
