"""``pytest-llm compare``: what differs around the tests first, then tests, then figures in pairs."""

import json
import re

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from pytest_llm.errors import InvalidInputError
from pytest_llm.evidence import PerExample
from pytest_llm.history.comparison import compare
from pytest_llm.metrics import Score, accuracy
from pytest_llm.results import Generation, Origin
from pytest_llm.stats.gate import gate
from tests.history.conftest import as_file, golden, record, verdict
from tests.reports.conftest import HOSTILE

RIGHT, HALF = [1.0] * 20, [1.0] * 9 + [0.0] * 11


def pair():
    """Two runs: an accuracy that fell, a golden that drifted, a test that passes now, one that came, one that went."""
    before = record(
        0, verdict("accuracy", 1.0, kind="threshold", per_example=RIGHT, higher_is_better=True), golden(text="It is Paris."),
        verdict("f1", 0.5, nodeid="t.py::fixed", outcome="fail", higher_is_better=True),
        verdict("loss", 2.0, nodeid="t.py::same", per_example=[1.0, 3.0]), verdict(nodeid="t.py::gone"),
    )  # fmt: skip
    after = record(
        1, verdict("accuracy", 0.45, kind="threshold", per_example=HALF, higher_is_better=True, outcome="fail", status="fail"),
        golden("drifted", "It is Lyon."), verdict("f1", 0.9, nodeid="t.py::fixed", higher_is_better=True),
        verdict("loss", 2.0, nodeid="t.py::same", per_example=[1.0, 3.0]), verdict(nodeid="t.py::new"),
        digest="fedcba9876543210" * 4, torch="2.14",
    )  # fmt: skip
    return before, after


def test_what_a_person_sees(project, command):
    project(*pair())
    code, out, err = command("compare", "latest~1", "latest")
    assert (code, err) == (1, "")
    assert (
        [line.rstrip() for line in out.splitlines()]
        == """\
A  a0000000  2026-09-21 14:13 UTC  commit 0000000 on main  1.5 s  1 failed, 4 passed
B  a0001eef  2026-09-21 15:13 UTC  commit 0000001 on main  1.5 s  2 failed, 3 passed

changed around the tests
  commit: 0000000 → 0000001
  model files: 0123456789ab → fedcba987654
  torch: 2.13 → 2.14

newly failing: 2
  test_m.py::test_a
  test_m.py::test_g

newly passing: 1
  t.py::fixed

new: 1
  t.py::new  passed

gone: 1
  t.py::gone

figures that moved
metric      A     B  change      p  examples                  test
accuracy    1  0.45   -0.55  0.002  11 worse, 0 better of 20  test_m.py::test_a
f1        0.5   0.9    +0.4         no pairs                  t.py::fixed
p: two-sided, in pairs of examples, Holm's correction over all checks

goldens that moved
  test_m.py::test_g (1)  identical → drifted
    It is [-Paris-]{+Lyon+}.

4 tests in both: 2 newly failing, 1 newly passing (exact McNemar p 1); 1 of 4 checks the same; 1 in B only: 1 passed
""".splitlines()
    )


def test_exit_codes(project, command):
    passed, failed = record(0, verdict()), record(1, verdict(outcome="fail"))
    broken = record(2, verdict(outcome="error"), outcomes={"test_m.py::test_a": "unmeasured"})
    project(passed, failed, broken, record(3, verdict(nodeid="t.py::other")))
    assert command("compare", "latest~3", "latest~3")[0] == 0
    assert command("compare", "latest~3", "latest~2")[0] == 1
    assert command("compare", "latest~2", "latest~3")[0] == 0
    code, out, _ = command("compare", "latest~3", "latest~1")
    assert code == 2
    assert "could not be measured now: 1\n  test_m.py::test_a" in out
    assert command("compare", "latest~3", "latest") == (
        2, "", "pytest-llm compare: the runs a0000000 and a0005ccd have no test in common\n"
    )  # fmt: skip


def uncollected(data, *files):
    error = "test_b.py:1: in <module>\n    import gone\nE   ModuleNotFoundError: No module named 'gone'"
    return {**data, "filtered": True, "collection_errors": [{"nodeid": file, "message": error} for file in files]}


