"""F1 of entities, against seqeval's figures."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import entity_f1
from pytest_llm.spans import Span

REAL = [[(3, 6, "MISC")], [(0, 2, "PER")]]  # of words, as in seqeval's README
FOUND = [[(2, 6, "MISC")], [(0, 2, "PER")]]


def test_it_is_seqevals():
    score = entity_f1(FOUND, REAL)
    assert score == 0.5
    assert score.per_example == (0.0, 1.0)
    assert score.predictions == ("MISC 2-6", "PER 0-2")
    assert score.faults == ("missed MISC 3-6; not there MISC 2-6", "")
    # Figures of seqeval 1.2.2 for the same entities as tags.
    assert entity_f1([[(0, 1, "A"), (1, 3, "B")], []], [[(0, 1, "B"), (1, 3, "B")], [(4, 5, "A")]]) == pytest.approx(
        0.4
    )


def test_a_resample_is_the_metric_of_its_texts():
    rng = random.Random(0)
    real = [[(i, i + 1, rng.choice("AB")) for i in range(rng.randrange(4))] for _ in range(20)]
    found = [[one for one in some if rng.random() < 0.7] + [(9, 10, "A")] * rng.randrange(2) for some in real]
    score = entity_f1(found, real)
    drawn = [rng.randrange(20) for _ in range(20)]
    sums = np.asarray(score.statistics)[drawn].sum(0)
    again = entity_f1([found[i] for i in drawn], [real[i] for i in drawn])
    assert score.aggregate(np.array([sums, [0, 0, 0]])) == pytest.approx([again, 1.0])
    assert 0.5 < score < 1


def test_nothing_to_find_and_nothing_found_is_right():
    score = entity_f1([[], [Span("Anna", 0, 4, label="PER")]], [[], [(0, 4, "PER")]], ids=["a", "b"])
    assert score == 1
    assert score.per_example == (1.0, 1.0)
    assert score.ids == ("a", "b")


def test_places_may_be_numpys():
    assert entity_f1([[(np.int64(3), np.int32(6), "MISC")], []], REAL).predictions == ("MISC 3-6", "none")


@pytest.mark.parametrize(
    ("found", "real", "message"),
    [
        ([[]], [[]], "no entity in any reference"),
        ([], [], "no entity in any reference"),
        (FOUND, REAL[:1], "2 predictions but 1 references; give one list a text"),
        (FOUND, ["PER", "PER"], r"references of text 0 must be a list of entities, not of type str"),
        (
            [["Anna"], []],
            REAL,
            r"predictions of text 0: an entity is \(start, .*, not 'Anna': a word, or a tag as 'B-PER',",
        ),
        (FOUND, [["O", "B-MISC"], []], r"references of text 0: .*, its place in characters, not 'O': .* has no place"),
        (FOUND, [[(False, True, "PER")], []], r"an entity is .*, not \(False, True, 'PER'\)$"),
        (FOUND, [[(0, 2)], []], r"references of text 0: an entity is \(start, end, label\)"),
        (FOUND, [[(2, 2, "PER")], []], "an entity is"),
        (FOUND, [[("PER", 0, 2)], []], "an entity is"),
        (None, REAL, "predictions must be a list of entities a text"),
    ],
)
def test_what_cannot_be_measured(found, real, message):
    with pytest.raises(InvalidInputError, match=message):
        entity_f1(found, real)
