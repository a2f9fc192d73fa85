"""--llm-calibrate: what it measures, what it proposes, and whether the stated rate of false alarms is kept."""

import json
import math
import random
import shutil

import numpy as np
import pytest
import scipy.stats

from pytest_llm import Score, record
from pytest_llm.baselines.baseline import Baseline
from pytest_llm.calibration import margins, plan, proposals, table
from pytest_llm.calibration.noise import changes
from pytest_llm.calibration.watch import Observation, Watch
from pytest_llm.errors import GoldenError
from pytest_llm.golden.drift import Rules
from pytest_llm.golden.values import normalise
from pytest_llm.location import Location
from pytest_llm.options import settings_from
from pytest_llm.results import Generation, Origin

SUITE = """
    import pytest
    from pytest_llm import assert_contains, assert_loss

    TEXTS = ["the red cat sees the dog.", "the capital of france is paris.", "the white hen wants the owl."]
    RUNS = []

    def test_plain():
        RUNS.append(1)
        assert len(RUNS) == 1, "asks no model, so it runs once"

    def test_loss(llm, llm_baseline):
        loss = llm.loss(TEXTS)
        assert_loss(loss, at_most=0.5)  # too tight in every run: measured, not failed
        llm_baseline.check("loss", loss, margin=1e-9)

    def test_golden(llm, llm_snapshot):
        assert llm.generate(["the red", "the capital of"], max_new_tokens=6) == llm_snapshot
        llm_snapshot(name="sampled").check(llm.generate("the red", max_new_tokens=6, do_sample=True))
        llm_snapshot(name="vector").check(llm.embed("the red cat"), atol=1e-12, rtol=0)

    def test_sampled(llm, llm_baseline):
        answers = llm.generate(["the red", "the blue", "the white"], max_new_tokens=8, do_sample=True)
        hits = [" cat" in answer for answer in answers]
        llm_baseline.check("cats", sum(hits) / 3, margin=0.01, higher_is_better=True)

    @pytest.mark.llm_repeat(10, min_success=10)
    def test_repeated(llm):
        assert "owl" not in llm.generate("the red", max_new_tokens=8, do_sample=True)

    def test_fragile(llm):
        RUNS.append(llm.generate("the red", max_new_tokens=8, do_sample=True))
        assert RUNS[-1] == RUNS[1]
"""


@pytest.fixture
def project(pytester, cache_dir, tiny_gpt2, monkeypatch):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")
    pytester.makeini("[pytest]\nllm_model = gpt2\n")
    pytester.makepyfile(SUITE)
    return pytester


def test_a_parameter_with_a_slash_is_no_folder(project):
    project.makepyfile(**{"unit/test_slash": """
        import pytest
        from pytest_llm import assert_loss
        @pytest.mark.parametrize("base", ["org/base"])
        def test_it(llm, base): assert_loss(llm.loss(["the red cat sees the dog."]), at_most=99)
    """})  # fmt: skip
    result = project.runpytest("-p", "no:xdist", "unit", "--llm-calibrate=2")
    result.stdout.fnmatch_lines(["threshold loss  99 * test_slash.py::test_it[[]org/base]"])


def test_it_measures_without_judging_and_proposes_margins(project, cache_dir):
    result = project.runpytest("-p", "no:xdist", "--llm-calibrate=5")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "model     gpt2 *: 0 from the store, *",
            "*= calibration =*",
            "check * now * noise * proposed * test",
            "assertions * failed in 0.* of runs  -  *::test_fragile",
            "golden 1 * 0.05 * logprob_margin=*e-0*  *::test_golden",
            "golden vector * 1e-12 * atol=*e-0*  *::test_golden",
            "baseline loss * 1e-09 * margin=*e-0*  *::test_loss",
            "threshold loss * 0.5 * at_most=*  *::test_loss",
            "success rate * 10 * succeed * min_success=*  *::test_repeated",
            "baseline cats * 0.01 * 0.* margin=*  *::test_sampled",
            "1 + 5 runs a test. Each proposal raises a false alarm in 0.05 of comparisons, if noise is normal;",
            "whatever the noise, a margin does in at most 0.29 of them. Proposals go to llm_calibration.json, which",
        ]
    )
    assert "sampled" not in [line.split()[1] for line in result.stdout.lines if line.startswith("golden ")]
    assert not list(project.path.rglob("__llm_*__"))
    assert not (cache_dir / "pending").exists()


