"""The life of one pytest session: settings, record, the test that runs. How it ends is in `endhooks`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from pytest_llm import imports, options
from pytest_llm.settings import Settings

if TYPE_CHECKING:
    from pytest_llm.loader import ModelLoader
    from pytest_llm.location import Location
    from pytest_llm.record import RunRecord

_SETTINGS = pytest.StashKey[Settings]()
RECORD: pytest.StashKey[RunRecord] = pytest.StashKey()
#: Whether tests were deselected.
_FILTERED = pytest.StashKey[bool]()
#: What the files raised that could not be collected, by node id.
_UNCOLLECTED = pytest.StashKey[dict[str, str]]()
#: What was to be collected at the start; pytest-picked takes files that changed instead.
_ARGUMENTS = pytest.StashKey[list[str]]()
STARTED = pytest.StashKey[float]()
LOADER = pytest.StashKey["ModelLoader"]()
#: The environment before the first test: a key that a fixture sets is one service's, and no other's to get.
_ENVIRON = pytest.StashKey[dict[str, str]]()
#: Whoever asks for one of these may use this plugin.
_FIXTURES = frozenset({"llm", "llm_loader", "llm_snapshot", "llm_baseline"})
#: Records of the sessions under way in this process, innermost last (pytester runs sessions inside sessions). They
#: are kept here since pytester forgets what a session inside imported, which may well be `record`.
records: list[RunRecord] = []
#: The test under way, of the innermost session. Where that is not attended to, nothing says that its test ended.
_at: pytest.Item | None = None
#: How many sessions are under way in this process.
_sessions = 0
#: The test in which a session was started.
_OUTER = pytest.StashKey["pytest.Item | None"]()
#: Whether somebody in this process took one of the public names.
_touched = False


def asked(config: pytest.Config) -> None:
    """Note what is to be collected."""
    config.stash[_ARGUMENTS] = list(config.args)


def start(config: pytest.Config) -> None:
    """Read the settings and declare the markers."""
    global _sessions
    _sessions += 1
    imports.find_here()
    from pytest_llm.fixtures import MARKERS

    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[_SETTINGS] = options.resolve(config)
    # What one of a run's workers refreshes is fresh for all.
    config.stash[STARTED] = getattr(config, "workerinput", {}).get("llm_started") or _clock(config)
    config.stash[_OUTER] = _at


def _clock(config: pytest.Config) -> float:
    if config.stash[_SETTINGS].cache != "refresh":
        return time.time()
    from pytest_llm.store.database import clock

    return clock()


def stop(config: pytest.Config) -> None:
    """End the record and free the models."""
    global _at, _sessions
    if _at is None or _at.config is config:
        _at = config.stash.get(_OUTER, None)
    if RECORD in config.stash:
        from pytest_llm import record

        record.end(config.stash[RECORD])
        # From here on pytest goes through all objects there are, several times, for what was not closed.
        del config.stash[RECORD]
    _sessions = max(0, _sessions - 1)  # also where another plugin ended the session before it began here
    if not _sessions:
        imports.find_elsewhere()
    if LOADER in config.stash:  # last, as it may fail: a record that did not end would take the verdicts of others
        config.stash[LOADER].close()


def attend(config: pytest.Config) -> None:
    """Begin the session's record, and from here on hook into each test, and into the end.

    A suite that does not use this plugin is never attended to, and pays for one hook that notes which test runs.
    """
    if RECORD in config.stash:
        return
    from pytest_llm import endhooks, record, testhooks

    config.stash[_ENVIRON] = dict(os.environ)
    config.stash[RECORD] = record.begin(filtered=config.stash.get(_FILTERED, False))
    config.stash[RECORD].collection_errors = config.stash.setdefault(_UNCOLLECTED, {})
    config.pluginmanager.register(testhooks, "pytest_llm.testhooks")
    config.pluginmanager.register(endhooks, "pytest_llm.endhooks")
    if config.getoption("xmlpath", None):
        from pytest_llm.reports.junit import ErrorMarker

        config.pluginmanager.register(ErrorMarker(config))


def use(config: pytest.Config) -> None:
    """Attend to a session, and to the test that runs in it, where that was not done at its start."""
    if RECORD not in config.stash:
        attend(config)
        if _at is not None and _at.config is config:
            _select(_at.session)
            _enter(_at)


def touched() -> None:
    """Attend to the session under way, and to those to come: somebody takes one of the public names."""
    global _touched
    _touched = True
    if _at is not None:
        use(_at.config)


def control(config: pytest.Config) -> None:
    """Attend to the session of a pytest-xdist controller, which collects no tests: it takes reports from workers."""
    if config.pluginmanager.hasplugin("dsession"):
        from pytest_llm import workers

        attend(config)
        config.pluginmanager.register(workers, "pytest_llm.workers")
        unmeasured(config)


def unmeasured(config: pytest.Config) -> None:
    """Tell tests that could not measure from those that failed, in the terminal: there is one, or there may be."""
    from pytest_llm.reports import terminal

    if not config.pluginmanager.is_registered(terminal):
        config.pluginmanager.register(terminal, "pytest_llm.reports.terminal")


def at(item: pytest.Item) -> None:
    """Note which test runs, so that verdicts carry its name."""
    global _at
    _at = item
    if RECORD in item.config.stash:
        _enter(item)


def settings(config: pytest.Config) -> Settings:
    """Return the resolved options."""
    return config.stash[_SETTINGS]


def loader(config: pytest.Config) -> ModelLoader:
    """Return the loader of this session, made on first use."""
    use(config)
    if LOADER not in config.stash:
        from pytest_llm.loader import ModelLoader

        started, environ = config.stash[STARTED], config.stash[_ENVIRON]
        config.stash[LOADER] = ModelLoader(settings(config), config, started=started, environ=environ)
    return config.stash[LOADER]


def prefetch(session: pytest.Session) -> None:
    """Compute ahead what the selected tests will ask, where this process runs them and they use a model."""
    config, option, chosen = session.config, session.config.option, settings(session.config)
    if config.pluginmanager.hasplugin("dsession") or option.collectonly or config.getoption("setuponly", False):
        return
    # Where a file could not be collected pytest itself runs no test, but a worker of pytest-xdist does.
    if session.testsfailed and not (option.continue_on_collection_errors or hasattr(config, "workerinput")):
        return
    if "off" in (chosen.prefetch, chosen.cache) or chosen.offline:
        return
    if any("llm_loader" in getattr(item, "fixturenames", ()) for item in session.items):
        from pytest_llm.planning.prefetch import prefetch

        prefetch(session)


def test() -> pytest.Item:
    """Return the test under way, for a fixture that it asks for: pytest takes twice as long to hand it a request."""
    assert _at is not None
    use(_at.config)
    return _at


def under_way() -> pytest.Item | None:
    """Return the test under way; ``None`` outside one."""
    return _at


def place() -> tuple[Location, Settings]:
    """Return where the test under way stands, and the settings, for a fixture that it asks for."""
    from pytest_llm.location import Location

    item = test()
    return Location.named(item.config.stash[RECORD].nodeid, item.path), settings(item.config)


def keeps_files(folder: str) -> bool:
    """Whether a folder of this name holds goldens or baselines."""
    if not folder.startswith("__llm_"):
        return False
    from pytest_llm import baselines, golden

    return folder in (golden.FOLDER, baselines.FOLDER)


def group(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group tests by model in a worker of ``--dist loadgroup``."""
    if getattr(config.option, "loadgroup", False):
        from pytest_llm.planning.grouping import group_by_model

        group_by_model(config, items)


