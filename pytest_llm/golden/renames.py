"""Tests that were renamed: where a golden is missing, that of a test that is gone may hold its very question."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from pytest_llm import jsontext, lifecycle, record, variants
from pytest_llm.errors import LLMError
from pytest_llm.files import digest_of, shown_path
from pytest_llm.golden import FOLDER, file
from pytest_llm.golden.housekeeping import left_alone
from pytest_llm.location import may_be_doctest, qualname_of, undecided
from pytest_llm.verdicts import RENAMED

if TYPE_CHECKING:
    from pytest_llm.golden.use import Use
    from pytest_llm.record import RunRecord


class _Orphans(NamedTuple):
    """The goldens of tests that are gone, by the digest of their question, and those tests, by the goldens' folder."""

    by_question: dict[str, list[Path]]
    tests: dict[Path, set[str]]


#: What a session saw: orphans, by where it looked for them, and what tells whether a test is gone, by module.
_orphans: WeakKeyDictionary[RunRecord, dict[Path, _Orphans]] = WeakKeyDictionary()
_gone: WeakKeyDictionary[RunRecord, dict[Path, Callable[[str], bool]]] = WeakKeyDictionary()


def gone(module: Path, run: RunRecord) -> Callable[[str], bool]:
    """Return what tells, by its qualified name, whether a test of ``module`` is gone: this run does not have it.

    A run of chosen tests does not say that of their other parameters, nor of a test whose name is in the module.
    """
    known = _gone.setdefault(run, {})
    if module not in known:
        tests = {qualname_of(nodeid) for nodeid, path in run.collected.items() if Path(path) == module}
        may_be_there = undecided(tests, tests if run.filtered else (), [module])
        known[module] = lambda test: test not in tests and not may_be_there(test) and not may_be_doctest(module, test)
    return known[module]


def renames(use: Use) -> tuple[str, ...]:
    """Return notes on the golden that ``use``, which has none, may have had under another name: which, and what to do.

    It lies in the folder of the same module, or of one that is gone: beside it, or where a complete run looked.
    """
    run, item = record.current(), lifecycle.under_way()
    if run is None or item is None or not use.new.request or use.location.nodeid not in run.collected:
        return ()
    place, question = file.golden_path(use.location, use.name), digest_of(use.new.request)
    folder, snapshots, root = place.parent, place.parent.parent, use.settings.root
    known = _orphans.setdefault(run, {})
    if folder not in known:
        known[folder] = _look([folder], gone(use.location.file, run))
    if snapshots not in known:
        known[snapshots] = _look(_left_behind(snapshots), lambda test: True)
    if root not in known:
        others = () if run.filtered else left_alone(item.session)
        known[root] = _look((one for other in others for one in _left_behind(other / FOLDER)), lambda test: True)
    name = place.stem.rpartition("--")[2]
    fitting = [old for where in (folder, snapshots, root) for old in known[where].by_question.get(question, ())]
    for old in sorted(fitting, key=lambda one: (one.stem != place.stem, one.stem.rpartition("--")[2] != name)):
        with contextlib.suppress(LLMError):  # it is damaged
            golden = file.read(old)
            if golden is not None:
                status, shown = use.compare(golden, use.new).status, shown_path(old, root)
                tests = {test for where in (snapshots, root) for test in known[where].tests.get(old.parent, ())}
                kept = not any(map(gone(use.location.file, run), tests))
                return (
                    f"{RENAMED}, and against it this answer is {status}: {shown}",
                    f"if the test was renamed, keep that golden: {_command(old, place, use, whole=kept)}",
                )
    return ()


def _left_behind(snapshots: Path) -> Iterator[Path]:
    """Yield the folders whose modules are gone."""
    if snapshots.is_dir():
        living = {file.module_folder(one) for one in snapshots.parent.iterdir() if one.is_file()}
        yield from sorted(one for one in snapshots.iterdir() if one.is_dir() and one not in living)


def _look(folders: Iterable[Path], is_gone: Callable[[str], bool]) -> _Orphans:
    found = _Orphans({}, {})
    for path in (one for folder in folders for one in sorted(folder.glob("*.json"))):
        if is_gone(file.owner(path.stem)):  # else it is that test's, whatever it says, and need not be read
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                golden = jsontext.load(path.read_text("utf-8-sig"))
                test = qualname_of(golden["nodeid"])
                if is_gone(test):
                    found.tests.setdefault(path.parent, set()).add(test)
                    if golden["request"]:
                        found.by_question.setdefault(digest_of(golden["request"]), []).append(path)
    return found


def _command(old: Path, new: Path, use: Use, *, whole: bool) -> str:
    """Return the command that moves a golden with its array and its variants, or all of a module that was renamed.

    That is done where the ``whole`` module is there: its tests have the names they had.
    """
    plain, there = variants.plain_of(old), new.parent.exists() or use.settings.update != "none"

    def argument(path: Path) -> str:
        with contextlib.suppress(ValueError):  # on another drive
            return shlex.quote(os.path.relpath(path, use.settings.start or use.settings.root))
        return shlex.quote(str(path))

    if plain.name == new.name and whole and not there:
        moves, into = [f"git mv {argument(old.parent)} {argument(new.parent)}"], new.parent.parent
    else:
        beside = [one for one in sorted(old.parent.iterdir()) if variants.plain_of(one).stem == plain.stem]
        to = [new.with_name(new.stem + one.name.removeprefix(plain.stem)) for one in beside]
        moves = [f"git mv -f {argument(one)} {argument(other)}" for one, other in zip(beside, to, strict=True)]
        into = new.parent
    return " && ".join([*([] if there or into.is_dir() else [f"mkdir -p {argument(into)}"]), *moves])
