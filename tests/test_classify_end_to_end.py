"""A classifier's suite, as its team runs it: labels, accuracy, goldens that see confidence move before a label does."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import goldens
from tests.tiny_models import FEELS, retrain

SUITE = f"""
    from pytest_llm import assert_accuracy

    FEELS = {FEELS!r}
    TEXTS = [f"the red cat {{verb}} the dog." for verb in FEELS]

    def test_one(llm):
        found = llm.classify("the red cat likes the dog.")
        assert found == "positive" and found.score > 0.9 and list(found.scores) == ["neutral", "positive"]

    def test_accuracy(llm, llm_baseline):
        found = llm.classify(TEXTS)
        llm_baseline.check("accuracy", assert_accuracy(found, list(FEELS.values()), at_least=0.9), margin=0.01)

    def test_scores(llm, llm_snapshot):
        assert llm.classify(TEXTS) == llm_snapshot

    def test_labels(llm, llm_snapshot):
        assert [str(found) for found in llm.classify(TEXTS)] == llm_snapshot

    def test_pair(llm, llm_snapshot):
        assert llm.classify("the red cat likes the dog.", pairs="the hen") == llm_snapshot
"""


@pytest.fixture
def suite(pytester, cache_dir, tiny_classifier):
    pytester.makeini("[pytest]\nllm_model = model\n")
    pytester.makepyfile(test_feelings=SUITE)
    shutil.copytree(tiny_classifier, pytester.path / "model")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=5)
    return pytester


def test_a_golden_has_the_scores_and_the_question(suite):
    found = goldens(suite.path)
    assert found["test_pair"]["request"] == {
        "kind": "classify", "pair": "the hen", "text": "the red cat likes the dog.",
    }  # fmt: skip
    value = json.dumps(found["test_pair"]["output"])
    assert '"neutral"' in value
    assert '"positive"' in value
    assert found["test_scores"]["model"]["source"] == "model"
    result = suite.runpytest("--llm-offline")  # of the store alone
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["goldens   3 identical"])


def test_confidence_that_falls_is_seen_before_a_label_changes(suite):
    retrain(suite.path / "model", lambda weights: weights["classifier.weight"].mul_(0.5))
    result = suite.runpytest("-rA")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "PASSED test_feelings.py::test_labels",
            "FAILED test_feelings.py::test_scores*",
            "E*[[]0[]].neutral: drifted from 0.* to 0.*",
            "E*note: 0 of 6 labels changed: their scores moved",
        ]
    )


def test_labels_that_are_wrong_fail_all(suite):
    retrain(suite.path / "model", lambda weights: weights["classifier.weight"].mul_(-1))
    result = suite.runpytest()
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "E *accuracy 0 is below 0.9",
            "E*note: 6 of 6 labels changed: positive → neutral, neutral → positive",
            "E*note: 1 of 1 label changed: positive → neutral",
        ]
    )


def test_a_tie_that_falls_the_other_way_is_no_drift(suite):
    def level(weights, tilt):
        weights["classifier.weight"].zero_()
        weights["classifier.bias"].copy_(weights["classifier.bias"].new_tensor([tilt, -tilt]))

    retrain(suite.path / "model", lambda weights: level(weights, 1e-6))
    suite.runpytest("--llm-update=all", "-k", "scores or labels").assert_outcomes(passed=2, deselected=3)
    retrain(suite.path / "model", lambda weights: level(weights, -1e-6))
    suite.runpytest("-k", "scores or labels").assert_outcomes(passed=1, failed=1, deselected=3)


def test_what_tests_asked_is_computed_in_batches_before_them(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", str(suite.path / "fresh"))
    result = suite.runpytest()
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["model *20 answers: 13 from the store, 7 computed (7 ahead)*"])
