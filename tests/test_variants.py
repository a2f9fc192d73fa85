"""Variants: what an environment says in its own way is kept beside the plain golden or baseline, on request."""

import json
from pathlib import Path

import pytest

from pytest_llm import environment, variants
from tests.conftest import COMMAND

TORCH = "torch-" + ".".join(environment.version("torch").partition("+")[0].split(".")[:2])
TRANSFORMERS = "transformers-" + ".".join(environment.version("transformers").split(".")[:2])

#: Where the answer was made is a file of the suite, so that a test can go to another machine.
SUITE = """
    import json, pathlib
    from pytest_llm.metrics.score import Score
    from pytest_llm.results import Generation, Origin

    HERE = json.loads(pathlib.Path(__file__).with_name("here.json").read_text())
    ORIGIN = Origin({"kind": "tokenize", "text": "q"}, {"digest": HERE["weights"] * 64}, HERE["environment"])

    def test_text(llm_snapshot):
        assert Generation(HERE["says"], origin=ORIGIN) == llm_snapshot

    def test_score(llm_baseline):
        values = HERE["values"]
        score = Score(
            sum(values) / len(values), name="quality", n=len(values), per_example=values,
            origin={"model": ORIGIN.model, "environment": ORIGIN.environment},
        )
        llm_baseline.check("quality", score, margin=0.01)
"""
CPU = {"device": "cpu", "dtype": "float32", "attention": "sdpa", "torch": "2.13.0+cpu", "transformers": "5.24.0"}
CUDA = {**CPU, "device": "cuda", "torch": "2.13.0+cu128"}
GOOD = [round(0.5 + i / 100, 2) for i in range(40)]
OTHER = [round(x - 0.1 - i % 2 / 100, 3) for i, x in enumerate(GOOD)]


@pytest.fixture
def suite(pytester, cache_dir):
    pytester.makepyfile(test_life=SUITE)
    move(pytester, CPU, "Paris", GOOD)
    return pytester


def move(pytester, place, says, values, weights="a"):
    here = {"environment": place, "says": says, "values": values, "weights": weights}
    (pytester.path / "here.json").write_text(json.dumps(here))


def files(pytester):
    return sorted(p.name for p in pytester.path.rglob("__llm_*__/**/*.json"))


def on_cuda(monkeypatch):
    """The run itself is on cuda too, so that --llm-variant=cuda may be said."""
    monkeypatch.setenv("PYTEST_LLM_DEVICE", "cuda")


def test_a_name_must_hold_here(suite):
    result = suite.runpytest("--llm-variant=cuda,float32,torch-1.0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --llm-variant: this environment is not 'cuda', 'torch-1.0': a variant is made where its names hold. "
            f"This one is cpu, float32, sdpa, {TORCH}, {TRANSFORMERS}"
        ]
    )


def test_life_of_a_variant(suite, monkeypatch):
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    plain = files(suite)
    assert plain == ["test_life.json", "test_text--1.json"]

    # Another machine: its environment is named before the model is blamed, and how to keep its answer is said.
    on_cuda(monkeypatch)
    move(suite, CUDA, "Paris!", OTHER)
    result = suite.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*golden '1': in another environment (device cpu → cuda, torch 2.13.0+cpu → 2.13.0+cu128), drifted*",
            '*note: if it is right here, keep it beside that one: pytest "test_life.py::test_text" '
            "--llm-update=new --llm-device=cuda --llm-variant=cuda",
            "*quality 0.59 is worse than its baseline 0.69 by 0.10 (margin 0.01)",
            "*note: the environment changed since the baseline, which may explain this: device cpu -> cuda,*",
            '*pytest "test_life.py::test_score" --llm-update=new --llm-device=cuda --llm-variant=cuda',
        ]
    )
    suite.runpytest("--llm-update=new").assert_outcomes(failed=2)  # nothing is made unasked
    assert files(suite) == plain

    result = suite.runpytest("--llm-update=new", "--llm-variant=cuda")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["goldens   1 created", "gates     quality  *created  test_life.py::test_score"])
    assert files(suite) == ["test_life.json", "test_life@cuda.json", "test_text--1.json", "test_text--1@cuda.json"]
    suite.run(COMMAND, "review", "list").stdout.fnmatch_lines(["no candidates wait here"])

    # Each machine now reads its own, without being told.
    result = suite.runpytest("-rA")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gates     quality  0.59*  baseline 0.59* @cuda, margin 0.01  *pass*"])
    move(suite, CPU, "Paris", GOOD)
    monkeypatch.delenv("PYTEST_LLM_DEVICE")
    result = suite.runpytest()
    result.assert_outcomes(passed=2)
    assert "@cuda" not in result.stdout.str()
    move(suite, CPU, "Paris!", OTHER)  # cuda's answer does not do here
    suite.runpytest().assert_outcomes(failed=2)


