"""What is measured of one output by itself: its words and language, whether it is a refusal, cut short, repetitive."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_llm.errors import InvalidInputError, MissingExtraError

#: How refusals begin, in English; looked for in the first `REFUSAL_HEAD` characters, whatever the case.
REFUSALS = (
    r"\bI(?:'m| am) (?:very |really |truly )?(?:sorry|afraid)\b.{0,40}\b(?:can(?:'|no)t|unable|not able|won't)\b",
    r"\bI (?:can(?:'t|not)|could not|couldn't|won't|will not) (?:help|assist|comply|answer|provide|do that|support)\b",
    r"\bI(?:'m| am) (?:unable|not able|not allowed|not permitted) to\b",
    r"\bI must (?:decline|refuse)\b",
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b",
    r"\b(?:against|violates?) (?:my|our|the) (?:guidelines|polic(?:y|ies)|programming)\b",
)
REFUSAL_HEAD = 200
#: An output repeats itself when this share of its word 4-grams was there before (seq-rep-4 of Welleck et al. 2020).
REPETITION = 0.3
#: Letters below which a language is not guessed.
MIN_LETTERS = 20
#: Characters of one output that its words, its repetition and its language are read from.
HEAD = 20_000

#: A word; a Han or kana character is one by itself, as they are written without spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_WHOLE_END = re.compile(r"[.!?…。！？؟।)\]}\"'”’»`*:;|>\u2600-\u27bf\U0001f000-\U0001faff]\s*\Z")


def words(text: str) -> list[str]:
    """Return the words of a text, case folded."""
    return _WORD.findall(text[:HEAD].casefold())


def refusal_patterns(more: Sequence[str] = ()) -> list[re.Pattern[str]]:
    """Return the patterns of `REFUSALS` and ``more``; each is by itself, as it may have flags and groups of its own.

    Raises:
        InvalidInputError: one of them is no regular expression, or matches an empty text (and so, mostly, any).
    """
    patterns = [re.compile("|".join(REFUSALS), re.IGNORECASE)]
    for one in more:
        try:
            patterns.append(re.compile(one, re.IGNORECASE))
        except re.error as error:
            raise InvalidInputError(f"{one!r} is not a regular expression: {error}") from None
        if patterns[-1].search(""):
            raise InvalidInputError(f"{one!r} matches an empty text: no pattern of refusals")
    return patterns


def refuses(text: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    """Whether a text begins like a refusal; typographic apostrophes are read as plain ones."""
    head = text[:REFUSAL_HEAD].replace("\u2019", "'")
    return any(pattern.search(head) for pattern in patterns)


def repetition(text: str) -> float:
    """Return the share of word 4-grams that occurred before in the text, 0 for fewer than two of them."""
    said = words(text)
    grams = [tuple(said[i : i + 4]) for i in range(len(said) - 3)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0


def ends_midway(text: str) -> bool:
    """Whether a text that is not empty ends without a mark that ends a sentence, a quotation or a block."""
    end = text[-200:]
    return bool(end.strip()) and _WHOLE_END.search(end) is None


def languages(texts: Sequence[str]) -> list[str]:
    """Return the language of each text as ISO 639-1, ``(short)`` for one of too few letters to tell.

    Raises:
        MissingExtraError: py3langid is not installed.
    """
    try:
        from py3langid.langid import classify
    except ImportError:
        raise MissingExtraError("py3langid is not installed: pip install 'pytest-llm-regression[monitor]'") from None
    heads = [text[:500] for text in texts]
    return [str(classify(head)[0]) if sum(map(str.isalpha, head)) >= MIN_LETTERS else "(short)" for head in heads]
