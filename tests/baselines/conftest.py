from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_llm import record
from pytest_llm.baselines.baseline import Baseline
from pytest_llm.location import Location
from pytest_llm.options import settings_from


@dataclasses.dataclass
class Project:
    """A test module's folder, in which runs follow one another."""

    folder: object

    def __post_init__(self):
        self.record = record.RunRecord()

    @property
    def file(self):
        return self.folder / "tests" / "__llm_baselines__" / "test_quality.json"

    def run(self, test="test_bleu", **settings):
        """A new run of ``test``: its fixture."""
        path = self.folder / "tests" / "test_quality.py"
        location = Location(nodeid=f"tests/test_quality.py::{test}", file=path, qualname=test)
        found = settings_from({}, {}, {}, root=self.folder).replace(cache_dir=self.folder / "cache", **settings)
        return Baseline(location, found)

    def create(self, metric, value, test="test_bleu", **terms):
        return self.run(test, update="new").check(metric, value, margin=0.0, **terms)

    def edit(self, metric, **fields):
        """Change fields of a baseline of test_bleu, or take away those that are None, and the digest that shows it."""
        data = json.loads(self.file.read_text())
        entry = {**data["tests"]["test_bleu"][metric], "digest": None, **fields}
        data["tests"]["test_bleu"][metric] = {name: value for name, value in entry.items() if value is not None}
        self.file.write_text(json.dumps(data))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(autouse=True)
def recorded():
    """The verdicts noted while the test runs, which are no part of the outer run."""
    running = record.begin()
    yield running.verdicts
    record.end(running)
