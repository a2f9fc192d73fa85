"""Goldens: what the model says today is what it said when somebody looked and agreed."""

from pytest_llm import Generation

INSTRUCTIONS = [
    "Rewrite in the past tense: I walk to school.",
    "What is the largest planet in our solar system?",
    "Name three primary colours.",
    "Who wrote Romeo and Juliet?",
]


def test_one_answer(llm, llm_snapshot):
    answer = llm.chat("What is the capital of France?", max_new_tokens=32)
    assert answer == llm_snapshot


def test_a_batch_of_answers(llm, llm_snapshot):
    answers = llm.chat(INSTRUCTIONS, max_new_tokens=16)
    assert answers == llm_snapshot


def test_a_system_prompt(llm, llm_snapshot):
    answer = llm.chat("Why is the sky blue?", system="Answer in one short sentence.", max_new_tokens=24)
    assert answer == llm_snapshot(name="sky")


def test_sampling_has_a_golden_too(llm, llm_snapshot):
    """A seed decides a sampled answer, whatever else is in the batch."""
    ideas = llm.chat(
        "Suggest a name for a cat.", do_sample=True, temperature=0.8, num_return_sequences=3, max_new_tokens=8, seed=7
    )
    assert all(isinstance(idea, Generation) for idea in ideas)
    assert ideas == llm_snapshot


def test_how_sure_the_model_is(llm):
    """A result carries its evidence: tokens, logprobs, and how close the runner-up was."""
    answer = llm.chat("What is the capital of France?", max_new_tokens=32)
    assert answer.finish_reason == "stop"
    assert min(answer.margins) > 0.05, f"a near-tie at {answer.tokens[answer.margins.index(min(answer.margins))]!r}"
