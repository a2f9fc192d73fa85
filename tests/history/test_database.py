"""The database: what goes in comes out, once; nothing is lost."""

import json
import sqlite3
import subprocess
import sys

import pytest

from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.history import runfile
from pytest_llm.history.database import History
from tests.history.conftest import golden, record, verdict
from tests.reports.conftest import HOSTILE


@pytest.fixture
def history(tmp_path):
    opened = History(tmp_path / "runs")
    yield opened
    opened.close()


def test_what_goes_in_comes_out_once(history):
    records = [record(i, verdict(), golden("drifted", HOSTILE, nodeid=f"t.py::test[{HOSTILE}]")) for i in range(3)]
    assert history.add(records[1:]) == 2
    assert history.add(records) == 1
    runs = history.runs()
    assert [run.id for run in runs] == [data["id"] for data in records]
    assert [history.record(run) for run in runs] == records
    assert (runs[0].counts, runs[0].exit_status, runs[0].dirty) == ({"failed": 1, "passed": 1}, 1, False)
    assert history.select("SELECT value, better FROM verdicts WHERE value IS NOT NULL") == [(2.5, "lower")] * 3
    mode = sqlite3.connect(history.path).execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal",)


def test_filters(history):
    history.add([record(0, branch="a"), record(1, branch="b", source="x/y"), record(2, branch="a", digest="f" * 64)])

    def numbers(**filters):
        return [run.number for run in history.runs(**filters)]

    assert numbers(branch="a") == [1, 3]
    assert numbers(model="x/") == [2]
    assert numbers(model="ffff") == [3]
    assert numbers(limit=2) == [2, 3]
    assert numbers(branch="a", limit=1) == [3]


def test_all_of_an_addition_or_none(history):
    history.add([record(0)])
    with pytest.raises(InvalidInputError):
        history.add([record(1), {**record(2), "verdicts": [{}]}])
    assert len(history.runs()) == 1


@pytest.mark.parametrize(
    "change",
    [{"id": "../../x"}, {"started": "9999-99-99T99:99:99Z"}, {"seconds": "nan"}, {"exit_status": 2**70},
     {"models": []}, {"git": None}, {"verdicts": None}, {"tests": [{"nodeid": "x"}]}],
)  # fmt: skip
def test_what_is_no_record_is_refused(history, change):
    with pytest.raises(InvalidInputError, match="no run record"):
        history.add([{**record(0, verdict()), **change}])
    assert history.runs() == []


def test_files_are_taken_in_and_what_is_no_record_stays(project, history):
    folder = project(record(0), record(1))
    (folder / "20200101T000000000Z-00000000.json").write_text("{")
    (folder / "20200101T000000001Z-00000000.json").write_text(json.dumps({**record(2), "schema": 9}))
    history = History(folder)
    assert {path.name[:18]: why for path, why in history.take_in().items()} == {
        "20200101T000000000": "this is no run record (JSONDecodeError('Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)'))",
        "20200101T000000001": "a newer pytest_llm wrote this record (schema 9): upgrade",
    }
    assert len(history.runs()) == 2
    assert len(list(folder.glob("*.json"))) == 4


def test_a_run_packs_old_records_for_the_history(pytester, cache_dir):
    pytester.makepyfile("def test_a(llm_baseline): llm_baseline.check('loss', 1.5, margin=0)")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    (first,) = cache_dir.glob("runs/*/*.json")
    data = json.loads(first.read_text())
    ids = [f"20200101T{i:09d}Z-00000000" for i in range(runfile.KEPT + 3)]
    for id in ids:
        runfile.write({**data, "id": id}, first.parent / f"{id}.json")
    aliens = [first.parent / "20200101.json", first.parent / "20200101T000000000Z-ffffffff.json"]
    for alien in aliens:
        alien.write_text("{}")
    pytester.runpytest().assert_outcomes(passed=1)
    left = {path.stem for path in first.parent.glob("*.json")} - {aliens[0].stem}
    assert len(left) == runfile.KEPT
    assert aliens[0].exists()  # nothing that we would have written: not ours to move
    packed = {path.name.partition(".")[0] for path in (first.parent / "packed").glob("*.json.gz")}
    assert packed == {*ids, aliens[1].stem} - left
    assert not (first.parent / "history.sqlite").exists()
    history = History(first.parent)
    bad = history.take_in()
    assert {path.name.partition(".")[0] for path in bad} == {aliens[0].stem, aliens[1].stem}
    assert len(history.ids()) == len(ids) + 2
    assert list((first.parent / "packed").iterdir()) == [path for path in bad if path.suffix == ".gz"]
    assert history.take_in() == bad


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: b"no gzip", lambda raw: raw[:30] + b"x" * 9])
def test_a_packed_record_that_is_damaged_stays(project, history, damage):
    folder = project(record(0))
    (path,) = folder.glob("*.json")
    runfile._pack(path)
    (packed,) = (folder / "packed").iterdir()
    packed.write_bytes(damage(packed.read_bytes()))
    assert [*History(folder).take_in()] == [packed]
    assert packed.exists()


@pytest.mark.parametrize("damage", ["corrupt", "newer"])
def test_a_database_that_cannot_be_used_loses_nothing(project, command, damage):
    folder = project(record(0), record(1))
    runfile._pack(min(folder.glob("*.json")))
    path = folder / "history.sqlite"
    if damage == "corrupt":
        path.write_bytes(b"no database" * 1000)
    else:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=99")
        db.close()
    before = path.read_bytes()
    code, out, err = command("history")
    assert (code, out) == (2, "")
    assert "file is not a database" in err if damage == "corrupt" else "newer pytest_llm wrote it (schema 99" in err
    assert "Nothing was changed" in err
    assert path.read_bytes() == before
    assert [p.suffix for p in sorted(folder.rglob("2*"))] == [".json", ".gz"]


def test_an_empty_database_is_named_and_made_anew(project, command):
    folder = project(record(1))
    (folder / "history.sqlite").touch()
    code, out, err = command("history", "--json")
    assert (code, [run["id"] for run in json.loads(out)]) == (0, [record(1)["id"]])
    assert "history.sqlite was empty, so it was damaged. A new one is made of the records still there;" in err
    assert command("history", "--json") == (0, out, "")


def test_processes_that_take_in_at_once(project):
    folder = project(*(record(i, verdict()) for i in range(30)))
    code = (
        "import sys; from pathlib import Path; from pytest_llm.history.database import History\n"
        "history = History(Path(sys.argv[1])); history.take_in(); print(len(history.ids()))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [process.communicate()[0] for process in running] == ["30\n"] * 4
    assert History(folder).select("SELECT COUNT(*) FROM verdicts") == [(30,)]


def test_forgetting_removes_files_and_rows(project, history):
    folder = project(*(record(i, verdict()) for i in range(5)))
    history = History(folder)
    history.take_in()
    history.forget(history.runs()[:3])
    history.take_in()
    assert [run.id for run in history.runs()] == [record(3)["id"], record(4)["id"]]
    assert history.select("SELECT COUNT(*) FROM verdicts") == history.select("SELECT COUNT(*) FROM records") == [(2,)]


def test_a_damaged_record_is_said(history):
    history.add([record(0)])
    with history.writing() as db:
        db.execute("UPDATE records SET data = x'00'")
    with pytest.raises(LLMError, match="is damaged"):
        history.record(history.runs()[0])