def test_a_file_that_cannot_be_collected_any_more_is_no_pass(project, command):
    both = verdict(), verdict(nodeid="test_b.py::two"), verdict(nodeid="sub/t.py::T::x", outcome="fail")
    project(
        record(0, *both), uncollected(record(1, verdict()), "sub", "test_b.py"), uncollected(record(2), "test_b.py")
    )
    code, out, _ = command("compare", "latest~2", "latest~1")
    assert code == 2
    assert "1.5 s  2 files could not be collected, 1 passed\n" in out
    assert "could not be collected: 2\n  sub: ModuleNotFoundError: No module named 'gone'\n  test_b.py: " in out
    assert "could not be measured now: 1\n  test_b.py::two\n" in out
    assert "not run in B, which was not of all tests: 1\n  sub/t.py::T::x\n" in out
    assert out.endswith("1 of 1 checks the same; 1 could not be measured now\n")
    assert command("compare", "latest~2", "latest")[0] == 2, "nothing ran at all"
    assert command("compare", "latest~1", "latest~1")[0] == 0
    assert command("compare", "latest~1", "latest")[2] == (
        "pytest-llm compare: the runs a0001eef and a0003dde have no test in common\n"
    )
    assert "2 not collected, 1 pass (part)" in " ".join(command("history")[1].split())


def test_a_run_that_was_stopped_before_a_test_is_no_pass(project, command):
    fails, lost = verdict(nodeid="t.py::fails", outcome="fail"), verdict(nodeid="t.py::failed", outcome="fail")
    project(
        record(0, verdict(), fails, lost, verdict(nodeid="t.py::last")),
        {**record(1, verdict(), fails, filtered=True), "stopped": "stopping after 1 failures"},
    )
    code, out, _ = command("compare", "latest~1", "latest")
    assert code == 2
    assert "could not be measured now: 1\n  t.py::last\n" in out
    assert "not run in B, which was not of all tests: 1\n  t.py::failed\n" in out
    assert "; B was stopped (stopping after 1 failures)\n" in out


@pytest.mark.parametrize(("part", "title"), [(True, "not run in A, which was not of all tests"), (False, "new")])
def test_a_new_test_that_fails_is_no_pass(project, command, part, title):
    lost = verdict(nodeid="t.py::lost", outcome="error")
    project(
        record(0, verdict(), filtered=part),
        record(1, verdict(), lost, verdict(nodeid="t.py::b", outcome="fail"), outcomes={"t.py::lost": "unmeasured"}),
        record(2, verdict(), lost, outcomes={"t.py::lost": "unmeasured"}),
    )
    code, out, _ = command("compare", "latest~2", "latest~1")
    assert code == 1
    assert f"\n{title}: 2\n  t.py::b  failed\n  t.py::lost  could not be measured\n" in out
    assert out.endswith("1 of 1 checks the same; 2 in B only: 1 failed, 1 could not be measured\n")
    assert command("compare", "latest~2", "latest")[0] == 2
    assert command("compare", "latest~1", "latest~2")[0] == 0


@pytest.mark.parametrize("was", ["skipped", "xfailed", "unmeasured"])
def test_a_test_that_did_not_fail_and_fails_is_no_pass_whatever_it_did(project, command, was):
    fails = record(1, verdict(outcome="fail"), golden())
    lost = record(2, verdict(outcome="error"), golden(), outcomes={"test_m.py::test_a": "unmeasured"})
    project(record(0, golden(), outcomes={"test_m.py::test_a": was}), fails, lost)
    code, out, _ = command("compare", "latest~2", "latest~1")
    assert (code, "\nnewly failing: 1\n  test_m.py::test_a\n" in out) == (1, True)
    assert "2 tests in both: 1 newly failing, 0 newly passing (exact McNemar p 1)" in out, "which is of those measured"
    assert command("compare", "latest~2", "latest")[0] == (0 if was == "unmeasured" else 2)


def test_a_test_that_is_skipped_now_is_said(project, command):
    project(record(0, verdict(), golden()), record(1, golden(), outcomes={"test_m.py::test_a": "xfailed"}))
    code, out, _ = command("compare", "latest~1", "latest")
    assert code == 0
    assert "skipped, or expected to fail, now: 1\n  test_m.py::test_a\n" in out


