"""The golden file: where it is, what it looks like, that it holds anything exactly, and what a broken one says."""

import dataclasses
import enum
import hashlib
import io
import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.golden.file import FOLDER, DamagedGoldenError, Golden, decode, encode, golden_path, read
from pytest_llm.golden.values import Array, normalise
from pytest_llm.location import Location
from pytest_llm.metrics.score import Score
from pytest_llm.results import Generation, MaskFill, Origin, TokenLoss
from tests.conftest import LIMITED_DIGITS

from .conftest import answer

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, NUL, U+2028 and all


def test_a_golden_reads_well_in_a_diff(project):
    path = project.commit(answer("The capital\nis Paris.", logprobs=[-0.123456, -0.00001, -1.0]))
    assert path == project.root / "tests" / FOLDER / "test_x" / "test_a--1.json"
    assert path.read_bytes().endswith(b"}\n")
    assert b"\r" not in path.read_bytes()
    text = path.read_text("utf-8")
    assert text.startswith(
        """\
{
  "environment": {
    "device": "cpu",
    "dtype": "float32",
    "torch": "2.13.0",
    "transformers": "5.24.0"
  },
  "model": {
    "digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "revision": "",
    "source": "org/model"
  },
  "nodeid": "tests/test_x.py::test_a",
  "output": {
    "finish_reason": "stop",
    "lines": [
      "The capital",
      "is Paris."
    ],
    "logprobs": [-0.1235, 0.0, -1.0],
    "margins": [2.0, 2.0, 2.0],
    "runner_ups": [0, 0, 0],
"""
    )
    assert '    "tokens": ["The", " capital\\nis", " Paris."]\n  },\n  "request": {\n' in text
    assert text.endswith('  },\n  "schema": 1\n}\n')


def test_a_golden_names_nothing_of_this_machine(project):
    value = answer("yes", environment={"torch": "2.13.0", "device": "cuda:3"})
    text = project.commit(value).read_text()
    assert '"device": "cuda"' in text
    assert str(project.root) not in text


@given(ANY_TEXT, st.lists(st.recursive(ANY_TEXT, lambda inner: st.lists(inner, min_size=1, max_size=3)), max_size=4))
def test_any_text_comes_back_exactly(tmp_path_factory, text, nested):
    path = tmp_path_factory.getbasetemp() / "x.json"
    for value in (text, nested):
        content, _ = encode(Golden.of(value, "t"), path)
        assert decode(content.encode("utf-8"), path).value == value


