"""The life of a baseline, as a person at a terminal sees it."""

import json
import random
import re
import shutil
import subprocess

import pytest

from tests.conftest import COMMAND

#: The figures are a file of the suite, so that a run can find other ones.
SUITE = """
    import json, pathlib
    from pytest_llm.metrics import bleu
    from pytest_llm.metrics.score import Score

    NOW = json.loads(pathlib.Path(__file__).with_name("now.json").read_text())

    def mean(name, **fields):
        values = NOW[name]
        return Score(sum(values) / len(values), name=name, n=len(values), per_example=values, **fields)

    def test_quality(llm_baseline):
        llm_baseline.check("quality", mean("quality"), margin=0.02)

    def test_accuracy(llm_baseline):
        llm_baseline.check("accuracy", mean("accuracy"), margin=0.05)
"""


def figures(quality=0.0, noise=0.0, wrong=()):
    """What a model scores: a mean that moved by ``quality`` with ``noise``, and the questions it gets ``wrong``."""
    rng = random.Random(1)
    base = [rng.random() for _ in range(40)]
    return {
        "quality": [x + quality + rng.gauss(0, noise) for x in base],
        "accuracy": [float(i not in wrong) for i in range(40)],
    }


@pytest.fixture
def suite(pytester, cache_dir):
    pytester.makepyfile(test_life=SUITE)
    now(pytester, figures())
    return pytester


@pytest.fixture
def committed(suite):
    """The suite with its baselines."""
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    return suite


def now(pytester, values):
    (pytester.path / "now.json").write_text(json.dumps(values))


def baselines(pytester):
    file = pytester.path / "__llm_baselines__" / "test_life.json"
    return file.read_text() if file.exists() else ""


def test_missing_then_new_then_pass(suite):
    result = suite.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*quality 0.43 has no baseline to be compared with",
            'E*note: create it: pytest "test_life.py::test_quality" --llm-update=new',
            "gates     quality   0.430005  missing  test_life.py::test_quality",
            "          accuracy  1         missing  test_life.py::test_accuracy",
            "next      2 goldens or baselines are missing: pytest --llm-update=new writes them",
        ]
    )
    assert baselines(suite) == ""
    result = suite.runpytest("--llm-update=new")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gates     quality   0.430005  created  test_life.py::test_quality"])
    written = baselines(suite)
    for flag in ("none", "new", "all"):
        result = suite.runpytest(f"--llm-update={flag}")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(
            [
                "gates     quality   0.430005  baseline 0.430005, margin 0.02  p 1  pass  test_life.py::test_quality",
                "          accuracy  1         baseline 1, margin 0.05         p 1  pass  test_life.py::test_accuracy",
            ]
        )
        assert baselines(suite) == written


def test_fail_shows_the_evidence_and_all_moves_the_baseline(committed):
    written = baselines(committed)
    now(committed, figures(quality=-0.05, noise=0.01))
    for flag in ("none", "new"):
        result = committed.runpytest(f"--llm-update={flag}")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(
            [
                "E*quality 0.379 is worse than its baseline 0.43* by 0.0* (margin 0.02)",
                "E*interval [[]-0.0*, -0.0*]*confidence 0.9*p *n 40*detectable drop 0.0*method paired t",
                "gates     quality *fail*",
            ]
        )
        assert baselines(committed) == written
    result = committed.runpytest("--llm-update=all")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gates     quality *updated*"])
    assert baselines(committed) != written
    committed.runpytest().assert_outcomes(passed=2)


def test_inconclusive_warns_with_what_it_could_have_seen_and_fails_when_strict(committed):
    now(committed, figures(noise=0.15))
    result = committed.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "gates     quality * p 0.*, sees 0.0*  inconclusive  test_life.py::test_quality",
            "            this gate sees a drop of 0.0* or more with probability 0.8",
            "            about * examples would show a drop of twice the margin as reliably",
            "          accuracy *pass *",
        ]
    )
    assert "would not survive" not in result.stdout.str()
    for strict in ("--llm-strict-gates", "-ollm_strict_gates=true"):
        result = committed.runpytest(strict)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["E*neither a drop nor its absence can be told from this many examples*"])


