"""Gates on BLEU, chrF and TER: what few sentences, unequal lengths and a strict alpha may and may not do."""

import numpy as np
import pytest

from pytest_llm.metrics import bleu, chrf, f1, ter
from pytest_llm.metrics.sacre import ter_from_statistics
from pytest_llm.metrics.score import Score
from pytest_llm.stats.gate import gate

WORDS = ["one", "two", "six", "ten", "red"]
TEXTS = [f"the {a} cat and the {b} dog sat on the mat" for a in WORDS[:4] for b in WORDS]
HURT = [
    text.replace("sat on the mat", "zzz qqq vv").replace("cat" if i % 2 else "cow", "kk")
    for i, text in enumerate(TEXTS)
]


@pytest.mark.parametrize("method", ["auto", "percentile", "bca"])
@pytest.mark.parametrize("metric", [bleu, chrf, ter])
@pytest.mark.parametrize(("n", "alpha"), [(10, 0.001), (20, 0.0005)])
def test_a_collapse_fails_at_a_strict_alpha(metric, n, alpha, method):
    found = gate(metric(HURT[:n], TEXTS[:n]), metric(TEXTS[:n], TEXTS[:n]), margin=1, alpha=alpha, method=method)
    assert found.status == "fail"
    assert found.p == pytest.approx(0.5**n, rel=1 if method == "auto" else 1e-9)
    assert found.p >= 0.5**n


def test_the_surest_failure_of_a_corpus_metric_is_as_sure_as_that_of_a_mean():
    mean, corpus = (gate(metric(HURT, TEXTS), metric(TEXTS, TEXTS), margin=0.01) for metric in (f1, bleu))
    assert corpus.p == mean.p == 0.5**20


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
def test_a_few_sentences_that_got_worse_by_a_toss_of_coins_are_no_certainty(metric):
    worse = [
        "the one cat and the one dog sat up",
        "the one cat or the two dog sat on a mat",
        TEXTS[2][4:],
        TEXTS[3][:-4],
    ]
    for n in (3, 4):
        found = gate(metric(worse[:n], TEXTS[:n]), metric(TEXTS[:n], TEXTS[:n]), margin=0.5)
        assert (found.status, found.mde) == ("inconclusive", None)
        assert found.p >= 0.5**n, "what turning signs can give"
        assert max(found.low, found.high) >= 0 if metric is not ter else min(found.low, found.high) <= 0
        up = gate(metric(TEXTS[:n], TEXTS[:n]), metric(worse[:n], TEXTS[:n]), margin=0)
        assert (up.status, up.improved) == ("inconclusive", False), "nor of a rise"
    more = gate(metric([*worse, *TEXTS[4:]], TEXTS), metric(TEXTS, TEXTS), margin=0.5)
    assert more.p >= 0.5**4, "what did not change is not counted"


def test_a_few_long_texts_neither_fail_nor_pass_more_often_than_alpha(rng):
    # with every text taken for as much as any other 9 % of these fail with no change, and 11 % pass
    lengths, runs = np.r_[np.full(57, 100.0), np.full(3, 10_000.0)], 600

    def score(rates):
        rows = np.column_stack([np.round(lengths * rates), lengths])
        value = float(ter_from_statistics(rows.sum(0, keepdims=True))[0])
        terms = {"statistics": rows, "aggregate": ter_from_statistics, "higher_is_better": False}
        return Score(value, name="ter", n=60, **terms)

    def status(rise, margin):
        base = 0.3 + 0.05 * rng.normal(size=60)
        new = base + rise + 0.05 * rng.normal(size=60)
        return gate(score(new), score(base), margin=margin, resamples=300)

    most = 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert np.mean([status(0.0, 0.1).status == "fail" for _ in range(runs)]) <= most
    found = [status(0.02, 2.0) for _ in range(runs)]
    assert np.mean([one.status == "pass" for one in found]) <= most
    assert found[0].effective == pytest.approx(4, abs=0.1)
    assert found[0].heaviest == pytest.approx(0.28, abs=0.01)
