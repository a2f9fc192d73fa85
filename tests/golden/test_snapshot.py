"""The life of a golden: missing, created, passing, drifting, waiting, accepted, updated."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.golden.file import read
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.reports.text import render, visible
from pytest_llm.settings import DRIFT_LEVELS
from pytest_llm.verdicts import Verdict

from .conftest import answer
from .test_drift import parted


def state(path):
    """A file's bytes and when they were written."""
    return path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino


def test_a_missing_golden_fails_with_the_command_that_creates_it(project, run):
    snapshot = project.snapshot()
    assert (answer("the cat\nsat") == snapshot) is False
    assert render(snapshot.verdict) == (
        "golden '1': there is none yet\n"
        "  + the cat\n"
        "  + sat\n"
        "  note: golden file: tests/__llm_snapshots__/test_x/test_a--1.json\n"
        '  note: create it: pytest "tests/test_x.py::test_a" --llm-update=new'
    )
    assert not project.path().exists()
    assert [(verdict.status, verdict.outcome, verdict.nodeid) for verdict in run.verdicts] == [
        ("missing", "fail", "tests/test_x.py::test_a")
    ]
    assert run.goldens == {str(project.path()): "tests/test_x.py::test_a"}


def test_the_command_survives_a_shell(project):
    location = project.location('test_a[$(rm -rf ~)-`x`-it\'s "q"]')
    snapshot = Snapshot(location, project.settings())
    assert (snapshot == "x") is False
    command = snapshot.verdict.notes[-1].removeprefix("create it: pytest ").removesuffix(" --llm-update=new")
    shown = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True, check=True).stdout
    assert shown == location.nodeid


@pytest.mark.skipif(shutil.which("bash") is None, reason="$'...' is bash's and zsh's")
def test_the_command_survives_a_report_and_a_shell_with_what_does_not_show(project):
    location = project.location("test_a[می\u200cخواهم it's\n\\ 中 \x85\U000e0100]")
    snapshot = Snapshot(location, project.settings())
    assert (snapshot == "x") is False
    (line,) = (line for line in render(snapshot.verdict).splitlines() if "create it: pytest" in line)
    command = line.partition("pytest ")[2].removesuffix(" --llm-update=new")
    shown = subprocess.run(
        ["bash", "-c", f"printf %s {command}"], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    ).stdout.decode()
    assert shown == location.nodeid


def test_new_creates_what_is_missing_and_nothing_else(project, run):
    assert answer("the cat") == project.snapshot("new")
    before = state(project.path())
    assert answer("the cat") == project.snapshot("new")
    assert (answer("the dog") == project.snapshot("new")) is False
    assert state(project.path()) == before
    assert [verdict.status for verdict in run.verdicts] == ["created", "identical", "drifted"]


def test_all_writes_what_differs_and_leaves_what_does_not(project, run):
    golden, new = parted()
    path = project.commit(golden)
    before = state(path)
    assert golden == project.snapshot("all")
    assert new == project.snapshot("all")  # a near-tie
    assert state(path) == before
    assert answer("quite another") == project.snapshot("all")
    assert read(path).value == "quite another"
    assert [verdict.status for verdict in run.verdicts] == ["created", "identical", "near-tie", "updated"]
    assert run.verdicts[-1].headline == "golden '1': updated; was drifted at token 0: 'the' → 'quite'"


def test_all_writes_an_answer_to_another_question_even_if_it_is_the_same(project):
    path = project.commit(answer("yes", prompt="Is it?"))
    assert (answer("yes", prompt="Is it so?") == project.snapshot()) is False
    assert answer("yes", prompt="Is it so?") == project.snapshot("all")
    assert read(path).request["prompt"] == "Is it so?"