def test_improved_offers_to_ratchet(committed):
    now(committed, figures(quality=0.1))
    result = committed.runpytest()
    result.assert_outcomes(passed=2)
    command = 'pytest "test_life.py::test_quality" --llm-update=all'
    result.stdout.fnmatch_lines(
        [
            "*quality *improved*",
            f"            if you know why it improved, make it the baseline, to hold this level: {command}",
        ]
    )
    committed.runpytest("test_life.py::test_quality", "--llm-update=all").assert_outcomes(passed=1)
    now(committed, figures())
    committed.runpytest().assert_outcomes(passed=1, failed=1)  # what was good enough no longer is


def test_commands_measure_the_model_that_was_given(committed):
    given = ("--llm-model=out/it", "--llm-dtype=bfloat16")
    now(committed, figures(quality=0.1))
    flags = f"--llm-update=all {' '.join(given)}"
    improved = f'*make it the baseline, to hold this level: pytest "test_life.py::test_quality" {flags}'
    committed.runpytest(*given).stdout.fnmatch_lines([improved])
    shutil.rmtree(committed.path / "__llm_baselines__")
    flags = f"--llm-update=new {' '.join(given)}"
    committed.runpytest(*given).stdout.fnmatch_lines(
        [
            f'E*note: create it: pytest "test_life.py::test_quality" {flags}',
            f"next      2 goldens or baselines are missing: pytest {flags} writes them",
        ]
    )


def test_stale(committed):
    now(committed, {name: values[:30] for name, values in figures().items()})
    result = committed.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*quality: the question changed since the baseline was made",
            "E*note: the examples changed (0 added, 10 removed, 30 kept)",
            "gates     quality   0.* stale  test_life.py::test_quality",
        ]
    )


def test_nan_is_an_error_and_never_a_baseline(suite):
    now(suite, {**figures(), "quality": [0.5, float("nan")]})
    for flag in ("none", "new", "all"):
        result = suite.runpytest(f"--llm-update={flag}", "-k", "quality")
        result.assert_outcomes(errors=1, deselected=1)
        result.stdout.fnmatch_lines(
            ["E*quality: the score is nan: nothing was measured", "gates     quality *invalid*"]
        )
    assert baselines(suite) == ""
    now(suite, figures())
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    now(suite, {**figures(), "quality": [float("nan")] * 40})
    suite.runpytest("--llm-update=all", "-k", "quality").assert_outcomes(errors=1, deselected=1)


def test_a_score_that_contradicts_itself_is_an_error_and_no_regression(pytester, cache_dir):
    pytester.makepyfile("""
        from pytest_llm import Score

        def test_one(llm_baseline):
            llm_baseline.check("mine", Score(0.5, name="mine", n=2, per_example=[1.0]), margin=0.1)

        def test_n(llm_baseline):
            llm_baseline.check("mine", Score(0.5, name="mine", n=40 / 2), margin=0.1)
    """)
    result = pytester.runpytest()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "E *InvalidInputError: Score 'mine': per_example needs one entry an example, not 1 for n = 2",
            "E *InvalidInputError: Score 'mine': n counts examples, in an integer, not 20.0",
        ]
    )
    result.stdout.no_fnmatch_line("*score.py:*")


def test_a_name_that_is_no_text_is_refused(pytester, cache_dir):
    pytester.makepyfile("""
        import pytest
        from pytest_llm import Score, assert_metric
        @pytest.mark.parametrize("name", [0.3, Score(1.0, name="accuracy", n=1), None, ["bleu"], ""])
        def test_name(llm_baseline, name): llm_baseline.check(name, "bleu", margin=1.0)
        class Mine:
            __name__ = 3
            def __call__(self, predictions, references): return 1.0
        def test_mine(): assert_metric(Mine(), ["a"], ["a"], at_least=1)
    """)
    result = pytester.runpytest("--junitxml=junit.xml")
    result.assert_outcomes(errors=5, passed=1)
    result.stdout.fnmatch_lines(["E*the name of a figure is text, not 0.3: check(name, value, margin=...)"])


