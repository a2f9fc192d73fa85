"""Assertions: the value, the bound, n, the worst examples; and what cannot be measured at all."""

import math

import numpy as np
import pytest
import sacrebleu
import torch

from pytest_llm import assertions, record
from pytest_llm.assertions import (
    assert_accuracy,
    assert_bits_per_byte,
    assert_bleu,
    assert_chrf,
    assert_contains,
    assert_exact_match,
    assert_f1,
    assert_json,
    assert_loss,
    assert_matches,
    assert_metric,
    assert_perplexity,
    assert_rouge,
    assert_similar,
    assert_ter,
)
from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.metrics import Score, bleu, custom
from pytest_llm.metrics.uncertainty import standard_error
from pytest_llm.reports.text import number

PREDICTIONS = ["the cat sat on the mat", "a dog ran away now", "hello big world again"]
REFERENCES = ["the cat sat on the mat", ["a dog ran away then", "the dog ran"], "hello small world again"]


@pytest.fixture(autouse=True)
def recorded():
    """Yield the verdicts of this test, and keep them out of the report on the run of these tests."""
    run = record.begin()
    yield run.verdicts
    record.end(run)


def test_a_bound_that_holds(recorded):
    score = assert_bleu(PREDICTIONS, REFERENCES, at_least=20)
    assert score == bleu(PREDICTIONS, REFERENCES)
    (verdict,) = recorded
    assert (verdict.kind, verdict.name, verdict.status, verdict.outcome) == ("threshold", "bleu", "pass", "pass")
    assert verdict.headline == "BLEU 73.3 is at least 20.0"
    assert verdict.figures == {"value": float(score), "at_least": 20.0, "n": 3}
    assert verdict.examples == verdict.notes == ()


def test_the_whole_message_of_a_failure(recorded):
    with pytest.raises(AssertionError) as caught:
        assert_bleu(PREDICTIONS, REFERENCES, at_least=80, ids=["cat", "dog", "hello"])
    assert str(caught.value).splitlines() == [
        "BLEU 73.3 is below 80.0",
        "  value 73.3133   at_least 80   n 3",
        "  worst 2:",
        "    [hello]  35.3553",
        "      expected: hello small world again",
        "      actual:   hello big world again",
        "    [dog]  66.874",
        "      expected: a dog ran away then | the dog ran",
        "      actual:   a dog ran away now",
        f"  note: measured as nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}",
    ]
    assert [(v.status, v.outcome) for v in recorded] == [("fail", "fail")]


FAILURES = [
    (lambda: assert_chrf(PREDICTIONS, REFERENCES, at_least=99), "chrF 74.7", "is below 99.0"),
    (lambda: assert_ter(PREDICTIONS, REFERENCES, at_most=1), "TER 14.3", "is above 1.0"),
    (lambda: assert_rouge(PREDICTIONS, REFERENCES, at_least=0.99), "ROUGE-L 0.8", "is below 0.99"),
    (lambda: assert_rouge(PREDICTIONS, REFERENCES, at_least=0.9, kind="rouge2"), "ROUGE-2 0.", "is below 0.9"),
    (lambda: assert_exact_match(PREDICTIONS, REFERENCES, at_least=0.5), "exact match 0.333", "is below 0.5"),
    (lambda: assert_f1(PREDICTIONS, REFERENCES, at_least=0.9), "token F1 0.8", "is below 0.9"),
    (lambda: assert_accuracy([1, 2, 3], [1, 2, 4], at_least=0.9), "accuracy 0.667", "is below 0.9"),
    (lambda: assert_loss(3.25, at_most=3), "loss 3.25", "is above 3"),
    (lambda: assert_perplexity(12.0, at_most=10), "perplexity 12", "is above 10"),
    (lambda: assert_bits_per_byte(1.25, at_most=1), "bits per byte 1.25", "is above 1"),
    (lambda: assert_similar([[1, 0]], [[1, 1]], at_least=0.8), "similarity 0.707", "is below 0.8"),
    (lambda: assert_json(["{}", "no"]), "fraction of valid JSON 0.5", "is below 1"),
    (lambda: assert_matches(PREDICTIONS, "dog"), "fraction matching the pattern 0.333", "is below 1"),
    (lambda: assert_contains(PREDICTIONS, "a"), "fraction containing what was expected", None),
    (lambda: assert_contains(PREDICTIONS, "dog", at_least=0.5), "fraction containing what was expected 0.333", "0.5"),
]


