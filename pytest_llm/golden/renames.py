"""Tests that were renamed: where a golden is missing, that of a test that is gone may hold its very question."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pytest_llm import record, variants
from pytest_llm.errors import LLMError
from pytest_llm.files import digest_of, shown_path
from pytest_llm.golden import file, jsontext
from pytest_llm.location import comparable, may_be_doctest, qualname_of, undecided
from pytest_llm.verdicts import RENAMED

if TYPE_CHECKING:
    from pytest_llm.golden.use import Use
    from pytest_llm.record import RunRecord

#: By session, and folder that it looked into: the goldens of tests that are gone, by the digest of their question.
_orphans: WeakKeyDictionary[RunRecord, dict[Path, dict[str, list[Path]]]] = WeakKeyDictionary()


def gone(module: Path, run: RunRecord) -> Callable[[str], bool]:
    """Return what tells, by its qualified name, whether a test of ``module`` is gone: this run does not have it.

    A run of chosen tests does not say that of their other parameters, nor of a test whose name is in the module.
    """
    tests = {qualname_of(comparable(nodeid)) for nodeid, path in run.collected.items() if Path(path) == module}
    may_be_there = undecided(tests, tests if run.filtered else (), [module])
    return lambda test: test not in tests and not may_be_there(test) and not may_be_doctest(module, test)


def renames(use: Use) -> tuple[str, ...]:
    """Return notes on the golden that ``use``, which has none, may have had under another name: which, and what to do.

    It lies in the folder of the same module, or of one that is gone.
    """
    run = record.current()
    if run is None or not use.new.request or use.location.nodeid not in run.collected:
        return ()
    place, question = file.golden_path(use.location, use.name), digest_of(use.new.request)
    folder, snapshots = place.parent, place.parent.parent
    known = _orphans.setdefault(run, {})
    if folder not in known:
        known[folder] = _by_question([folder], gone(use.location.file, run))
    if snapshots not in known:
        known[snapshots] = _by_question(_left_behind(snapshots), lambda test: True)
    name = place.stem.rpartition("--")[2]
    fitting = [*known[folder].get(question, ()), *known[snapshots].get(question, ())]
    for old in sorted(fitting, key=lambda one: one.stem.rpartition("--")[2] != name):
        with contextlib.suppress(LLMError):  # it is damaged
            golden = file.read(old)
            if golden is not None:
                status, shown = use.compare(golden, use.new).status, shown_path(old, use.settings.root)
                return (
                    f"{RENAMED}, and against it this answer is {status}: {shown}",
                    f"if the test was renamed, keep that golden: {_command(old, place, use)}",
                )
    return ()


def _left_behind(snapshots: Path) -> Iterator[Path]:
    """Yield the folders whose modules are gone."""
    if snapshots.is_dir():
        living = {file.module_folder(one) for one in snapshots.parent.iterdir() if one.is_file()}
        yield from sorted(one for one in snapshots.iterdir() if one.is_dir() and one not in living)


def _by_question(folders: Iterable[Path], is_gone: Callable[[str], bool]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (one for folder in folders for one in sorted(folder.glob("*.json"))):
        if is_gone(path.stem.partition("--")[0]):  # else it is that test's, whatever it says, and need not be read
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                golden = jsontext.load(path.read_text("utf-8-sig"))
                if golden["request"] and is_gone(qualname_of(comparable(golden["nodeid"]))):
                    found.setdefault(digest_of(golden["request"]), []).append(path)
    return found


def _command(old: Path, new: Path, use: Use) -> str:
    """Return the command that moves a golden with its array and its variants, or all of a module that was renamed."""
    plain, there = variants.plain_of(old), new.parent.exists() or use.settings.update != "none"

    def argument(path: Path) -> str:
        with contextlib.suppress(ValueError):  # on another drive
            return shlex.quote(os.path.relpath(path, use.settings.start or use.settings.root))
        return shlex.quote(str(path))

    if plain.name == new.name and not there:
        return f"git mv {argument(old.parent)} {argument(new.parent)}"
    beside = [one for one in sorted(old.parent.iterdir()) if variants.plain_of(one).stem == plain.stem]
    moves = [(one, new.with_name(new.stem + one.name.removeprefix(plain.stem))) for one in beside]
    made = [] if there else [f"mkdir -p {argument(new.parent)}"]
    return " && ".join([*made, *(f"git mv -f {argument(one)} {argument(other)}" for one, other in moves)])