def test_a_failure_that_would_not_survive_the_correction_is_labelled(committed):
    # Alone, six of forty newly wrong is p = 0.016; as one gate of four it is not much.
    with (committed.path / "test_life.py").open("a") as module:
        module.write(
            "\nimport pytest\n"
            "@pytest.mark.parametrize('i', range(2))\n"
            "def test_more(llm_baseline, i): llm_baseline.check('accuracy', mean('more'), margin=0.05)\n"
        )
    now(committed, {**figures(), "more": [1.0] * 40})
    committed.runpytest("--llm-update=new").assert_outcomes(passed=4)
    now(committed, {**figures(wrong=range(6)), "more": [1.0] * 40})

    result = committed.runpytest()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "gates     accuracy  0.85 * p 0.016, Holm 0.062  fail  test_life.py::test_accuracy",
            "            would not survive Holm's correction over the 4 gates of this run",
        ]
    )
    result = committed.runpytest("--llm-correction=bh")
    result.stdout.fnmatch_lines(
        ["*p 0.016, BH 0.062*fail*", "*would not survive the Benjamini-Hochberg correction over the 4"]
    )
    result = committed.runpytest("--llm-correction=none")
    result.stdout.fnmatch_lines(["*  p 0.016  fail*"])
    assert "would not survive" not in result.stdout.str()
    # A real break survives.
    now(committed, {**figures(wrong=range(20)), "more": [1.0] * 40})
    result = committed.runpytest()
    result.stdout.fnmatch_lines(["*p <0.001, Holm <0.001  fail*"])
    assert "would not survive" not in result.stdout.str()


def test_nothing_is_said_of_the_correction_where_it_is_not_p_that_failed(committed):
    module = committed.path / "test_life.py"
    source = module.read_text()
    module.write_text(source.replace("margin=0.05)", "margin=0.05, max_broken=0)"))
    now(committed, figures(wrong=[1]))
    result = committed.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*accuracy: 1 example broke (0 may): 1", "gates     accuracy * p 0.5, Holm 1  fail *"])
    assert "would not survive" not in result.stdout.str()
    module.write_text(source.replace("margin=0.05)", "margin=0.01, alpha=0.2)"))
    now(committed, figures(wrong=range(3)))
    result = committed.runpytest("-k", "accuracy")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["gates     accuracy * p 0.12  fail *"])
    assert "would not survive" not in result.stdout.str()


def test_workers_write_one_file_and_report_one_table(suite):
    result = suite.runpytest("-n2", "--llm-update=new")
    result.assert_outcomes(passed=2)
    assert sorted(json.loads(baselines(suite))["tests"]) == ["test_accuracy", "test_quality"]
    now(suite, figures(quality=-0.1, wrong=range(6)))
    result = suite.runpytest("-n2")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        ["*quality * p <0.001, Holm <0.001  fail *", "*accuracy * p 0.016*fail  test_life.py::test_accuracy"]
    )


def test_rows_align_and_notes_wrap_to_the_terminal(committed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    with (committed.path / "test_life.py").open("a") as module:
        module.write(
            "\nfrom pytest_llm import assert_accuracy\n"
            "def test_bound(): assert_accuracy([1] * 17 + [0] * 3, [1] * 20, at_least=0.8)\n"
        )
    now(committed, figures(noise=0.15))
    result = committed.runpytest()
    rows = [line for line in result.stdout.lines if line.startswith(("gates   ", " " * 10))]
    notes = [row for row in rows if row.startswith("            ")]
    assert max(map(len, notes)) <= 60
    assert "            the bound is within two standard errors of the" in notes
    table = [row for row in rows if row not in notes]
    assert len({row.index("test_life.py::") for row in table}) == 1


def test_what_no_test_checks_any_more_is_pruned(committed):
    committed.makepyfile(
        test_life=SUITE.replace('check("quality"', 'check("renamed"').replace("def test_accuracy", "def test_other")
    )
    result = committed.runpytest("--llm-update=new")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["next      2 baselines that no test checks are obsolete: pytest-llm prune"])
    result = committed.run(COMMAND, "prune")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "__llm_baselines__/test_life.json: accuracy of test_accuracy (its test is gone)",
            "__llm_baselines__/test_life.json: quality of test_quality (its test does not check it)",
            "2 obsolete baselines; 'pytest-llm prune --yes' removes them",
        ]
    )
    result = committed.run(COMMAND, "prune", "--yes")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["removed 2 baselines"])
    left = json.loads(baselines(committed))["tests"]
    assert {test: list(metrics) for test, metrics in left.items()} == {
        "test_other": ["accuracy"],
        "test_quality": ["renamed"],
    }
    committed.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("arguments", [["-k", "quality"], ["test_life.py"], ["test_life.py::test_quality"]])
