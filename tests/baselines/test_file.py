import json
import multiprocessing
import re
import subprocess
import threading

import pytest

from pytest_llm import files
from pytest_llm.baselines import file
from pytest_llm.baselines.entry import Entry
from pytest_llm.errors import GoldenError
from pytest_llm.location import Location
from pytest_llm.metrics.score import Score
from tests.conftest import LIMITED_DIGITS

SCORE = Score(
    1 / 3,
    name="f1",
    n=12,
    unit="points",
    per_example=[i / 3 for i in range(12)],
    statistics=[[i, 2 * i + 0.5] for i in range(12)],
    ids=[f"frage-ü{i}" for i in range(12)],
    signature="v:1",
    request="abc",
    references=[f"r{i}" for i in range(12)],
    predictions=["one two three"] * 12,
    origin={"model": {"source": "m"}, "environment": {"torch": "2.1"}},
)

EXPECTED = """\
{
  "schema": 1,
  "tests": {
    "test_f1[a-1]": {
      "f1": {
        "digest": "b975380eb176e466",
        "environment": {
          "torch": "2.1"
        },
        "higher_is_better": true,
        "length": 3,
        "length_unit": "words",
        "model": {
          "source": "m"
        },
        "n": 2,
        "per_example": [
          0.3333333, 1
        ],
        "predictions": [
          "one two three",
          "one two three"
        ],
        "references": "01f650e85c95620160b40ed22626dca932e9f700ffe599be060da184dd4d7822",
        "request": "abc",
        "signature": "v:1",
        "statistics": [
          [0, 0.5],
          [1, 2.5]
        ],
        "unit": "points",
        "value": 0.6666667
      }
    }
  }
}
"""


def test_layout(tmp_path):
    score = Score(
        2 / 3, name="f1", n=2, unit="points", per_example=[1 / 3, 1.0], statistics=[[0, 0.5], [1, 2.5]], signature="v:1",
        request="abc", references=["x", "y"], predictions=["one two three"] * 2, origin=SCORE.origin,
    )  # fmt: skip
    path = tmp_path / "new" / "b.json"
    file.write(path, "test_f1[a-1]", "f1", Entry.of(score), tmp_path / "locks")
    assert path.read_bytes().decode() == EXPECTED
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file() and "locks" not in p.parts) == ["b.json"]


def test_round_trip_is_exact_and_stable(tmp_path):
    path = tmp_path / "b.json"
    entry = Entry.of(SCORE)
    file.write(path, "t", "f1", entry, tmp_path / "locks")
    assert file.read(path, "t", "f1") == entry
    first = path.read_bytes()
    file.write(path, "t", "f1", file.read(path, "t", "f1"), tmp_path / "locks")
    assert path.read_bytes() == first
    again = Entry.of(entry.score("f1", None))
    assert (again.value, again.per_example, again.statistics, again.ids) == (
        entry.value, entry.per_example, entry.statistics, entry.ids,
    )  # fmt: skip
    assert file.read(path, "t", "other") is None
    assert file.read(path, "u", "f1") is None
    assert file.read(tmp_path / "none.json", "t", "f1") is None


def test_one_changed_example_is_one_changed_line_and_the_digest(tmp_path):
    path = tmp_path / "b.json"
    values = [i / 7 for i in range(100)]
    lines = []
    for x in (0.5, 0.123456789):
        values[42] = x
        file.write(path, "t", "f1", Entry.of(Score(0.5, name="f1", n=100, per_example=values)), tmp_path / "locks")
        lines.append(path.read_text().splitlines())
    assert sum(a != b for a, b in zip(*lines, strict=True)) == 2
    assert max(map(len, lines[0])) < 120


def test_two_branches_that_changed_a_baseline_conflict_wherever_they_changed_it(tmp_path):
    """Merged without a word, one value would stand over the examples of both, and be no longer theirs."""
    for name, broken in (("base", ()), ("ours", (7,)), ("theirs", (93,))):
        values = [0.0 if i in broken else 1.0 for i in range(100)]
        score = Score(sum(values) / 100, name="accuracy", n=100, per_example=values)
        file.write(tmp_path / name, "t", "accuracy", Entry.of(score), tmp_path / "locks")
    assert file.read(tmp_path / "ours", "t", "accuracy").value == file.read(tmp_path / "theirs", "t", "accuracy").value
    subprocess.run(["git", "merge-file", "ours", "base", "theirs"], cwd=tmp_path, check=False)
    with pytest.raises(GoldenError, match="merge-conflict markers"):
        file.read(tmp_path / "ours", "t", "accuracy")