def test_the_file_is_the_same_each_time_and_keeps_what_was_not_selected(project):
    file = project.path / "llm_calibration.json"
    run = ("-p", "no:xdist", "--llm-calibrate=4", "-k")
    project.runpytest(*run, "sampled or repeated").assert_outcomes(passed=2)
    first = file.read_bytes()
    content = json.loads(first)
    (row,) = content["tests"][
        "test_the_file_is_the_same_each_time_and_keeps_what_was_not_selected.py::test_sampled"
    ].values()
    assert (row["argument"], row["current"], row["runs"], row["false_alarms"]) == ("margin", 0.01, 5, 0.05)
    project.runpytest(*run, "repeated", "--llm-alpha=0.2")
    both = json.loads(file.read_text())
    assert list(both["tests"]) == list(content["tests"])
    assert [one["false_alarms"] for test in both["tests"].values() for one in test.values()] == [0.2, 0.05]
    project.runpytest_subprocess("-n2", *run[2:], "sampled or repeated").assert_outcomes(passed=2)
    assert file.read_bytes() == first


def test_a_calibrated_margin_is_read_from_the_file(project):
    name = project.makepyfile(
        """
        def test_a(llm, llm_baseline):
            llm_baseline.check("loss", llm.loss(["the red cat sees the dog."]), margin="calibrated")
        """
    )
    run = ("-p", "no:xdist", name)
    result = project.runpytest(*run, "--llm-update=new")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['E*margin="calibrated", but llm_calibration.json has no margin for this check: *'])
    project.runpytest(*run, "--llm-calibrate=4").assert_outcomes(passed=1)
    project.runpytest(*run, "--llm-update=new").assert_outcomes(passed=1)
    project.runpytest(*run).assert_outcomes(passed=1)
    (project.path / "llm_calibration.json").write_text("<<<<<<< ours")
    result = project.runpytest(*run)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*GoldenError: *llm_calibration.json cannot be read*"])


def test_a_test_that_fails_with_nothing_changed_fails(project):
    name = project.makepyfile("def test_a(llm): assert llm.generate('the red', max_new_tokens=2) == 'no'")
    result = project.runpytest("-p", "no:xdist", name, "--llm-calibrate=3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no selected test asked a model and checked what it answered"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--llm-calibrate=1"], "*llm_calibrate counts runs: it takes at least 2*"),
        (["--llm-calibrate=5", "--llm-update=new"], "*do not give llm_update with it*"),
        (["--llm-calibrate=5", "--llm-offline"], "*do not give llm_offline with it*"),
        (["--llm-calibrate=x"], "*--llm-calibrate: 'x' is not a whole number*"),
    ],
)
def test_what_makes_no_sense_is_refused(pytester, arguments, message):
    result = pytester.runpytest(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_runs_change_each_thing_alone_first_and_the_same_things_always():
    assert [plan.changes_of(number) for number in range(6)] == [(), *((name,) for name in plan.CHANGES)]
    later = [plan.changes_of(number) for number in range(6, 60)]
    assert all(later)
    assert {name for names in later for name in names} == set(plan.CHANGES)
    assert len(set(later)) > 8


def test_a_perturbed_engine_computes_otherwise_and_is_itself_again(tiny_gpt2):
    import torch

    from pytest_llm.requests import Generate, Logprobs, Tokenize
    from tests.engines.conftest import engine_for

    engine = engine_for(tiny_gpt2)
    requests = [Logprobs("the red cat sees the dog."), Logprobs("the owl"), Tokenize("the"), Generate("the red")]
    too_long = [Logprobs("the red cat sees the dog. " * 12)]  # its neighbour does not fit the context
    before = dict(engine.answer(requests))
    state = (engine.batch_size, torch.get_num_threads(), engine.model.config._attn_implementation)
    moved = []
    for number in range(1, 12):
        with plan.perturbed(engine, number) as changed:
            answers = dict(changed.answer(requests))
            assert dict(changed.answer(too_long)).keys() == {0}
        assert answers.keys() == before.keys()
        logprobs = [[p["logprob"] for p in found[0]["positions"]] for found in (answers, before)]
        assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-4)
        moved.append(logprobs[0] != logprobs[1])
        assert (engine.batch_size, torch.get_num_threads(), engine.model.config._attn_implementation) == state
    assert any(moved)
    assert dict(engine.answer(requests)) == before


