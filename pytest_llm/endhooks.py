"""The hooks at the end of a session, registered when it has a test that may use this plugin (`lifecycle.attend`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llm import lifecycle, selection, workers
from pytest_llm.errors import LLMError
from pytest_llm.reports.progress import tell
from pytest_llm.reports.text import visible

#: The run record as data, and lines on the reports made of it.
_PUBLISHED = pytest.StashKey[tuple[dict[str, Any], list[str]]]()
#: What lets GitHub's runner take commands again.
_RESUME = pytest.StashKey[str]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's record to the controller; there, or in a run of one process, write what the run leaves."""
    config = session.config
    run, settings = config.stash[lifecycle.RECORD], lifecycle.settings(config)
    lifecycle.leave(config)
    if lifecycle.LOADER in config.stash and settings.cache != "off":
        _tried(config, "requests", lambda: lifecycle.loader(config).log.flush(run.passed))
    output = getattr(config, "workeroutput", None)
    if output is not None:
        workers.hand_over(run, output)
        return
    workers.gather(run, config)
    selection.finished(session)
    if settings.calibrate:
        from pytest_llm.calibration.proposals import conclude

        _tried(config, "proposals", lambda: conclude(run, settings))
    elif run.used:
        from pytest_llm.golden.housekeeping import note_obsolete

        _tried(config, "obsolete", lambda: note_obsolete(session, run, settings))
    asked = settings.record or settings.report or settings.markdown
    if (run.ours or asked) and not config.option.collectonly:
        from pytest_llm.reports.publish import publish, silence

        config.stash[_PUBLISHED] = publish(
            run, settings, config.invocation_params.dir, started=config.stash[lifecycle.STARTED],
            exit_status=selection.exit_status(session),
        )  # fmt: skip
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        config.stash[_RESUME] = silence(reporter, settings) if run.ours else ""


def _tried(config: pytest.Config, name: str, write: Callable[[], None]) -> None:
    """Write; where that cannot be done, say so in a line: what the tests found is worth more."""
    try:
        write()
    except (LLMError, OSError) as error:
        tell(config, visible(f"{name:<10}could not be written: {error}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the summary of a run that used a model, a golden or a gate."""
    run, settings = config.stash[lifecycle.RECORD], lifecycle.settings(config)
    if run.used:
        from pytest_llm.reports.terminal import write_summary

        write_summary(terminalreporter, run, settings)
    if run.ours:
        from pytest_llm.reports.terminal import write_ignored

        write_ignored(terminalreporter, os.environ)
    if settings.calibrate:
        from pytest_llm.calibration.table import write_table

        write_table(terminalreporter, run, settings)
    if _PUBLISHED in config.stash:
        for line in config.stash[_PUBLISHED][1]:
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Annotate, now that pytest has shown all, what a model said included. The record ends: see `lifecycle.stop`."""
    if _PUBLISHED not in config.stash:
        return
    data, _ = config.stash[_PUBLISHED]
    del config.stash[_PUBLISHED]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.stash[_RESUME] and reporter is not None:
        from pytest_llm.reports.publish import commands

        reporter.ensure_newline()
        for line in (config.stash[_RESUME], *commands(data, lifecycle.settings(config))):
            reporter.write_line(line)
