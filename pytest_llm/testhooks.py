"""The hooks around each test, registered when a session has a test that may use this plugin (`lifecycle.attend`)."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm import lifecycle
from pytest_llm.errors import LLMError
from pytest_llm.reports.publish import note_phase
from pytest_llm.verdicts import WRITTEN

if TYPE_CHECKING:
    from pytest_llm.verdicts import Verdict

#: pytest cuts an assertion's explanation to eight lines or 640 characters; the last line says where the rest is.
_EXPLANATION = 7, 540
_PACKAGE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget how a test came out before, where a plugin runs it again: the last attempt counts, and what any wrote.

    Its set-up's report may come late, after those of its subtests: pytest-rerunfailures logs when all phases are over.
    """
    run = item.config.stash[lifecycle.RECORD]
    if run.tests.pop(run.nodeid, None) is not None:
        run.passed.discard(run.nodeid)
        run.partly.discard(run.nodeid)
    run.failures = 0
    if len(run.verdicts) > run.before:
        run.verdicts[run.before :] = [one for one in run.verdicts[run.before :] if one.status in WRITTEN]
    run.told = len(run.verdicts)
    run.details.clear()
    if hasattr(item, "addExpectedFailure"):
        item.addExpectedFailure = functools.partial(_add_expected_failure, item)


def _add_expected_failure(item: Any, testcase: Any, raised: Any, reason: str = "") -> None:
    """Take the failure that ``unittest.expectedFailure`` expects, for pytest: it is one that was measured."""
    if isinstance(raised, tuple) and isinstance(raised[1], LLMError):
        item.addError(testcase, raised)
    else:
        type(item).addExpectedFailure(item, testcase, raised, reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell "could not measure" from "measured a regression", and add what an assertion had no room for."""
    raised = next(iter(getattr(item, "_excinfo", None) or ()), call.excinfo)  # as pytest is to take it of a TestCase
    unmeasured = raised if raised is not None and raised.errisinstance(LLMError) else None
    if unmeasured is not None and not item.config.getoption("fulltrace", False):
        _keep_to_the_test(unmeasured, item.path)
    report = yield
    run = item.config.stash[lifecycle.RECORD]
    if unmeasured is not None:
        report.llm_unmeasured = True  # type: ignore[attr-defined]
        shown = getattr(report.longrepr, "reprtraceback", None)
        if shown is not None:  # that all entries are hidden: a marker's mistake stands in no line of the test
            shown.extraline = None
        if hasattr(report, "wasxfail") and not any(mark.kwargs.get("raises") for mark in item.iter_markers("xfail")):
            # No expected failure, which is one that was measured. Where there is raises=, pytest held the error to it.
            report.outcome = "failed"
            del report.wasxfail
        lifecycle.unmeasured(item.config)
    if report.when == "call" and call.excinfo is not None:
        run.details += _unshown(run.verdicts[run.told :], [call.excinfo.exconly(), *run.details])
        run.told = len(run.verdicts)
    if run.details:
        report.sections.append(("model regression", "\n\n".join(run.details)))
        run.details.clear()
    mine = run.verdicts[run.before :]
    if report.when == "teardown" and len(mine) > 1:
        run.verdicts[run.before :] = mine = _once(mine)
    expected = report.when == "call" and report.skipped and hasattr(report, "wasxfail")
    if expected and any(one.kind == "golden" and one.outcome != "pass" for one in mine):
        from pytest_llm.golden.pending import discard_candidates_of

        discard_candidates_of(lifecycle.settings(item.config).cache_dir, run.goldens, run.nodeid)
    if report.when == "teardown" and mine:
        from pytest_llm.reports.junit import properties

        report.user_properties.extend(properties(mine))
    if report.when == "teardown" and os.getpid() != run.pid:  # pytest-forked runs the test in a process that ends now
        report.llm_record = json.dumps(run.of_test().to_json())  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test came out now: a plugin may have run it again since, and what it changed is in the report."""
    item = lifecycle.under_way()
    again = report.outcome not in ("passed", "failed", "skipped")  # as pytest-rerunfailures calls it
    if item is None or again or hasattr(report, "node"):  # pytest-xdist's controller has it from a worker
        return
    run = item.config.stash[lifecycle.RECORD]
    note_phase(run, item, report)
    if report.when in ("teardown", "???"):  # the last report, also of a process that crashed
        if forked := vars(report).pop("llm_record", None):
            run.merge({**json.loads(forked), "tests": {}})
        if _uses_ours(item):
            run.users.add(run.nodeid)
    if report.when == "teardown" and hasattr(item.config, "workeroutput"):
        # Should the worker crash later. As ASCII: execnet takes no lone surrogates.
        report.llm_record = json.dumps(run.of_test().to_json())  # type: ignore[attr-defined]


def _once(verdicts: list[Verdict]) -> list[Verdict]:
    """Leave out what an attempt of the same test wrote, where a later one did, and what passes as one wrote it."""
    last = {(one.kind, one.name): one for one in verdicts if one.status in WRITTEN}
    return [
        one for one in verdicts
        if last.get((one.kind, one.name), one) is one or not (one.outcome == "pass" or one.status in WRITTEN)
    ]  # fmt: skip


def _uses_ours(item: pytest.Item) -> bool:
    """Whether a test is one of ours, however early it ends: by what it asks for, its markers, or what it names."""
    if lifecycle.may_use(item) or any(marker.name in ("llm", "llm_repeat") for marker in item.iter_markers()):
        return True
    body = inspect.unwrap(item.function) if isinstance(item, pytest.Function) else None
    return (inspect.isfunction(body) or inspect.ismethod(body)) and _names_ours(body, helpers=1)


@functools.lru_cache
def _names_ours(function: Any, helpers: int) -> bool:
    """Whether a function's body names something of this package, or a function that does, ``helpers`` deep."""
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        kind = type(value)  # what isinstance asks wakes a lazy object, as django.conf.settings is
        if issubclass(kind, ModuleType):
            name = value.__name__
        elif issubclass(kind, (FunctionType, type)):
            name = value.__module__ or ""
            if helpers and kind is FunctionType and _names_ours(value, helpers - 1):
                return True
        if name.partition(".")[0] == "pytest_llm":
            return True
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Give the names in a body that are not its own (globals, attributes, imports), and in the functions in it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


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