def generation(tokens, margins, sampled=False):
    return Generation(
        "".join(map(str, tokens)), token_ids=tokens, margins=margins, origin=Origin(request={"do_sample": sampled})
    )


def test_the_change_of_a_golden_is_in_the_units_of_its_tolerances():
    rules = Rules(rtol=0.1)
    old = generation([1, 2, 3], [5.0, 0.2, 4.0])
    assert changes(old, generation([1, 2, 3], [5.5, 0.1, 4.0]), rules) == {"logprob_margin": 0.5}
    # Parted: 0.2 for the one became 0.3 for the other. What follows is another text.
    assert changes(old, generation([1, 7, 9], [5.0, 0.3, 0.0]), rules) == {"logprob_margin": 0.5}
    assert changes(old, generation([1, 7], [5.0, 0.3], sampled=True), rules) == {}
    served = [Generation(text, origin=Origin(request={"do_sample": True})) for text in "ab"]
    assert changes(*served, rules) == {}, "nor of a service that gives no tokens"
    assert changes({"a": [1.0, 2.0]}, {"a": [1.05, 3.0]}, rules) == {"atol": pytest.approx(0.7)}
    banned = [normalise(np.array([-math.inf, x])) for x in (1.0, 3.0)]
    assert changes(*banned, rules) == {"atol": pytest.approx(1.7)}, "beside infinities that are equal"
    assert changes(["a", 1], ["b", 1], rules) == {"text": 1.0}
    assert changes([1.0], [1.0, 2.0], rules) == {"text": 1.0}


def test_the_bounds_are_those_of_the_textbook():
    values = [0.31, 0.35, 0.29, 0.33, 0.34, 0.30]
    n, s = len(values), scipy.stats.tstd(values)
    t = scipy.stats.t.ppf(0.95, n - 1)
    assert margins.drop_margin(values, 0.05) == pytest.approx(max(t * s * math.sqrt(2), 0.06))
    assert margins.highest(values, 0.05) == pytest.approx(sum(values) / n + t * s * math.sqrt(1 + 1 / n))
    bounds = [Observation("a", "threshold", "x", run, value, 0.3) for run, value in enumerate(values)]
    lowest = sum(values) / n - t * s * math.sqrt(1 + 1 / n)
    assert lowest - 0.001 < proposals.propose(bounds, 0.05)[0].proposed <= lowest
    predictive = scipy.stats.betabinom(10, 18.5, 3.5)
    count = margins.success_count(18, 21, 10, 0.05)
    assert predictive.cdf(count - 1) <= 0.05 < predictive.cdf(count)


@pytest.mark.parametrize(
    ("x", "width", "expected"),
    [
        (0.0, None, 0.0),
        (3.81e-6, None, 3.9e-6),
        (0.394, None, 0.4),
        (27.123, 0.5, 27.13),
        (-27.123, 0.5, -27.12),
        (2.0, 0.0, 2.0),
    ],
)
def test_proposals_are_rounded_to_the_safe_side(x, width, expected):
    assert margins.rounded_up(x, width) == expected >= x


def test_proposals_that_cannot_be_written_are_an_error_that_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GoldenError, match=r"llm_calibration\.json: the proposals could not be written: "):
        proposals.save(tmp_path / "file" / "llm_calibration.json", [], 0.05)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"schema": 2, "tests": {}}',
        '{"schema": 1, "tests": {"test_a.py::test_a": [1]}}',
        '{"schema": 1, "tests": {"test_a.py::test_a": {"baseline x margin": 3}}}',
        '{"schema": 1, "tests": {"test_a.py::test_a": {"a": {"proposed": 0.1}}, "test_a.py::test_a": {}}}',
    ],
    ids=["list", "newer", "no checks", "no row", "merged: a test twice"],
)
def test_a_damaged_file_is_named(tmp_path, text):
    settings = settings_from({}, {}, {}, root=tmp_path)
    location = Location(nodeid="test_a.py::test_a", file=tmp_path / "test_a.py", qualname="test_a")
    (tmp_path / "llm_calibration.json").write_text(text)
    with pytest.raises(GoldenError, match=r"llm_calibration\.json cannot be read"):
        proposals.margin_of(location, settings, "x")


