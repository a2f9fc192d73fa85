"""The summary section at the end of a run: models, goldens, gates, and what to do next."""

from __future__ import annotations

import difflib
import os
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.options import OPTIONS
from pytest_llm.reports.text import counted, shorten, visible
from pytest_llm.verdicts import DRIFT_STATUSES, ENDED, RENAMED, SAME, Verdict

if TYPE_CHECKING:
    from pytest_llm.record import ModelUse, RunRecord
    from pytest_llm.settings import Settings

_COLOURS = {"pass": {"green": True}, "warn": {"yellow": True}, "fail": {"red": True}, "error": {"red": True}}
_LABEL = 10


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Count a test that could not measure as an error."""
    return ("error", "E", "ERROR") if getattr(report, "llm_unmeasured", False) and report.failed else None


def write_summary(reporter: pytest.TerminalReporter, run: RunRecord, settings: Settings) -> None:
    """Write the section. Only what a run used has a line in it."""
    reporter.write_sep("=", "model regression")
    for use in run.models.values():
        _line(reporter, "model", _model(use))
    expected = run.expected
    goldens = [verdict for verdict in run.verdicts if verdict.kind == "golden"]
    if goldens:
        counts = Counter(verdict.status for verdict in goldens)
        _line(reporter, "goldens", ", ".join(f"{counts[s]} {s}" for s in DRIFT_STATUSES if counts[s]))
        for verdict in goldens:
            if verdict.outcome != "pass":
                row = f"{verdict.status:<12}{visible(verdict.nodeid)} ({visible(verdict.name)})"
                if verdict.outcome == "warn":  # a failure says it where it fails
                    row += "".join(f": {visible(note)}" for note in verdict.notes if note.startswith(ENDED))
                known = verdict.nodeid in expected
                _line(reporter, "", row + " (expected)" * known, None if known else verdict)
    gates = [verdict for verdict in run.verdicts if verdict.kind != "golden"]
    if gates:
        from pytest_llm.reports.gates import gate_rows

        width = reporter._tw.fullwidth - _LABEL - 1
        rows = gate_rows(gates, settings, everything=reporter.verbosity > 0, width=width, expected=expected)
        for index, (row, gate) in enumerate(rows):
            coloured = None if gate is None or gate.nodeid in expected else gate
            _line(reporter, "" if index else "gates", row, coloured)
    _next_steps(reporter, run, settings, [verdict for verdict in run.verdicts if verdict.nodeid not in expected])


def write_ignored(reporter: pytest.TerminalReporter, environ: Mapping[str, str]) -> None:
    """Write a line for each variable that is named as ours are and is none of them."""
    ours, names = "PYTEST_LLM_", [option.name.upper() for option in OPTIONS]
    for name in sorted(one for one in environ if one.startswith(ours) and one.removeprefix(ours) not in names):
        near = difflib.get_close_matches(name.removeprefix(ours), names, 1)
        hint = "".join(f": did you mean {ours}{one}?" for one in near)
        reporter.write_line(f"{'ignored':<{_LABEL}}{name} is no setting{hint}", yellow=True)


def _model(use: ModelUse) -> str:
    from pytest_llm.weights.spec import SERVICE_DEVICE

    answers = f"{counted(use.asked, 'answer')}: {use.from_store} from the store, {use.computed} computed"
    answers += f" ({use.ahead} ahead)" if use.ahead else ""
    loaded = f"; loaded in {use.load_seconds:.1f} s" if use.loaded else "; no weights loaded"
    if use.device == SERVICE_DEVICE:
        # Nothing here sees that a service has other weights behind the same name.
        loaded = "; --llm-cache=refresh asks it again" if use.from_store else ""
    adapter = f" + {visible(shorten(use.adapter, 40))}" if use.adapter else ""
    place = use.device + (f" at {visible(shorten(use.service, 60))}" if use.service else "")
    around = "  ".join(filter(None, [use.digest[:12], f"{use.dtype} {place}".strip()]))
    return f"{visible(shorten(use.source, 60))}{adapter}  {around}  {answers}{loaded}"


def _next_steps(
    reporter: pytest.TerminalReporter, run: RunRecord, settings: Settings, verdicts: Sequence[Verdict]
) -> None:
    command = _command(settings, settings.root)
    # Repeats of a test, and workers that all run it, leave one candidate.
    waiting = {(verdict.nodeid, verdict.name) for verdict in verdicts if verdict.waits}
    missing = len({(verdict.nodeid, verdict.name) for verdict in verdicts if verdict.status == "missing"})
    if waiting:
        tests = {nodeid for nodeid, _ in waiting}
        what = _count(len(waiting), "candidate waits", "candidates wait")
        _line(reporter, "next", f"{what} for you: {_command(settings, _home(run, settings, tests))} review")
    _renames(reporter, verdicts)
    if missing:
        from pytest_llm.variants import update

        what = _count(missing, "golden or baseline is", "goldens or baselines are")
        _line(reporter, "next", f"{what} missing: pytest {update(settings, 'new')} writes them")
    if run.obsolete:
        goldens = {Path(file).with_suffix("") for file in run.obsolete}  # with their arrays
        what = _count(len(goldens), "golden that no test uses is", "goldens that no test uses are")
        _line(reporter, "next", f"{what} obsolete: {command} prune")
    if run.obsolete_baselines:
        what = _count(run.obsolete_baselines, "baseline that no test checks is", "baselines that no test checks are")
        _line(reporter, "next", f"{what} obsolete: {command} prune")
    spread = reporter.config.getoption("dist", "no")
    if len(run.models) > 1 and spread in ("load", "worksteal"):
        # pytest-xdist up to 3.8 groups tests by an attribute that pytest no longer has from 9.2 on.
        way, kept = ("loadgroup", "model") if hasattr(pytest.Item, "_nodeid") else ("loadfile", "file")
        what = f"{len(run.models)} models may be in every worker: --dist {way} keeps the tests of one {kept} together"
        _line(reporter, "next", what)


def _renames(reporter: pytest.TerminalReporter, verdicts: Sequence[Verdict]) -> None:
    """Say what may be of tests that were renamed: a failure said so where it failed, a write did not."""
    renamed = [verdict for verdict in verdicts if any(note.startswith(RENAMED) for note in verdict.notes)]
    if not renamed:
        return
    other = sum(f"{SAME}: " not in "".join(verdict.notes) for verdict in renamed)
    what = _count(len(renamed), "new golden or baseline has", "new goldens or baselines have")
    todo = "if it was renamed, keep what it had, before you write new ones or prune"
    _line(reporter, "next", f"{what} the question of a test that is gone, {other} with another answer: {todo}")
    for verdict in renamed:
        if verdict.ok:
            row = f"{visible(verdict.nodeid)} ({visible(verdict.name)}): {visible('; '.join(verdict.notes))}"
            _line(reporter, "", row)


def _home(run: RunRecord, settings: Settings, tests: Collection[str]) -> Path:
    """Return a folder that the goldens of ``tests`` lie below: the root, but for ``-c`` with a file elsewhere."""
    folders = [Path(path).parents[2] for path, nodeid in run.goldens.items() if nodeid in tests]
    start = settings.start or settings.root
    for home in (settings.root, start):
        if all(folder.is_relative_to(home) for folder in folders):
            return home
    return Path(os.path.commonpath(folders))


def _command(settings: Settings, home: Path) -> str:
    """Return our command as it is called for a project, which it finds from below its root, ``home``."""
    if settings.start is None or settings.start.is_relative_to(home):
        return "pytest-llm"
    return f"cd {shlex.quote(os.path.relpath(home, settings.start))} && pytest-llm"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _line(reporter: pytest.TerminalReporter, label: str, text: str, verdict: Verdict | None = None) -> None:
    reporter.write(label.ljust(_LABEL))
    reporter.write_line(text, **(_COLOURS[verdict.outcome] if verdict is not None else {}))