def test_records_from_elsewhere_need_no_project(project, command, tmp_path):
    one, other = (as_file(record(i, verdict()), tmp_path / f"{i}.json") for i in range(2))
    (tmp_path / "project" / "pytest.ini").write_text("[pytest]\nllm_alpha = many\n")
    assert command("compare", "latest", "latest")[0] == 2
    assert command("compare", one, other)[0] == 0


def test_a_run_is_named_in_many_ways(project, command, tmp_path):
    runs = [record(0, verdict(), commit="aaaa1111" * 5), record(1, verdict(), commit="aaaa2222" * 5),
            record(2, verdict(), commit="aaaa2222" * 5)]  # fmt: skip
    project(*runs)
    path = as_file(record(9, verdict()), tmp_path / "elsewhere.json")

    def named(said):
        code, out, err = command("compare", said, "latest", "--json")
        return json.loads(out)["a"]["id"] if code == 0 else err.removeprefix("pytest-llm compare: ").rstrip()

    ids = [run["id"] for run in runs]
    assert [named(said) for said in (ids[0], ids[1][:13], "a0001eef", "a0000", "aaaa1111", "AAAA2")] == [
        ids[0], ids[1], ids[1], ids[0], ids[0], ids[2]
    ]  # fmt: skip
    assert named(path) == record(9)["id"]
    assert named("aaaa") == (
        "'aaaa' can mean 2 runs: a0000000 (2026-09-21T14:13:20Z, commit aaaa111), "
        "a0003dde (2026-09-21T16:13:20Z, commit aaaa222)"
    )
    assert named("latest~3") == "there is no run latest~3: the history has 3"
    assert named("ffff") == "no run and no commit is called 'ffff': 'pytest-llm history' lists them"
    assert named("../x.json").startswith("no run is called '../x.json', and there is no such file: give at least 4")
    bad = record(9, golden())
    bad["verdicts"][0]["evidence"]["pairs"] = [{}]
    assert named(as_file(bad, tmp_path / "bad.json")).startswith(
        f"{tmp_path}/bad.json: this is no run record: $.verdicts"
    )


def paired(before, after, **options):
    (item,) = compare(record(0, verdict(**before, **options)), record(1, verdict(**after, **options))).items
    return item