def test_a_run_of_some_tests_prunes_nothing(committed, arguments):
    committed.makepyfile(test_life=SUITE.replace("def test_accuracy", "def test_other"))
    result = committed.runpytest("--llm-update=new", *arguments)
    assert "pytest-llm prune" not in result.stdout.str()
    committed.run(COMMAND, "prune").stdout.fnmatch_lines(["nothing to remove*"])


def test_a_baseline_that_changed_since_and_one_of_a_failing_test_are_kept(committed):
    committed.makepyfile(test_life=SUITE.replace('llm_baseline.check("accuracy"', "assert False, ("))
    assert "pytest-llm prune" not in committed.runpytest().stdout.str()
    committed.makepyfile(test_life=SUITE.partition("def test_accuracy")[0].rstrip() + "\n")
    committed.runpytest().stdout.fnmatch_lines(["next      1 baseline that no test checks is obsolete*"])
    file = committed.path / "__llm_baselines__" / "test_life.json"
    file.write_text(file.read_text().replace('"value": 1', '"value": 0.5'))
    result = committed.run(COMMAND, "prune", "--yes")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["kept *test_life.json: accuracy of test_accuracy in * changed since it was found obsolete*"]
    )
    assert "test_accuracy" in baselines(committed)


def test_a_module_that_is_gone_takes_its_file_along(committed):
    (committed.path / "test_life.py").unlink()
    committed.makepyfile(test_new='def test_a(llm_baseline): llm_baseline.check("bleu", 30.0, margin=1)')
    committed.runpytest("--llm-update=new").stdout.fnmatch_lines(["next      2 baselines that no test checks are*"])
    committed.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 2 baselines"])
    assert [path.name for path in (committed.path / "__llm_baselines__").iterdir()] == ["test_new.json"]


MADE_FROM_RESULTS = """
    from pytest_llm.metrics import accuracy, contains, similarity

    def test_choice(llm, llm_baseline, llm_snapshot):
        scores = [llm.score(f"{a} the", [" cat", " dog"]) for a in ("see", "feed", "pet")]
        picked = [one.pick() for one in scores]
        llm_baseline.check("accuracy", accuracy(picked, [0, 0, 0]), margin=0.1)
        assert picked == [max((0, 1), key=lambda i: one[i].logprob) for one in scores] == llm_snapshot
        assert scores[0].pick("characters") in (0, 1) and scores[0].pick("tokens") in (0, 1)

    def test_meaning(llm, llm_baseline):
        vectors = [llm.embed(f"{a} the cat") for a in ("see", "feed", "pet")]
        llm_baseline.check("similarity", similarity(vectors, vectors), margin=0.1)

    def test_metric(llm, llm_baseline):
        llm_baseline.check("right", accuracy(["a"] * 3, ["a"] * 3), margin=0.1)
"""


def test_a_prompt_or_metric_that_changed_is_stale_also_where_a_test_made_something_of_the_answers(
    pytester, cache_dir, tiny_gpt2
):
    file = pytester.makepyfile(test_made=MADE_FROM_RESULTS)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=3)
    pytester.runpytest(f"--llm-model={tiny_gpt2}").assert_outcomes(passed=3)
    file.write_text(file.read_text().replace('"feed"', '"hold"').replace('accuracy(["a"]', 'contains(["a"]'))
    result = pytester.runpytest(f"--llm-model={tiny_gpt2}")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E*accuracy: the question changed since the baseline was made",
            "E*the prompts or generation settings changed",
            "E*similarity: the question changed since the baseline was made",
            "E*the prompts or generation settings changed",
            "E*the metric is another, or configured differently (accuracy -> contains)",
        ]
    )


def test_questions_are_told_by_their_ids_and_not_by_their_order(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile("""
        import os
        from pytest_llm.metrics import contains, similarity

        TEXTS = {"a": "see the", "b": "feed the", "c": "pet the"}
        if "OTHER" in os.environ:
            TEXTS = TEXTS | {"b": TEXTS["c"], "c": TEXTS["b"]}
        IDS = sorted(TEXTS, reverse="REVERSED" in os.environ)
        ASKED = [TEXTS[id] for id in IDS]

        def test_answers(llm, llm_baseline):
            llm_baseline.check("contains", contains(llm.generate(ASKED, max_new_tokens=3), IDS, ids=IDS), margin=0.5)

        def test_loss(llm, llm_baseline):
            llm_baseline.check("loss", llm.loss(ASKED, ids=IDS), margin=0.5)

        def test_vectors(llm, llm_baseline):
            vectors = llm.embed(ASKED)
            llm_baseline.check("similarity", similarity(vectors, vectors, ids=IDS), margin=0.5)
    """)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=3)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("REVERSED", "1")
        pytester.runpytest(f"--llm-model={tiny_gpt2}").assert_outcomes(passed=3)
        context.setenv("OTHER", "1")
        result = pytester.runpytest(f"--llm-model={tiny_gpt2}")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["E*the prompts or generation settings changed"] * 3)


