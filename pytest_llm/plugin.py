"""The pytest hooks. Each delegates; nothing imported here, or by what is imported here, is heavy."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_llm import lifecycle, options, repeats
from pytest_llm.errors import measured
from pytest_llm.fixtures import llm, llm_baseline, llm_loader, llm_snapshot

__all__ = ["llm", "llm_baseline", "llm_loader", "llm_snapshot"]

__tracebackhide__ = measured


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Start the session's record."""
    lifecycle.start(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    lifecycle.stop(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one model in one pytest-xdist worker, where the run asks for groups."""
    lifecycle.group(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what was selected."""
    lifecycle.collected(session)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that the run is a filtered one."""
    lifecycle.deselected(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Compute ahead what the selected tests will ask."""
    lifecycle.prefetch(session)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say which test runs."""
    with lifecycle.running(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check a marker before fixtures cost time."""
    repeats.terms(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a test several times, where a marker asks for it."""
    return lifecycle.call(pyfuncitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell "could not measure" from "measured a regression", and add what an assertion had no room for."""
    report = yield
    lifecycle.reported(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Count a test that could not measure as an error."""
    return ("error", "E", "ERROR") if getattr(report, "llm_unmeasured", False) else None


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Explain ``assert value == llm_snapshot``."""
    return lifecycle.explain(config, op, left, right)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's record to the controller, which looks for obsolete goldens."""
    lifecycle.finish(session)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a pytest-xdist worker recorded."""
    lifecycle.receive(node.config, getattr(node, "workeroutput", None) or {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the summary of a run that used a model, a golden or a gate."""
    lifecycle.summarize(terminalreporter, config)
