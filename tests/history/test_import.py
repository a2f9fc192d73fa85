"""``pytest-llm import``: artifacts of CI, good, bad and hostile."""

import gzip
import json
import struct
import zipfile

import pytest

from pytest_llm.golden.listing import write_list
from pytest_llm.history import importing, runfile
from pytest_llm.history.database import History
from pytest_llm.options import settings_from
from tests.history.conftest import as_file, golden, record, verdict


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, (str, bytes)) else json.dumps(content))
    return path


def test_files_folders_and_archives_once_each(project, command, tmp_path):
    runs = project(record(0))
    folder = tmp_path / "artifacts"
    (folder / "job 1").mkdir(parents=True)
    as_file(record(1, verdict()), folder / "job 1" / "run.json")
    zipped(folder / "model-regression.zip", {"a/run.json": record(2), "report.html": "<p>", "junit.xml": "<x/>"})
    one = as_file(record(3), tmp_path / "one.json")
    assert command("import", folder, one) == (0, "3 new runs, 0 that were there already\n", "")
    assert command("import", folder, one) == (0, "0 new runs, 3 that were there already\n", "")
    assert History(runs).ids() == {record(i)["id"] for i in range(4)}


def test_the_cache_folder_of_more_runs_than_it_keeps(project, command, tmp_path, monkeypatch):
    monkeypatch.setattr(runfile, "KEPT", 2)
    kept = settings_from({}, {}, {}, root=tmp_path).replace(cache_dir=tmp_path / "ci")
    for i in range(5):
        runfile.keep(record(i), kept)
    packed = sorted((tmp_path / "ci").rglob("*.json.gz"))
    assert len(packed) == 3
    archive = zipped(tmp_path / "cache.zip", {f"runs/packed/{path.name}": path.read_bytes() for path in packed[:2]})
    project()
    assert command("import", packed[0]) == (0, "1 new run, 0 that were there already\n", "")
    assert command("import", archive) == (0, "1 new run, 1 that were there already\n", "")
    assert command("import", tmp_path / "ci") == (0, "3 new runs, 2 that were there already\n", "")
    packed[0].write_bytes(packed[0].read_bytes()[:-20])
    code, out, err = command("import", packed[0])
    assert (code, out) == (2, "0 new runs, 0 that were there already, 1 bad\n")
    assert err.startswith(f"{packed[0]}: it cannot be read: ")


def test_the_cache_folder_of_several_projects(project, command, tmp_path):
    """Only one of them is this one; and what else a cache folder holds is no record."""
    ci = tmp_path / "ci"
    folders = [runfile.runs_folder(ci, tmp_path / name) for name in ("ours", "theirs")]
    runfile.keep(record(1, verdict()), settings_from({}, {}, {}, root=tmp_path / "ours").replace(cache_dir=ci))
    write_list(ci, tmp_path / "ours", "goldens", [])
    project()
    assert command("import", ci) == (0, "1 new run, 0 that were there already\n", "")
    runfile.keep(record(2), settings_from({}, {}, {}, root=tmp_path / "theirs").replace(cache_dir=ci))
    listed = [f"{folder}, of {test}" for folder, test in zip(folders, ("test_m.py::test_a", "no test"), strict=True)]
    assert command("import", ci) == (
        2,
        "0 new runs, 0 that were there already, 1 bad\n",
        f"{ci}: it has the runs of 2 projects: import this one's alone: {'; '.join(sorted(listed))}\n",
    )
    for place in (tmp_path, ci / "runs"):  # a folder of artifacts, one of which is a cache; a part of one
        assert command("import", place)[:2] == (2, "0 new runs, 0 that were there already, 1 bad\n")
    assert command("import", folders[0], folders[1])[0] == 0