@pytest.mark.parametrize(("check", "start", "end"), FAILURES)
def test_each_assertion_passes_and_fails(check, start, end):
    if end is None:
        assert check() == 1.0
        return
    with pytest.raises(AssertionError) as caught:
        check()
    headline = str(caught.value).splitlines()[0]
    assert headline.startswith(start)
    assert headline.endswith(end)


PASSES = [
    lambda: assert_chrf(PREDICTIONS, REFERENCES, at_least=50),
    lambda: assert_ter(PREDICTIONS, REFERENCES, at_most=50),
    lambda: assert_rouge(PREDICTIONS, REFERENCES, at_least=0.5, kind="rougeLsum"),
    lambda: assert_exact_match(PREDICTIONS, REFERENCES, at_least=0.3),
    lambda: assert_f1(PREDICTIONS, REFERENCES, at_least=0.5),
    lambda: assert_accuracy(["a", "b"], ["a", "b"], at_least=1),
    lambda: assert_loss(2.5, at_most=3),
    lambda: assert_perplexity(9, at_most=10),
    lambda: assert_bits_per_byte(0.75, at_most=0.8),
    lambda: assert_similar(["ab"], ["ab"], at_least=0.9, encoder=Lengths()),
    lambda: assert_json(['{"a": 1}'], {"required": ["a"]}),
    lambda: assert_matches("the answer is 42.", r"\b42\b"),
    lambda: assert_matches("42", r"\d+", full=True),
]


class Lengths:
    def embed(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


@pytest.mark.parametrize("check", PASSES)
def test_each_assertion_returns_its_score(check, recorded):
    assert isinstance(check(), Score)
    assert [verdict.outcome for verdict in recorded] == ["pass"]


def test_texts_that_look_alike_are_said_to_differ_in_their_form():
    with pytest.raises(AssertionError, match="    these differ in their Unicode form only: NFC and NFD are two spell"):
        assertions.assert_exact_match(["cafe\u0301"], ["caf\u00e9"], at_least=1)
    with pytest.raises(AssertionError, match="actual:   the\n  note"):
        assertions.assert_exact_match(["the"], ["th\u00e9"], at_least=1)


def test_a_loss_shows_the_texts_that_cost_most():
    loss = Score(
        3.0, name="loss", n=3, higher_is_better=False, unit="nats/token", per_example=[2.0, 4.0, 3.0],
        weights=[1, 1, 1], ids=["a", "b", "c"], predictions=["one", "two", "three"],
    )  # fmt: skip
    with pytest.raises(AssertionError) as caught:
        assert_loss(loss, at_most=2.5)
    lines = str(caught.value).splitlines()
    assert lines[:5] == [
        "loss 3 is above 2.5",
        "  value 3   at_most 2.5   n 3",
        "  worst 3:",
        "    [b]  4",
        "      actual:   two",
    ]
    assert assert_loss(loss, at_most=3.0) is loss
    with pytest.raises(InvalidInputError, match="assert_perplexity got loss: use assert_loss"):
        assert_perplexity(loss, at_most=30)
    with pytest.raises(InvalidInputError, match=r"use assert_loss, or pass llm\.bits_per_byte\(\.\.\.\)"):
        assert_bits_per_byte(loss, at_most=1)
    for wrong in ("3.0", None, [3.0], True):
        with pytest.raises(InvalidInputError, match=r"assert_loss takes a number or what llm\.loss\(texts\) returned"):
            assert_loss(wrong, at_most=3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("check", [assert_loss, assert_perplexity, assert_bits_per_byte])
def test_nothing_was_measured(check, value, recorded):
    with pytest.raises(InvalidInputError, match=r" is (nan|inf|-inf)\n"):
        check(value, at_most=3)
    assert [(v.status, v.outcome) for v in recorded] == [("invalid", "error")]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            lambda: assert_perplexity(0.7, at_most=20),
            "perplexity: no value can be 0.7, it is never below 1; is this the",
        ),
        (lambda: assert_loss(-0.1, at_most=3), "loss: no value can be -0.1, it is never below 0 nats/token"),
        (lambda: assert_metric(Score(85.0, name="f1", n=9), at_least=0.8), "between 0 and 1; did you mean 0.85?"),
    ],
)
def test_a_value_on_another_scale_does_not_pass(check, said, recorded):
    with pytest.raises(InvalidInputError) as caught:
        check()
    assert said in str(caught.value)
    assert [(v.status, v.outcome) for v in recorded] == [("invalid", "error")]


