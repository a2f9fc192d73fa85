"""Goldens no test uses any more. Found by a complete run, deleted only by ``pytest-llm prune``."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_llm import jsontext, variants
from pytest_llm.errors import GoldenError
from pytest_llm.files import placed
from pytest_llm.golden import FOLDER
from pytest_llm.golden.file import module_folder, owner
from pytest_llm.golden.listing import STALE, source_of, take_off
from pytest_llm.golden.pending import digest
from pytest_llm.location import may_be_doctest, qualname_of, undecided


class Obsolete(NamedTuple):
    """A golden file, or the ``.npy`` of one, that a complete run did not use; or one that a candidate waits to be.

    ``sha256`` is of its content when it was found (``""`` where there is none), ``source`` of its test module
    (`source_of`): where either has changed since, it is not deleted.
    """

    path: Path
    nodeid: str
    reason: str
    sha256: str
    source: str = ""

    @property
    def stale(self) -> bool:
        """Whether its test module is another one now."""
        return self.source != _source_of(self.path.parent)

    @property
    def golden(self) -> str:
        """The plain golden that this file, or the variant it belongs to, stands beside, as `placed` names it."""
        return placed(variants.plain_of(self.path).with_suffix(".json"))

    def delete(self) -> bool:
        """Delete the file, and its folder when that leaves it empty; ``False`` when it was already gone.

        Raises:
            GoldenError: it is not inside a ``__llm_snapshots__`` folder, it or its test module changed since it
                was listed, or it is the array of a golden that is there.
        """
        place = self.path.parent.resolve() / self.path.name  # a link is removed itself, never what it leads to
        if FOLDER not in place.parent.parts or self.path.suffix not in (".json", ".npy"):
            raise GoldenError(f"{self.path} is not a golden in a {FOLDER} folder: it is left alone")
        now = digest(place)
        if not now:
            return False
        if now != self.sha256:
            raise GoldenError(f"{self.path} changed since it was found obsolete: run the whole suite again")
        if self.stale:
            raise GoldenError(STALE)
        if place.suffix == ".npy" and place.with_suffix(".json").exists():
            raise GoldenError(f"{self.path} is the array of a golden that is there: run the whole suite again")
        place.unlink()
        with contextlib.suppress(OSError):  # not empty
            place.parent.rmdir()
            if place.parent.parent.name == FOLDER:
                place.parent.parent.rmdir()
        return True


def find_obsolete(
    used: Mapping[str, str],
    collected: Mapping[str, str],
    passed: Collection[str],
    folders: Iterable[Path] = (),
    *,
    chosen: bool = False,
    doctests: bool = False,
    awaited: Iterable[Path] = (),
) -> list[Obsolete]:
    """Return the goldens beside the modules, and in ``folders``, that a complete, unfiltered run did not use, by path.

    Args:
        used: golden path to node id, as `pytest_llm.record.RunRecord.goldens`. It keeps every variant of that golden:
            this run says nothing about other environments.
        collected: the module of each test, by node id.
        passed: of those that passed. What the others (skipped, failed, in error) would have used is not known, nor
            with which parameters they would have run: their goldens are kept, and those of their functions.
        folders: further folders the run went through, where no module may be left.
        chosen: parameters may be the choice of this run: what is there of a collected function with others is kept.
        doctests: doctests of Python files were collected; where they were not, what may be of one is kept.
        awaited: goldens that candidates wait to be, which need not be there.

    A file that cannot be read as a golden is kept: nothing is known about it.
    """
    kept = set(map(placed, used))
    asked: dict[Path, dict[str, bool]] = {}
    folder_of = functools.cache(lambda module: module_folder(Path(module)))
    for nodeid, module in collected.items():
        asked.setdefault(folder_of(module), {})[qualname_of(nodeid)] = nodeid in passed
    waiting: dict[Path, set[str]] = {}
    for path in awaited:
        waiting.setdefault(path.parent, set()).add(path.name)
    found: list[Obsolete] = []
    for snapshots in sorted({*(folder.parent for folder in asked), *(folder / FOLDER for folder in folders)}):
        golden_folders = {path for path in snapshots.glob("*") if path.is_dir()}
        golden_folders.update(folder for folder in waiting if folder.parent == snapshots)
        if not golden_folders:
            continue
        living: dict[Path, list[Path]] = {}
        for file in snapshots.parent.iterdir():
            if file.is_file():
                living.setdefault(module_folder(file), []).append(file)
        for folder in sorted(golden_folders):
            # A module that stands there and was not collected (another pattern, an ignore) keeps its goldens.
            if folder in asked or folder not in living:
                beside = living.get(folder, [])
                # A path for each of ten thousand goldens takes long.
                names = waiting.get(folder, set()).union(os.listdir(folder) if folder.is_dir() else ())  # noqa: PTH208
                entries = list(_in_folder(folder, names, kept, asked.get(folder, {}), beside, chosen, doctests))
                source = source_of(beside, snapshots.parent) if entries else ""
                found += [one._replace(source=source) for one in entries]
    return found


def unlist(cache_dir: Path, root: Path, used: Iterable[str]) -> None:
    """Take the goldens ``used``, their variants and arrays off the list for ``pytest-llm prune``."""
    kept = set(map(placed, used))
    take_off(cache_dir, root, "goldens", Obsolete, lambda one: one.golden in kept)


def remove(found: Iterable[Obsolete]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Delete the files; return those that went, and those that were kept with the reason."""
    gone: list[Path] = []
    kept: list[tuple[Path, str]] = []
    for one in found:
        try:
            gone += [one.path] if one.delete() else []
        except (GoldenError, OSError) as error:
            kept.append((one.path, str(error)))
    return gone, kept


def _in_folder(
    folder: Path,
    names: Collection[str],
    kept: set[str],
    tests: Mapping[str, bool],
    modules: Collection[Path],
    chosen: bool,
    doctests: bool,
) -> Iterator[Obsolete]:
    unfinished = {test for test, passed in tests.items() if not passed}
    may_be_there = undecided(tests, tests if chosen else unfinished, modules)

    def unknown(test: str) -> bool:
        documented = not doctests and any(may_be_doctest(module, test) for module in modules)
        return test in unfinished or documented or may_be_there(test)

    # Whose an array without its golden was, nobody knows; nor, but by its name, whose a golden that is not there.
    sure = not unfinished and not chosen
    real, reason = os.path.realpath(folder), "no test uses it" if modules else "its test module is gone"
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        plain = os.path.join(real, stem.partition("@")[0] + ".json")  # noqa: PTH118
        if suffix not in (".json", ".npy") or plain in kept:
            continue
        file = folder / name
        golden = file.with_suffix(".json")
        if golden.exists():
            nodeid = _nodeid(golden)
            # One that was moved for a test of another name has the old one in it, and is the new one's.
            if nodeid is not None and not any(map(unknown, {qualname_of(nodeid), owner(stem)})):
                yield Obsolete(file, nodeid, reason, digest(file))
        elif sure and not unknown(owner(stem)):
            yield Obsolete(file, "", "it belongs to no golden" if suffix == ".npy" else reason, digest(file))


def _source_of(folder: Path) -> str:
    beside = folder.parent.parent
    return source_of((file for file in beside.iterdir() if file.is_file() and module_folder(file) == folder), beside)


def _nodeid(file: Path) -> str | None:
    try:
        nodeid = jsontext.load(file.read_text("utf-8-sig"))["nodeid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return nodeid if isinstance(nodeid, str) else None
