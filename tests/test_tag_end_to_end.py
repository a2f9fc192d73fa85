"""A token classifier's suite, as its team runs it: entities, their F1 on a baseline, goldens that see a span move."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.tiny_models import parts, retrain, sentences

TEXTS = sentences()[1200::151]
SUITE = f"""
    from pytest_llm import assert_metric

    CASES = {{text: spans for text, spans in {[(text, parts(text)) for text in TEXTS]!r}}}

    def test_one(llm):
        first, *_ = llm.tag("the red cat likes the dog.")
        assert first == "red cat" and first.label == "ANIMAL" and first.score > 0.9

    def test_f1(llm, llm_baseline):
        found = llm.tag(list(CASES))
        llm_baseline.check("f1", assert_metric("entity_f1", found, CASES.values(), at_least=0.9), margin=0.02)

    def test_golden(llm, llm_snapshot):
        assert llm.tag("the red cat likes the dog.") == llm_snapshot
        assert llm.tag(["the owl", "xyz"], aggregation_strategy="first") == llm_snapshot
"""


@pytest.fixture
def suite(pytester, cache_dir, tiny_tagger):
    pytester.makeini("[pytest]\nllm_model = model\n")
    pytester.makepyfile(test_entities=SUITE)
    shutil.copytree(tiny_tagger, pytester.path / "model")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=3)
    return pytester


def test_a_golden_has_the_spans_and_the_question(suite):
    first, second = (json.loads(path.read_text()) for path in sorted(suite.path.rglob("__llm_sn*/*/*.json")))
    assert first["request"] == {
        "kind": "tag", "text": "the red cat likes the dog.", "aggregation_strategy": "simple", "stride": 0,
    }  # fmt: skip
    rows = first["output"]["value"]
    assert [(row["text"], row["label"], row["start"], row["end"]) for row in rows] == [
        ("red cat", "ANIMAL", 4, 11), ("likes", "VERB", 12, 17), ("dog", "ANIMAL", 22, 25),
    ]  # fmt: skip
    assert second["request"]["each"] == [{"text": "the owl"}, {"text": "xyz"}]
    result = suite.runpytest("--llm-offline")  # of the store alone
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["goldens   2 identical"])


def test_entities_that_are_lost_are_named(suite):
    retrain(suite.path / "model", lambda weights: weights["classifier.bias"][0].add_(25.0))  # nothing but O
    result = suite.runpytest("--llm-update=none")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["E*entity F1 0*is below 0.9*", "E*(missed ANIMAL 4-*"])
    result.stdout.fnmatch_lines(["E*golden '1': with another model, 3 items became 0"])
