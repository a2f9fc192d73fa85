"""``pytest-llm report``, and the hook that refuses a commit while candidates wait."""

import gzip
import json
from pathlib import Path

import pytest

from pytest_llm.cli import main
from pytest_llm.history import importing
from pytest_llm.reports.html import html
from pytest_llm.reports.markdown import markdown
from tests.conftest import COMMAND

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


def test_it_renders_the_newest_record_or_the_one_named(suite):
    suite.runpytest("--llm-record=ci.json")
    data = json.loads((suite.path / "ci.json").read_text("utf-8"))
    printed = suite.run(COMMAND, "report")
    assert printed.ret == 0
    assert printed.outlines == markdown(data).split("\n")
    assert suite.run(COMMAND, "report", "ci.json", "--html=out/r.html", "--markdown=out/r.md").ret == 0
    assert (suite.path / "out/r.html").read_text("utf-8") == html(data)
    assert (suite.path / "out/r.md").read_text("utf-8") == markdown(data)
    for said in (data["id"], data["id"][-8:], "latest"):
        assert suite.run(COMMAND, "report", said).outlines == printed.outlines


def test_it_says_what_it_cannot_do(pytester, cache_dir):
    none = pytester.run(COMMAND, "report")
    assert none.ret == 2
    none.stderr.fnmatch_lines(
        ["pytest-llm report: there is no run yet: run pytest first, or name the path of a record"]
    )
    unknown = pytester.run(COMMAND, "report", "nosuch.json")
    assert unknown.ret == 2
    unknown.stderr.fnmatch_lines(["pytest-llm report: no run is called 'nosuch.json', and there is no such file*"])
    (pytester.path / "x.json").write_text("{}")
    other = pytester.run(COMMAND, "report", "x.json")
    assert other.ret == 2
    other.stderr.fnmatch_lines(["pytest-llm report: x.json: this is no run record*"])


def test_it_writes_nothing_over_the_record_or_over_another_report(suite):
    suite.runpytest("--llm-record=ci.json")
    held = (suite.path / "ci.json").read_bytes()
    for arguments in (["--html=./ci.json"], ["--html=a", "--markdown=a"]):
        refused = suite.run(COMMAND, "report", "ci.json", *arguments)
        assert refused.ret == 2
        refused.stderr.fnmatch_lines(["pytest-llm report: --*: it would be overwritten"])
    assert (suite.path / "ci.json").read_bytes() == held
    assert not (suite.path / "a").exists()


def test_a_damaged_record_is_said(suite):
    suite.runpytest("--llm-record=ci.json")
    data = json.loads((suite.path / "ci.json").read_text("utf-8"))
    (suite.path / "ci.json").write_text(json.dumps({**data, "tests": 5}))
    (suite.path / "deep.json").write_text("[" * 100_000)
    for name in ("ci.json", "deep.json"):
        said = suite.run(COMMAND, "report", name)
        assert said.ret == 2
        said.stderr.fnmatch_lines(["pytest-llm report: *this is no run record*"])
        said.stderr.no_fnmatch_line("Traceback*")


def test_a_record_from_elsewhere_is_checked_and_read_to_a_limit(suite, monkeypatch, capsys):
    suite.runpytest("--llm-record=ci.json")
    data = json.loads((suite.path / "ci.json").read_text("utf-8"))
    (suite.path / "packed.json.gz").write_bytes(gzip.compress((suite.path / "ci.json").read_bytes()))
    data["verdicts"][0]["headline"] = None
    (suite.path / "null.json").write_text(json.dumps(data))
    (suite.path / "bomb.json.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
    monkeypatch.setattr(importing, "LARGEST", 1 << 20)
    assert main(["report", "packed.json.gz"]) == 0
    for name, why in {
        "null.json": "this is no run record: *headline*",
        "bomb.json.gz": "it has more than 1 MB*",
    }.items():
        assert main(["report", name]) == 2
        pytest.LineMatcher(capsys.readouterr().err.splitlines()).fnmatch_lines([f"pytest-llm report: {name}: {why}"])


def test_the_pre_commit_hook_refuses_while_candidates_wait(suite):
    yaml = pytest.importorskip("yaml")
    (hook,) = yaml.safe_load(HOOKS.read_text())
    command = hook["entry"].replace("pytest-llm", COMMAND).split()
    assert suite.run(*command).ret == 0
    suite.runpytest()
    assert suite.run(*command).ret == 1
    suite.run(COMMAND, "review", "accept", "--all")
    assert suite.run(*command).ret == 0
