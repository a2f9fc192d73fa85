"""What every metric refuses, and what it takes from the answers of a model."""

import copy
import enum
import pickle

import pytest
from pandas import DataFrame

from pytest_llm.errors import InvalidInputError
from pytest_llm.evidence import PerExample
from pytest_llm.metrics import (
    accuracy,
    bleu,
    chrf,
    contains,
    exact_match,
    f1,
    matches,
    rouge,
    sentence_bleu,
    ter,
    valid_json,
)
from pytest_llm.results import Generation, Origin, joint_origin

TEXT_METRICS = [bleu, sentence_bleu, chrf, ter, rouge, exact_match, f1]

BAD = [
    ([], [], {}, "there are no predictions"),
    (None, ["a"], {}, "predictions must be a list with one entry an example, not None"),
    ({"a"}, ["a"], {}, "predictions must be a list with one entry an example, not of type set"),
    (DataFrame({"b": ["a"]}), ["a"], {}, "predictions must be a list, not of type DataFrame: give one of its columns"),
    (["a", "b"], ["a"], {}, "2 predictions but 1 references"),
    (["a", "b", "c"], [["a", "b", "c"], ["d", "e", "f"]], {}, "these look like sacrebleu's transposed lists"),
    (["a", "b"], "a", {}, "references must be a list with one entry an example, not of type str"),
    (["a"], None, {}, "it needs references"),
    (["a", None], ["a", "b"], {}, "prediction 1 is None, not text"),
    (["a", 3], ["a", "b"], {}, "prediction 1 is of type int, not text"),
    ([["a", "b"], ["c", "d"]], ["a", "b"], {}, "prediction 0 is a list of 2; when a model returned several sequences"),
    (["a", "b"], ["a", []], {}, "example 1 has an empty list of references"),
    ("x", [["ref"]], {}, "a reference of example 0 is a list of 1, one list too many: one text has a reference,"),
    (["a", "b"], ["a", ["b", None]], {}, "reference 1 is None, not text"),
    (["a", "b"], ["a", "b"], {"ids": ["x", "x"]}, "ids must be unique, and 'x' stands 2 times"),
    (["a", "b"], ["a", "b"], {"ids": ["x"]}, "2 examples but 1 id;"),
    (["a", "b"], ["a", "b"], {"ids": "xy"}, "ids must be a list with one entry an example, not of type str"),
]


@pytest.mark.parametrize("metric", TEXT_METRICS, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(("predictions", "references", "options", "message"), BAD, ids=[case[3] for case in BAD])
def test_refused(metric, predictions, references, options, message):
    with pytest.raises(InvalidInputError) as caught:
        metric(predictions, references, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("metric", [lambda p: matches(p, "a"), valid_json], ids=["matches", "valid_json"])
def test_refused_without_references(metric):
    for predictions, message in [
        (DataFrame({"a": [""]}), "give one of its columns"),
        ([], "no predictions"),
        ([1], "prediction 0 is of type int"),
        ([["a"]], "choose one"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            metric(predictions)


@pytest.mark.parametrize("metric", [*TEXT_METRICS, accuracy], ids=lambda metric: metric.__name__)
def test_a_score_remembers_the_questions_and_the_model(metric):
    origins = [
        Origin(request={"kind": "generate", "prompt": p}, model={"digest": "abc"}, environment={"dtype": "float32"})
        for p in ("one", "two")
    ]
    answers = [
        Generation(text, origin=origin) for text, origin in zip(("a cat sat there", "a dog"), origins, strict=True)
    ]
    score = metric(answers, ["a cat sat there", ["the dog", "a hound"]], ids=["first", 2])
    assert (score.request, score.origin) == joint_origin(answers)
    assert score.request
    assert score.ids == ("first", "2")
    assert score.predictions == ("a cat sat there", "a dog")
    assert score.predictions[0] is answers[0], "an answer keeps its tokens, which a length band counts"
    assert score.references == ("a cat sat there", "the dog | a hound")
    assert len(score.per_example) == score.n == 2
    plain = metric(["a cat", answers[1]], ["a cat sat there", "a dog"])
    assert (plain.request, plain.origin) == ("", {})


def test_pairs_of_answers_are_the_same_question_whatever_a_model_said():
    def answers(model, *texts):
        requests = [{"kind": "generate", "prompt": f"prompt {i}"} for i in range(len(texts))]
        return [
            Generation(text, origin=Origin(request, {"digest": model}))
            for text, request in zip(texts, requests, strict=True)
        ]

    of_one = exact_match(answers("one", "a cat", "a dog"), answers("one", "cat", "owl"))
    of_another = exact_match(answers("another", "a cow", "a dog"), answers("another", "hen", "dog"))
    assert PerExample.of(of_one).questions == PerExample.of(of_another).questions
    assert of_one.gold == of_another.gold != ()
    of_teacher = exact_match(answers("one", "a cat", "a dog"), answers("teacher", "cat", "owl"))
    assert of_teacher.gold == ()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda score: pickle.loads(pickle.dumps(score))])
def test_a_score_is_copied_whole(copied):
    score = chrf(["the cat", "a dog ran"], ["the big cat", "a dog ran"], ids=["x", "y"])
    other = copied(score)
    assert (repr(other), vars(other) | {"aggregate": None}) == (repr(score), vars(score) | {"aggregate": None})
    assert other.aggregate(score.statistics) == pytest.approx(score.per_example)


def test_any_iterable_is_read_once():
    assert exact_match(iter(["x", "b"]), (r for r in ["x", "c"])) == 0.5
    assert contains((text for text in ["ab", "ac"]), "a") == 1.0


class Label(str, enum.Enum):  # noqa: UP042 - whose str() is "Label.YES"
    YES = "yes that it is"


@pytest.mark.parametrize("metric", [accuracy, contains, *TEXT_METRICS], ids=lambda metric: metric.__name__)
def test_a_member_of_a_text_enum_is_its_text(metric):
    best = metric(["yes that it is"] * 4, ["yes that it is"] * 4)
    assert metric([Label.YES] * 4, ["yes that it is"] * 4) == metric([Label.YES] * 4, [Label.YES] * 4) == best
    assert exact_match([Label.YES], [Label.YES], normalize=False) == 1