def test_examples_without_a_value_are_named():
    values = [2.0, math.nan, 3.0, math.inf]
    loss = Score(
        math.nan, name="loss", n=4, higher_is_better=False, unit="nats/token", per_example=values,
        ids=["a", "b", "c", "d"], predictions=["one", "two", "three", "four"],
    )  # fmt: skip
    with pytest.raises(InvalidInputError) as caught:
        assert_loss(loss, at_most=3)
    message = str(caught.value)
    assert message.startswith("loss is nan\n  value nan   at_most 3   n 4\n")
    assert "    [b]  nan\n      actual:   two\n" in message
    assert "2 of 4 examples are not finite: b, d" in message
    # A mean that leaves them out hides them; a weight of 0 (a text without a token to score) does not count.
    hidden = Score(2.5, name="loss", n=4, higher_is_better=False, unit="nats/token", per_example=values)
    with pytest.raises(InvalidInputError, match="loss has examples without a value"):
        assert_loss(hidden, at_most=3)
    weightless = Score(2.5, name="loss", n=4, higher_is_better=False, unit="nats/token", per_example=values,
                       weights=[1, 0, 1, 0])  # fmt: skip
    assert assert_loss(weightless, at_most=3) == 2.5


BOUNDS = [
    (lambda: assert_metric("bleu", ["a"], ["a"]), "BLEU: give one bound, at_least= or at_most="),
    (lambda: assert_bleu(["a"], ["a"], at_least=1, at_most=2), "BLEU: give one bound"),
    (lambda: assert_metric("bleu", ["a"], ["a"], at_most=30), "BLEU: higher is better, so its bound is at_least="),
    (lambda: assert_metric("ter", ["a"], ["a"], at_least=3), "TER: lower is better, so its bound is at_most="),
    (lambda: assert_metric(bleu, ["a"], ["a"], at_most=30), "BLEU: higher is better"),
    (lambda: assert_metric(bleu(PREDICTIONS, REFERENCES), at_most=30), "BLEU: higher is better"),
    (lambda: assert_bleu(["a"], ["a"], at_least=120), "BLEU: no value can be 120, it is between 0 and 100 points"),
    (lambda: assert_bleu(["a"], ["a"], at_least=0.28), "BLEU is in points, where 100 is one hundred percent: did you "),
    (lambda: assert_chrf(["a"], ["a"], at_least=0.99), "did you mean 99?"),
    (lambda: assert_bleu(["a"], ["a"], at_least=-1), "BLEU: no value can be -1"),
    (lambda: assert_accuracy([1], [1], at_least=28.0), "accuracy: no value can be 28, it is between 0 and 1; did you "),
    (lambda: assert_rouge(["a"], ["a"], at_least=28.0), "did you mean 0.28?"),
    (lambda: assert_similar([[1]], [[1]], at_least=-2), "similarity: no value can be -2, it is between -1 and 1"),
    (lambda: assert_loss(1.0, at_most=-0.5), "loss: no value can be -0.5, it is never below 0 nats/token"),
    (lambda: assert_perplexity(5.0, at_most=0.5), "perplexity: no value can be 0.5, it is never below 1"),
    (lambda: assert_bleu(["a"], ["a"], at_least=math.nan), "BLEU: the bound must be a finite number, not nan"),
    (lambda: assert_bleu(["a"], ["a"], at_least="28"), "BLEU: the bound must be a finite number, not '28'"),
    (lambda: assert_bleu(["a"], ["a"], at_least=True), "BLEU: the bound must be a finite number, not True"),
    (lambda: assert_metric("blue", ["a"], ["a"], at_least=1), "there is no metric 'blue'; did you mean 'bleu'?"),
    (lambda: assert_metric(bleu(PREDICTIONS, REFERENCES), ["a"], at_least=1), "bleu: a Score is already computed"),
    *(
        (lambda kind=kind: assert_rouge(["a"], ["a"], at_least=0.5, kind=kind), f"rouge: kind {kind!r} is none of")
        for kind in ("rougeM", "accuracy", "bleu", None)
    ),
    (lambda: assert_bleu(["a"], ["a"], at_least=1, tokenise="13a"), "bleu has no option 'tokenise'; did you mean 'tok"),
    (lambda: assert_f1(["a"], ["a"], at_least=1, zzz=1), "f1 has no option 'zzz'; it has predictions, references, ids"),
    (lambda: assert_bleu([], [], at_least=1), "bleu: there are no predictions"),
    (lambda: assert_metric("bleu", ["a"], at_least=1), "bleu: it needs references"),
]


