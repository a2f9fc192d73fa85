"""The hooks around each test, registered when a session has a test that may use this plugin (`lifecycle.attend`)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_llm import lifecycle, repeats
from pytest_llm.errors import LLMError
from pytest_llm.reports.publish import note_phase

#: What `repeats.terms` said at a test's set-up.
_TERMS = pytest.StashKey[repeats.Repeat | None]()
#: pytest cuts an assertion's explanation to eight lines or 640 characters; the last line says where the rest is.
_EXPLANATION = 7, 500


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Say which test runs."""
    lifecycle.enter(item)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """Say that none does."""
    lifecycle.leave()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check a marker before fixtures cost time."""
    item.stash[_TERMS] = repeats.terms(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a test several times, where a marker asks for it."""
    if repeats.inside(pyfuncitem):
        return None
    runs = lifecycle.settings(pyfuncitem.config).calibrate
    if runs:
        from pytest_llm.calibration.watch import calibrate

        calibrate(pyfuncitem, pyfuncitem.config.stash[lifecycle.RECORD], runs)
        return True
    asked = pyfuncitem.stash.get(_TERMS, None)
    if asked is None:
        return None
    repeats.repeat(pyfuncitem, pyfuncitem.config.stash[lifecycle.RECORD], asked)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell "could not measure" from "measured a regression", and add what an assertion had no room for."""
    report = yield
    run = item.config.stash[lifecycle.RECORD]
    if report.when == "call" and report.passed:
        run.passed.add(run.nodeid)
    if call.excinfo is not None and call.excinfo.errisinstance(LLMError):
        report.llm_unmeasured = True  # type: ignore[attr-defined]
    if run.details:
        report.sections.append(("model regression", "\n\n".join(run.details)))
        run.details.clear()
    note_phase(run, item, report)
    verdicts = run.verdicts[item.stash[lifecycle.BEFORE] :] if report.when == "teardown" else ()
    if verdicts:
        from pytest_llm.reports.junit import properties

        report.user_properties.extend(properties(verdicts))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Count a test that could not measure as an error."""
    return ("error", "E", "ERROR") if getattr(report, "llm_unmeasured", False) else None


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Explain ``assert value == llm_snapshot``: as much as an assertion has room for; the rest is for a section."""
    from pytest_llm.golden.snapshot import Snapshot
    from pytest_llm.reports.text import render

    verdict = next((side.verdict for side in (left, right) if isinstance(side, Snapshot)), None)
    if op != "==" or verdict is None or verdict.ok:
        return None
    lines, size = _EXPLANATION
    full = render(verdict)
    shown = full.splitlines()[:lines]
    while len(shown) > 1 and sum(map(len, shown)) > size:
        shown.pop()
    if "\n".join(shown) != full:
        config.stash[lifecycle.RECORD].details.append(full)
        shown.append("(all of it is below, under 'model regression')")
    return shown
