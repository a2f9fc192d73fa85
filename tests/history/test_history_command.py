"""``pytest-llm history``: what a person sees, what a program reads, what a spreadsheet may run."""

import csv
import io
import json

import pytest

from pytest_llm.history import runfile
from pytest_llm.options import settings_from
from tests.history.conftest import golden, record, verdict
from tests.reports.conftest import HOSTILE


def test_the_list(project, command):
    project(
        record(0, verdict(), commit="1a2b3c4d" * 5, source="org/tiny"),
        record(1, verdict(), golden("drifted"), commit="9f8e7d6c" * 5, dirty=True, source="pkg:mod/Candidate-2.gguf",
               seconds=75.25, outcomes={"test_m.py::test_s": "skipped", "test_m.py::test_u": "unmeasured"}),
    )  # fmt: skip
    assert command("history") == (
        0,
        "branch: main\n\n"
        "run       time (UTC)   commit    models            tests              exit   sec\n"
        "a0000000  09-21 14:13  1a2b3c4   tiny              1 pass                0   1.5\n"
        "a0001eef  09-21 15:13  9f8e7d6*  Candidate-2.gguf  1 fail, 1 error,      1  75.2\n"
        "                                                   1 pass, 1 skip               \n",
        "",
    )


def test_one_model_is_said_once_and_the_newest_are_listed(project, command):
    project(*(record(i, verdict()) for i in range(25)))
    code, out, _ = command("history")
    lines = out.splitlines()
    assert lines[0] == "branch: main; models: tiny"
    assert (len(lines), lines[-1]) == (24, "20 of 25 runs; --limit=N shows more")
    assert max(map(len, lines)) <= 80
    assert command("history", "--limit=1")[1].splitlines()[-2].startswith("a002e668  09-22 14:13  0000018")


def test_a_narrow_terminal_drops_no_values(project, command, monkeypatch):
    project(record(0, verdict()), record(1, verdict(), seconds=13042.5))
    monkeypatch.setenv("COLUMNS", "40")
    assert command("history")[1].splitlines()[-1] == "a0001eef  09-21 15:13  0000001  1 pass     0  13042.5"


def test_json_and_filters(project, command):
    project(record(0, branch="a"), record(1, verdict(), branch="b", source="x/y"), record(2, branch="a"))
    runs = json.loads(command("history", "--json", "--branch=b")[1])
    assert runs == [{
        "id": record(1)["id"], "started": "2026-09-21T15:13:20Z", "seconds": 1.5, "exit_status": 0, "filtered": False,
        "commit": record(1)["git"]["commit"], "branch": "b", "dirty": False, "counts": {"passed": 1},
        "models": [{"source": "x/y", "revision": "", "digest": record(1)["models"]["m1"]["digest"], "adapter": "",
                    "dtype": "float32", "device": "cpu"}],
        "environment": {"python": "3.11", "torch": "2.13", "transformers": "5.24"},
    }]  # fmt: skip
    assert [run["branch"] for run in json.loads(command("history", "--json", "--model=tiny", "--limit=1")[1])] == ["a"]
    assert command("history", "--branch=z")[1] == "there is no run of branch 'z'; there are runs of a, b\n"
    assert command("history", "--branch=b", "--model=tiny")[1] == (
        "there is no run of branch 'b' with 'tiny' in the name of a model\n"
    )


def test_branches_and_parts_are_told_apart_and_only_what_the_filters_let_through_is_counted(project, command):
    project(record(0, verdict(), branch="a"), record(1, verdict(), branch="b", source="x/y", filtered=True))
    assert command("history") == (
        0,
        "run       time (UTC)   commit   branch  models  tests          exit  sec\n"
        "a0000000  09-21 14:13  0000000  a       tiny    1 pass            0  1.5\n"
        "a0001eef  09-21 15:13  0000001  b       y       1 pass (part)     0  1.5\n"
        "(part): not of all tests\n",
        "",
    )
    out = command("history", "--model=x/y")[1]
    assert out.startswith("branch: b; models: y\n")
    assert "--limit" not in out


def test_without_runs_it_says_when_there_will_be_some(project, command):
    assert command("history") == (
        0, "there is no run yet: pytest leaves a record of every run that uses pytest_llm\n", ""
    )  # fmt: skip


def test_runs_of_the_project_where_it_was_before_are_offered(project, command, cache_dir, tmp_path):
    project()
    for name, test in (("before", "test_m.py::test_a"), ("another", "test_x.py::test_x")):
        runfile.keep(
            record(0, verdict(nodeid=test)),
            settings_from({}, {}, {}, root=tmp_path / name).replace(cache_dir=cache_dir),
        )
    assert command("history")[1].count("pytest-llm import ") == 0
    (tmp_path / "project" / "test_m.py").touch()
    folder = runfile.runs_folder(cache_dir, tmp_path / "before")
    assert command("history")[1] == (
        "there is no run yet: pytest leaves a record of every run that uses pytest_llm; these may be of this project, "
        f"in another folder:\npytest-llm import {folder}\n"
    )
    assert command("import", folder)[:2] == (0, "1 new run, 0 that were there already\n")


def test_hostile_names_are_shown_harmlessly(project, command):
    project(record(0, verdict(), source=f"org/{HOSTILE}", commit="\x1b[31m‮abc", branch=HOSTILE))
    code, out, _ = command("history")
    assert code == 0
    assert out.isascii() or all(c.isprintable() or c == "\n" for c in out)
    assert "\\x1b[31" in out