def collected(session: pytest.Session) -> None:
    """Attend to the session if one of its tests may use this plugin, or those of a file that is lost."""
    repeated = settings(session.config).calibrate or any("llm_repeat" in item.keywords for item in session.items)
    if _touched or repeated or any(map(may_use, session.items)) or _lost(session.config):
        attend(session.config)
        _select(session)
    if repeated:
        from pytest_llm import repeats

        session.config.pluginmanager.register(repeats, "pytest_llm.repeats")


def may_use(item: pytest.Item) -> bool:
    """Whether a test asks for a fixture of ours, itself or through another one."""
    return not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def _lost(config: pytest.Config) -> bool:
    """Whether a file that could not be collected may have tests that use this plugin."""
    if files := config.stash.get(_UNCOLLECTED, None):
        from pytest_llm import selection

        return selection.used_before(settings(config), files)
    return False


def _select(session: pytest.Session) -> None:
    """Note the tests that were selected, and whether files or tests were named for it."""
    from pytest_llm.location import plain_nodeid

    config, start = session.config, session.config.invocation_params.dir
    named = config.args_source is config.ArgsSource.ARGS
    picked = config.args != config.stash.get(_ARGUMENTS, config.args)
    if picked or (named and not all((start / argument).is_dir() for argument in config.args)):
        config.stash[RECORD].filtered = True
    config.stash[RECORD].collected.update((plain_nodeid(item), str(item.path)) for item in session.items)


def narrowed(config: pytest.Config) -> None:
    """Note that tests were deselected: what the run did not use proves nothing then."""
    config.stash[_FILTERED] = True
    if RECORD in config.stash:
        config.stash[RECORD].filtered = True


def uncollected(config: pytest.Config, report: pytest.CollectReport) -> None:
    """Note a file whose tests are not known."""
    config.stash.setdefault(_UNCOLLECTED, {})[report.nodeid] = report.longreprtext


def _enter(item: pytest.Item) -> None:
    from pytest_llm.location import plain_nodeid

    run = item.config.stash[RECORD]
    run.nodeid = plain_nodeid(item)
    run.before = len(run.verdicts)
    run.draws = {}


def leave(config: pytest.Config) -> None:
    """Note that the session's last test is over."""
    global _at
    if _at is not None and _at.config is config:
        _at, config.stash[RECORD].nodeid = None, ""


def here() -> tuple[Location, Settings] | None:
    """Return where the test under way stands, and the settings; ``None`` outside a test."""
    return place() if _at is not None else None