def test_a_loss_over_as_many_other_tokens_is_not_compared(pytester, cache_dir, tiny_gpt2, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(tiny_gpt2, pytester.path / "broken")
    file = pytester.path / "broken" / "tokenizer.json"
    normalizer = {"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "normalizer": normalizer}))
    texts = ["the red cat sees the blue dog", "the white cat likes the black hen", "the brown cow hears the owl"]
    pytester.makepyfile(
        test_loss=f"""
        from pytest_llm import assert_perplexity
        from pytest_llm.stats.gate import gate

        TEXTS = {texts}

        def test_loss(llm, llm_baseline):
            llm_baseline.check("loss", llm.loss(TEXTS), margin=9.0)

        def test_perplexity(llm):
            assert_perplexity(llm.perplexity(TEXTS), at_most=1e9)

        def test_gate(llm, llm_loader):
            gate(llm.perplexity(TEXTS), llm_loader({str(tiny_gpt2)!r}).perplexity(TEXTS), margin=1e9)
        """
    )
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=3)
    result = pytester.runpytest("--llm-model=broken")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["E*: the texts are 17 tokens here and 17 others in the baseline: the tokenizer*"] * 2)
    command = [COMMAND, "compare", "latest~1", "latest"]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert re.search(r"^perplexity .* other tokens +test_loss.py::test_perplexity", done.stdout, re.MULTILINE)

    file = pytester.path / "__llm_baselines__" / "test_loss.json"
    data = json.loads(file.read_text())
    entry = data["tests"]["test_loss"]["loss"]
    del entry["tokens"], entry["digest"]
    file.write_text(json.dumps(data))
    result = pytester.runpytest("--llm-model=broken", "test_loss.py::test_loss")
    result.assert_outcomes(passed=1)  # an older version kept nothing of the tokens


def test_sets_and_objects_are_the_same_references_in_every_run(pytester, cache_dir):
    file = pytester.makepyfile("""
        import pytest
        from pytest_llm.metrics import accuracy, custom

        class Gold:
            def __init__(self, label):
                self.label = label

        GOLD = [{"toxic", "insult", "threat"}, frozenset({"insult", "obscene"}), {"a": ({"b", "c", "d"}, 1)}]

        def same(found, gold):
            return [float(a == b) for a, b in zip(found, gold)]

        def test_labels(llm_baseline):
            llm_baseline.check("accuracy", accuracy([*GOLD[:2]] * 9, [*GOLD[:2]] * 9), margin=0.1)

        def test_function(llm_baseline):
            score = custom(same, GOLD * 9, GOLD * 9)
            llm_baseline.check("same", score, margin=0.1)
            assert score.references[2] == score.predictions[2] == "{'a': ({'b', 'c', 'd'}, 1)}"

        def test_objects(llm_baseline):
            gold = [Gold("a"), Gold("b")]
            llm_baseline.check("same", custom(same, gold, gold), margin=0.1)
    """)
    with pytest.MonkeyPatch.context() as context:
        for seed, update in (("1", "new"), ("2", "none"), ("3", "none")):
            context.setenv("PYTHONHASHSEED", seed)
            pytester.runpytest_subprocess(f"--llm-update={update}").assert_outcomes(passed=3)
        file.write_text(file.read_text().replace('"threat"', '"other"').replace('"d"', '"e"'))
        result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["E*the reference texts changed"] * 2)