def test_a_drift_leaves_the_golden_alone_and_shows_its_evidence(project):
    path = project.commit(answer("the cat"))
    before = state(path)
    with pytest.raises(AssertionError) as caught:
        project.snapshot().check(answer("the dog"))
    assert state(path) == before
    assert str(caught.value) == (
        "golden '1': drifted at token 1: ' cat' → ' dog'\n"
        "  token 1   golden token ' cat'   new token ' dog'   golden logprob -0.5   golden margin 2   new logprob -0.5"
        "   new margin 2   mean shift before 0   bound 0.05\n"
        "  @@ first difference: line 1, column 5 @@\n"
        "  - the cat\n"
        "  ?     ^^^\n"
        "  + the dog\n"
        "  ?     ^^^\n"
        "  note: no tie: the golden had another runner-up than the other side's choice\n"
        "  note: golden file: tests/__llm_snapshots__/test_x/test_a--1.json\n"
        "  note: accept or reject it without the model: pytest-llm review"
    )


def test_hostile_text_cannot_write_to_the_terminal(project):
    project.commit("safe")
    snapshot = project.snapshot()
    assert (snapshot == "\x1b]0;pwned\x07\u202e") is False
    assert not {"\x1b", "\x07", "\u202e"} & set(render(snapshot.verdict))
    named = Verdict("metric", "x", "pass", "pass", "x", figures={"a\x1b[2J": 1})
    assert render(named) == "x\n  a\\x1b[2J 1"


@pytest.mark.parametrize("hidden", ["\u3164", "\u115f", "\u034f", "\ufe00", "\U000e0148", "\u200d", "a\ufe0f"])
def test_a_character_that_does_not_show_is_an_escape(hidden):
    assert visible(f"x{hidden}y") == f"x{hidden.encode('unicode_escape').decode()}y"
    assert visible("a ❤\ufe0f 1\ufe0f\u20e3 é 한 ᄒ") == "a ❤\ufe0f 1\ufe0f\u20e3 é 한 ᄒ"


# --- levels ---


@pytest.mark.parametrize(("level", "passes"), [("pass", True), ("warn", True), ("fail", False)])
def test_the_level_of_a_status_decides(project, run, level, passes):
    project.commit("The cat.")
    levels = {**DRIFT_LEVELS, "format-only": level}
    assert (project.snapshot(drift_levels=levels) == "the cat.") is passes
    assert (run.verdicts[-1].status, run.verdicts[-1].outcome) == ("format-only", level)
    assert run.verdicts[-1].headline == "golden '1': differs in format only (case)"


def test_a_check_may_set_its_own_levels_and_bounds(project):
    project.commit("The cat.")
    assert project.snapshot().check("the cat.", levels={"format-only": "warn"}).outcome == "warn"
    golden, new = parted(golden_margin=0.2, new_margin=0.2)
    assert golden == project.snapshot("all")
    assert (new == project.snapshot()) is False
    assert new == project.snapshot(logprob_margin=0.3)
    assert project.snapshot().check(new, logprob_margin=0.3).status == "near-tie"
    with pytest.raises(AssertionError, match="near-tie"):
        project.snapshot(logprob_margin=0.3).check(new, levels={"near-tie": "fail"})
    verdict = project.snapshot("all", logprob_margin=0.3).check(new, levels={"near-tie": "fail"})
    assert (verdict.status, read(project.path()).value) == ("updated", str(new))


def test_a_similar_text_passes_only_where_the_check_says_so(project):
    project.commit("The quick brown fox jumps over the lazy dog.")
    other = "The quick brown fox jumped over the lazy dog."
    verdict = project.snapshot().check(other, similarity=0.8)
    assert (verdict.status, verdict.outcome) == ("close", "pass")
    assert (other == project.snapshot()) is False


@pytest.mark.parametrize(
    "rules",
    [{"rtol": "0.1"}, {"atol": None}, {"logprob_margin": float("nan")}, {"similarity": "0.9"}, {"similarity": 2}],
)
def test_a_tolerance_that_is_no_number_in_range_is_refused(project, rules):
    project.commit(1.0)
    with pytest.raises(InvalidInputError, match=next(iter(rules))):
        project.snapshot().check(1.0, **rules)