@pytest.mark.parametrize(("check", "message"), BOUNDS, ids=[case[1] for case in BOUNDS])
def test_what_makes_no_sense(check, message, recorded):
    with pytest.raises(InvalidInputError) as caught:
        check()
    assert message in str(caught.value)
    assert recorded == []


@pytest.mark.parametrize(
    ("check", "note"),
    [
        (
            lambda: assert_ter(PREDICTIONS, PREDICTIONS, at_most=0.5),
            "where 100 is one hundred percent: did you mean 50?",
        ),
        (
            lambda: assert_bleu(PREDICTIONS, REFERENCES, at_least=0),
            "every value passes this bound: BLEU is never below 0",
        ),
    ],
)
def test_a_bound_that_is_odd_passes_with_a_warning(check, note, recorded):
    check()
    assert [verdict.outcome for verdict in recorded] == ["warn"]
    assert note in recorded[0].notes[0]


def test_a_threshold_that_will_flake(recorded):
    right = [1] * 17 + [0] * 3  # 0.85, standard error 0.0819
    assert_accuracy(right, [1] * 20, at_least=0.8)
    assert_accuracy(right, [1] * 20, at_least=0.6)
    with pytest.raises(AssertionError, match="this\n? +threshold will flake"):
        assert_accuracy(right, [1] * 20, at_least=0.95)
    with pytest.raises(AssertionError) as every:
        assert_accuracy(right, [1] * 20, at_least=1)  # nothing is left to chance
    assert "flake" not in str(every.value)
    assert_accuracy(right[14:18], [1] * 4, at_least=0.7)  # too few to know
    assert [v.outcome for v in recorded] == ["warn", "pass", "fail", "fail", "pass"]
    assert recorded[0].figures["standard error"] == pytest.approx(math.sqrt(0.85 * 0.15 / 19))
    assert "this threshold will flake" in recorded[0].notes[0]
    assert [example.id for example in recorded[0].examples] == ["17", "18", "19"]


@pytest.mark.parametrize(
    ("right", "n", "bound", "outcome"),
    [(5, 5, 0.95, "warn"), (10, 10, 0.9, "warn"), (20, 20, 0.9, "pass"), (5, 5, 1, "pass"), (4, 4, 0.95, "pass")],
)
def test_examples_that_are_all_right_may_be_close_to_the_bound(recorded, right, n, bound, outcome):
    assert_accuracy([1] * right, [1] * n, at_least=bound)
    assert recorded[0].outcome == outcome
    if n >= 5:
        assert recorded[0].figures["standard error"] == pytest.approx(math.sqrt((n + 0.5) * 0.5 / n) / (n + 1))


def test_perfect_is_at_least_perfect():
    for texts in (["the cat sat on the mat"], PREDICTIONS, ["one two three four five six seven"] * 7):
        assert_bleu(texts, texts, at_least=100)


def test_close_calls_show_enough_digits():
    with pytest.raises(AssertionError, match="BLEU 27.996 is below 28.000"):
        assert_metric(Score(27.996, name="bleu", n=1, unit="points"), at_least=28)
    with pytest.raises(AssertionError, match="loss 3.20001 is above 3.2\n"):
        assert_loss(3.20001, at_most=3.2)


def test_no_text_shows_a_value_as_equal_to_the_bound_it_missed():
    with pytest.raises(AssertionError) as caught:
        assert_metric(Score(0.8999999, name="accuracy", n=1), at_least=0.9)
    assert str(caught.value).splitlines()[:2] == [
        "accuracy 0.8999999 is below 0.9", "  value 0.8999999   at_least 0.9   n 1"
    ]  # fmt: skip
    assert number(100.00000000000004, 100) == "100"  # rounding
    assert number(2 / 3) == "0.666667"