def test_references_that_the_model_answered_are_told_by_what_was_asked(pytester, cache_dir, tiny_gpt2, tiny_t5):
    file = pytester.makepyfile(
        test_pair="""
        from pytest_llm.metrics import custom, exact_match, rouge

        def same(answers, others):
            return [1.0 for pair in zip(answers, others, strict=True)]

        def test_function(llm, llm_baseline):
            ours, others = (llm.generate([f"{a} the cat" for a in pair], max_new_tokens=4)
                            for pair in (("see", "feed"), ("hold", "pet")))
            llm_baseline.check("same", custom(same, ours, others), margin=0.1, length_band=None)

        def test_texts(llm, llm_baseline):
            ours, others = (llm.generate(text, max_new_tokens=4) for text in ("see the cat", "hold the dog"))
            llm_baseline.check("em", exact_match(ours, others, normalize=False), margin=0.9, length_band=None)

        def test_others(llm, llm_loader, llm_baseline):  # another model's: by their text
            ours, others = (one.generate("see the cat", max_new_tokens=4) for one in (llm, llm_loader(TEACHER)))
            llm_baseline.check("same", custom(same, [ours], [others]), margin=0.1, length_band=None)
    """.replace("TEACHER", repr(str(tiny_gpt2)))
    )
    pytester.runpytest(f"--llm-model={tiny_t5}", "--llm-update=new").assert_outcomes(passed=3)
    pytester.runpytest(f"--llm-model={tiny_t5}").assert_outcomes(passed=3)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "-k", "not others").assert_outcomes(passed=2)
    file.write_text(file.read_text().replace('"hold', '"see'))
    result = pytester.runpytest(f"--llm-model={tiny_gpt2}", "-k", "not others")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E*the reference texts changed"] * 2)


def test_what_a_partial_sets_of_a_metric_is_its_configuration(pytester, cache_dir):
    file = pytester.makepyfile("""
        import functools
        from pytest_llm.metrics import get

        def short(suffix, outputs, limit):
            return [len(text + suffix) < limit for text in outputs]

        def test_a(llm_baseline):
            short_enough = get(functools.partial(short, "!", limit=4))
            llm_baseline.check("short", short_enough(["a", "bcd", "ef"]), margin=0.1)
    """)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    pytester.runpytest().assert_outcomes(passed=1)
    for was, now in (("limit=4", "limit=5"), ('"!"', '"?"')):
        text = file.read_text()
        file.write_text(text.replace(was, now))
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "E*short: the question changed since the baseline was made",
                "E*configured differently (short|0:!|limit:4 -> short|0:*|limit:*)",
            ]
        )
        file.write_text(text)


def test_another_judge_of_a_metric_makes_its_baseline_stale(pytester, cache_dir, tiny_gpt2, tiny_t5):
    file = pytester.makepyfile(
        test_judge="""
        import functools
        from pytest_llm.metrics import custom

        def asked(judge, text):
            return judge.generate(text, max_new_tokens=2)

        def rated(outputs, judge):
            return [1.0] * len(outputs)

        def check(name, outputs, llm_baseline, judge):
            llm_baseline.check(name, custom(rated, outputs, judge=judge), margin=0.5, length_band=None)

        def test_judges(llm, llm_loader, llm_baseline):
            one, outputs = llm_loader("JUDGE"), llm.generate(["see the cat"] * 3, max_new_tokens=2)
            check("plain", outputs, llm_baseline, one)

        def test_nested(llm, llm_loader, llm_baseline):
            one, outputs = llm_loader("JUDGE"), llm.generate(["see the cat"] * 3, max_new_tokens=2)
            check("nested", outputs, llm_baseline, {"ask": [functools.partial(asked, one)]})

        def test_method(llm, llm_loader, llm_baseline):
            one, outputs = llm_loader("JUDGE"), llm.generate(["see the cat"] * 3, max_new_tokens=2)
            check("method", outputs, llm_baseline, one.generate)

        def test_itself(llm, llm_baseline):
            check("itself", llm.generate(["see the cat"] * 3, max_new_tokens=2), llm_baseline, llm)
    """.replace("JUDGE", str(tiny_t5))
    )
    model = f"--llm-model={tiny_gpt2}"
    pytester.runpytest(model, "--llm-update=new").assert_outcomes(passed=4)
    pytester.runpytest(model).assert_outcomes(passed=4)
    pytester.runpytest(f"--llm-model={tiny_t5}").assert_outcomes(passed=4)
    file.write_text(file.read_text().replace(str(tiny_t5), str(tiny_gpt2)))
    result = pytester.runpytest(model)
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(["E*note: the metric is another, or configured differently*"] * 3)
    result.stdout.fnmatch_lines(["E* rated|judge:LanguageModel.generate:*)"])