@pytest.mark.parametrize(
    "text",
    ["\ud83d\ude00", "a\r\nb\rc", "\x00\u2028\x85\u202e\u061c\ufeff", "\U000e0041\U000e0100\u3164", "", "\n", "😀é"],
)
def test_text_no_editor_shows_comes_back_exactly_and_is_shown_as_escapes(project, text):
    path = project.commit(text)
    assert read(path).value == text
    raw = path.read_text("utf-8")
    assert not re.search("[\u2028\x85\u202e\u061c\ufeff\U000e0041\U000e0100\u3164\r\x00]", raw)
    assert ("😀é" in raw) == (text == "😀é")
    assert text == project.snapshot()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_comes_back_exactly(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "x.json"
    content, sidecar = encode(Golden.of(value, "t"), path)
    back = decode(content.encode("utf-8"), path).value
    assert sidecar is None
    assert repr(normalise(back)) == repr(normalise(value)) or back == value


def test_the_evidence_of_an_answer_comes_back(project):
    value = answer("a b c", margins=[0.01, float("inf"), 3.0], logprobs=[-1.0, -2.0, float("-inf")])
    back = read(project.commit(value)).value
    assert isinstance(back, Generation)
    assert back.to_json() == value.to_json()


def test_answers_beside_other_things_keep_their_evidence_and_nothing_else_changes(project):
    """An older version reads ``value`` and no more."""
    one, other = answer("a b", margins=[0.01, 2.0]), Generation("cut", finish_reason="length")
    value = {"answer": one, "citations": ["d1", {"of": [other, 5]}], "tokens": 3}
    path = project.commit(value)
    output = json.loads(path.read_text())["output"]
    assert output["value"] == value
    assert [(found["at"], found["finish_reason"]) for found in output["answers"]] == [
        (["answer"], "stop"),
        (["citations", 1, "of", 0], "length"),
    ]
    back = read(path).value
    assert back == value
    assert back["answer"].to_json() == one.to_json()
    assert back["citations"][1]["of"][0].to_json() == other.to_json()
    plain, _ = encode(Golden.of({"answer": "a b", "citations": ["d1"]}, "t"), path)
    assert json.loads(plain)["output"] == {"value": {"answer": "a b", "citations": ["d1"]}}


@pytest.mark.parametrize("at", [["x"], ["citations", 0], ["citations", 7, "x"], ["n"], ["n", 0], [], "", None])
def test_evidence_of_an_answer_that_is_not_there_is_damage(project, at):
    path = project.commit({"answer": answer("a b"), "citations": [["d1"]], "n": 1})
    data = json.loads(path.read_text())
    data["output"]["answers"][0]["at"] = at
    path.write_text(json.dumps(data))
    with pytest.raises(DamagedGoldenError, match="missing|does not hold what it should"):
        read(path)


def test_how_an_answer_ended_is_kept_without_other_evidence_and_an_older_golden_does_without(project):
    path = project.commit(Generation("a", finish_reason="length"))
    assert read(path).value.finish_reason == "length"
    path.write_text(path.read_text().replace('    "finish_reason": "length",\n', ""))
    assert (read(path).value, read(path).value.finish_reason) == ("a", "")


def test_results_that_are_dataclasses_and_tuples_become_json(project):
    path = project.commit([MaskFill(3, "Paris", 0.5, "It is Paris.")])
    assert json.loads(path.read_text())["output"] == {
        "value": [{"probability": 0.5, "text": "It is Paris.", "token": "Paris", "token_id": 3}]
    }
    assert (MaskFill(3, "Paris", 0.5, "It is Paris."),) == project.snapshot()


def test_a_batch_is_one_golden_that_says_the_shared_part_of_its_requests_once(project):
    data = json.loads(project.commit([answer("one", prompt="1?"), answer("two", prompt="2?")]).read_text())
    assert [output["lines"] for output in data["outputs"]] == [["one"], ["two"]]
    assert data["request"]["each"] == [{"prompt": "1?"}, {"prompt": "2?"}]
    assert data["request"]["max_new_tokens"] == 64
    assert data["model"]["source"] == "org/model"


def test_several_answers_to_one_request_state_it_once(project):
    answers = [answer(word, do_sample=True, num_return_sequences=2) for word in ("one", "two")]
    assert "each" not in json.loads(project.commit(answers).read_text())["request"]


def test_a_member_of_an_enum_is_its_value(project):
    class Mood(str, enum.Enum):
        GOOD = "good"

    data = json.loads(project.commit({Mood.GOOD: [Mood.GOOD, 1]}).read_text())
    assert data["output"] == {"value": {"good": ["good", 1]}}


def test_an_answer_in_a_dataclass_keeps_its_question_and_model(project):
    @dataclasses.dataclass
    class Reply:
        text: str
        score: float

    data = json.loads(project.commit([Reply(answer("yes", prompt="Is it?"), 0.5)]).read_text())
    assert (data["request"]["prompt"], data["model"]["source"]) == ("Is it?", "org/model")
    assert (project.snapshot() == [Reply(answer("no", prompt="Is it not?"), 0.5)]) is False
    (candidate,) = project.pending()
    assert candidate.verdict.headline == "golden '1': stale: the question changed (prompt)"


def test_a_score_keeps_what_it_measured(project):
    score = Score(
        31.25, name="bleu", n=2, unit="points", signature="nrefs:1", request="q" * 64, origin={"model": {"source": "m"}}
    )
    data = json.loads(project.commit(score).read_text())
    assert data["request"] == {"kind": "metric", "n": 2, "name": "bleu", "questions": "q" * 64, "signature": "nrefs:1"}
    assert data["output"] == {"value": 31.25}
    assert data["model"] == {"source": "m"}


def test_a_loss_keeps_its_request(project):
    origin = Origin({"kind": "loss", "text": "abc"}, {"source": "m"}, {})
    loss = TokenLoss.from_json({"token_ids": [1, 2], "token_logprobs": [-1.0, -2.0]}, origin)
    data = json.loads(project.commit(loss).read_text())
    assert data["request"] == {"kind": "loss", "text": "abc"}
    assert data["output"] == {"value": 1.5}


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        {1: "a"},
        object(),
        b"bytes",
        {"a", "b"},
        np.array(["text"]),
        [np.zeros(2), np.zeros(3)],
        {"a": np.zeros(10_001)},
        {"a": np.array([1j])},
        10**4000,
        endless(),
    ],  # fmt: skip
)
def test_what_a_golden_cannot_hold_is_refused(project, value):
    with pytest.raises(InvalidInputError, match="golden"):
        project.snapshot("new").check(value)
    assert not project.path().exists()


