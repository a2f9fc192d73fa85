"""Exact match and token F1 as the official SQuAD scripts compute them (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pytest_llm.errors import measured
from pytest_llm.metrics.inputs import Examples, References, Texts, read, spaced
from pytest_llm.metrics.score import Score

__tracebackhide__ = measured

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(
    predictions: Texts, references: References, *, ids: Iterable[Any] | None = None, normalize: bool = True
) -> Score:
    """Return the fraction of predictions equal to one of their references, in [0, 1].

    ``normalize`` applies `normalized` to both sides first; without it the texts must be equal as they are. It drops
    signs and points too: ``-5`` equals ``5``, and ``3.5`` equals ``35``. For numbers, formulas and the letters of a
    choice, give ``normalize=False``. Other punctuation than ASCII's stays: ``東京`` does not equal ``東京。``.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), or a reference of which `normalized`
            leaves nothing (the choice ``A`` is an article), so that any answer without a word would equal it.
    """
    prepare: Callable[[str], str] = normalized if normalize else str.__str__  # str() of an enum is its name
    examples = read("exact_match", predictions, references, ids)
    if normalize:
        _check_words("exact_match", examples)
    return _best("exact_match", lambda a, b: float(prepare(a) == prepare(b)), examples, normalize)


def f1(predictions: Texts, references: References, *, ids: Iterable[Any] | None = None) -> Score:
    """Return the mean F1 of the `normalized` tokens of each prediction and its best reference, in [0, 1].

    As in the script of SQuAD v2.0, where the reference ``""`` says that a question has no answer, F1 is 1 if both sides
    have no token left, and 0 if one has none. As for `exact_match`, ``-5`` is ``5``.

    Raises:
        InvalidInputError: as of `exact_match`, or a reference in a script without spaces between words.
    """
    examples = read("f1", predictions, references, ids)
    _check_words("f1", examples)
    examples.check_references(
        "f1",
        spaced,
        "would count as one word, in a script without spaces; put spaces between the characters on both sides "
        "(' '.join(text)), or use chrf",
    )
    return _best("f1", _token_f1, examples, True)


def normalized(text: str) -> str:
    """Return ``text`` in lower case, without ASCII punctuation and English articles, single-spaced."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def _token_f1(prediction: str, reference: str) -> float:
    ours, theirs = normalized(prediction).split(), normalized(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = (Counter(ours) & Counter(theirs)).total()
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _check_words(name: str, examples: Examples) -> None:
    examples.check_references(
        name,
        lambda text: not text.strip() or bool(normalized(text)),
        "would be nothing once articles and punctuation are dropped, as any answer without words is; compare the "
        "texts as they are: exact_match with normalize=False",
    )


def _best(name: str, compare: Callable[[str, str], float], examples: Examples, normalize: bool) -> Score:
    pairs = zip(examples.predictions, examples.references, strict=True)
    return examples.score(
        name=name,
        per_example=[max(compare(prediction, reference) for reference in some) for prediction, some in pairs],
        signature=f"{name}|norm:{'squad-v1.1' if normalize else 'none'}",
    )
