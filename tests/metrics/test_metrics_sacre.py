"""BLEU, chrF and TER against sacrebleu: the value, every sentence, and any resample of the statistics."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import bleu, chrf, sentence_bleu, ter
from pytest_llm.metrics.inputs import spaced

CASES = settings(max_examples=200, deadline=None)
WORDS = ["the", "The", "a", "cat", "sat", "on", "mat.", "mat", "42", "naïve", "(yes)", ",", "中文"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join) | st.text(max_size=20)
READ = TEXTS.filter(spaced)  # the others are refused
CORPORA = st.lists(st.tuples(TEXTS, st.lists(READ, min_size=1, max_size=3)), min_size=1, max_size=6)
DRAWS = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def transposed(references):
    width = max(map(len, references))
    return [[some[i] if i < len(some) else None for some in references] for i in range(width)]


def check(score, metric, sentence_metric, corpus, draws):
    predictions, references = [p for p, _ in corpus], [r for _, r in corpus]
    assert score == pytest.approx(metric.corpus_score(predictions, transposed(references)).score, abs=1e-9)
    assert score.signature == str(metric.get_signature())
    sentences = [sentence_metric.sentence_score(p, r).score for p, r in corpus]
    assert score.per_example == pytest.approx(sentences, abs=1e-9)
    drawn = [corpus[i % len(corpus)] for i in draws]
    again = metric.corpus_score([p for p, _ in drawn], transposed([r for _, r in drawn])).score
    statistics = np.array(score.statistics)
    sums = np.stack([statistics[[i % len(corpus) for i in draws]].sum(axis=0), statistics.sum(axis=0)])
    assert score.aggregate(sums) == pytest.approx([again, float(score)], abs=1e-9)
    assert sums[1] == pytest.approx(statistics.sum(axis=0)), "aggregate changed its argument"
    assert score.unit == "points"


@CASES
@given(
    CORPORA,
    DRAWS,
    st.sampled_from([("exp", None), ("none", None), ("floor", None), ("floor", 0.3), ("add-k", None), ("add-k", 0.5)]),
    st.sampled_from([None, "13a", "none", "char", "intl"]),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)
def test_bleu(corpus, draws, smoothing, tokenize, order, lowercase, effective):
    options = {
        "smooth_method": smoothing[0],
        "smooth_value": smoothing[1],
        "tokenize": tokenize,
        "max_ngram_order": order,
        "lowercase": lowercase,
    }
    if not effective and smoothing[0] != "add-k":
        corpus = [*corpus, ("the cat sat on the mat", ["the cat sat on a mat"])]  # one with 5-grams at least
    score = bleu([p for p, _ in corpus], [r for _, r in corpus], effective_order=effective, **options)
    metric = sacrebleu.BLEU(effective_order=effective, **options)
    check(score, metric, sacrebleu.BLEU(effective_order=True, **options), corpus, draws)
    assert score.higher_is_better


@CASES
@given(
    CORPORA, DRAWS, st.integers(1, 6), st.integers(0, 2), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans()
)
def test_chrf(corpus, draws, char_order, word_order, beta, lowercase, whitespace, eps_smoothing):
    options = {
        "char_order": char_order,
        "word_order": word_order,
        "beta": beta,
        "lowercase": lowercase,
        "whitespace": whitespace,
        "eps_smoothing": eps_smoothing,
    }
    score = chrf([p for p, _ in corpus], [r for _, r in corpus], **options)
    check(score, sacrebleu.CHRF(**options), sacrebleu.CHRF(**options), corpus, draws)
    assert score.higher_is_better


@CASES
@given(CORPORA, DRAWS, st.booleans(), st.booleans(), st.booleans())
def test_ter(corpus, draws, normalized, no_punct, case_sensitive):
    options = {"normalized": normalized, "no_punct": no_punct, "case_sensitive": case_sensitive}
    score = ter([p for p, _ in corpus], [r for _, r in corpus], **options)
    check(score, sacrebleu.TER(**options), sacrebleu.TER(**options), corpus, draws)
    assert not score.higher_is_better


def test_sentence_bleu_is_the_mean_of_sentences():
    predictions, references = ["a cat sat there", "no"], [["the cat sat there", "a cat sat"], ["yes"]]
    score = sentence_bleu(predictions, references, lowercase=True, ids=["x", "y"])
    one = sacrebleu.BLEU(effective_order=True, lowercase=True)
    sentences = [one.sentence_score(p, r).score for p, r in zip(predictions, references, strict=True)]
    assert score.per_example == pytest.approx(sentences)
    assert score == pytest.approx(np.mean(sentences))
    assert (score.name, score.ids, score.statistics, score.aggregate) == ("sentence_bleu", ("x", "y"), (), None)
    assert "eff:yes" in score.signature


def test_one_text_and_its_references():
    assert bleu("the cat sat on the mat", ["a dog", "the cat sat on the mat"]) == pytest.approx(100)
    assert bleu("the cat sat on the mat", "the cat sat on the mat").n == 1


JAPANESE = [f"東京は日本の首都です{'。' * i}" for i in range(40)]


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (["Paris 1", "Rome"], {}, "no reference has 4 tokens under tokenize='13a', so no 4-gram can match"),
        (["Paris 1", "Rome"], {}, "For short answers, give effective_order=True; or use chrf"),
        (["a b c"], {"max_ngram_order": 5, "tokenize": "none"}, "no reference has 5 tokens under tokenize='none'"),
    ],
)
def test_bleu_where_no_reference_has_an_ngram_of_the_highest_order(texts, options, said):
    with pytest.raises(InvalidInputError, match="^bleu: no reference has") as caught:
        bleu(texts, texts, **options)
    assert said in str(caught.value)
    assert bleu(texts, texts, **{**options, "effective_order": True}) == pytest.approx(100)
    assert (
        bleu([*texts, "one two three four five"], [*texts, "one two three four five"], **options) > 0
    )  # some are short
    with pytest.raises(InvalidInputError, match="no 4-gram can match"):
        bleu(["a long answer of many words"] * 3, ["Paris"] * 3)


@pytest.mark.parametrize("metric", [bleu, sentence_bleu, ter])
def test_a_language_without_spaces(metric):
    mixed = [*JAPANESE, "pip install torch and restart"]
    with pytest.raises(InvalidInputError, match=r"40 of 41 references \(\[0\] '.*', \.\.\.\) are in a .*chrf"):
        metric(mixed, mixed)
    one = ["a cat sat on a mat"] * 20 + JAPANESE[:1]
    assert metric(one, one).n == 21
    with pytest.raises(InvalidInputError, match=r"1 of 20 references \(\[20\] '.*'\) .* score each by itself"):
        metric(one[1:], one[1:], ids=range(1, 21))
    split = [" ".join(text) for text in JAPANESE]
    assert metric(split, split).n == 40


def test_tokenizers_for_a_language_without_spaces():
    assert bleu(JAPANESE, JAPANESE, tokenize="char") == pytest.approx(100)
    assert ter(JAPANESE, JAPANESE, normalized=True, asian_support=True) == 0
    assert bleu("a b c", ["a", "a b c d e"]) >= 0  # the closest reference is not the only one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth_method": "laplace"}, "smooth_method='laplace' is none of none, floor, add-k, exp"),
        ({"tokenize": "14a"}, "tokenize='14a' is none of none, zh, 13a"),
        ({"max_ngram_order": 0}, "max_ngram_order must be an integer of at least 1, not 0"),
        (
            {"smooth_method": "floor", "smooth_value": -1.0},
            "smooth_value must be a finite number of at least 0, not -1.0",
        ),
        ({"tokenize": "ja-mecab"}, "sacrebleu refuses these options: "),
    ],
)
def test_options_sacrebleu_does_not_take(options, message):
    with pytest.raises(InvalidInputError, match="^bleu: ") as caught:
        bleu(["a"], ["a"], **options)
    assert message in str(caught.value)
