"""What in the way a run was started leaves out files, tests or assertions, and tells nobody."""

from __future__ import annotations

import os
import re
import sys

import pytest

#: A plugin that is switched off may have made tests, save those that are named here.
_ARGUMENTS = (
    r"--ignore|(-p)?no:(?!(cacheprovider|capture|logging|randomly|terminal|warnings|xdist)$)"
    r"|(-o|--override-ini=)?(addopts|norecursedirs|python_\w+|testpaths)="
)


def leaves_out(config: pytest.Config) -> bool:
    """Whether the run may have left out files or tests (in the ini file's addopts that is part of the suite), or
    assertions: ``python -O`` runs those of test modules only.
    """
    given = [*map(str, config.invocation_params.args), *os.environ.get("PYTEST_ADDOPTS", "").split()]
    some = any(re.match(_ARGUMENTS, argument) for argument in given) or config.getoption("lf", False)
    return bool(some or sys.flags.optimize)