def test_csv_is_what_the_records_hold_and_starts_no_formula(project, command):
    project(
        record(0, verdict(value=-2.5, nodeid="=cmd|' /C calc'!A0"), golden(nodeid="t.py::test[\n@x]", name="-1+1"),
               branch="+SUM(A1)", commit="@x", source="\t=1+1")
    )  # fmt: skip
    code, out, err = command("history", "export", "--format=csv")
    assert (code, err) == (0, "")
    first, second = csv.DictReader(io.StringIO(out))
    assert first == {
        "run": record(0)["id"], "started": "2026-09-21T14:13:20Z", "commit": "'@x", "branch": "'+SUM(A1)",
        "dirty": "false", "exit_status": "0", "filtered": "false", "run_seconds": "1.5", "models": "'\t=1+1",
        "weights": "0123456789abcdef" * 4, "python": "3.11", "torch": "2.13", "transformers": "5.24",
        "nodeid": "'=cmd|' /C calc'!A0", "kind": "baseline", "name": "loss", "status": "pass", "outcome": "pass",
        "value": "-2.5", "better": "lower", "test_status": "passed",
    }  # fmt: skip
    assert (second["nodeid"], second["name"], second["value"]) == ("t.py::test[\n@x]", "'-1+1", "")


def test_json_export_goes_to_a_file(project, command, tmp_path):
    project(record(0, verdict()), record(1, verdict(value=2.0), golden()))
    path = tmp_path / "out.json"
    assert command("history", "--limit=1", "export", "--format=json", f"--output={path}") == (
        0, f"wrote 1 run to {path}\n", ""
    )  # fmt: skip
    (run,) = json.loads(path.read_text())["runs"]
    assert run["id"] == record(1)["id"]
    assert run["tests"] == [
        {"nodeid": "test_m.py::test_a", "status": "passed", "seconds": 0.1},
        {"nodeid": "test_m.py::test_g", "status": "passed", "seconds": 0.1},
    ]
    assert [(one["name"], one["status"], one["value"]) for one in run["verdicts"]] == [
        ("loss", "pass", 2.0), ("1", "identical", None)
    ]  # fmt: skip


def test_an_export_that_cannot_be_written(project, command, tmp_path):
    project(record(0))
    assert command("history", "export", "--format=csv", f"--output={tmp_path}") == (
        2, "", f"pytest-llm history: {tmp_path}: the export could not be written: Is a directory\n"
    )  # fmt: skip


@pytest.mark.parametrize("given", ["--branch=main", "--branch=", "--model=org", "--limit=1", "--json"])
def test_forget_takes_no_filter_since_it_takes_all_runs(project, command, given):
    project(record(0), record(1, branch="feature"))
    assert command("history", given, "forget", "--keep=1") == (
        2,
        "",
        "pytest-llm history: forget removes runs of all branches and models, and takes no filter: leave "
        f"{given.partition('=')[0]} out\n",
    )
    assert len(json.loads(command("history", "--json")[1])) == 2


def test_forget(project, command):
    folder = project(*(record(i) for i in range(4)))
    assert command("history", "forget", "--keep=99999999999999999999999") == (0, "forgot 0 runs\n", "")
    assert command("history", "forget", "--keep=1") == (0, "forgot 3 runs\n", "")
    assert [path.stem for path in folder.glob("*.json")] == [record(3)["id"]]
    with pytest.raises(SystemExit):
        command("history", "forget", "--keep=0")
    with pytest.raises(SystemExit):
        command("history", "forget")
    with pytest.raises(SystemExit):
        command("history", "forget", "latest", "--keep=1")


def test_forgetting_runs_by_name(project, command):
    folder = project(*(record(i) for i in range(4)))
    assert command("history", "forget", "a0001eef", "latest", record(1)["id"]) == (0, "forgot 2 runs\n", "")
    assert [run["id"] for run in json.loads(command("history", "--json")[1])] == [record(0)["id"], record(2)["id"]]
    assert len([*folder.glob("*.json")]) == 2
    code, _, err = command("history", "forget", "latest", "ffff")
    assert (code, err.partition(": ")[2]) == (
        2,
        "no run and no commit is called 'ffff': 'pytest-llm history' lists them\n",
    )
    assert len([*folder.glob("*.json")]) == 2


def test_a_run_of_a_clock_that_was_wrong_is_not_the_latest(project, command):
    ahead = record(20_000, verdict())
    project(record(0, verdict()), record(1, verdict()), record(2, verdict(outcome="fail")), ahead)
    code, _, err = command("compare", "latest~1", "latest")
    short = ahead["id"][-8:]
    assert (code, err) == (
        1, "1 run later than now (a clock was wrong there, or is here), counted as the oldest: "
        f"{short} (2029-01-01T22:13:20Z). 'pytest-llm history forget RUN' removes one\n"
    )  # fmt: skip
    assert [line[:8] for line in command("history")[1].splitlines()][-4:-2] == [short, "a0000000"]
    assert [run["id"] for run in json.loads(command("history", "--json", "--limit=1")[1])] == [record(2)["id"]]
    assert "last 2.5" in command("trend", "loss")[1]
    assert command("history", "forget", "--keep=3")[1] == "forgot 1 run\n"
    assert command("history", "--json")[2] == ""


def test_a_file_that_is_no_record_is_named_with_the_reason(project, command):
    folder = project(record(0, verdict()))
    (folder / "newer.json").write_text(json.dumps({**record(1, verdict()), "schema": 2}))
    (folder / "other.json").write_text("{}")
    older = record(2, verdict())
    del older["collection_errors"]
    (folder / "older.json").write_text(json.dumps(older))
    assert command("history")[2].splitlines() == [
        f"left as it is: {folder}/newer.json: a newer pytest_llm wrote this record (schema 2): upgrade",
        *(
            f"left as it is: {folder}/{name}.json: this is no run record of this version: it has no {what!r}. If an older "
            "pytest_llm wrote it, read it with that, or delete it"
            for name, what in (("older", "collection_errors"), ("other", "schema"))
        ),
    ]
