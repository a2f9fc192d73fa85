"""The hooks around each test, registered when a session has a test that may use this plugin (`lifecycle.attend`)."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm import lifecycle
from pytest_llm.errors import LLMError
from pytest_llm.reports.publish import note_phase

if TYPE_CHECKING:
    from pytest_llm.record import RunRecord
    from pytest_llm.verdicts import Verdict

#: pytest cuts an assertion's explanation to eight lines or 640 characters; the last line says where the rest is.
_EXPLANATION = 7, 500
_PACKAGE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget what a test measured before, where a plugin runs it again: the last attempt counts."""
    run = item.config.stash[lifecycle.RECORD]
    del run.verdicts[run.before :]
    run.told = run.before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell "could not measure" from "measured a regression", and add what an assertion had no room for."""
    if call.excinfo is not None and call.excinfo.errisinstance(LLMError) and not item.config.option.fulltrace:
        _keep_to_the_test(call.excinfo, item.path)
    report = yield
    run = item.config.stash[lifecycle.RECORD]
    if call.excinfo is not None and call.excinfo.errisinstance(LLMError):
        report.llm_unmeasured = True  # type: ignore[attr-defined]
        lifecycle.unmeasured(item.config)
    if report.when == "call" and call.excinfo is not None:
        run.details += _unshown(run.verdicts[run.told :], [str(call.excinfo.value), *run.details])
        run.told = len(run.verdicts)
    if run.details:
        report.sections.append(("model regression", "\n\n".join(run.details)))
        run.details.clear()
    note_phase(run, item, report)
    _note_passed(run, report)
    if report.when == "teardown" and len(run.verdicts) > run.before:
        verdicts = run.verdicts[run.before :]
        from pytest_llm.reports.junit import properties

        report.user_properties.extend(properties(verdicts))
    return report


def _note_passed(run: RunRecord, report: pytest.TestReport) -> None:
    """Note a test whose body ran to its end. Subtests have reports of their own, before the one on all of it."""
    if report.when == "call" and report.passed:
        run.passed.add(run.nodeid)
    if run.tests[run.nodeid].outcome not in ("passed", "xpassed"):
        run.passed.discard(run.nodeid)


def _unshown(verdicts: list[Verdict], shown: list[str]) -> list[str]:
    """Render the drifts of a failed test that what is ``shown`` says nothing of, as ``assert all(...)`` does not."""
    from pytest_llm.reports.text import render

    drifts = [render(verdict) for verdict in verdicts if verdict.kind == "golden" and verdict.outcome == "fail"]
    return [text for text in drifts if not any(text.splitlines()[0] in one for one in shown)]


def _keep_to_the_test(excinfo: pytest.ExceptionInfo[BaseException], test: Path) -> None:
    """Show the test's own lines, and neither ours below them nor what an error comes from: its message says that."""
    entry, own = excinfo.tb, False
    while entry.tb_next is not None:
        own = own or Path(entry.tb_frame.f_code.co_filename) == test
        if own and _PACKAGE in Path(entry.tb_next.tb_frame.f_code.co_filename).parents:
            entry.tb_next = None
            break
        entry = entry.tb_next
    excinfo.value.__cause__, excinfo.value.__suppress_context__ = None, True


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> Generator[None, list[list[str] | None], list[list[str] | None]]:
    """Explain ``assert value == llm_snapshot`` in place of pytest.

    pytest compares again what a list or dict holds, to say where two differ: a golden is not asked twice for that.
    """
    run = config.stash[lifecycle.RECORD]
    run.explaining = True
    try:
        others = yield
    finally:
        run.explaining = False
    own = _explanation(config, op, left, right)
    return [own, *others] if own else others


def _explanation(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Return as much as an assertion has room for; the rest is for a section."""
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