def test_counts_are_kept_exactly(tmp_path):
    score = Score(1.0, name="x", n=1, statistics=[[123456789012.0, 0.1234567891]])
    assert Entry.of(score).statistics == ((123456789012, 0.1234568),)


def test_a_file_is_named_after_the_module(tmp_path):
    def path(name):
        return file.path_for(Location("x", tmp_path / name, "t")).relative_to(tmp_path).as_posix()

    assert path("test_a.py") == "__llm_baselines__/test_a.json"
    assert path("Test_a.py") != path("test_a.py")  # they may share a folder, on a disk that ignores case


def test_surrogates_do_not_break_the_file(tmp_path):
    path = tmp_path / "b.json"
    entry = Entry.of(Score(0.5, name="x", n=2, per_example=[0, 1], ids=["\ud800", "ok"]))
    file.write(path, "t", "x", entry, tmp_path / "locks")
    assert file.read(path, "t", "x") == entry


def test_a_byte_order_mark_that_an_editor_left_is_no_part_of_the_file(tmp_path):
    path = tmp_path / "b.json"
    file.write(path, "t", "x", Entry.of(SCORE), tmp_path / "locks")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert file.read(path, "t", "x") == Entry.of(SCORE)


def test_a_text_without_scored_tokens_has_no_value_and_needs_none():
    score = Score(3.0, name="loss", n=2, per_example=[3.0, float("nan")], weights=[10, 0])
    assert Entry.of(score).per_example == (3, 3)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{", 1, "not JSON: "),
        ('{\n  "schema": 1,\n  "tests": {,\n', 3, "not JSON: "),
        ('{\n<<<<<<< HEAD\n  "schema": 1\n=======\n', 2, "merge-conflict markers (<<<<<<<); keep one side"),
        ('{\n  "schema": 99,\n  "tests": {}\n}', 2, "schema 99 is newer than the 1"),
        ("[1]", 1, "not a baseline file"),
        ('{"tests": {}}', 1, "not a baseline file"),
        ('{"schema": 1, "tests": {"t": 3}}', 1, "not a baseline file"),
        ('{"schema": 1, "tests": {\n"t": {},\n"t": {}}}', 0, "not JSON: the key 't' stands twice in one object"),
        ("[" * 100_000, 0, "not JSON: nested too deep"),
        pytest.param(
            f'{{"schema": 1, "tests": {{"t": {{"x": {"9" * 5000}}}}}}}',
            0,
            "not JSON: Exceeds the limit",
            marks=LIMITED_DIGITS,
        ),
    ],
)
def test_what_cannot_be_read_says_where_and_what_to_do(tmp_path, text, line, message):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(GoldenError) as caught:
        file.read(path, "t", "x")
    assert str(caught.value).startswith(f"{path}:{line}: {message}" if line else f"{path}: {message}")
    assert re.search("--llm-update|upgrade", str(caught.value))
    with pytest.raises(GoldenError):  # and is not written over
        file.write(path, "t", "x", Entry.of(SCORE), tmp_path / "locks")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": None}, "value must be a finite number"),
        ({"n": 0}, "n must be a positive integer"),
        ({"n": 11}, "must hold one entry an example (11)"),
        ({"per_example": [1, "2"] * 6}, "per_example must hold finite numbers"),
        ({"per_example": [1e308, -1e308] * 6}, "per_example must hold finite numbers"),
        ({"value": 10**400}, "value must be a finite number"),
        ({"ids": ["a"] * 12}, "ids must be texts, each once"),
        ({"statistics": [[1, 2]] * 11 + [[1]]}, "rows of finite numbers, equally long"),
        ({"higher_is_better": "yes"}, "higher_is_better must be true or false"),
        ({"surprise": 1}, "unknown field surprise: if a newer pytest_llm wrote it, upgrade this one; restore it"),
        ({"unit": 3}, "unit must be text"),
        ({"model": []}, "model must be an object"),
    ],
)
def test_an_entry_that_does_not_hold_together(tmp_path, change, message):
    path = tmp_path / "b.json"
    data = {"schema": 1, "tests": {"t": {"f1": {**Entry.of(SCORE).to_json(), **change}}}}
    path.write_text(json.dumps(data, indent=1))
    with pytest.raises(GoldenError) as caught:
        file.read(path, "t", "f1")
    assert f"{path}:5: f1 of t: " in str(caught.value)
    assert message in str(caught.value)


