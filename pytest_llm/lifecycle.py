"""The life of one pytest session: settings, record, the test that runs, what workers send, the end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm import options, record, repeats
from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.location import Location, plain_nodeid

if TYPE_CHECKING:
    from pytest_llm.loader import ModelLoader

MARKER = "llm(model, revision, dtype, device, adapter, attn_implementation): the model of the 'llm' fixture here"

_SETTINGS = pytest.StashKey[options.Settings]()
_RECORD = pytest.StashKey[record.RunRecord]()
_STARTED = pytest.StashKey[float]()
#: The run record as data, and lines on the reports made of it.
_PUBLISHED = pytest.StashKey[tuple[dict[str, Any], list[str]]]()
#: What lets GitHub's runner take commands again.
_RESUME = pytest.StashKey[str]()
#: How many verdicts there were before a test.
_BEFORE = pytest.StashKey[int]()
_LOADER = pytest.StashKey["ModelLoader"]()
#: The key under which a pytest-xdist worker sends its record.
_WORKER_OUTPUT = "pytest_llm"
#: pytest cuts an assertion's explanation to eight lines or 640 characters; the last line says where the rest is.
_EXPLANATION = 7, 500
#: The tests under way in this process, innermost last (pytester runs sessions inside sessions).
_running: list[pytest.Item] = []


def start(config: pytest.Config) -> None:
    """Read the settings, declare the marker and begin a record."""
    for marker in (MARKER, repeats.MARKER):
        config.addinivalue_line("markers", marker)
    config.stash[_SETTINGS] = options.resolve(config)
    config.stash[_RECORD] = record.begin()
    config.stash[_STARTED] = time.time()
    if config.getoption("xmlpath", None):
        from pytest_llm.reports.junit import ErrorMarker

        config.pluginmanager.register(ErrorMarker(config))


def stop(config: pytest.Config) -> None:
    """Free the models and end the record."""
    if _LOADER in config.stash:
        config.stash[_LOADER].close()
    if _RECORD in config.stash:
        record.end(config.stash[_RECORD])


def settings(config: pytest.Config) -> options.Settings:
    """Return the resolved options."""
    return config.stash[_SETTINGS]


def loader(config: pytest.Config) -> ModelLoader:
    """Return the loader of this session, made on first use."""
    if _LOADER not in config.stash:
        from pytest_llm.loader import ModelLoader

        config.stash[_LOADER] = ModelLoader(settings(config), config)
    return config.stash[_LOADER]


def prefetch(session: pytest.Session) -> None:
    """Compute ahead what the selected tests will ask, where this process runs them and they use a model."""
    chosen = settings(session.config)
    controller = session.config.pluginmanager.hasplugin("dsession")
    if controller or session.config.option.collectonly or chosen.prefetch == "off" or chosen.cache != "use":
        return
    if not chosen.offline and any("llm_loader" in getattr(item, "fixturenames", ()) for item in session.items):
        from pytest_llm.planning.prefetch import prefetch

        prefetch(session)


def place(request: pytest.FixtureRequest) -> tuple[Location, options.Settings]:
    """Return where the test of ``request`` stands, and the settings."""
    return Location.of(request.node), settings(request.config)


def marked(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of ``@pytest.mark.llm``, the closest marker winning field by field.

    Raises:
        InvalidInputError: positional arguments.
    """
    fields: dict[str, Any] = {}
    for marker in item.iter_markers("llm"):
        if marker.args:
            raise InvalidInputError("@pytest.mark.llm takes named arguments: @pytest.mark.llm(model='org/name')")
        fields = {**marker.kwargs, **fields}
    return fields


