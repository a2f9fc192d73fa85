"""At the end of a session: which goldens nothing used, and what killed runs left, if this run can tell."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm import golden, selection
from pytest_llm.baselines import FOLDER
from pytest_llm.errors import GoldenError
from pytest_llm.files import sweep
from pytest_llm.golden.listing import write_list
from pytest_llm.golden.obsolete import find_obsolete, unlist
from pytest_llm.golden.pending import list_pending
from pytest_llm.reports.progress import tell

if TYPE_CHECKING:
    import pytest

    from pytest_llm.record import RunRecord
    from pytest_llm.settings import Settings


def note_obsolete(session: pytest.Session, run: RunRecord, settings: Settings) -> None:
    """List the goldens and baselines a complete run did not use, for the summary and for ``pytest-llm prune``.

    A filtered run (of chosen files or tests), or one that could not collect or finish, says nothing about what it
    did not use; it only takes what it did use off an earlier list. Where the way it was started may choose
    parameters, it says nothing about the others.
    """
    checked = {(verdict.nodeid, verdict.name) for verdict in run.verdicts if verdict.kind == "baseline"}
    if int(session.exitstatus) in (0, 1) and not run.filtered:
        folder_of = {module: Path(module).parent for module in set(run.collected.values())}
        folders = {*folder_of.values(), *left_alone(session)}
        folders = {folder for folder in folders if not _shared(folder, settings.root)}
        for folder in folders:
            for place in (folder / FOLDER, *(folder / golden.FOLDER).glob("*")):
                sweep(place)
        collected = {nodeid: module for nodeid, module in run.collected.items() if folder_of[module] in folders}
        chosen = selection.chooses(session.config)
        doctests = bool(session.config.getoption("doctestmodules", False))
        awaited: list[Path] = []
        with contextlib.suppress(GoldenError):  # a candidate is damaged, as review will say
            awaited = [one.path for one in list_pending(settings.cache_dir, settings.root)]
        found = find_obsolete(
            run.goldens, collected, run.passed, folders, chosen=chosen, doctests=doctests, awaited=awaited
        )
        run.obsolete = [str(one.path) for one in found]
        write_list(settings.cache_dir, settings.root, "goldens", found)
        entries = []
        if any((folder / FOLDER).is_dir() for folder in folders):
            from pytest_llm.baselines import obsolete

            entries = obsolete.find_obsolete(
                run.collected, run.passed, checked, folders, chosen=chosen, doctests=doctests
            )
        run.obsolete_baselines = len(entries)
        write_list(settings.cache_dir, settings.root, "baselines", entries)
        return
    if sys.flags.optimize:
        tell(session.config, "obsolete  not looked for: python -O leaves out the assertions of helpers")
    unlist(settings.cache_dir, settings.root, run.goldens)
    if checked:
        from pytest_llm.baselines import obsolete

        obsolete.unlist(settings.cache_dir, settings.root, run.collected, checked)


def left_alone(session: pytest.Session) -> Iterator[Path]:
    """Yield the folders the run went through that hold goldens or baselines: no module need be left beside them."""
    skipped = [*session.config.getini("norecursedirs"), "__llm_*", "__pycache__"]
    for argument in session.config.args:
        start = os.path.abspath(session.config.invocation_params.dir / argument)  # noqa: PTH100 (without ../, as tests)
        for folder, names, files in os.walk(start):
            if "pyvenv.cfg" in files:
                names.clear()
            if golden.FOLDER in names or FOLDER in names:
                yield Path(folder)
            names[:] = [name for name in names if not any(fnmatch.fnmatch(name, one) for one in skipped)]


def _shared(folder: Path, root: Path) -> bool:
    """Whether a link below the root leads to a folder, or to what it keeps: other links may lead other tests there."""
    straight = root.resolve() / folder.relative_to(root) if folder.is_relative_to(root) else folder
    return folder.resolve() != straight or any((folder / kept).is_symlink() for kept in (golden.FOLDER, FOLDER))