def test_a_file_system_that_refuses_is_no_regression(tmp_path):
    path, entry = tmp_path / "b.json", Entry.of(SCORE)
    file.write(path, "t", "f1", entry, tmp_path / "locks")
    (digest,) = file.digests(path).values()
    (tmp_path / "not-a-folder").touch()
    for refused, locks in (
        (tmp_path / "not-a-folder" / "b.json", tmp_path / "locks"),
        (path, tmp_path / "not-a-folder" / "locks"),
    ):
        with pytest.raises(GoldenError, match=f"{refused}: .*Not a directory"):
            file.write(refused, "t", "f1", entry, locks)
    with pytest.raises(GoldenError, match="could not be written: .*Not a directory"):
        file.remove(path, "t", "f1", digest, tmp_path / "not-a-folder" / "locks")


def test_a_baseline_is_written_without_a_lock_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    def refuse(lock, folder):
        raise PermissionError(f"Permission denied: {lock}")

    monkeypatch.setattr(files, "locked", refuse)
    path, entry = tmp_path / "b.json", Entry.of(SCORE)
    with pytest.raises(GoldenError, match="could not be written: Permission denied"):
        file.write(path, "t", "f1", entry, tmp_path / "locks")
    monkeypatch.setattr(files.os, "access", lambda folder, mode: folder != tmp_path)  # the cache's
    file.write(path, "t", "f1", entry, tmp_path / "locks")
    assert file.read(path, "t", "f1") == entry


def test_a_link_to_elsewhere_is_not_written_through(tmp_path):
    path, victim = tmp_path / "baselines" / "b.json", tmp_path / "victim.json"
    path.parent.mkdir()
    path.symlink_to(victim)
    with pytest.raises(GoldenError, match=f"{path}: .*it is a link to {victim}; put a file there"):
        file.write(path, "t", "f1", Entry.of(SCORE), tmp_path / "locks")
    assert not victim.exists()


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "b.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(GoldenError, match="cannot be read"):
        file.read(path, "t", "x")


def _write(path, locks, worker):
    for i in range(8):
        file.write(path, f"test_{worker}_{i}", "x", Entry.of(Score(worker + i / 10, name="x", n=1)), locks)


def test_workers_do_not_lose_one_anothers_entries(tmp_path):
    path, locks = tmp_path / "b.json", tmp_path / "locks"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, locks, worker)) for worker in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    assert [process.exitcode for process in workers] == [0, 0, 0]
    written = json.loads(path.read_text())["tests"]
    assert {test: entry["x"]["value"] for test, entry in written.items()} == {
        f"test_{worker}_{i}": pytest.approx(worker + i / 10) for worker in range(3) for i in range(8)
    }


def test_a_run_with_another_cache_loses_no_entry_either(tmp_path, monkeypatch):
    """Each run has a lock of its own in its cache: the folder of the tests holds the other back."""
    path, entry = tmp_path / file.FOLDER / "b.json", Entry.of(SCORE)
    other = threading.Thread(target=lambda: file.write(path, "theirs", "f1", entry, tmp_path / "their-locks"))
    original = file.write_atomic

    def while_the_other_comes(*written):
        monkeypatch.setattr(file, "write_atomic", original)
        other.start()
        other.join(0.5)
        original(*written)

    monkeypatch.setattr(file, "write_atomic", while_the_other_comes)
    file.write(path, "ours", "f1", entry, tmp_path / "our-locks")
    other.join()
    assert sorted(test for test, _ in file.digests(path)) == ["ours", "theirs"]