OPTIONS = """
    import functools
    import os

    import numpy as np
    import pandas
    import pytest
    import torch

    from pytest_llm.metrics import custom

    N = 2 if "NEW" in os.environ else 1
    VALUES = {
        "set": {f"d{i}" for i in range(40 * N)},
        "nested": {"a": [frozenset({"b", "c", N})], ("d", 1): (np.arange(3),)},
        "array": np.arange(40.0) * N,
        "view": np.arange(80.0).reshape(40, 2)[:, N - 1],
        "tensor": torch.full((2, 2), float(N), dtype=torch.bfloat16, requires_grad=True),
        "objects": np.array(["a", {"b", "c", N}], dtype=object),
        "integer": np.int64(N),
        "frame": pandas.DataFrame({"a": [1, N], "b": ["x", "y"]}),
        "nan": [float("nan"), N],
        "bytes": b"ab" * N,
    }

    @pytest.mark.parametrize("kind", VALUES)
    def test_given(llm_baseline, kind):
        score = custom(lambda texts, given: [1.0 for text in texts], ["a", "b", "c"], given=VALUES[kind])
        llm_baseline.check("given", score, margin=0.1)

    def test_vectors(llm, llm_baseline):
        score = custom(lambda texts, given: [1.0, 1.0, 1.0], ["a", "b", "c"], given=llm.embed(["a", "b" * N]))
        llm_baseline.check("given", score, margin=0.1)

    def test_object(llm, llm_baseline):
        score = custom(lambda texts, given: [1.0, 1.0, 1.0], ["a", "b", "c"], given={"judge": llm, "how": len})
        llm_baseline.check("given", score, margin=0.1)
"""


def test_what_a_metric_is_given_is_its_configuration_whatever_it_is(pytester, cache_dir, tiny_gpt2, tiny_bert):
    pytester.makepyfile(test_given=OPTIONS)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=12)
    pytester.runpytest(f"--llm-model={tiny_bert}").assert_outcomes(passed=12)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("NEW", "1")
        result = pytester.runpytest(f"--llm-model={tiny_gpt2}")
    result.assert_outcomes(failed=11, passed=1)
    result.stdout.fnmatch_lines(["E*configured differently (<lambda>|given:*"] * 11)


def test_an_array_that_cannot_be_read_is_warned_of(pytester, cache_dir):
    pytester.makepyfile("""
        import torch
        from pytest_llm.metrics import custom

        def test_sparse():
            custom(lambda texts, given: 1.0, ["a"], given=torch.eye(3).to_sparse())
    """)
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*a Tensor cannot be read as an array, and is no part of the metric's configuration*"])


def test_rankings_and_vectors_are_known_by_their_question_and_references(pytester, cache_dir, tiny_gpt2):
    file = pytester.makepyfile(
        test_search="""
        import numpy as np
        from pytest_llm.metrics import custom

        GOLD = [["d1", "d2"], [], [("d3", 2), ("d4", 1)]]
        LONG = np.zeros(5000)

        def judge(found, gold):
            return [1.0] * len(gold)

        def test_rankings(llm_baseline):
            score = custom(judge, [["d1"], [], ["d3", "d4"]], GOLD, ids=["a", "b", "c"])
            llm_baseline.check("recall", score, margin=0.1)

        def test_arrays(llm_baseline):
            llm_baseline.check("recall", custom(judge, [1, 2], [LONG, LONG]), margin=0.1)

        def test_vectors(llm, llm_baseline):
            score = custom(judge, llm.embed(["see the cat", "see the dog"]), [0, 1])
            llm_baseline.check("hits", score, margin=0.1)
    """
    )
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=3)
    pytester.runpytest(f"--llm-model={tiny_gpt2}").assert_outcomes(passed=3)
    text = file.read_text().replace("[], [(", '[""], [(').replace('the dog"', 'the owl"')
    file.write_text(text.replace("def judge", "LONG[2500] = 1\n\ndef judge"))
    result = pytester.runpytest(f"--llm-model={tiny_gpt2}")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E*the reference texts changed"] * 2 + ["E*the prompts or generation settings changed"]
    )