def test_the_answer_of_another_model_is_no_variant_of_an_environment(suite):
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    move(suite, {**CPU, "torch": "2.14.0"}, "Lyon", OTHER, weights="b")
    result = suite.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*golden '1': with another model and in another environment (torch 2.13.0+cpu → 2.14.0), drifted"]
    )
    assert "--llm-variant" not in result.stdout.str()


def test_which_variant_failed_and_what_accepting_writes(suite, monkeypatch):
    suite.runpytest("--llm-update=new")
    on_cuda(monkeypatch)
    move(suite, CUDA, "Paris!", OTHER)
    suite.runpytest("--llm-update=new", "--llm-variant=cuda")
    move(suite, CUDA, "Rome", [x - 0.2 for x in OTHER])
    result = suite.runpytest()
    result.stdout.fnmatch_lines(
        [
            "*golden '1' @cuda: drifted",
            "*note: golden file: __llm_snapshots__/test_life/test_text--1@cuda.json",
            "*note: the baseline is the variant @cuda",
            "          drifted     test_life.py::test_text (1@cuda)",
        ]
    )
    suite.run(COMMAND, "review", "accept", "--all").stdout.fnmatch_lines(["accepted *test_text--1@cuda.json"])
    result = suite.runpytest("--llm-update=all")
    result.stdout.fnmatch_lines(["goldens   1 identical", "gates*@cuda*updated*"])
    assert "Rome" in (suite.path / "__llm_snapshots__/test_life/test_text--1@cuda.json").read_text()
    assert "Rome" not in (suite.path / "__llm_snapshots__/test_life/test_text--1.json").read_text()


def test_a_candidate_of_a_variant_that_is_not_there_yet_makes_it(suite, monkeypatch):
    suite.runpytest("--llm-update=new")
    on_cuda(monkeypatch)
    move(suite, CUDA, "Paris!", GOOD)
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    result = suite.runpytest("--llm-variant=cuda")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*note: accepting makes a variant: __llm_snapshots__/test_life/test_text--1@cuda.json"]
    )
    suite.run(COMMAND, "review", "accept", "--all")
    assert files(suite) == ["test_life.json", "test_text--1.json", "test_text--1@cuda.json"]
    assert "Paris!" not in (suite.path / "__llm_snapshots__/test_life/test_text--1.json").read_text()
    suite.runpytest().assert_outcomes(passed=2)


def test_a_pass_in_another_environment_says_so(suite):
    suite.runpytest("--llm-update=new")
    move(suite, {**CPU, "torch": "2.14.0"}, "Paris", GOOD)
    result = suite.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["          1 gate passed in another environment: torch 2.13.0+cpu -> 2.14.0"])


def test_only_other_environments_have_one(suite, monkeypatch):
    on_cuda(monkeypatch)
    move(suite, CUDA, "Paris", GOOD)
    suite.runpytest("--llm-update=new", "--llm-variant=cuda").assert_outcomes(passed=2)
    monkeypatch.delenv("PYTEST_LLM_DEVICE")
    move(suite, CPU, "Paris", GOOD)
    result = suite.runpytest()
    result.assert_outcomes(failed=2)
    said = "*note: there are ones of other environments, which say nothing about this one: @cuda"
    result.stdout.fnmatch_lines(["*golden '1': there is none yet", said, "*has no baseline to be compared with", said])


