"""What pytest-xdist's workers tell of their tests: hooks of the controller (`lifecycle.control`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm import lifecycle
from pytest_llm.record import UNFINISHED, TestResult
from pytest_llm.reports.progress import tell
from pytest_llm.reports.text import visible

if TYPE_CHECKING:
    from pytest_llm.record import RunRecord

#: The key under which a worker sends its record.
_OUTPUT = "pytest_llm"
#: What each worker said of its tests, and did not hand over yet: a record a test, by node id.
_TOLD = pytest.StashKey[dict[Any, dict[str, str]]]()
#: The tests in which workers crashed.
_CRASHED = pytest.StashKey[dict[str, TestResult]]()


def hand_over(run: RunRecord, output: dict[str, Any]) -> None:
    """Put a worker's record into its ``workeroutput``."""
    output[_OUTPUT] = json.dumps(run.to_json())  # as ASCII: execnet takes no lone surrogates


def gather(run: RunRecord, config: pytest.Config) -> None:
    """Add to the controller's record what nobody waits for after Ctrl-C, and the tests in which workers crashed."""
    for told in config.stash.get(_TOLD, {}).values():
        _merge(run, told)
        run.stopped = UNFINISHED
    if run.ours:  # else nobody knows that they are of ours
        crashed = config.stash.get(_CRASHED, None) or {}
        run.tests.update(crashed)
        run.users.update(crashed)
        if lifecycle.settings(config).update != "none":
            for nodeid in crashed:
                tell(config, visible(f"crashed   {nodeid}: what it wrote before its worker crashed is in no list here"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker, also one that takes another's place, when the run began."""
    node.workerinput["llm_started"] = node.config.stash[lifecycle.STARTED]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a worker says of each test until it hands over its record: it may end before."""
    node = getattr(report, "node", None)
    if hasattr(report, "llm_record") and node is not None:
        node.config.stash.setdefault(_TOLD, {}).setdefault(node, {})[report.nodeid] = report.llm_record
    elif str(report.when) == "???" and node is not None:  # the test in which it crashed
        file, line, _ = report.location
        test = TestResult("error", 0.0, file.replace("\\", "/"), (line or 0) + 1, str(report.longrepr))
        node.config.stash.setdefault(_CRASHED, {})[report.nodeid] = test


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add what a worker recorded to the controller's record, once: Ctrl-C takes a worker down twice."""
    output = getattr(node, "workeroutput", None) or {}
    stash = node.config.stash
    run, told = stash[lifecycle.RECORD], stash.get(_TOLD, {}).pop(node, {})
    if _OUTPUT in output:
        run.merge(json.loads(output.pop(_OUTPUT)))
    elif error:  # it crashed
        _merge(run, told)


def _merge(run: RunRecord, told: dict[str, str]) -> None:
    """Add what a worker said of its tests to a record, where it hands over none: what it asked is lost."""
    run.filtered = True
    for test in told.values():
        run.merge(json.loads(test))
