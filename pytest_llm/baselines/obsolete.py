"""Baseline entries no test checks any more. Found by a complete run, removed only by ``pytest-llm prune``."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_llm import variants
from pytest_llm.baselines import FOLDER, file
from pytest_llm.errors import GoldenError
from pytest_llm.files import placed, safe_name
from pytest_llm.golden.listing import STALE, source_of, take_off
from pytest_llm.location import may_be_doctest, qualname_of, undecided


class ObsoleteEntry(NamedTuple):
    """The entry of ``metric`` in ``test`` in the baseline file ``path``, that a complete run did not use.

    ``digest`` is of its content when it was found, ``source`` of its test module: where either has changed since, it
    is not removed.
    """

    path: Path
    test: str
    metric: str
    reason: str
    digest: str
    source: str = ""

    @property
    def stale(self) -> bool:
        """Whether its test module is another one now."""
        return self.source != _source_of(self.path)

    def remove(self, locks: Path) -> bool:
        """Remove the entry, and the file when that leaves it empty; ``False`` when it was already gone.

        Raises:
            GoldenError: the file cannot be read, or the entry or its test module changed since it was listed.
        """
        if self.stale:
            raise GoldenError(STALE)
        return file.remove(self.path, self.test, self.metric, self.digest, locks)


def find_obsolete(
    collected: Mapping[str, str],
    passed: Collection[str],
    checked: Collection[tuple[str, str]],
    folders: Iterable[Path],
    *,
    chosen: bool = False,
    doctests: bool = False,
) -> list[ObsoleteEntry]:
    """Return the entries beside the modules in ``folders`` that a complete, unfiltered run did not use.

    An entry is obsolete when its test is gone, or passed without checking that metric; every variant of it then is.
    The file of a module that stands there and was not collected is kept, and one that cannot be read.

    Args:
        collected: the module of each test, by node id.
        passed: of those that passed. Nobody knows with which parameters the others would have run: what is there of
            their functions is kept.
        checked: ``(node id, metric)`` of every baseline that was checked.
        folders: the folders the run went through, of modules and where no module may be left.
        chosen: parameters may be the choice of this run: what is there of a collected function with others is kept.
        doctests: doctests of Python files were collected; where they were not, what may be of one is kept.
    """
    modules: dict[Path, dict[str, list[str]]] = {}
    file_of = functools.cache(lambda module: _file_of(Path(module)))
    for nodeid, module in collected.items():
        modules.setdefault(file_of(module), {}).setdefault(qualname_of(nodeid), []).append(nodeid)
    parents = [folder for folder in folders if (folder / FOLDER).is_dir()]
    living: dict[Path, list[Path]] = {}
    for beside in (one for folder in parents for one in folder.iterdir() if one.is_file()):
        living.setdefault(_file_of(beside), []).append(beside)
    asked = {placed(module) for module in set(collected.values())}

    def unknown(test: str, beside: list[Path]) -> bool:
        # test_m.rst, whose doctest has its name, and test_m.py share a file.
        owners = [module for module in beside if module.name == test] or [m for m in beside if m.suffix == ".py"]
        unasked = bool(owners) and asked.isdisjoint(map(placed, owners))
        return unasked or (not doctests and any(may_be_doctest(module, test) for module in owners))

    found: list[ObsoleteEntry] = []
    for folder in sorted({(folder / FOLDER).resolve() for folder in parents}):
        for path in sorted(folder.glob("*.json")):
            plain = variants.plain_of(path)
            if plain in modules or plain not in living:
                tests = modules.get(plain, {})
                there = living.get(plain, [])
                unfinished = {test for test, nodeids in tests.items() if any(one not in passed for one in nodeids)}
                may_be_there = undecided(tests, tests if chosen else unfinished, there)
                entries = _in_file(path, tests, passed, checked, gone=not there)
                left = [one for one in entries if not may_be_there(one.test) and not unknown(one.test, there)]
                source = _source_of(path) if left else ""
                found += [one._replace(source=source) for one in left]
    return found


def unlist(cache_dir: Path, root: Path, collected: Mapping[str, str], checked: Iterable[tuple[str, str]]) -> None:
    """Take what a run ``checked`` off the list for ``pytest-llm prune``, variants too; arguments as `find_obsolete`."""
    used = {(_file_of(Path(collected[nodeid])), qualname_of(nodeid), metric) for nodeid, metric in checked}
    take_off(
        cache_dir, root, "baselines", ObsoleteEntry,
        lambda one: (variants.plain_of(one.path), one.test, one.metric) in used,
    )  # fmt: skip


def _in_file(
    path: Path, tests: dict[str, list[str]], passed: Collection[str], checked: Collection[tuple[str, str]], gone: bool
) -> Iterator[ObsoleteEntry]:
    try:
        entries = file.digests(path)
    except GoldenError:
        return
    for (test, metric), digest in entries.items():
        nodeids = tests.get(test, [])  # several where several paths lead to the module
        if gone:
            yield ObsoleteEntry(path, test, metric, "its test module is gone", digest)
        elif not nodeids:
            yield ObsoleteEntry(path, test, metric, "its test is gone", digest)
        elif all(nodeid in passed and (nodeid, metric) not in checked for nodeid in nodeids):
            yield ObsoleteEntry(path, test, metric, "its test does not check it", digest)


def _source_of(path: Path) -> str:
    beside, plain = path.parent.parent, Path(placed(variants.plain_of(path)))
    return source_of((module for module in beside.glob("*.py") if _file_of(module) == plain), beside)


def _file_of(module: Path) -> Path:
    """Return the baseline file of a module by its one name, whichever links lead there."""
    return Path(placed(module.parent / FOLDER / f"{safe_name(module.stem)}.json"))