# --- arrays ---


def test_a_small_array_is_written_out_and_a_large_one_beside(project):
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = project.commit(small)
    assert '"array": [\n      [0.0, 1.0, 2.0],\n      [3.0, 4.0, 5.0]\n    ]' in path.read_text()
    assert not path.with_suffix(".npy").exists()

    large = np.linspace(0, 1, 200, dtype=np.float16).reshape(20, 10)
    assert large == project.snapshot("all")
    output = json.loads(path.read_text())["output"]
    assert (output["shape"], output["dtype"], output["file"]) == ([20, 10], "float16", "test_a--1.npy")
    assert np.array_equal(np.load(path.with_suffix(".npy"), allow_pickle=False), large)
    assert large == project.snapshot()

    assert small == project.snapshot("all")
    assert not path.with_suffix(".npy").exists()


def test_tensors_are_arrays_and_bfloat16_keeps_its_name(project):
    import torch

    tensor = torch.arange(100, dtype=torch.bfloat16).reshape(4, 25)
    path = project.commit(tensor)
    assert json.loads(path.read_text())["output"]["dtype"] == "bfloat16"
    assert tensor == project.snapshot()
    assert project.snapshot() == tensor
    assert (tensor + 1 == project.snapshot()) is False


def test_numpy_scalars_are_numbers_and_equal_arrays_stack(project):
    import torch

    assert normalise(np.float32(0.5)) == normalise(torch.tensor(0.5)) == 0.5
    assert normalise(np.int64(3)) == 3
    assert normalise(np.bool_(True)) is True
    stacked = normalise([np.zeros(2), np.ones(2)])
    assert isinstance(stacked, Array)
    assert stacked.data.tolist() == [[0, 0], [1, 1]]


def test_a_table_is_refused_and_a_column_with_the_numbers_of_its_rows_is_an_array(project):
    from pandas import DataFrame

    table = DataFrame({"a": [1.0, 2.0]})
    for value in (table, {"in": table}):
        with pytest.raises(InvalidInputError, match=r"lose the names of the columns and rows of a DataFrame: compare"):
            assert value == project.snapshot()
    project.commit(table["a"])
    assert table["a"] == project.snapshot()
    assert project.snapshot() == table["a"]
    assert (table["a"] + 1 == project.snapshot()) is False


@pytest.mark.parametrize("labels", [["neg", "pos"], [1, 0], [None, None], [("a", 1), ("b", 1)]])
def test_what_is_said_to_compare_in_place_of_a_table_and_of_a_column_keeps_the_labels_of_rows(project, labels):
    from pandas import DataFrame, Index, MultiIndex

    many = MultiIndex.from_tuples(labels) if isinstance(labels[0], tuple) else Index(labels, dtype=object)
    df = DataFrame({"a": [1.0, 1.0]}, index=many)
    for name, value in (("df", df), ("series", df["a"])):
        with pytest.raises(InvalidInputError, match="a golden would lose") as refused:
            project.snapshot("new").check({"in": value})
        advice = re.search(r"compare (\S+)", str(refused.value))[1].removesuffix(",")
        held, swapped = (eval(advice, {name: one}) for one in (value, value[::-1]))
        project.snapshot("all").check(held)
        assert (swapped == project.snapshot()) is (labels == [None, None])
    assert df["a"].to_numpy() == project.snapshot("all")


