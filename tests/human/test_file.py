"""The file of ratings: lines only added, the last one holds, and what is damaged is named."""

import json
import subprocess
import sys

import pytest

from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.human import file
from pytest_llm.human.file import Rating
from tests.reports.conftest import HOSTILE

A, B, P = "a" * 64, "b" * 64, "c" * 64


def rated(rater="ann", rating=4, output=A, **fields):
    return Rating(test="t.py::test_a", output=output, rater=rater, rating=rating, **fields)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "__llm_snapshots__" / "test_x" / file.NAME


def test_a_line_has_what_is_known_and_nothing_else(path, tmp_path):
    file.append(path, rated(golden="1", prompt=P, comment="dull"), tmp_path)
    file.append(path, rated(rating=None, against=B, preference="tie"), tmp_path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"schema": 1, "test": "t.py::test_a", "golden": "1", "output": A, "prompt": P, "rater": "ann", "rating": 4,
         "comment": "dull"},
        {"schema": 1, "test": "t.py::test_a", "output": A, "rater": "ann", "against": B, "preference": "tie",
         "blind": False},
    ]  # fmt: skip


def test_the_last_of_one_rater_on_one_output_holds(path, tmp_path):
    given = [
        rated(rating=1), rated("bob", 2), rated(rating=3, output=B), rated(rating=5), rated(rating=2, prompt=P),
        rated(rating=None, against=B, preference="output"), rated(rating=None, against=B, preference="against"),
    ]  # fmt: skip
    for one in given:
        file.append(path, one, tmp_path)
    assert file.read(path) == given
    assert [(one.rater, one.rating or one.preference) for one in file.current(file.read(path))] == [
        ("bob", 2), ("ann", 3), ("ann", 5), ("ann", 2), ("ann", "against")
    ]  # fmt: skip


def test_a_hostile_comment_stays_on_its_line_and_shows_in_a_diff(path, tmp_path):
    file.append(path, rated(comment=HOSTILE + "\u2028é"), tmp_path)
    text = path.read_bytes().decode()
    assert text.count("\n") == 1
    assert not set(text) & set("\x1b\x00\u202e\u2028\u200b")
    assert "é" in text
    assert file.read(path)[0].comment == HOSTILE + "\u2028é"


def test_a_line_is_never_added_to_half_a_line(path, tmp_path):
    file.append(path, rated(), tmp_path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    file.append(path, rated("bob"), tmp_path)
    assert [one.rater for one in file.read(path)] == ["ann", "bob"]


def test_raters_at_the_same_time_lose_nothing(path, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom pytest_llm.human import file\n"
        "for i in range(20):\n"
        "    one = file.Rating(test='t', output=f'{i:064x}', rater=sys.argv[1], rating=3, comment='x' * 2000)\n"
        "    file.append(Path(sys.argv[2]), one, Path(sys.argv[3]))\n"
    )
    # Each with a cache, and so a lock, of its own: as two people on one shared checkout.
    writers = [
        subprocess.Popen([sys.executable, "-c", code, name, str(path), str(tmp_path / name)]) for name in ("ann", "bob")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(one.rater for one in file.read(path)) == ["ann"] * 20 + ["bob"] * 20


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("<<<<<<< HEAD", "merge-conflict markers.*resolve the conflict"),
        ("[]", "it has no schema number; repair or delete the line"),
        (rated().line().replace('"schema": 1', '"schema": 2'), "a newer pytest_llm wrote this rating"),
        (rated().line().replace('"rating": 4', '"rating": 9'), "a rating is 1 to 5, not 9"),
        (rated().line().replace('"rating": 4', '"rating": true'), "rating is not True"),
        (rated().line().replace('"rater": "ann"', '"name": "ann"'), "unexpected keyword argument 'name'"),
        (rated(comment="why").line().replace('"rating": 4, ', ""), "it has no rating and no preference, and a comment"),
    ],
)
def test_a_damaged_line_is_named(path, line, what, tmp_path):
    file.append(path, rated(), tmp_path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(GoldenError, match=rf"(?s)ratings.jsonl:2: .*{what}"):
        file.read(path)


def test_no_file_no_ratings(path):
    assert file.read(path) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rater": " "}, {"rater": "x" * 81}, {"rater": "a\x1bb"}, {"rating": 0}, {"rating": 6}, {"rating": 3.5},
        {"output": "../../etc"}, {"against": B}, {"preference": "tie"}, {"against": B, "preference": "tie"},
        {"comment": "x" * 10_001}, {"prompt": "A" * 64},
    ],
)  # fmt: skip
def test_what_is_no_rating(fields):
    with pytest.raises(InvalidInputError):
        rated(**fields)
