"""A project whose tests said something new since their goldens, and a server of its review page."""

import threading

import pytest

from pytest_llm import record
from pytest_llm.golden.file import golden_path
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.human import file
from pytest_llm.human.asked import Asked, ask
from pytest_llm.human.outputs import of_answer
from pytest_llm.review.server import ReviewServer
from pytest_llm.review.session import Session
from tests.browser import browser, open_page  # noqa: F401
from tests.golden.conftest import Project, answer
from tests.reports.conftest import HOSTILE

STORY = "The cat sat on the mat and looked at the rain."
NEW_STORY = "The cat sat on the roof and looked at the stars."


def drifted(pytester, golden, now):
    """A suite of one test, ``test_a.py``, whose answer is no longer its golden."""
    for text, flags, outcome in ((golden, ["--llm-update=new"], "passed"), (now, [], "failed")):
        pytester.makepyfile(test_a=f"def test_a(llm_snapshot): assert {text!r} == llm_snapshot")
        pytester.runpytest(*flags).assert_outcomes(**{outcome: 1})
    return pytester


class Reviewed(Project):
    """A `Project` with candidates of several tests, and pages on it."""

    def differ(self, test, golden, new):
        """Make ``golden`` the golden of ``test``; then let it say ``new``."""
        for value, update in ((golden, "new"), (new, "none")):
            Snapshot(self.location(test), self.settings(update=update)) == value  # noqa: B015

    def golden_of(self, test):
        """The golden of ``test`` that its candidate would replace."""
        return golden_path(self.location(test), "1")

    def asks(self, test, *texts):
        """Let a test ask people about outputs."""
        folder = self.path().parent
        ask(self.cache, self.root, Asked(folder, self.location(test).nodeid, tuple(map(of_answer, texts))))

    def session(self, rater="ann", secret=b"1"):
        return Session(self.settings(), rater, secret)

    def ratings(self):
        return file.read(self.path().parent / file.NAME)


@pytest.fixture(autouse=True)
def run():
    own = record.begin()
    yield own
    record.end(own)


@pytest.fixture
def project(tmp_path):
    return Reviewed(tmp_path / "project", tmp_path / "cache")


@pytest.fixture
def story(project):
    """One drifted test."""
    project.differ("test_story", answer(STORY, prompt="Tell a story."), answer(NEW_STORY, prompt="Tell a story."))
    return project


@pytest.fixture
def several(story):
    """Three drifted tests, one of them hostile, one of three answers."""
    asked = HOSTILE.replace("\ud800", "")  # half a surrogate pair may be answered, but not asked
    story.differ("test_hostile", answer("calm", prompt=asked), answer(HOSTILE + "x" * 1_000_000, prompt=asked))
    prompts = [f"Name colour {i}" for i in range(3)]
    story.differ(
        "test_many",
        [answer(f"red {i}", prompt=prompt) for i, prompt in enumerate(prompts)],
        [answer(f"blue {i}", prompt=prompt) for i, prompt in enumerate(prompts)],
    )
    return story


@pytest.fixture
def serve():
    """Serve a session; stop it at the end."""
    running = []

    def started(session):
        server = ReviewServer(session)
        server.thread = threading.Thread(target=server.run)
        server.thread.start()
        running.append(server)
        return server

    yield started
    for server in running:
        server.shutdown()
        server.thread.join()