def test_the_file_holds_whatever_a_test_is_called(tmp_path):
    settings, path = settings_from({}, {}, {}, root=tmp_path), tmp_path / "llm_calibration.json"
    location = Location(nodeid="test_a.py::test_a[\ud800]", file=tmp_path / "test_a.py", qualname="test_a")
    proposals.save(path, [proposals.Proposal(location.nodeid, "baseline x", "margin", None, 0.1, 0.2, 5)], 0.05)
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as an editor on Windows leaves it
    assert proposals.margin_of(location, settings, "x") == 0.2


def test_a_golden_that_has_another_form_in_one_run_is_seen():
    watch = Watch("test_a.py::test_a")
    for number, value in enumerate([[1.0], [1.0], [1.0, 2.0], [1.0]]):
        watch.begin(number)
        watch.golden("numbers", value, Rules())
    numbers, form = proposals.propose(watch.observations, 0.05)
    assert (numbers.argument, numbers.noise) == ("atol", 0)
    assert (form.argument, form.noise) == ("text", 1)


def test_a_text_without_scored_tokens_has_no_value_and_needs_none(tmp_path):
    settings = settings_from({}, {}, {}, root=tmp_path)
    location = Location(nodeid="test_a.py::test_a", file=tmp_path / "test_a.py", qualname="test_a")
    loss = Score(3.0, name="loss", n=2, per_example=[3.0, math.nan], weights=[10, 0], higher_is_better=False)
    running = record.begin()
    running.watch = Watch(location.nodeid)
    try:
        Baseline(location, settings).check("loss", loss, margin=0.1)
    finally:
        record.end(running)
    assert [one.value for one in running.watch.observations] == [3.0]


@pytest.mark.parametrize("noise", ["normal", "uniform", "expovariate", "binary"])
@pytest.mark.parametrize("n", [4, 9, 21])
def test_false_alarms_stay_within_the_stated_rate(noise, n):
    """2,000 simulated calibrations, each followed by a new baseline and a new value of the same model."""
    rng = random.Random(f"{noise}{n}")
    draw = {
        "normal": lambda: rng.gauss(0, 1),
        "uniform": rng.random,
        "expovariate": lambda: rng.expovariate(1),
        "binary": lambda: float(rng.random() < 0.3),
    }[noise]
    simulations, alarms, above = 2000, 0, 0
    for _ in range(simulations):
        values = [draw() for _ in range(n)]
        alarms += draw() - draw() > margins.drop_margin(values, 0.05)
        above += draw() > margins.highest(values, 0.05)
    slack = 2 * math.sqrt(0.05 * 0.95 / simulations)
    if noise == "normal":
        assert max(alarms, above) / simulations <= 0.05 + slack
    assert alarms / simulations <= margins.guaranteed(n) + slack
    assert above / simulations <= 1 / (n + 1) + slack  # no more often than a new record


def test_success_counts_of_many_trials():
    assert margins.success_count(21, 21, 20, 0.05) == 18
    assert margins.success_count(1000, 1030, 1030, 0.05) == 986  # as scipy.stats.betabinom(1030, 1000.5, 30.5) has it


def test_a_test_that_hardly_ever_succeeds_is_marked():
    def row(succeeded):
        runs = [Observation("test_a.py::test_a", "repeats", "success rate", i, succeeded, 3.0, n=5) for i in range(5)]
        return proposals.propose(runs, 0.05)[0]

    assert [(row(x).noise, row(x).proposed, table._tight(row(x))) for x in (0, 1)] == [(0, None, True), (1, 3, False)]


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_success_counts_keep_the_stated_rate(rate):
    rng, simulations, alarms = random.Random(3), 2000, 0
    for _ in range(simulations):
        seen = sum(rng.random() < rate for _ in range(21))
        needed = margins.success_count(seen, 21, 10, 0.05)
        alarms += sum(rng.random() < rate for _ in range(10)) < needed
    assert alarms / simulations <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / simulations)