def test_an_array_of_texts_is_compared_as_a_list(project):
    array = np.array(["neg", "pos"])
    with pytest.raises(InvalidInputError, match=r"not of dtype <U3: compare array\.tolist\(\)"):
        project.snapshot("new").check(array)
    project.commit(array.tolist())
    assert (array[::-1].tolist() == project.snapshot()) is False


def test_arrays_beside_other_values_are_lists(project):
    import torch

    @dataclasses.dataclass
    class Seen:
        states: object

    value = {"v": np.arange(3), "w": [torch.ones(2), "x"], "s": Seen([np.zeros(1), np.ones(1)])}
    path = project.commit(value)
    expected = {"v": [0, 1, 2], "w": [[1.0, 1.0], "x"], "s": {"states": [[0.0], [1.0]]}}
    assert json.loads(path.read_text())["output"] == {"value": expected}
    value["v"] = np.array([0, 1, 2 + 1e-6])
    assert value == project.snapshot()
    value["v"] = np.array([0, 1, 2.1])
    assert (value == project.snapshot()) is False


def test_an_infinite_entry_is_kept_beside(project):
    array = np.array([0.0, -np.inf])
    path = project.commit(array)
    assert path.with_suffix(".npy").exists()
    assert array == project.snapshot()


@pytest.mark.parametrize("damage", ["gone", "other", "shape"])
def test_an_array_that_is_not_the_one_written_is_an_error(project, damage):
    array = np.zeros(100)
    path = project.commit(array)
    beside = path.with_suffix(".npy")
    if damage == "gone":
        beside.unlink()
    elif damage == "other":
        np.save(beside, np.ones(100))
    else:
        path.write_text(path.read_text().replace("[100]", "[10, 11]"))
    with pytest.raises(GoldenError, match=r"test_a--1\.json.*test_a--1\.npy (cannot be read|is not the one|has shape)"):
        assert array == project.snapshot()


@pytest.mark.parametrize(("renames", "whole"), [(1, "old"), (2, "new"), (3, "new")])
def test_an_array_and_its_json_stay_together_when_the_run_is_killed_between_them(pytester, cache_dir, renames, whole):
    pytester.makepyfile("""
        import os, numpy
        def test_it(llm_snapshot): assert numpy.full(100, float(os.environ["VALUE"] == "new")) == llm_snapshot
    """)

    def run(value, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VALUE", value)
            return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    run("old", "--llm-update=new").assert_outcomes(passed=1)
    conftest = pytester.makeconftest(f"""
        import os, pathlib
        rename, left = pathlib.Path.replace, [{renames}]
        def replace(self, target):
            rename(self, target)
            left[0] -= ".npy" in str(target) or ".json" in str(target)
            if not left[0]: os._exit(9)
        pathlib.Path.replace = replace
    """)
    assert run("new", "--llm-update=all").ret == 9
    conftest.unlink()
    run(whole).assert_outcomes(passed=1)
    run("new", "--llm-update=all").assert_outcomes(passed=1)
    run("new").assert_outcomes(passed=1)
    assert {file.name for file in pytester.path.rglob("test_it*")} == {"test_it--1.json", "test_it--1.npy"}
    assert not list(pytester.path.rglob(".*.npy"))


def test_an_array_that_git_lfs_did_not_fetch_is_said_and_not_written_anew(project):
    beside = project.commit(np.zeros(100)).with_suffix(".npy")
    beside.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 928\n")
    with pytest.raises(GoldenError, match=r"npy is a pointer of git-lfs, .* run 'git lfs pull' there"):
        assert np.ones(100) == project.snapshot("all")
    assert beside.read_text().startswith("version")


def _replace_array(path, raw):
    path.with_suffix(".npy").write_bytes(raw)
    old = json.loads(path.read_text())["output"]["sha256"]
    path.write_text(path.read_text().replace(old, hashlib.sha256(raw).hexdigest()))


def test_a_pickle_beside_a_golden_is_not_loaded(project):
    path, stream = project.commit(np.zeros(100)), io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _replace_array(path, stream.getvalue())
    with pytest.raises(GoldenError, match="allow_pickle=False"):
        read(path)


def test_an_array_that_claims_more_than_there_is_memory_for_is_damage(project):
    path, stream = project.commit(np.zeros(100)), io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    _replace_array(path, stream.getvalue())
    with pytest.raises(DamagedGoldenError, match=r"test_a--1\.npy cannot be read \("):
        read(path)


# --- names ---

NAMES = st.text(st.sampled_from("aAé-_.~/[]: \\\n\u0301" + "x" * 3), max_size=8) | st.text(max_size=200)


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_goldens_never_share_a_file_and_none_leaves_its_folder(
    tmp_path_factory, test, name, other_test, other_name
):
    module = tmp_path_factory.getbasetemp() / "test_m.py"
    one = golden_path(Location("", module, test), name or "1")
    two = golden_path(Location("", module, other_test), other_name or "1")
    assert one.parent == module.parent / FOLDER / "test_m"
    assert one.resolve().parent == one.parent.resolve()
    assert len(one.name.encode()) < 200
    if (test, name or "1") != (other_test, other_name or "1"):
        assert one.name.lower() != two.name.lower()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a--b", "c"), ("a", "b--c")),
        (("a-", "b"), ("a", "-b")),
        (("t[x--1]", "1"), ("t[x", "1]--1")),
        (("T", "1"), ("t", "1")),
    ],
)
def test_names_that_would_run_together_do_not(tmp_path, one, two):
    paths = [golden_path(Location("", tmp_path / "test_m.py", test), name).name.lower() for test, name in (one, two)]
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("t[\ud55c\uad6d]", "t[\u1112\u1161\u11ab\u1100\u116e\u11a8]"),
        ("t[5\u00b5m]", "t[5\u03bcm]"),
        ("t[\u03c2]", "t[\u03c3]"),
    ],
)
def test_names_that_macos_takes_for_one_do_not_share_a_file(tmp_path, one, two):
    def name(test):
        return golden_path(Location("", tmp_path / "test_m.py", test), "1").name

    def on_macos(name):
        return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

    assert on_macos(name(one)) != on_macos(name(two))
    assert {one, two} & {name(one)[:-8], name(two)[:-8]}  # one of them is as it stands


