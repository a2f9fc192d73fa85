"""At the end of a run: the run record is written, and every report that was asked for is rendered from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_llm import record
from pytest_llm.errors import LLMError
from pytest_llm.reports.text import shorten, visible

if TYPE_CHECKING:
    import pytest

    from pytest_llm.settings import Settings

#: Characters of what a test raised, in the record; a verdict says the rest.
MESSAGE = 2_000
#: Of a test's phases and subtests, what weighs more is its outcome; of two that weigh the same, the first.
_WEIGHTS = {record.INTERRUPTED: 0, "passed": 1, "skipped": 2, "xfailed": 2, "xpassed": 2, "error": 3, "unmeasured": 3}
_WEIGHTS["failed"] = 4


def note_phase(run: record.RunRecord, item: pytest.Item, report: pytest.TestReport) -> None:
    """Add one phase (set-up, call, tear-down), or one subtest, to the result of the test that runs."""
    test = run.tests.get(run.nodeid)
    if test is None:
        file, line = item.location[0].replace("\\", "/"), (item.location[1] or 0) + 1
        test = run.tests[run.nodeid] = record.TestResult(record.INTERRUPTED, 0.0, file, line)
    subtest, outcome = hasattr(report, "context"), _outcome(report)
    test.seconds += 0.0 if subtest else report.duration
    if subtest and outcome == "skipped":  # what it would have used is not known, however the test comes out
        run.partly.add(run.nodeid)
    run.failures += subtest and outcome in ("failed", "unmeasured")
    if outcome in ("passed", "skipped") if subtest else outcome == "passed" and report.when != "call":
        return
    if _WEIGHTS[outcome] > _WEIGHTS[test.outcome]:
        test.outcome = outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            test.message = shorten(crash.message, MESSAGE)
            test.line = crash.lineno if Path(crash.path) == item.path else test.line
    if test.outcome in ("passed", "xpassed") and run.nodeid not in run.partly:
        run.passed.add(run.nodeid)
    else:
        run.passed.discard(run.nodeid)


def _outcome(report: pytest.TestReport) -> str:
    if report.outcome == "passed":
        return "xpassed" if hasattr(report, "wasxfail") else "passed"
    if report.outcome == "skipped":
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if getattr(report, "llm_unmeasured", False):
        return "unmeasured"
    return "failed" if report.when == "call" else "error"


def publish(
    run: record.RunRecord, settings: Settings, folder: Path, *, started: float, exit_status: int
) -> tuple[dict[str, Any], list[str]]:
    """Write the run record and the files asked for, relative to ``folder``: without a test of ours, those files only.

    Returns:
        The record as data, and lines for the terminal: where reports went, or why one could not be written.
    """
    from pytest_llm.history import runfile

    data = runfile.document(run, settings, started=started, exit_status=exit_status)
    lines = _tried("record", lambda: runfile.keep(data, settings), quiet=True) if run.ours else []
    for name, path, write in (
        ("record", settings.record, runfile.write),
        ("report", settings.report, _html),
        ("markdown", settings.markdown, _markdown),
    ):
        if path:
            lines += _tried(name, lambda: write(data, folder / Path(path).expanduser()), shown=path)  # noqa: B023
    github = _github(settings)
    if github is not None and run.ours:
        lines += _tried("github", lambda: github.write_summary(data, os.environ), quiet=True)
    return data, lines


def silence(reporter: pytest.TerminalReporter | None, settings: Settings) -> str:
    """Let GitHub's runner take no commands from here on; return the line after which it does. Elsewhere it is empty."""
    github = _github(settings)
    if github is None:
        return ""
    token = os.urandom(16).hex()
    if reporter is not None:
        reporter.ensure_newline()
        if reporter._tw.width_of_current_line:  # under -q; the runner knows a command by where it stands
            reporter._tw.line()
        reporter.write_line(github.stop(token))
    return str(github.resume(token))


def commands(data: dict[str, Any], settings: Settings) -> list[str]:
    """Return the lines that annotate a pull request, on GitHub Actions."""
    github = _github(settings)
    return [] if github is None else github.commands(data, settings.root, os.environ)


def _github(settings: Settings) -> ModuleType | None:
    """Return what writes for GitHub Actions, where this run is to."""
    if settings.github == "off" or os.environ.get("GITHUB_ACTIONS") != "true":
        return None
    from pytest_llm.reports import github

    return github


def _tried(name: str, write: Callable[[], object], *, shown: str = "", quiet: bool = False) -> list[str]:
    # The tests have run: what they found is worth more than a file that cannot be written.
    try:
        write()
    except (LLMError, OSError, RuntimeError) as error:  # RuntimeError: ~ where there is no home
        # Not all of an error of the file system: it names a temporary file.
        why = f"{shown}: {error.strerror}" if shown and isinstance(error, OSError) and error.strerror else str(error)
        return [f"{name:<10}could not be written: {visible(why)}"]
    return [] if quiet else [f"{name:<10}{visible(shown)}"]


def _html(data: dict[str, Any], path: Path) -> None:
    from pytest_llm.files import write_atomic
    from pytest_llm.reports.html import html

    write_atomic(path, html(data))


def _markdown(data: dict[str, Any], path: Path) -> None:
    from pytest_llm.files import write_atomic
    from pytest_llm.reports.markdown import markdown

    write_atomic(path, markdown(data))
