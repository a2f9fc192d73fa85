"""At the end of a session: which goldens nothing used, if this run can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.golden.obsolete import find_obsolete, read_obsolete, write_obsolete

if TYPE_CHECKING:
    import pytest

    from pytest_llm.options import Settings
    from pytest_llm.record import RunRecord


def note_obsolete(session: pytest.Session, run: RunRecord, settings: Settings) -> None:
    """List the goldens that a complete run did not use, for the summary and for ``pytest-llm prune``.

    A run that was told what to run (arguments, a filter), or that could not collect or finish, says nothing about
    what it did not use; it only takes what it did use off an earlier list.
    """
    complete = (
        not run.filtered
        and session.config.args_source is not session.config.ArgsSource.ARGS
        and int(session.exitstatus) in (0, 1)  # else a collection error, an interrupt, a usage error
    )
    if complete:
        modules = {settings.root / nodeid.partition("::")[0] for nodeid in run.collected}
        found = find_obsolete(run.goldens, modules, run.collected - run.passed)
        run.obsolete = [str(one.path) for one in found]
        write_obsolete(settings.cache_dir, settings.root, found)
        return
    listed = read_obsolete(settings.cache_dir, settings.root) or []
    used = {Path(path).absolute() for path in run.goldens}
    if any(one.path in used for one in listed):
        write_obsolete(settings.cache_dir, settings.root, [one for one in listed if one.path not in used])
