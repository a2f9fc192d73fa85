"""The pytest hooks. Each delegates; nothing imported here, or by what is imported here, is heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm import lifecycle, options
from pytest_llm.fixtures import llm, llm_baseline, llm_loader, llm_snapshot

__all__ = ["llm", "llm_baseline", "llm_loader", "llm_snapshot"]

# Names of this module cost start-up: pytest looks at each for hooks and for fixtures.
if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Note what is to be collected, before a plugin says otherwise."""
    lifecycle.asked(config)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings."""
    lifecycle.start(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the record and free the models."""
    lifecycle.stop(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Be ready for what pytest-xdist's workers report."""
    lifecycle.control(session.config)


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Keep pytest out of the folders of goldens and baselines: it would look at each of a thousand files for tests."""
    return lifecycle.keeps_files(collection_path.name) or None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Keep the tests of one model in one pytest-xdist worker, where the run asks for groups; see what others drop."""
    lifecycle.group(config, items)
    selected = len(items)
    result = yield
    if len(items) < selected:  # as shards do, which tell nobody
        lifecycle.narrowed(config)
    return result


def pytest_exception_interact(node: pytest.Item | pytest.Collector, report: pytest.CollectReport | object) -> None:
    """Note a file that could not be collected: a run is no pass of tests that nobody knows."""
    if isinstance(report, pytest.CollectReport):
        lifecycle.uncollected(node.config, report)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Attend to the tests, if one of those selected may use this plugin."""
    lifecycle.collected(session)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that the run is a filtered one."""
    if items:
        lifecycle.narrowed(items[0].config)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Compute ahead what the selected tests will ask."""
    lifecycle.prefetch(session)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note which test runs, before a plugin that runs tests itself. All else around a test is in `testhooks`."""
    lifecycle.at(item)
    return (yield)
