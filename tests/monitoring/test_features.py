"""What is measured of one output."""

import sys

import pytest

from pytest_llm.errors import InvalidInputError, MissingExtraError
from pytest_llm.monitoring import features


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I am sorry, I cannot assist you in this matter.",
        "I\u2019m afraid I can\u2019t do that.",
        "Unfortunately, I can't provide medical advice.",
        "I am unable to open links.",
        "As an AI language model, I have no opinions.",
        "I must decline.",
        "That violates our policies.",
    ],
)
def test_refusals(text):
    assert features.refuses(text, features.refusal_patterns())


@pytest.mark.parametrize(
    "text",
    [
        "The sorry state of the roads can be helped.",
        "You cannot miss the museum.",
        "I'm sorry to hear that; here is what you can do.",
        "",
        "An AI conference is held in Oslo.",
        # A story may quote one: only the beginning is read.
        "Once upon a time. " * 20 + "I can't help you, said the fox.",
    ],
)
def test_no_refusals(text):
    assert not features.refuses(text, features.refusal_patterns())


def test_patterns_of_ones_own():
    patterns = features.refusal_patterns([r"^Das kann ich nicht", r"(?i)^(n)ei\1", r"^(j)amais \1"])
    assert features.refuses("Das kann ich nicht beantworten.", patterns)
    assert features.refuses("I cannot help.", patterns)
    assert features.refuses("Nein.", patterns)
    assert features.refuses("Jamais je ne dirai cela.", patterns)  # \1 is its own group
    assert not features.refuses("", patterns)
    with pytest.raises(InvalidInputError, match=r"'\(' is not a regular expression: missing \)"):
        features.refusal_patterns(["("])


@pytest.mark.parametrize("pattern", ["", "no|", "^", "(sorry)?"])
def test_a_pattern_that_every_output_has_is_refused(pattern):
    with pytest.raises(InvalidInputError, match=" matches an empty text: no pattern of refusals"):
        features.refusal_patterns([pattern])


def test_repetition_is_the_share_of_4_grams_said_before():
    assert features.repetition("a b c d e f") == 0
    assert features.repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert features.repetition("no " * 50) == pytest.approx(1 - 1 / 47)
    assert features.repetition("too short") == 0


def test_words_of_scripts_with_and_without_spaces():
    assert features.words("Don't  PANIC, 42 Straße!") == ["don", "t", "panic", "42", "strasse"]
    assert features.words("東京は大きい city") == ["東", "京", "は", "大", "き", "い", "city"]


@pytest.mark.parametrize(
    ("text", "midway"),
    [
        ("It ends.", False),
        ("It ends.  \n", False),
        ('He said "no"', False),
        ("```\ncode\n```", False),
        ("終わり。", False),
        ("Great 🎉", False),
        ("", False),
        ("It does not", True),
        ("first, second,", True),
    ],
)
def test_ends_midway(text, midway):
    assert features.ends_midway(text) is midway


def test_languages_and_texts_too_short_to_tell():
    assert features.languages(
        [
            "The museum is open from nine to five and worth a visit.",
            "Le musée est ouvert de neuf heures à dix-sept heures.",
            "Das Museum ist von neun bis siebzehn Uhr geöffnet.",
            "Ok.",
            "",
        ]
    ) == ["en", "fr", "de", "(short)", "(short)"]


def test_the_extra_that_tells_languages_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llm-regression\[monitor\]'"):
        features.languages(["x"])
