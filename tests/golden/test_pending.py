"""Candidates: what a mismatch leaves, and what accepting or rejecting does, without a model."""

import json

import numpy as np
import pytest

from pytest_llm.errors import GoldenError
from pytest_llm.golden.file import read
from pytest_llm.golden.pending import list_pending
from pytest_llm.location import Location

from .conftest import Project, answer
from .test_drift import parted


def test_a_mismatch_leaves_a_candidate_that_says_what_happened(project):
    path = project.commit(answer("the cat"))
    assert (answer("the dog") == project.snapshot()) is False
    (candidate,) = project.pending()
    assert (candidate.path, candidate.nodeid) == (path, "tests/test_x.py::test_a")
    assert candidate.verdict.status == "drifted"
    assert "+ the dog" in candidate.verdict.diff
    assert list_pending(project.cache, project.root / "tests") == [candidate]
    assert list_pending(project.cache, project.root / "elsewhere") == []


def test_accepting_writes_exactly_what_an_update_would(project):
    path = project.commit(answer("the cat"))
    value = answer("the \ud800 dog\r\n\u2028end", logprobs=[-0.123456, -1.0, -2.0])
    assert (value == project.snapshot()) is False
    (candidate,) = project.pending()
    candidate.accept()
    accepted = path.read_bytes()
    assert project.pending() == []
    assert value == project.snapshot()
    path.unlink()
    assert value == project.snapshot("new")
    assert path.read_bytes() == accepted


def test_accepting_what_was_missing_creates_it_with_its_array(project):
    array = np.linspace(0, 1, 500)
    assert (array == project.snapshot()) is False
    (candidate,) = project.pending()
    candidate.accept()
    assert array == project.snapshot()
    assert np.array_equal(read(project.path()).value.data, array)


def test_rejecting_leaves_the_golden(project):
    path = project.commit("a")
    before = path.read_bytes()
    assert (project.snapshot() == "b") is False
    project.pending()[0].reject()
    assert project.pending() == []
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("change", ["edited", "deleted", "created"])
def test_a_candidate_is_not_accepted_over_another_golden(project, change):
    path = project.path() if change == "created" else project.commit("a")
    assert (project.snapshot() == "b") is False
    (candidate,) = project.pending()
    if change == "deleted":
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("another")
    with pytest.raises(GoldenError, match=r"changed since .*run its test again: tests/test_x.py::test_a"):
        candidate.accept()
    assert not path.exists() if change == "deleted" else path.read_text() == "another"
    assert project.pending() == [candidate]


def test_a_later_pass_or_update_takes_the_candidate_away(project):
    golden, tie = parted()
    project.commit(golden)
    for value, update in ((golden, "none"), (tie, "none"), ("new text", "all")):
        assert (project.snapshot() == "mismatch") is False
        assert len(project.pending()) == 1
        assert value == project.snapshot(update)
        assert project.pending() == []


@pytest.mark.parametrize("by", ["above", "link"])
def test_a_golden_has_one_candidate_from_whatever_root_its_test_runs(project, by):
    path = project.commit("a")
    other = Project(project.root.parent, project.cache)
    if by == "link":
        (other.root / by).symlink_to(project.root)
    module = other.root / (by if by == "link" else project.root.name) / "tests" / "test_x.py"
    other.location = lambda: Location("elsewhere.py::test_a", module, "test_a")
    assert (project.snapshot() == "b") is False
    assert (other.snapshot() == "c") is False
    (candidate,) = project.pending()
    assert candidate.nodeid == "elsewhere.py::test_a"
    assert project.snapshot() == "a"
    assert project.pending() == []
    assert (project.snapshot() == "b") is False
    assert other.snapshot() == "a"
    assert project.pending() == []
    assert read(path).value == "a"


def test_a_warning_waits_for_review_too(project):
    project.commit("The cat.")
    project.snapshot().check("the cat.", levels={"format-only": "warn"})
    assert [candidate.verdict.outcome for candidate in project.pending()] == ["warn"]


