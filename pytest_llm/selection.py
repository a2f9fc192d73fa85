"""Whether a run was one of all tests: what its start leaves out tells nobody, nor what ended it early, or was lost."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_llm import lifecycle
from pytest_llm.errors import InvalidInputError
from pytest_llm.options import arguments
from pytest_llm.record import UNFINISHED

if TYPE_CHECKING:
    from pytest_llm.settings import Settings

#: A plugin that is switched off may have made tests, save those that are named here.
_ARGUMENTS = (
    r"--ignore|(-p)?no:(?!(cacheprovider|capture|logging|randomly|terminal|warnings|xdist)$)"
    r"|(-o|--override-ini=)?(addopts|collect_imported_tests|norecursedirs|python_\w+|testpaths)="
)
#: Arguments, and variables of the environment, with which the suite has another ini file, other conftests or plugins.
_OTHERS = r"-[cop]|--(config-file|override-ini|noconftest|confcutdir|disable-plugin-autoload)"
_VARIABLES = "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS"
#: The groups of options that choose no parameters: pytest's, ours, and those of pytest-xdist and pytest-cov.
_HARMLESS = frozenset({
    "general", "terminal reporting", "pytest-warnings", "collect", "debugconfig", "logging", "llm", "xdist", "cov",
})  # fmt: skip


def finished(session: pytest.Session) -> None:
    """Note what ended the session early, and whether it was one of all tests: no files left out, or named."""
    config, run = session.config, session.config.stash[lifecycle.RECORD]
    # A last test that fails stops nothing; what is not of ours is not known from workers.
    left = not run.collected or bool(run.collected.keys() - run.tests.keys())
    early, status = session.shouldfail or session.shouldstop, exit_status(session)  # -x, --maxfail; Ctrl-C
    if status not in (0, 1, 5):
        run.stopped = f"pytest's exit status {status}"
    elif early and left:
        run.stopped = str(early)
    elif session.items and next(reversed(run.collected), "") not in run.tests:  # pytest.exit(..., returncode=0)
        run.stopped = UNFINISHED
    if run.stopped and left:
        run.filtered = True
    if run.collection_errors:
        run.filtered = True
    for test in run.tests.values():
        if test.outcome == "interrupted":
            run.filtered, test.message = True, "interrupted before its body ended"
    if _leaves_out(config):
        run.filtered = True


def exit_status(session: pytest.Session) -> int:
    """Return pytest's exit status, which it has not set yet where a second Ctrl-C came while it told of the first."""
    return 2 if isinstance(sys.exc_info()[1], KeyboardInterrupt) else int(session.exitstatus)


def used_before(settings: Settings, nodeids: Iterable[str]) -> bool:
    """Whether the project uses this plugin: it has records, or goldens or baselines beside the files of ``nodeids``."""
    from pytest_llm import baselines, golden
    from pytest_llm.history.runfile import runs_folder

    with contextlib.suppress(InvalidInputError, OSError):  # the cache has no folder, or one of somebody else
        if runs_folder(settings.cache_dir, settings.root).is_dir():
            return True
    folders = {(settings.root / nodeid.partition("::")[0]).parent for nodeid in nodeids}
    return any((folder / kept.FOLDER).is_dir() for folder in folders for kept in (baselines, golden))


def _leaves_out(config: pytest.Config) -> bool:
    """Whether the run may have left out files or tests (in the ini file's addopts that is part of the suite), or
    assertions: ``python -O`` runs those of test modules only.
    """
    some = any(re.match(_ARGUMENTS, argument) for argument in arguments(config)) or config.getoption("lf", False)
    return bool(some or sys.flags.optimize)


def chooses(config: pytest.Config) -> bool:
    """Whether the way the run was started may choose with which parameters tests run.

    With another ini file, or other conftests or plugins, than the suite's; with an option of a conftest, wherever it
    is set (``--langs=en,de`` that feeds pytest_generate_tests), or one of a plugin that is given (``--flake-runs=2``).
    """
    given = arguments(config)
    if any(map(os.environ.get, _VARIABLES)) or any(re.match(_OTHERS, argument) for argument in given):
        return True
    parser = config._parser
    for option in parser._anonymous.options:
        value, default = config.getoption(option.dest, None), getattr(option, "default", None)
        if value != default and (value or default):
            return True
    flags = {
        flag for group in parser._groups if group.name not in _HARMLESS for one in group.options for flag in one.names()
    }
    return any(argument.partition("=")[0] in flags or argument[:2] in flags for argument in given)