def test_a_score_of_an_unknown_metric_and_a_name_taken_twice():
    assert_metric(Score(70.0, name="mine", n=1), at_least=60)
    with pytest.raises(AssertionError, match="mine 70 is below 80"):
        assert_metric(Score(70.0, name="mine", n=1), at_least=80)
    with pytest.raises(InvalidInputError, match="mine: lower is better"):
        assert_metric(Score(70.0, name="mine", n=1, higher_is_better=False), at_least=60)
    # Not this package's f1: it is in points.
    assert_metric(Score(70.0, name="f1", n=1, unit="points"), at_least=60)


def length_ratio(predictions, references, factor=1.0):
    return [factor * len(p) / len(r) for p, r in zip(predictions, references, strict=True)]


class Called:
    """As a metric of torchmetrics: of a batch it is called, and computes what all batches gave."""

    def __call__(self, predictions, references):
        return torch.tensor([p == r for p, r in zip(predictions, references, strict=True)]).double().mean()

    def compute(self):
        raise NotImplementedError


def test_a_function_of_the_users():
    score = assert_metric(length_ratio, ["abc", "d"], ["ab", "d"], at_most=1.3, ids=["x", "y"])
    assert (score.name, score.per_example, score.ids) == ("length_ratio", (1.5, 1.0), ("x", "y"))
    assert not score.higher_is_better
    with pytest.raises(AssertionError) as caught:
        assert_metric(length_ratio, ["abc", "d"], ["ab", "d"], at_least=3, factor=2.0)
    assert str(caught.value).splitlines()[:4] == [
        "length_ratio 2.5 is below 3",
        "  value 2.5   at_least 3   n 2",
        "  worst 2:",
        "    [1]  2",
    ]
    assert assert_metric(lambda p: float(len(p)), ["a", "b"], at_least=2) == 2.0
    for one in (np.mean([1.0, 2.0]), np.array(1.5), torch.tensor([1.0, 2.0]).mean()):
        score = assert_metric(lambda p, one=one: one, ["a", "b"], at_least=1)
        assert (float(score), score.per_example) == (1.5, ())
    assert assert_metric(length_ratio, (text for text in ("abc", "d")), {1: "ab", 2: "d"}.values(), at_least=1) == 1.25
    assert assert_metric(lambda p, r: (p == r).mean(), np.array([1, 2]), np.array([1, 3]), at_least=0.5) == 0.5
    assert assert_metric(lambda p: len(p), "one text is a list of one", at_least=1) == 1.0
    assert assert_metric(lambda p, r: bleu(p, r), PREDICTIONS, REFERENCES, at_least=50).name == "bleu"
    assert assert_metric(Called(), ["a", "b"], ["a", "c"], at_least=0.5).name == "Called"
    with pytest.raises(InvalidInputError, match="length_ratio is nan"):
        assert_metric(length_ratio, ["a"], ["b"], at_least=1, factor=math.nan)
    with pytest.raises(InvalidInputError, match="it returned 1 value for 2 predictions"):
        assert_metric(lambda p: [1.0], ["a", "b"], at_least=1)
    with pytest.raises(InvalidInputError, match=r"bleu: higher is better, says .* \(or at_most=\) contradicts it"):
        assert_metric(lambda p, r: bleu(p, r), PREDICTIONS, REFERENCES, at_most=50)