def test_the_last_mismatch_is_the_one_that_waits(project):
    project.commit("a")
    for value in ("b", "c"):
        assert (value == project.snapshot()) is False
    (candidate,) = project.pending()
    candidate.accept()
    assert read(project.path()).value == "c"


def test_a_candidate_writes_nothing_but_goldens(project):
    project.commit("a")
    assert (project.snapshot() == "b") is False
    file = project.pending()[0].file
    data = json.loads(file.read_text())
    victim = project.root / "victim.json"
    for place in (victim, project.path().parent.parent / ".." / "victim.json"):
        file.write_text(json.dumps({**data, "golden": str(place), "base": ""}))
        with pytest.raises(GoldenError, match="is not a golden"):
            project.pending()[0].accept()
        assert not victim.exists()


@pytest.mark.parametrize("content", ["{", '{"golden": "\\u0000", "base": ""}'])
def test_a_damaged_candidate_is_named_in_its_project_and_left_alone_elsewhere(project, content):
    project.commit("a")
    assert (project.snapshot() == "b") is False
    (candidate,) = project.pending()
    other = candidate.file.parent.with_name("other") / "x.json"
    other.parent.mkdir()
    other.write_text(content)
    assert project.pending() == [candidate]
    candidate.file.write_text(content)
    with pytest.raises(GoldenError, match="cannot be read .* delete the file"):
        project.pending()


@pytest.mark.parametrize("field", ["content", "sidecar"])
def test_a_candidate_that_is_not_what_its_test_left_is_not_accepted(project, field):
    project.commit(np.zeros(500))
    assert (np.linspace(0, 1, 500) == project.snapshot()) is False
    (candidate,) = project.pending()
    data = json.loads(candidate.file.read_text())
    changed = data[field].replace("0", "1", 1) if field == "content" else data[field][::-1]
    candidate.file.write_text(json.dumps({**data, field: changed}))
    with pytest.raises(GoldenError, match=r"cannot be read .*its content is not what the test left.*delete the file"):
        project.pending()
    del data["sha256"]  # as an older version left it
    candidate.file.write_text(json.dumps(data))
    project.pending()[0].accept()
    assert np.linspace(0, 1, 500) == project.snapshot()


def test_no_cache_no_candidates(tmp_path):
    assert list_pending(tmp_path / "none", tmp_path) == []


@pytest.mark.parametrize("second", ["accept", "reject"])
@pytest.mark.parametrize("first", ["accept", "reject"])
def test_of_two_reviewers_the_second_is_told(project, first, second):
    path = project.commit("a")
    assert (project.snapshot() == "b") is False
    (mine,), (theirs,) = project.pending(), project.pending()
    getattr(mine, first)()
    after = path.read_bytes()
    with pytest.raises(GoldenError, match="this candidate is gone: it was accepted or rejected meanwhile"):
        getattr(theirs, second)()
    assert path.read_bytes() == after


@pytest.mark.parametrize("action", ["accept", "reject"])
def test_a_candidate_that_nobody_saw_is_neither_accepted_nor_rejected(project, action):
    path = project.commit("a")
    assert (project.snapshot() == "b") is False
    (seen,) = project.pending()
    assert (project.snapshot() == "c") is False
    with pytest.raises(GoldenError, match="its test ran again and left another candidate"):
        getattr(seen, action)()
    assert read(path).value == "a"
    project.pending()[0].accept()
    assert read(path).value == "c"


def test_a_cache_that_cannot_be_written_does_not_keep_a_golden_from_being_written(project):
    project.cache.parent.joinpath("file").write_text("")
    project.cache = project.cache.parent / "file" / "cache"
    path = project.commit("the cat")
    assert project.snapshot("all") == "the dog"
    assert read(path).value == "the dog"
    assert (project.snapshot() == "the cow") is False
    assert project.pending() == []