def group(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group tests by model in a worker of ``--dist loadgroup``."""
    if getattr(config.option, "loadgroup", False):
        from pytest_llm.planning.grouping import group_by_model

        group_by_model(config, items)


def collected(session: pytest.Session) -> None:
    """Note the tests that were collected and selected."""
    session.config.stash[_RECORD].collected.update(plain_nodeid(item) for item in session.items)


def deselected(items: list[pytest.Item]) -> None:
    """Note that tests were deselected: what the run did not use proves nothing then."""
    if items:
        items[0].config.stash[_RECORD].filtered = True


@contextlib.contextmanager
def running(item: pytest.Item) -> Iterator[None]:
    """Say which test runs, so that verdicts carry its name."""
    run = item.config.stash[_RECORD]
    run.nodeid = plain_nodeid(item)
    item.stash[_BEFORE] = len(run.verdicts)
    _running.append(item)
    try:
        yield
    finally:
        _running.remove(item)
        run.nodeid = ""


def here() -> tuple[Location, options.Settings] | None:
    """Return where the test that runs stands, and the settings; ``None`` outside a test."""
    return (Location.of(_running[-1]), settings(_running[-1].config)) if _running else None


def call(item: pytest.Function) -> bool | None:
    """Run a test that is to run several times; ``None`` leaves any other to pytest."""
    if repeats.inside(item):
        return None
    runs = settings(item.config).calibrate
    if runs:
        from pytest_llm.calibration.watch import calibrate

        calibrate(item, item.config.stash[_RECORD], runs)
        return True
    asked = repeats.terms(item)
    if asked is None:
        return None
    repeats.repeat(item, item.config.stash[_RECORD], asked)
    return True


def explain(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Return why a value is not its golden, as much as an assertion has room for; keep the rest for a section."""
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
        config.stash[_RECORD].details.append(full)
        shown.append("(all of it is below, under 'model regression')")
    return shown


def reported(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Note how a test came out; mark one that could not measure; add what an assertion had no room for."""
    from pytest_llm.reports.publish import note_phase

    run = item.config.stash[_RECORD]
    if report.when == "call" and report.passed:
        run.passed.add(run.nodeid)
    if call.excinfo is not None and call.excinfo.errisinstance(LLMError):
        report.llm_unmeasured = True  # type: ignore[attr-defined]
    if run.details:
        report.sections.append(("model regression", "\n\n".join(run.details)))
        run.details.clear()
    note_phase(run, item, report)
    verdicts = run.verdicts[item.stash[_BEFORE] :] if report.when == "teardown" else ()
    if verdicts:
        from pytest_llm.reports.junit import properties

        report.user_properties.extend(properties(verdicts))


def finish(session: pytest.Session) -> None:
    """Hand a worker's record to the controller; there, or in a run of one process, write what the run leaves."""
    run = session.config.stash[_RECORD]
    if _LOADER in session.config.stash and settings(session.config).cache != "off":
        loader(session.config).log.flush(run.passed)
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_OUTPUT] = json.dumps(run.to_json())  # as ASCII: execnet takes no lone surrogates
        return
    if settings(session.config).calibrate:
        from pytest_llm.calibration.proposals import conclude

        conclude(run, settings(session.config))
    elif run.used:
        from pytest_llm.golden.housekeeping import note_obsolete

        note_obsolete(session, run, settings(session.config))
    if run.used or any(test.outcome == "unmeasured" for test in run.tests.values()):
        from pytest_llm.reports.publish import publish, silencing

        config = session.config
        config.stash[_PUBLISHED] = publish(
            run, settings(config), config.invocation_params.dir, started=config.stash[_STARTED],
            exit_status=int(session.exitstatus),
        )  # fmt: skip
        stop, config.stash[_RESUME] = silencing(settings(config))
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if stop and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(stop)


def receive(config: pytest.Config, output: dict[str, Any]) -> None:
    """Add a worker's record to the controller's."""
    if _WORKER_OUTPUT in output:
        config.stash[_RECORD].merge(json.loads(output[_WORKER_OUTPUT]))


def summarize(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the summary, unless nothing of this plugin was used."""
    run = config.stash[_RECORD]
    if run.used:
        from pytest_llm.reports.terminal import write_summary

        write_summary(reporter, run, settings(config))
    if settings(config).calibrate:
        from pytest_llm.calibration.table import write_table

        write_table(reporter, run, settings(config))
    if _PUBLISHED in config.stash:
        from pytest_llm.reports.publish import commands

        data, lines = config.stash[_PUBLISHED]
        resume = [config.stash[_RESUME]] if config.stash[_RESUME] else []
        for line in (*lines, *resume, *commands(data, settings(config))):
            reporter.write_line(line)