@pytest.mark.parametrize(
    ("own", "given", "message"),
    [
        ({}, {"higher_is_better": True}, "errors: lower is better, says the Score that errors returned"),
        ({"ids": ["y", "x"]}, {"ids": ["x", "y"]}, "ids= names other examples than the Score that it returned, of 2"),
        ({"n": 1}, {"ids": ["x", "y"]}, "ids= names other examples than the Score that it returned, of 1 example"),
    ],
)
def test_a_function_returns_no_score_of_another_direction_or_other_examples(own, given, message):
    def errors(texts):
        return Score(0.5, name="errors", higher_is_better=False, **{"n": 2, **own})

    assert not custom(errors, ["a", "b"]).higher_is_better
    with pytest.raises(InvalidInputError, match=message):
        custom(errors, ["a", "b"], **given)


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([["d1", "d2", "d3"], ["d4", "d5", "d6"]], [["d1"], ["d6"]]),
        ([("d1", "d2"), ("d4",)], [[("d1", 3), ("d2", 1)], []]),
        (["d1", "d2"], [{"d1": 3}, {"d2"}]),
        ([[], {"a": [1]}], [None, [["a"], []]]),
        (np.eye(2), [0, 1]),
        (list(np.eye(2)), np.eye(2)),
        (torch.eye(2), None),
    ],
)
def test_a_function_is_given_whatever_an_example_is(predictions, references):
    given = []

    def judge(*inputs):
        given.extend(inputs)
        return [1.0, 0.5]

    score = assert_metric(judge, predictions, references, at_least=0.75, ids=["x", "y"])
    assert score.ids == ("x", "y")
    assert all(got is was or got == was for got, was in zip(given, (predictions, references), strict=False))
    assert len(given) == 2 - (references is None)
    with pytest.raises(InvalidInputError, match="judge: 2 predictions but 3 references"):
        assert_metric(judge, predictions, [*(references if references is not None else "ab"), 1], at_least=0.5)
    with pytest.raises(InvalidInputError, match="2 examples but 1 id"):
        assert_metric(judge, predictions, references, at_least=0.5, ids=["x"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0.5, None], r"judge: it returned None for example \[y\], which is no number"),
        ([(0.9, "why"), 0.5], r"judge: it returned \(0.9, 'why'\) for example \[x\], which is no number"),
        ({"x": 0.5}, "what it returned must be a number, or one an example, not of type dict"),
        (None, "what it returned must be a number, or one an example, not None"),
        (AssertionError("no key"), "judge could not be computed: AssertionError: no key"),
        (KeyError("score"), "judge could not be computed: KeyError: 'score'"),
    ],
)
def test_a_judge_that_fails_is_an_error_and_no_regression(answer, said):
    def judge(outputs):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(InvalidInputError, match=said) as caught:
        assert_metric(judge, ["a", "b"], at_least=0.5, ids=["x", "y"])
    if isinstance(answer, Exception):
        assert caught.value.__cause__ is answer
    unavailable = LLMError("the judge's model is gone")
    answer = unavailable
    with pytest.raises(LLMError) as caught:
        assert_metric(judge, ["a", "b"], at_least=0.5)
    assert caught.value is unavailable


def test_a_module_of_evaluate(recorded):
    import datasets
    import evaluate

    class WordErrors(evaluate.Metric):
        def _info(self):
            text = datasets.Value("string")
            features = datasets.Features({"predictions": text, "references": text})
            return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

        def _compute(self, predictions, references):
            wrong = [p != r for p, r in zip(predictions, references, strict=True)]
            return {"rate": sum(wrong) / len(wrong), "count": sum(wrong)}

    module = WordErrors(keep_in_memory=True)
    score = assert_metric(module, ["a", "b"], ["a", "c"], at_most=0.5, key="rate")
    assert (score.name, float(score), score.higher_is_better) == ("evaluate:word_errors.rate", 0.5, False)
    with pytest.raises(AssertionError, match=r"evaluate:word_errors\.rate 0\.5 is above 0\.2"):
        assert_metric(module, ["a", "b"], ["a", "c"], at_most=0.2, key="rate")
    with pytest.raises(InvalidInputError, match="'no_such_metric' is code of the Hugging Face hub"):
        assert_metric("evaluate:no_such_metric", ["a"], ["a"], at_least=1)


def test_a_models_output_cannot_write_to_the_terminal():
    with pytest.raises(AssertionError) as caught:
        assert_exact_match(["\x1b[2Jgone\r\nPASSED"], ["x"], at_least=0.5)
    assert "\x1b" not in str(caught.value)
    assert r"actual:   \x1b[2Jgone\r\nPASSED" in str(caught.value)


def test_every_assertion_is_documented_and_takes_its_bound_by_keyword():
    import inspect

    for name, function in vars(assertions).items():
        if name.startswith("assert_"):
            assert inspect.getdoc(function)
            bounds = [p for p in inspect.signature(function).parameters.values() if p.name in ("at_least", "at_most")]
            assert bounds
            assert {p.kind for p in bounds} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("huge", [1e308, -1e308])
def test_values_whose_sum_is_more_than_a_float_holds_are_invalid(huge):
    with pytest.raises(InvalidInputError, match="(?s)is inf.*nothing was measured, so this is an error"):
        assert_metric(lambda texts: [huge] * len(texts), ["a", "b", "c"], at_least=1)


def test_values_whose_squares_are_more_than_a_float_holds_are_judged():
    score = assert_metric(lambda texts: [i * 1e200 for i in range(len(texts))], ["a"] * 20, at_least=1)
    assert standard_error(score) == pytest.approx(1.3229e200, rel=1e-4)