def test_means_are_compared_as_scipy_does():
    rng = np.random.default_rng(2)
    x = rng.normal(2.5, 0.3, size=40)
    noise = rng.normal(0, 0.2, size=20)
    y = x + 0.1 + np.concatenate([noise, -noise])  # no skewness
    item = paired({"per_example": x.tolist()}, {"per_example": y.tolist()})
    reference = stats.ttest_rel(y, x)
    interval = reference.confidence_interval(0.95)
    found = item.paired
    assert (found.delta, found.p) == pytest.approx((float((y - x).mean()), reference.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (len(found.worse), len(found.better)) == ((y > x).sum(), (y < x).sum())
    assert found.worse[0] == str(int(np.argmax(y - x)))
    assert item.verdict == "worse"


def test_right_or_wrong_is_compared_by_the_exact_test_of_mcnemar():
    x, y = [1.0] * 30 + [0.0] * 10, [1.0] * 21 + [0.0] * 9 + [1.0] * 2 + [0.0] * 8
    found = paired({"per_example": x}, {"per_example": y}, higher_is_better=True).paired
    assert found.p == pytest.approx(mcnemar([[21, 9], [2, 8]], exact=True).pvalue)
    assert (found.delta, len(found.worse), len(found.better)) == (pytest.approx(-7 / 40), 9, 2)
    assert found.low < -7 / 40 < found.high


def test_groups_are_those_of_the_gate():
    groups = [i // 10 for i in range(120)]
    x, y = [1.0] * 120, [0.0] * 10 + [1.0] * 110  # of 12 documents one broke, with all of its questions
    assert paired({"per_example": x}, {"per_example": y}).paired.p < 0.01
    found = paired({"per_example": x, "groups": groups}, {"per_example": y, "groups": groups}).paired
    expected = gate(accuracy(y, x), accuracy(x, x), margin=0.05, groups=groups)
    assert (found.p, found.method) == (1.0, expected.method)
    assert 2 * expected.p >= 1
    graded = (
        {"per_example": np.linspace(2, 3, 120).tolist()},
        {"per_example": (np.linspace(2, 3, 120) + x - y).tolist()},
    )
    assert paired(*graded).paired.p < 0.01
    assert paired(graded[0], {**graded[1], "groups": groups}).paired.p > 0.3, "groups that one record has"
    alone = paired({"per_example": x, "groups": [0] * 120}, {"per_example": y, "groups": [0] * 120}).paired
    assert (alone.p, alone.method) == (1.0, "one group says nothing about the rest")


def test_weights_are_those_of_the_metric():
    x, y, w = [1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, 1.0, 8.0]
    found = paired({"per_example": x, "weights": w}, {"per_example": y, "weights": w}).paired
    assert found.delta == pytest.approx(0.8)


def test_losses_of_a_text_in_other_tokens_are_no_pairs():
    x, y = {"per_example": [3.0] * 20, "weights": [10.0] * 20}, {"per_example": [2.0] * 20, "weights": [12.0] * 20}
    item = paired(x, y)
    assert (item.paired, item.other, item.verdict, item.changed) == (None, "other tokens", "", True)
    assert paired(x, y, name="my mean").verdict == "better", "whose weights may be anything"


def test_examples_are_paired_by_id_and_those_of_one_run_are_counted():
    found = paired(
        {"per_example": [1.0, 2.0, 3.0], "ids": ["a", "b", "c"]},
        {"per_example": [3.5, 1.5, 9.0, "nan"], "ids": ["c", "a", "z", "b"]},
    ).paired
    assert (found.n, found.unpaired) == (2, 2)  # NaN is no value
    assert (found.delta, found.worse) == (0.5, ("c", "a"))


def test_what_asks_the_same_is_paired_though_its_position_moved():
    values = [(i * 37 % 40) / 40 for i in range(40)]
    asks = [f"q{i}" for i in range(40)]
    item = paired({"per_example": values, "questions": asks}, {"per_example": values[5:], "questions": asks[5:]})
    assert (item.paired.n, item.paired.unpaired, item.paired.p, item.paired.worse) == (35, 5, 1.0, ())


@pytest.mark.parametrize(
    ("asked", "asks"),
    [
        ([f"q{i}" for i in range(40)], [f"r{i}" for i in range(40)]),
        (["yes", "no"] * 20, ["yes", "no", "no", "yes"] * 10),
        (["yes"] * 40, ["yes"] * 35),
        ((), ()),
    ],
    ids=["others", "labels", "fewer-labels", "fewer-unknown"],
)
def test_other_questions_are_not_paired(asked, asks):
    n = 35 if not asks else len(asks)
    item = paired({"per_example": [1.0] * 40, "questions": asked}, {"per_example": [0.0] * n, "questions": asks})
    assert (item.paired, item.other, item.verdict) == (None, "other questions", "")


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ([f"q{i}" for i in range(20)], "0 worse, 0 better of 20, 20 in one run only"),
        ([f"r{i}" for i in range(40)], "other questions"),
    ],
    ids=["half-of-them", "others"],
)
def test_a_check_of_other_examples_is_not_the_same_though_its_figure_is(project, command, monkeypatch, asks, said):
    monkeypatch.setenv("COLUMNS", "160")
    runs = ([f"q{i}" for i in range(40)], asks)
    figures = [
        verdict("f1", 1.0, per_example=[1.0] * len(some), questions=some, higher_is_better=True) for some in runs
    ]
    project(record(0, figures[0]), record(1, figures[1]))
    code, out, _ = command("compare", "latest~1", "latest")
    assert code == 0
    assert said in out
    assert "0 of 1 checks the same" in out


def test_that_a_record_keeps_so_many_examples_is_said(project, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def run(i, right):
        one = verdict("f1", right / 12_000, higher_is_better=True)
        one["figures"]["n"] = 12_000
        return record(i, one)

    project(run(0, 12_000), run(1, 9_000))
    code, out, _ = command("compare", "latest~1", "latest")
    assert code == 0
    assert "more than 10,000 are not kept" in out


def test_an_id_that_asks_something_else_is_another_question():
    ids = ["a", "b", "c"]
    found = paired(
        {"per_example": [1.0, 1.0, 1.0], "ids": ids, "questions": ["x", "y", "z"]},
        {"per_example": [1.0, 0.0, 1.0], "ids": ids, "questions": ["x", "other", "z"]},
    ).paired
    assert (found.n, found.unpaired, found.worse) == (2, 2, ())


def test_the_same_labels_in_the_same_order_are_the_same_questions():
    labels = ["yes", "no"] * 5
    found = paired({"per_example": [1.0] * 10, "questions": labels}, {"per_example": [0.0] * 10, "questions": labels})
    assert (found.paired.n, len(found.paired.better)) == (10, 10)


def test_a_record_holds_what_each_example_asks_where_it_is_known():
    def asked(prompt):
        return Generation("Paris", origin=Origin(request={"prompt": prompt, "seed": 1}))

    def questions(*prompts, references=("Paris", "Paris")):
        return PerExample.of(accuracy([asked(prompt) for prompt in prompts], references)).questions

    assert len(set(questions("a", "b"))) == 2
    assert questions("a", "b")[::-1] == questions("b", "a")
    assert questions("a", "b")[1] == questions("z", "b")[1] != questions("z", "b", references=("Paris", "Rome"))[1]
    texts = PerExample.of(
        Score(1.0, name="loss", n=2, per_example=[1, 1], predictions=["x", "y"], token_logprobs=[[-1], [-1]])
    )
    assert len(set(texts.questions)) == 2
    assert PerExample.of(Score(0.5, name="f1", n=2, per_example=[0, 1], predictions=["x", "y"])).questions == ()


def test_p_is_corrected_over_all_figures_as_statsmodels_does():
    rng = np.random.default_rng(4)
    x = [rng.normal(size=15) for _ in range(6)]
    y = [row + rng.normal(0.1 * i, 0.3, size=15) for i, row in enumerate(x)]
    before, after = ([verdict(f"m{i}", 0.0, per_example=row.tolist()) for i, row in enumerate(rows)] for rows in (x, y))
    items = compare(record(0, *before), record(1, *after)).items
    raw = [item.paired.p for item in items]
    assert all(p >= 2 * 0.5**15 for p in raw)
    assert [item.paired.adjusted for item in items] == pytest.approx(list(multipletests(raw, method="holm")[1]))
    assert {item.verdict for item in items} == {"", "worse"}


def test_nothing_moved():
    item = paired({"per_example": [1.0, 2.0]}, {"per_example": [1.0, 2.0]})
    assert (item.changed, item.paired.p, item.verdict) == (False, 1.0, "")


def test_two_examples_that_moved_alike_show_nothing():
    item = paired({"per_example": [1.0, 2.0]}, {"per_example": [2.0, 3.0]})
    assert (item.paired.delta, item.verdict) == (1.0, "")
    assert item.paired.low < 0 < item.paired.high


def test_figures_that_moved_do_not_read_the_same(project, command):
    project(record(0, verdict(value=8.1234567)), record(1, verdict(value=8.1234569)))
    assert re.search(r"loss +8\.1234567 +8\.1234569 +\+2e-07", command("compare", "latest~1", "latest")[1])


def test_figures_without_values_of_examples_are_compared_alone():
    (item,) = compare(record(0, verdict(value=1.0)), record(1, verdict(value=2.0))).items
    assert (item.was_value, item.now_value, item.paired) == (1.0, 2.0, None)


def test_checks_of_one_name_are_paired_by_their_place():
    before = record(0, verdict(value=1.0), verdict(value=2.0))
    after = record(1, verdict(value=1.5), verdict(value=2.5), verdict(value=9.0))
    assert [(item.was_value, item.now_value) for item in compare(before, after).items] == [(1.0, 1.5), (2.0, 2.5)]


def test_models_of_one_source_are_paired_by_what_they_have_in_common():
    def of(i, *models):
        data = record(i, verdict(), commit="c" * 40)
        (use,) = data["models"].values()
        return {**data, "models": {f"{i}{place}": {**use, **model} for place, model in enumerate(models)}}

    old, new = {"digest": "1" * 64}, {"digest": "2" * 64}
    law, med = {"adapter": "lora/law"}, {"adapter": "lora/med"}
    moved = compare(of(0, old | law, old | med), of(1, new | med, new | law)).moved
    assert sorted(moved) == [(f"model files of org/tiny (lora/{one})", "1" * 12, "2" * 12) for one in ("law", "med")]
    coarse = {"dtype": "bfloat16"}
    moved = compare(of(0, old, old | coarse), of(1, new | coarse, old)).moved
    assert moved == (("model files of org/tiny (bfloat16)", "1" * 12, "2" * 12),)
    moved = compare(of(0, old, old | coarse), of(1, new | coarse, new, new | law)).moved
    assert sorted(moved) == [
        ("model", "none", "org/tiny (lora/law, float32)"),
        *((f"model files of org/tiny ({dtype})", "1" * 12, "2" * 12) for dtype in ("bfloat16", "float32")),
    ]
    assert compare(of(0, old), of(1, {"source": "b"} | new)).moved == (
        ("model", "org/tiny", "b"), ("model files", "1" * 12, "2" * 12)
    )  # fmt: skip


def test_versions_that_moved_are_said_where_both_runs_tell_them():
    def of(i, **versions):
        return {**record(i, verdict(), commit="c" * 40), "environment": versions}

    assert compare(of(0, torch="2", peft="1"), of(1, torch="2", peft="2")).moved == (("peft", "1", "2"),)
    assert compare(of(0, peft=""), of(1, peft="2")).moved == (("peft", "none", "2"),)
    assert compare(of(0, torch="2"), of(1, torch="2", peft="2")).moved == ()


def test_the_part_of_a_model_that_moved_is_said_where_both_runs_knew_their_parts():
    def of(i, digest, **parts):
        data = record(i, verdict(), commit="c" * 40, digest=digest * 64)
        data["models"]["m1"] |= {"parts": parts} if parts else {}
        return data

    def moved(*runs):
        return compare(*runs).moved

    assert moved(of(0, "1", weights="a", tokenizer="b"), of(1, "2", weights="a", tokenizer="c")) == (
        ("tokenizer", "b", "c"),
    )
    assert moved(of(0, "1"), of(1, "1", weights="a")) == ()
    assert moved(of(0, "1"), of(1, "2", weights="a")) == (("model files", "1" * 12, "2" * 12),)


def test_settings_that_moved_are_said():
    after = {**record(1, verdict(), commit="c" * 40), "settings": {"alpha": 0.1}}
    found = compare(record(0, verdict(), commit="c" * 40), after)
    assert found.moved == (("llm_alpha", "0.05", "0.1"),)
    with pytest.raises(InvalidInputError, match="no run record"):
        compare({**after, "id": "x"}, after)


def test_hostile_text_is_harmless(project, command):
    project(
        record(0, golden(text="calm", nodeid=f"t.py::{HOSTILE}"), verdict(HOSTILE)),
        record(1, golden("drifted", HOSTILE, nodeid=f"t.py::{HOSTILE}"), verdict(HOSTILE, 9.0), branch=HOSTILE),
    )  # fmt: skip
    code, out, _ = command("compare", "latest~1", "latest")
    assert code == 1
    assert all(c.isprintable() or c == "\n" for c in out)
    assert json.loads(command("compare", "latest~1", "latest", "--json")[1])["newly_failing"] == [f"t.py::{HOSTILE}"]


def test_ascii_where_the_output_has_no_more(project, command, monkeypatch):
    import io
    import sys

    from pytest_llm.cli import main

    project(record(0, golden(), torch="2.13"), record(1, golden("drifted", "Lyon →"), torch="2.14"))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["compare", "latest~1", "latest"]) == 1
    stream.flush()
    shown = stream.buffer.getvalue().decode("ascii")
    assert "torch: 2.13 -> 2.14" in shown
    assert "identical -> drifted" in shown
    assert "Lyon \\u2192" in shown  # what a model said is not spelled otherwise