def test_modules_of_one_stem_do_not_share_a_folder(tmp_path):
    folders = {golden_path(Location("", tmp_path / name, "t"), "1").parent for name in ("test_m.py", "test_m.yaml")}
    assert len(folders) == 2


# --- broken files ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r":1: .*not JSON"),
        (b'{\n  "schema": 1,\n  oops\n}', r":3: .*not JSON: Expecting property name.* at column 3"),
        (b'{\n  "schema": 1,\n<<<<<<< HEAD\n  "a": 1\n=======\n  "a": 2\n>>>>>>> x\n}', r":3: .*merge-conflict markers \(<<<<<<<\); resolve"),
        (b'{"schema": 1, "schema": 1}', "'schema' stands twice"),
        (b'{"schema": 1, "output": {"value": NaN}}', "NaN is not JSON"),
        (b'{"a": "\xff"}', r":1: .*not UTF-8"),
        (b"[]", "no schema number"),
        (b'{"schema": "1"}', "no schema number"),
        (b'{"schema": 1}', "'output' is missing"),
        (b"[" * 100_000, "nested too deep"),
        pytest.param(b'{"schema": 1, "output": {"value": ' + b"9" * 5000 + b"}}", "integer string conversion", marks=LIMITED_DIGITS),
        (b'{"schema": 1, "output": {"lines": ["a"]}, "request": {}, "model": {}, "nodeid": "t"}', "'environment' is missing"),
        (b'{"schema": 1, "output": {"lines": 3}, "request": {}, "model": {}, "environment": {}, "nodeid": "t"}', "does not hold what it should"),
        (b'{"schema": 1, "output": {"lines": ["a"], "token_ids": [1], "tokens": ["a"], "logprobs": [-1' + b"0" * 400 + b'], "runner_ups": [], "margins": [], "finish_reason": ""}, "request": {}, "model": {}, "environment": {}, "nodeid": "t"}', "too large to convert"),
        (b'{"schema": 1, "output": [], "request": {}, "model": {}, "environment": {}, "nodeid": "t"}', "does not hold what it should|missing"),
        (b'{"schema": 1, "outputs": {}, "request": {}, "model": {}, "environment": {}, "nodeid": "t"}', "outputs is a list"),
        (b'{"schema": 1, "output": {"value": 1}, "request": [], "model": {}, "environment": {}, "nodeid": "t"}', "request, model and environment are objects"),
    ],
)  # fmt: skip
def test_a_broken_golden_says_where_and_what_to_do(project, content, message):
    path = project.path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DamagedGoldenError, match=rf"(?s)test_a--1\.json.*({message}).*--llm-update=all"):
        assert project.snapshot() == "text"
    with pytest.raises(DamagedGoldenError):
        assert project.snapshot("new") == "text"
    assert path.read_bytes() == content

    verdict = project.snapshot("all").check("text")
    assert verdict.status == "updated"
    assert "cannot be read" in verdict.notes[0]
    assert project.snapshot() == "text"