def test_a_renamed_baseline_cannot_pass(suite, monkeypatch):
    suite.runpytest("--llm-update=new")
    folder = suite.path / "__llm_baselines__"
    (folder / "test_life.json").rename(folder / "test_life@cuda.json")
    move(suite, CUDA, "Paris", GOOD)
    result = suite.runpytest("test_life.py::test_score")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the baseline @cuda was measured elsewhere (cpu, float32, sdpa, torch-2.13,*"])


def test_variants_of_other_environments_are_not_obsolete_until_their_test_goes(suite, monkeypatch):
    suite.runpytest("--llm-update=new")
    on_cuda(monkeypatch)
    move(suite, CUDA, "Paris!", OTHER)
    suite.runpytest("--llm-update=new", "--llm-variant=cuda")
    monkeypatch.delenv("PYTEST_LLM_DEVICE")
    move(suite, CPU, "Paris", GOOD)
    assert "pytest-llm prune" not in suite.runpytest().stdout.str()
    suite.makepyfile(test_life="def test_other(llm_snapshot): assert 1 == llm_snapshot")
    suite.runpytest("--llm-update=new").stdout.fnmatch_lines(
        ["next      2 goldens that no test uses are*", "next      2 baselines that no test checks are*"]
    )
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 2 files", "removed 2 baselines"])
    assert files(suite) == ["test_other--1.json"]


def test_the_most_specific_that_holds_wins(tmp_path):
    plain = tmp_path / "test_a--1.json"
    by_rank = [
        "@cuda+bfloat16+torch-2.14",
        "@cuda+bfloat16",
        "@cuda+torch-2.14.1",
        "@cuda+torch-2.14",
        "@cuda",
        "@bfloat16",
        "@torch-2.14.1",
        "@torch-2.14",
        "@torch-2",
        "",
    ]
    names = ["test_a--1" + variant for variant in by_rank]
    for name in [
        *names,
        "test_a--1@cpu",
        "test_a--1@torch-2.1",
        "test_a--1@cuda+float16",
        "test_b--1@cuda",
        "test_a--1@",
    ]:
        (tmp_path / f"{name}.json").touch()
    (tmp_path / "test_a--1@cuda.npy").touch()
    here = {"device": "cuda:1", "dtype": "bfloat16", "attention": "sdpa", "torch": "2.14.1", "transformers": "5.24.0"}
    mine, others = variants.choices(plain, here)
    assert [path.stem for path in mine] == names
    assert [path.stem for path in others] == [
        "test_a--1@",
        "test_a--1@cpu",
        "test_a--1@cuda+float16",
        "test_a--1@torch-2.1",
    ]
    assert variants.choices(tmp_path / "none" / "x.json", here) == ([tmp_path / "none" / "x.json"], [])


def test_names_have_one_order_and_one_spelling():
    here = {"device": "cuda", "dtype": "bfloat16", "attention": "sdpa", "torch": "2.14.1", "transformers": "5.24.0"}
    asked = variants.parse("torch-2.14, bfloat16,cuda , cuda", here)
    assert asked == variants.parse("@cuda+bfloat16+torch-2.14", here) == ("cuda", "bfloat16", "torch-2.14")
    path = variants.path_of(Path("d/test_a[x.y]--1.json"), asked)
    assert path == Path("d/test_a[x.y]--1@cuda+bfloat16+torch-2.14.json")
    assert (variants.names_of(path), variants.plain_of(path)) == (asked, Path("d/test_a[x.y]--1.json"))
    # A test that chose another dtype keeps the part of the request that holds for it.
    assert variants.holding(asked, {**here, "dtype": "float32"}) == ("cuda", "torch-2.14")
    assert variants.difference({**here, "device": "cpu", "torch": "2.14.0"}, here) == ("cuda",)
