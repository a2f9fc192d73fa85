"""Whether a run was one of all tests: what the way it was started leaves out tells nobody, nor what ended it early."""

from __future__ import annotations

import os
import re
import sys

import pytest

from pytest_llm import lifecycle

#: A plugin that is switched off may have made tests, save those that are named here.
_ARGUMENTS = (
    r"--ignore|(-p)?no:(?!(cacheprovider|capture|logging|randomly|terminal|warnings|xdist)$)"
    r"|(-o|--override-ini=)?(addopts|norecursedirs|python_\w+|testpaths)="
)


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


def _leaves_out(config: pytest.Config) -> bool:
    """Whether the run may have left out files or tests (in the ini file's addopts that is part of the suite), or
    assertions: ``python -O`` runs those of test modules only.
    """
    given = [*map(str, config.invocation_params.args), *os.environ.get("PYTEST_ADDOPTS", "").split()]
    some = any(re.match(_ARGUMENTS, argument) for argument in given) or config.getoption("lf", False)
    return bool(some or sys.flags.optimize)