@pytest.mark.parametrize(
    "levels", [{"formal": "warn"}, {"format-only": "ignore"}, {"stale": "pass"}, "warn", ["stale"]]
)
def test_an_unknown_level_is_refused(project, levels):
    project.commit("x")
    with pytest.raises(InvalidInputError, match="levels"):
        project.snapshot().check("x", levels=levels)


# --- names ---


def test_unnamed_uses_are_counted_and_named_ones_are_not(project):
    snapshot = project.snapshot("new")
    assert snapshot == "a"
    assert snapshot(name="extra") == "b"
    assert snapshot == "c"
    assert [read(project.path(name)).value for name in ("1", "extra", "2")] == ["a", "b", "c"]
    again = project.snapshot()
    assert again == "a"
    assert again(name="extra") == "b"
    assert (again == "x") is False


def test_one_name_for_two_checks_is_an_error(project):
    snapshot = project.snapshot("new")
    assert snapshot(name="x") == "a"
    with pytest.raises(
        InvalidInputError, match=r"'x' is used twice in tests/test_x.py::test_a.*llm_snapshot\(name='x-2'\)"
    ):
        assert snapshot(name="x") == "b"
    assert read(project.path("x")).value == "a"
    for bad in ("", None, 3):
        with pytest.raises(InvalidInputError, match="name of a golden"):
            snapshot(name=bad)


def test_a_snapshot_says_what_it_is(project):
    snapshot = project.snapshot()
    assert repr(snapshot) == "<llm_snapshot of tests/test_x.py::test_a>"
    assert repr(snapshot(name="x")) == "<llm_snapshot of tests/test_x.py::test_a, name='x'>"
    assert snapshot == snapshot  # noqa: PLR0124
    assert snapshot != project.snapshot()
    with pytest.raises(TypeError, match="unhashable"):
        hash(snapshot)


def test_either_side_of_the_comparison(project):
    array, nested = np.arange(3.0), {"a": [1, None, "x"]}
    snapshot = project.snapshot("new")
    for i, value in enumerate(
        ["text", answer("text"), 1, 2.5, True, None, [answer("a")], nested, array, np.float32(1)]
    ):
        name = f"v{i}"
        assert (value == snapshot(name=name)) is True
        assert (project.snapshot()(name=name) == value) is True
        with pytest.raises(InvalidInputError, match="compared with =="):
            assert value != project.snapshot()(name=name)


# --- what can never be a golden ---


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [1.0, float("nan")],
        {"a": float("nan")},
        np.array([1.0, np.nan]),
        answer("a b", logprobs=[-1.0, float("nan")]),
    ],
)
@pytest.mark.parametrize("update", ["none", "new", "all"])
def test_a_nan_is_an_error_and_is_never_written(project, run, value, update):
    with pytest.raises(GoldenError, match="golden '1': .*(nan|NaN|inf)"):
        assert value == project.snapshot(update)
    with pytest.raises(GoldenError):
        project.snapshot(update).check(value)
    assert not project.path().exists()
    assert project.pending() == []
    assert {(verdict.status, verdict.outcome) for verdict in run.verdicts} == {("invalid", "error")}


# --- speed ---


def test_a_passing_comparison_imports_nothing_heavy(project):
    """In a process of its own: the modules, not the seconds, are what a start-up pays for."""
    project.commit(answer("the cat"))
    code = "import sys, pathlib\nfrom tests.golden import answers\n"
    code = f"""
import sys
from pathlib import Path
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.location import Location
from pytest_llm.options import settings_from
root = Path({str(project.root)!r})
settings = settings_from({{}}, {{}}, {{}}, root=root).replace(cache_dir=Path({str(project.cache)!r}))
location = Location("tests/test_x.py::test_a", root / "tests/test_x.py", "test_a")
assert "the cat" == Snapshot(location, settings)
heavy = {{"numpy", "torch", "sacrebleu", "filelock", "unicodedata", "pytest_llm.golden.diff", "pytest_llm.golden.formatting"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
