"""May this candidate replace the base model? Committed baselines are the base model's own figures.

Each gate is a paired, one-sided test: not worse than the baseline by more than the margin.
"""

from texts import GENERAL, HELD_OUT

from pytest_llm import assert_contains

CAPITALS = {"Russia": "Moscow", "Japan": "Tokyo", "Germany": "Berlin", "Egypt": "Cairo", "China": "Beijing"}


def test_the_domain_is_not_worse(llm, llm_baseline):
    """A fine-tuned candidate reads as improved here; the base model as identical."""
    llm_baseline.check("loss", llm.loss(HELD_OUT), margin=0.02)


def test_general_english_is_not_forgotten(llm, llm_baseline):
    llm_baseline.check("loss", llm.loss(GENERAL), margin=0.1)


def test_it_still_answers(llm):
    answers = llm.chat([f"What is the capital of {country}?" for country in CAPITALS], max_new_tokens=16)
    assert_contains(answers, list(CAPITALS.values()))