@pytest.mark.parametrize("there", ["folder", "endless link", "file as folder"])
@pytest.mark.parametrize("update", ["none", "all"])
def test_what_is_no_file_in_the_place_of_a_golden_says_what_to_do(project, there, update):
    path = project.commit("text")
    path.unlink()
    if there == "folder":
        path.mkdir()
    elif there == "endless link":
        path.symlink_to(path)
    else:
        path.parent.rmdir()
        path.parent.touch()
    with pytest.raises(GoldenError, match=r"test_a--1\.json: .* put a file that may be read there, as from version"):
        assert project.snapshot(update) == "text"


def test_evidence_of_unequal_length_is_damage(project):
    path = project.commit(answer("a b"))
    path.write_text(path.read_text().replace('"margins": [2.0, 2.0]', '"margins": [2.0]'))
    with pytest.raises(DamagedGoldenError, match="differ in length"):
        read(path)


def test_a_newer_schema_is_left_alone_even_by_an_update(project):
    path = project.commit("text")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    before = path.read_bytes()
    with pytest.raises(GoldenError, match=r"schema 2, this one reads up to 1\): upgrade"):
        assert project.snapshot("all") == "other"
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", ["text", np.zeros(100)], ids=["json", "npy"])
def test_a_link_out_of_the_goldens_is_not_written_through_and_a_folder_that_is_one_is(project, tmp_path, value):
    (tmp_path / "goldens").mkdir()
    (project.root / "tests").mkdir(parents=True)
    (project.root / "tests" / FOLDER).symlink_to(tmp_path / "goldens")
    path = project.commit(value)
    assert project.snapshot("all") == "another"
    link, victim = path if isinstance(value, str) else path.with_suffix(".npy"), tmp_path / "victim"
    for content in ("precious", ""):
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        victim.write_text(content) if content else victim.unlink()
        with pytest.raises(GoldenError, match=rf"{link}: .*it is a link to {victim}; put a file there"):
            assert project.snapshot("all") == np.ones(100)
        assert not content or victim.read_text() == content
    assert not victim.exists()


@pytest.mark.parametrize("update", ["new", "all"])
def test_a_folder_of_a_module_that_leads_out_of_the_goldens_is_not_written_to(project, tmp_path, update):
    path = project.commit("text")
    folder, elsewhere = path.parent, tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert project.snapshot() == "text"
    assert (project.snapshot() == "another") is False
    if update == "new":
        (elsewhere / path.name).unlink()
    before = {file: file.read_bytes() for file in elsewhere.iterdir()}
    message = f"{folder}: the golden could not be written: it is a link to {elsewhere}; put a folder there"
    with pytest.raises(GoldenError, match=message):
        assert project.snapshot(update) == "another"
    if update == "all":
        (candidate,) = project.pending()
        with pytest.raises(GoldenError, match=message):
            candidate.accept()
    assert {file: file.read_bytes() for file in elsewhere.iterdir()} == before


def test_a_golden_that_cannot_be_written_says_so(project):
    project.root.mkdir()
    (project.root / "tests").write_text("a file where the folder should be")
    with pytest.raises(GoldenError, match="cannot be read|could not be written"):
        assert project.snapshot("new") == "text"