def test_a_score_that_a_function_returns_has_its_options_ids_and_question(pytester, cache_dir, tiny_gpt2):
    file = pytester.makepyfile(
        test_cut="""
        from pytest_llm.metrics import accuracy, custom

        OTHER = False
        IDS = [f"q{i}" for i in range(40)]
        RIGHT = ["yes"] * 40

        def cut(answers, labels, limit=3):
            return accuracy([text[:limit] for text in answers], labels)

        def test_options(llm_baseline):
            llm_baseline.check("accuracy", custom(cut, RIGHT, RIGHT, limit=30 if OTHER else 3), margin=0.1)

        def test_examples(llm_baseline):
            ids = [f"z{id}" for id in IDS] if OTHER else IDS
            llm_baseline.check("accuracy", custom(cut, RIGHT, RIGHT, ids=ids), margin=0.1)

        def test_question(llm, llm_baseline):
            texts = llm.generate(["the dog" if OTHER else "the cat"] * 40, max_new_tokens=2)
            score = custom(lambda texts: accuracy([len(text) > 0 for text in texts], [True] * 40), texts)
            llm_baseline.check("any", score, margin=0.1)

        def test_order(llm_baseline):
            answers, ids = ["no"] * 10 + ["yes"] * 30, IDS
            if OTHER:
                answers, ids = answers[::-1], ids[::-1]
            score = custom(cut, answers, RIGHT, ids=ids)
            assert score.ids == tuple(ids)
            assert llm_baseline.check("accuracy", score, margin=0.0).status in ("created", "pass")
    """
    )
    model = f"--llm-model={tiny_gpt2}"
    pytester.runpytest(model, "--llm-update=new").assert_outcomes(passed=4)
    pytester.runpytest(model).assert_outcomes(passed=4)
    file.write_text(file.read_text().replace("OTHER = False", "OTHER = True"))
    result = pytester.runpytest(model)
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["E*configured differently (accuracy|cut|limit:3 ->*"])
    result.stdout.fnmatch_lines(["E*the examples changed (40 added, 40 removed, 0 kept)"])
    result.stdout.fnmatch_lines(["E*the prompts or generation settings changed"])


def test_a_row_names_the_test_whole_but_for_folders_that_it_can_be_told_without(pytester, cache_dir):
    body = """
        import pytest
        from pytest_llm import assert_contains
        @pytest.mark.parametrize("model", ["org/base"])
        def test_it(model): assert_contains(["a"], "a")
    """
    pytester.makepyfile(**{"one/test_own": body, "one/test_shared": body, "two/test_shared": body})
    gate = "contains  1  >= 1  pass"
    pytester.runpytest("--import-mode=importlib").stdout.fnmatch_lines([
        f"gates     {gate}  test_own.py::test_it[[]org/base]",
        f"          {gate}  one/test_shared.py::test_it[[]org/base]",
        f"          {gate}  two/test_shared.py::test_it[[]org/base]",
    ])  # fmt: skip


@pytest.mark.parametrize("update", ["none", "new"])
def test_the_baseline_of_a_test_that_was_renamed_is_named(suite, update):
    file = suite.path / "test_life.py"
    file.write_text(file.read_text().replace('mean("quality")', 'mean("quality", request="the questions")'))
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    file.write_text(file.read_text().replace("test_quality(", "test_good("))
    now(suite, figures(quality=-0.3))
    result = suite.runpytest(f"--llm-update={update}")
    notes = (
        "*a test that is gone asked this very question, and against it this answer is another: quality of test_quality, "
        "0.430005, in __llm_baselines__/test_life.json*",
        "*if the test was renamed, keep that baseline: call it test_good there*",
    )
    what = "next      1 new golden or baseline has the question of a test that is gone, 1 with another answer: *"
    if update == "none":
        result.assert_outcomes(passed=1, failed=1)
        assert notes[1].strip("*") in result.stdout.str().replace("\nE  ", " ")
        result.stdout.fnmatch_lines([what])
    else:
        result.assert_outcomes(passed=2)
        row = f"          test_life.py::test_good (quality): {notes[0].strip('*')}*; {notes[1].strip('*')}, in the place of*"
        result.stdout.fnmatch_lines([what, row])
    baseline = suite.path / "__llm_baselines__" / "test_life.json"
    kept = json.loads(baseline.read_text())
    kept["tests"]["test_good"] = kept["tests"].pop("test_quality")
    baseline.write_text(json.dumps(kept))
    suite.runpytest().assert_outcomes(passed=1, failed=1)
