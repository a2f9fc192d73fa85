"""Which run is meant: ``latest``, ``latest~2``, an id or a part of it, a commit, or the path of a record."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.history import importing
from pytest_llm.history.database import History
from pytest_llm.history.rows import Run
from pytest_llm.reports.text import visible

_LATEST = re.compile(r"latest(?:~([0-9]{1,6}))?")
#: What a prefix of an id, of its random part, or of a commit looks like.
_PREFIX = re.compile(r"[0-9A-Za-z-]{4,64}")


def find(opened: Callable[[], History], said: str) -> dict[str, Any]:
    """Return the record that ``said`` names. Of a commit with several runs it is the newest.

    The history is opened for what is no path alone: a record from elsewhere is read where no project is.

    Raises:
        InvalidInputError: no run is called so, or several are.
    """
    if Path(said).is_file():
        return importing.read(Path(said))
    history = opened()
    return history.record(run(history, said))


def run(history: History, said: str) -> Run:
    """Return the run of the history that ``said`` names, as `find` does.

    Raises:
        InvalidInputError: no run is called so, or several are.
    """
    runs = history.runs()
    latest = _LATEST.fullmatch(said)
    if latest and not runs:
        raise InvalidInputError("there is no run yet: run pytest first, or name the path of a record")
    if latest:
        back = int(latest[1] or 0)
        if back >= len(runs):
            raise InvalidInputError(f"there is no run {said}: the history has {len(runs)}")
        return runs[-1 - back]
    return _named(runs, said)


def _named(runs: list[Run], said: str) -> Run:
    if not _PREFIX.fullmatch(said):
        hint = "at least 4 characters of an id or a commit, 'latest', 'latest~1', or the path of a record"
        raise InvalidInputError(f"no run is called {said!r}, and there is no such file: give {hint}")
    named = [run for run in runs if run.id.startswith(said) or run.short.startswith(said)]
    commits = {run.commit: run for run in runs if run.commit.startswith(said.lower())}  # the newest of each
    meant = named + [run for run in commits.values() if run not in named]
    if not meant:
        raise InvalidInputError(f"no run and no commit is called {said!r}: 'pytest-llm history' lists them")
    if len(meant) > 1:
        listed = ", ".join(f"{run.short} ({run.started}, commit {visible(run.revision)})" for run in meant[:5])
        raise InvalidInputError(f"{said!r} can mean {len(meant)} runs: {listed}")
    return meant[0]