def test_a_bad_one_is_named_and_stops_nothing(project, command, tmp_path):
    runs = project()
    good, no_id = record(1), record(2)
    del no_id["id"]
    as_file({**good, "schema": 7}, tmp_path / "newer.json")
    (tmp_path / "nan.json").write_text(json.dumps({**good, "seconds": float("nan")}))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 not really")
    zipped(tmp_path / "mixed.zip", {"good.json": good, "bad.json": no_id, "text.json": b"\xff\xfe", "odd.json": "[1]"})
    zipped(tmp_path / "empty.zip", {"report.html": ""})
    code, out, err = command("import", tmp_path / "missing.json", tmp_path)
    assert (code, out) == (2, "1 new run, 0 that were there already, 9 bad\n")
    assert History(runs).ids() == {good["id"]}
    reasons = dict(line.removeprefix(f"{tmp_path}/").split(": ", 1) for line in err.splitlines())
    assert reasons.keys() == {
        "missing.json", "broken.zip", "deep.json", "empty.zip", "mixed.zip:bad.json", "mixed.zip:odd.json",
        "mixed.zip:text.json", "nan.json", "newer.json",
    }  # fmt: skip
    assert reasons["missing.json"].startswith("it cannot be read: [Errno 2]")
    assert reasons["broken.zip"] == "it cannot be read: File is not a zip file"
    assert reasons["empty.zip"] == "this archive holds no .json"
    assert reasons["mixed.zip:bad.json"] == "this is no run record: $: 'id' is a required property"
    assert reasons["nan.json"] == "this is no run record: NaN is no JSON"
    assert reasons["newer.json"] == "a newer pytest_llm wrote this record (schema 7): upgrade"


def test_no_name_in_an_archive_leads_anywhere(project, command, tmp_path):
    project()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    names = ["../../escaped.json", "/absolute.json", "C:\\windows.json", "..\\..\\back.json"]
    path = zipped(inner / "slip.zip", {name: record(i) for i, name in enumerate(names)})
    assert command("import", path) == (0, "4 new runs, 0 that were there already\n", "")
    after = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert after - before == {path}


def test_a_bomb_is_read_to_its_limit_and_no_further(project, command, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "LARGEST", 1 << 20)
    monkeypatch.setattr(importing, "TOTAL", 3 << 20)
    project()
    bomb = b'{"schema": 1, "x": "' + b"0" * (8 << 20) + b'"}'
    path = zipped(tmp_path / "bomb.zip", {**{f"{i}.json": bomb for i in range(9)}, "last.json": record(1)})
    # It says that it is small.
    content = bytearray(path.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        if struct.unpack_from("<I", content, at + 24)[0] > 1 << 20:
            struct.pack_into("<I", content, at + 24, 100)
    path.write_bytes(content)
    code, out, err = command("import", path)
    assert (code, out) == (2, "0 new runs, 0 that were there already, 5 bad\n")
    assert err.splitlines()[-1] == f"{path}: it holds too much: 4 of its 10 records were read"


def test_a_large_file_is_refused(project, command, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "LARGEST", 500)
    project()
    path = as_file(record(1), tmp_path / "run.json")
    packed = tmp_path / "run.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        code, _, err = command("import", one)
        assert (code, err) == (2, f"{one}: it has more than 0 MB, which no run record has\n")


@pytest.mark.parametrize(
    "change",
    [
        {"verdicts": [{**verdict(), "figures": {"value": 10**400}}]},
        {"verdicts": [{**verdict(), "nodeid": 7}]},
        {"verdicts": [{**golden(), "evidence": {"pairs": "x"}}]},
        {"exit_status": 2**80},
        {"id": "'; DROP TABLE runs; --"},
        {"models": {"m": {"source": []}}},
        {"models": {"m": {**record(1)["models"]["m1"], "digest": "@octocat"}}},
    ],
    ids=["huge", "nodeid", "evidence", "status", "id", "models", "digest"],
)
def test_what_the_schema_does_not_allow_is_bad(project, command, tmp_path, change):
    project(record(0))
    code, out, err = command("import", as_file({**record(1), **change}, tmp_path / "run.json"))
    assert (code, out) == (2, "0 new runs, 0 that were there already, 1 bad\n")
    assert "this is no run record" in err
    assert command("history")[0] == 0
