"""A project folder on disk, the snapshots of its tests, and answers made by hand with the evidence a model gives."""

import hypothesis  # noqa: F401  (its plugin imports it, 2 s, in every inner run that does not find it imported)
import pytest

from pytest_llm import record
from pytest_llm.golden.file import golden_path
from pytest_llm.golden.pending import list_pending
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.location import Location
from pytest_llm.options import settings_from
from pytest_llm.requests import Generate
from pytest_llm.results import Generation, Origin


class Project:
    """A project whose test ``tests/test_x.py::test_a`` uses goldens."""

    def __init__(self, root, cache):
        self.root, self.cache = root, cache

    def location(self, qualname="test_a", module="tests/test_x.py"):
        return Location(f"{module}::{qualname.replace('.', '::')}", self.root / module, qualname)

    def settings(self, **options):
        return settings_from({}, {}, {}, root=self.root).replace(cache_dir=self.cache, **options)

    def snapshot(self, update="none", **options):
        """A new run of the test: a snapshot that has been used for nothing yet."""
        return Snapshot(self.location(), self.settings(update=update, **options))

    def commit(self, value):
        """Make ``value`` golden '1' of the test; return its file."""
        assert value == self.snapshot("new")
        return self.path()

    def path(self, name="1"):
        return golden_path(self.location(), name)

    def pending(self):
        return list_pending(self.cache, self.root)


@pytest.fixture(autouse=True)
def run():
    """A record of its own, so that what these tests measure is not in the report of the run that tests them."""
    own = record.begin()
    yield own
    record.end(own)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project", tmp_path / "cache")


MODEL = {"source": "org/model", "revision": "", "digest": "a" * 64}
ENVIRONMENT = {"torch": "2.13.0", "transformers": "5.24.0", "device": "cpu", "dtype": "float32"}


def answer(
    words, *, ids=None, margins=None, runner_ups=None, logprobs=None, model=MODEL, environment=ENVIRONMENT, **request
):
    """A generation of one token a word; each id is the word's hash, each margin 2 nats over the id 0."""
    tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words.split(" "))]
    n = len(tokens)
    return Generation(
        words,
        token_ids=ids or [token_id(word) for word in words.split(" ")],
        tokens=tokens,
        logprobs=logprobs or [-0.5] * n,
        runner_ups=runner_ups or [0] * n,
        margins=margins or [2.0] * n,
        finish_reason="stop",
        origin=Origin(Generate(**{"prompt": "Say something", **request}).to_json(), model, environment),
    )


def token_id(word):
    return 1 + int.from_bytes(word.encode("utf-8", "surrogatepass")[:4], "big")


@pytest.fixture
def harmless():
    """The changes that a noise floor is measured by on this machine."""
    from pytest_llm.engines.products import onednn_works

    return {"attention", "batch", "threads"} | ({"library"} if onednn_works() else set())
