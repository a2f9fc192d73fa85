"""The suite of a team with an extractive question-answering model: answers, SQuAD's metrics, goldens, a baseline."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import COMMAND, goldens
from tests.test_startup import imported
from tests.tiny_models import QUESTIONS, retrain

COLOUR, WHO = QUESTIONS

SUITE = f"""
    from pytest_llm import assert_exact_match, assert_f1
    from pytest_llm.metrics import exact_match

    COLOUR, WHO = {COLOUR!r}, {WHO!r}
    FILLER = "the cow hears the dog. the fox wants the hen. "
    ASKED = {{
        (COLOUR, "the red cat likes the dog."): "red",
        (WHO, "the hen sees the owl. the green owl knows the fox."): "the green owl",
        (COLOUR, FILLER * 6 + "the blue hen sees the owl. " + FILLER): "blue",
        (WHO, FILLER): "",
    }}
    QUESTIONS, CONTEXTS = zip(*ASKED)

    def test_one(llm):
        context = "the red cat likes the dog."
        found = llm.answer(WHO, contexts=context)
        assert found == "the red cat" and found == context[found.start:found.end] and found.score > 0.5
        assert found.origin.request["kind"] == "extract"

    def test_metrics(llm, llm_baseline):
        found = llm.answer(QUESTIONS, contexts=CONTEXTS, handle_impossible_answer=True)
        assert_f1(found, list(ASKED.values()), at_least=0.9)
        assert exact_match(found, list(ASKED.values())) == 1
        matched = assert_exact_match(found, list(ASKED.values()), at_least=0.9)
        llm_baseline.check("exact_match", matched, margin=0.01)

    def test_golden(llm, llm_snapshot):
        assert llm.answer(QUESTIONS, contexts=CONTEXTS, handle_impossible_answer=True) == llm_snapshot

    def test_words(llm, llm_snapshot):
        assert [str(one) for one in llm.answer(QUESTIONS[:2], contexts=CONTEXTS[:2])] == llm_snapshot
"""


@pytest.fixture
def suite(pytester, cache_dir, tiny_extractive):
    pytester.makeini("[pytest]\nllm_model = model\n")
    pytester.makepyfile(test_questions=SUITE)
    shutil.copytree(tiny_extractive, pytester.path / "model")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=4)
    return pytester


def test_a_golden_has_the_answer_its_place_and_the_question(suite):
    found = goldens(suite.path)["test_golden"]
    assert found["request"]["kind"] == "extract"
    assert found["request"]["each"][1]["question"] == WHO
    value = json.dumps(found["output"])
    assert '"the green owl"' in value
    assert '"start"' in value
    assert '"score"' in value


def test_a_warm_run_imports_neither_torch_nor_transformers(suite):
    result, modules = imported("-m", "pytest", "-s", "--llm-offline", cwd=suite.path)
    assert "4 passed" in result.stdout
    assert "goldens   2 identical" in result.stdout
    assert "pytest_llm.spans" in modules
    assert not modules & {"torch", "transformers", "pytest_llm.engines.local"}


def test_a_head_that_was_damaged_fails_all(suite):
    retrain(suite.path / "model", lambda weights: weights["qa_outputs.weight"].mul_(-1))
    result = suite.runpytest()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["E *token F1 0* is below 0.9*", "E*note: 4 of 4 answers changed: 'red' → *"])


def test_an_answer_that_is_less_sure_is_seen_before_it_changes(suite):
    retrain(suite.path / "model", lambda weights: weights["qa_outputs.weight"].mul_(0.7))
    result = suite.runpytest("-rA")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "FAILED *::test_golden*",
            "E*].score: drifted from 0.* to 0.*",
            "E*note: 0 of 4 answers changed: their scores moved",
        ]
    )


def test_what_goldens_ask_is_computed_in_batches_before_the_tests(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", str(suite.path / "fresh"))
    result = suite.runpytest()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["model *11 answers: 4 from the store, 7 computed (4 ahead)*"])


def test_one_at_a_time_the_answers_are_the_same(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", str(suite.path / "fresh"))
    result = suite.runpytest("--llm-batch-size=1")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["goldens   2 identical"])


def test_doctor_finds_the_model(suite):
    result = suite.run(COMMAND, "doctor")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["model *model", "*7 answers in the store"])


def test_another_model_says_what_it_can_answer_instead(suite, tiny_bert):
    result = suite.runpytest("-k", "test_one", f"--llm-model={tiny_bert}")
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(
        [
            "*cannot answer 'answer' (answer() is for models with a question-answering head): this masked model answers "
            "activations, embed, fill_mask, loss, tokenize"
        ]
    )
