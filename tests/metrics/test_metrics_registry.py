"""Metrics by name, and what importing them costs."""

import subprocess
import sys

import pytest

from pytest_llm import metrics
from pytest_llm.errors import InvalidInputError

HEAVY = "numpy sacrebleu rouge_score nltk evaluate datasets jsonschema torch transformers scipy"


@pytest.mark.parametrize("module", ["pytest_llm.metrics", "pytest_llm.assertions"])
def test_importing_brings_in_none_of_the_libraries(module):
    code = f"import sys, {module}; print([m for m in {HEAVY.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_computes_the_score_it_names():
    for name in metrics.names():
        if name == "similarity":
            score = metrics.get(name)([[1.0, 0.0]], [[1.0, 0.0]])
        elif name == "entity_f1":
            score = metrics.get(name)([[(0, 4, "PER")]], [[(0, 4, "PER")]])
        elif name in ("loss", "perplexity", "bits_per_byte"):
            with pytest.raises(InvalidInputError, match=rf"pass what llm\.{name}\(texts\) returned"):
                metrics.get(name)(["a"], ["b"])
            continue
        elif name == "human_rating":  # of what people rated: tests/human
            continue
        else:
            text = "to be or not" if name == "bleu" else "2"  # which counts four words at once
            score = metrics.get(name)([text], True if name == "valid_json" else text if name == "matches" else [text])
        metric = metrics.get(name)
        assert (score.name, score.higher_is_better, score.unit) == (name, metric.higher_is_better, metric.unit)
        # The best possible answer has the best possible value.
        if name != "rouge2":  # one word has no pair of words
            assert score == pytest.approx(metric.highest if metric.higher_is_better else metric.lowest)


def test_a_function_of_this_package_is_the_metric_itself():
    assert metrics.get(metrics.bleu) is metrics.get("bleu") is metrics.get(metrics.get("bleu"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("blue", "did you mean 'bleu'?"), ("ROUGE-L", "did you mean 'rougeL'?"), ("exact-match", "'exact_match'?")],
)
def test_an_unknown_name(name, hint):
    with pytest.raises(InvalidInputError, match=f"there is no metric '{name}'; ") as caught:
        metrics.get(name)
    assert hint in str(caught.value)


def test_a_name_like_no_other():
    with pytest.raises(
        InvalidInputError, match=r"there is no metric 'zzzz'\. Known are bleu, .*'evaluate:NAME_OR_PATH'"
    ):
        metrics.get("zzzz")
    with pytest.raises(InvalidInputError, match="a metric is a name, a function, an evaluate module or a Score, not 3"):
        metrics.get(3)
