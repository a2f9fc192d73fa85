"""Cosine similarity of vectors and of texts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import similarity
from pytest_llm.results import Generation, Origin
from pytest_llm.vectors import Vectors

PAIRS = st.integers(1, 5).flatmap(
    lambda n: st.integers(1, 4).flatmap(
        lambda d: st.tuples(*(arrays(np.float64, (n, d), elements=st.floats(-100, 100, width=32)) for _ in range(2)))
    )
)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_cosine(pair):
    from scipy.spatial.distance import cosine

    a, b = pair
    score = similarity(a, b)
    for x, y, found in zip(a, b, score.per_example, strict=True):
        if np.linalg.norm(x) == 0 or np.linalg.norm(y) == 0:
            assert math.isnan(found)
        elif min(np.linalg.norm(x), np.linalg.norm(y)) > 1e-12:  # scipy loses shorter ones to underflow
            assert found == pytest.approx(1 - cosine(x, y), abs=1e-9)
    assert score == pytest.approx(np.mean(score.per_example), nan_ok=True)


class Letters:
    """Counts letters, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked.append(texts)
        return [[text.count(letter) for letter in "abc"] for text in texts]


def test_texts_are_embedded_in_one_call_and_the_nearest_reference_counts():
    encoder = Letters()
    score = similarity(["ab", "cc"], [["c", "ba"], "a"], encoder=encoder, ids=["x", "y"])
    assert encoder.asked == [["ab", "cc", "c", "ba", "a"]]
    assert score.per_example == pytest.approx((1.0, 0.0))
    assert (score.ids, score.predictions, score.references) == (("x", "y"), ("ab", "cc"), ("c | ba", "a"))


def test_a_text_without_direction_is_nan_wherever_it_stands():
    for some in (["a", "zzz"], ["zzz", "a"]):
        assert math.isnan(similarity(["a"], [some], encoder=Letters()))


def test_tensors_of_any_dtype():
    torch = pytest.importorskip("torch")
    a = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    assert similarity(a, [[1.0, 1.0]]) == pytest.approx(math.sqrt(0.5))
    assert similarity([3.0, 4.0], [3.0, 4.0]).n == 1
    assert similarity([[1e200, 1e200]], [[1e-200, 1e-200]]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("a", "b", "encoder", "message"),
    [
        (["text"], ["text"], None, "to compare texts give encoder="),
        (["42", "7"], ["41", "9"], None, "to compare texts give encoder="),
        ([[1, "7"]], [[1, "9"]], None, "to compare texts give encoder="),
        ([[1, 2]], [[1, 2, 3]], None, "predictions have shape [1, 2] and references [1, 3]"),
        ([[1, 2]], [[1, 2], [3, 4]], None, "predictions have shape [1, 2] and references [2, 2]"),
        ([], [], None, "predictions must have shape [n, d], not [1, 0]"),
        ([], [], Letters(), "there are no predictions"),
        (["a"], [[]], Letters(), "example 0 has an empty list of references"),
    ],
)
def test_refused(a, b, encoder, message):
    with pytest.raises(InvalidInputError) as caught:
        similarity(a, b, encoder=encoder)
    assert message in str(caught.value)


def test_an_encoder_that_loses_a_text():
    class Lossy:
        def embed(self, texts):
            return [[1.0, 2.0]] * (len(texts) - 1)

    with pytest.raises(InvalidInputError, match="the encoder gave 1 vectors for 2 texts"):
        similarity(["a"], ["b"], encoder=Lossy())


def test_a_judge_is_part_of_the_signature_and_the_model_that_is_tested_is_not():
    class Model:
        def __init__(self, digest, under_test=False):
            self.model, self.under_test = {"source": f"org/{digest}", "digest": digest}, under_test

        def embed(self, texts):
            origin = Origin({"kind": "embed"}, self.model)
            return Vectors.of(np.array([[len(text), 1.0] for text in texts]), [origin])

    answer = Generation("a cat", origin=Origin({"prompt": "what?"}, {"source": "org/a", "digest": "a"}))
    for encoder, predictions, signature in (
        (Letters(), ["a"], "similarity|encoder:Letters"),
        (Model("b"), [answer], "similarity|encoder:b"),
        (Model("a"), [answer], ""),
        (Model("b"), ["a cat"], "similarity|encoder:org/b"),
        (Model("b", under_test=True), ["a cat"], ""),
    ):
        assert similarity(predictions, ["a"], encoder=encoder).signature == signature
    mine = Letters()
    mine.signature = "letters v2"
    assert similarity(["a"], ["a"], encoder=mine).signature == "similarity|encoder:letters v2"


def test_vectors_of_a_model_know_their_questions():
    def vectors(text):
        return Vectors.of(np.array([[1.0, 2.0]]), [Origin({"text": text}, {"digest": "a"})])

    score = similarity(vectors("x"), vectors("y"))
    assert score.origin["model"] == {"digest": "a"}
    same, other, file = ((vectors("x"), vectors("y")), (vectors("z"), vectors("y")), (vectors("x"), np.array([[1, 2]])))
    assert similarity(*same).request == score.request
    assert similarity(*other).request != score.request
    assert similarity(*file).request not in ("", score.request)
    assert similarity(file[1], vectors("y")).request == ""
