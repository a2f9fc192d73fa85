"""The bound on KL and the figures, against full distributions and direct computation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_llm.golden import divergence
from pytest_llm.stats.binary import clustered_wilson

V = 12


def logits(seed, n=6, scale=3.0):
    return np.random.default_rng(seed).normal(0, scale, (n, V))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def recorded(x, k):
    """What the engine answers of full distributions [positions, V], read as a golden's positions."""
    x = log_softmax(x)
    tokens = np.arange(len(x)) % V
    best = np.argsort(-x, axis=1)[:, :k]
    answer = [{"token_id": 0, "token": "", "logprob": None, "top": []}]
    for row, token, ids in zip(x, tokens, best, strict=True):
        top = [[int(i), str(i), float(row[i])] for i in ids]
        answer.append({"token_id": int(token), "token": str(token), "logprob": float(row[token]), "top": top})
    return divergence.positions({"positions": answer})


def true_kl(p, q):
    p, q = log_softmax(p), log_softmax(q)
    return (np.exp(p) * (p - q)).sum(1)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 10**6), k=st.integers(1, V), shift=st.sampled_from([0.0, 1e-3, 0.3, 3.0, 30.0]))
def test_kl_is_a_lower_bound_and_exact_when_all_is_known(seed, k, shift):
    p = logits(seed)
    q = p + shift * logits(seed + 1, scale=1.0)
    bound = divergence.kl(recorded(p, k), recorded(q, k))
    assert (bound >= 0).all()
    assert (bound <= true_kl(p, q) * (1 + 1e-6) + 1e-6).all(), "to the rounding of float32, in which logprobs are kept"
    if k == V:
        assert bound == pytest.approx(true_kl(p, q), abs=1e-6, rel=1e-5)
    if shift == 0:
        assert (bound == 0).all()


def test_it_is_the_least_kl_that_what_is_known_allows():
    """The golden's best are {0, 1}, the new ones {1, 2}: all full distributions with these masses, on a fine grid."""
    p, q = np.log([[0.6, 0.3, 0.06, 0.04]]), np.log([[0.02, 0.5, 0.45, 0.03]])
    known = [np.zeros(1, divergence.dtype(2)) for _ in range(2)]
    for side, ids, logs in ((known[0], [0, 1], p), (known[1], [1, 2], q)):
        side["ids"], side["logprobs"] = ids, logs[0, ids]
        side["token"], side["logprob"] = 1, logs[0, 1]
        side["rest"] = 1 - np.exp(logs[0, ids]).sum()
    x, y = np.meshgrid(np.linspace(1e-9, 0.1 - 1e-9, 999), np.linspace(1e-9, 0.05 - 1e-9, 999))
    shared = 0.3 * math.log(0.3 / 0.5)
    grid = shared + 0.6 * np.log(0.6 / y) + x * np.log(x / 0.45) + (0.1 - x) * np.log((0.1 - x) / (0.05 - y))
    (bound,) = divergence.kl(*known)
    assert bound == pytest.approx(grid.min(), rel=1e-3)
    assert bound <= grid.min()
    assert bound > 1, "lumping all but token 1 together would give 0.08: three quarters of the mass moved"


@pytest.mark.parametrize("rank", [0, 3, 4, 11])
@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_the_texts_own_token_is_compared_by_itself_wherever_it_stands(rank, factor):
    """It alone becomes rarer, or so frequent that it is among the new best; what it leaves all others share alike."""
    p = np.sort(logits(3))[:, ::-1]
    q = p.copy()
    q[:, rank] += math.log(factor)
    old, new = (recorded(x, 4) for x in (p, q))
    for side, x in ((old, p), (new, q)):
        side["token"], side["logprob"] = rank, log_softmax(x)[:, rank]
    bound = divergence.kl(old, new)
    assert (bound <= true_kl(p, q) * (1 + 1e-5) + 1e-7).all()
    assert bound == pytest.approx(true_kl(p, q), rel=0.02)


def test_another_top_k_on_the_new_side_is_still_a_bound():
    p, q = logits(1), logits(2)
    assert (divergence.kl(recorded(p, 3), recorded(q, 7)) <= true_kl(p, q) + 1e-6).all()


def test_sets_of_best_tokens_without_a_common_one_are_far_apart():
    p, q = np.zeros((1, V)), np.zeros((1, V))
    p[0, :4], q[0, 4:8] = 12.0, 12.0
    (bound,) = divergence.kl(recorded(p, 4), recorded(q, 4))
    assert 8 < bound <= true_kl(p, q)[0]


def test_a_sure_prediction_does_not_drown_in_rounding():
    p = np.zeros((1, V))
    p[0, 3] = 40.0  # the rest is 5e-17
    assert divergence.kl(recorded(p, 4), recorded(p + 1e-7 * logits(0, 1), 4))[0] < 1e-12


TEXTS = [0] * 40 + [1] * 60 + [2] * 25 + [3] * 75


def test_figures_are_those_of_a_direct_computation():
    p = logits(5, len(TEXTS))
    q = p + 0.2 * logits(6, len(TEXTS), scale=1.0)
    old, new = recorded(p, V), recorded(q, V)
    found, kl = divergence.figures(old, new, TEXTS)
    value = {name: one.value for name, one in found.items()}
    tokens = np.arange(len(TEXTS)) % V
    own = [log_softmax(x)[np.arange(len(TEXTS)), tokens] for x in (p, q)]
    delta = np.exp(own[1]) - np.exp(own[0])
    expected = {
        "mean_kl": true_kl(p, q).mean(),
        "max_kl": true_kl(p, q).max(),
        "top1": (p.argmax(1) == q.argmax(1)).mean(),
        "mean_delta_p": delta.mean(),
        "rms_delta_p": math.sqrt((delta**2).mean()),
        "perplexity_ratio": math.exp((own[0] - own[1]).mean()),
        "median_kl": np.quantile(true_kl(p, q), 0.5),
        "p99_kl": np.quantile(true_kl(p, q), 0.99),
        **{f"p{x}_delta_p": np.quantile(delta, x / 100) for x in divergence.PERCENTILES},
    }
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert kl == pytest.approx(true_kl(p, q), abs=1e-6)


def test_intervals_of_means_are_clustered_by_text():
    p = logits(7, len(TEXTS))
    q_logits = p + 0.2 * logits(8, len(TEXTS), scale=1.0)
    found, kl = divergence.figures(recorded(p, V), recorded(q_logits, V), TEXTS)
    # the jackknife over texts, and Satterthwaite's degrees of freedom: texts of unequal length count for fewer
    tokens, sums = np.bincount(TEXTS), np.bincount(TEXTS, weights=kl)
    left_out = (sums.sum() - sums) / (tokens.sum() - tokens)
    q = tokens / (tokens.sum() - tokens)
    df = q.sum() ** 2 / ((q**2).sum() + (q**2).sum() ** 2 - (q**4).sum())
    reach = stats.t(df).ppf(0.975) * math.sqrt(3 / 4 * ((left_out - kl.mean()) ** 2).sum())
    agree = np.bincount(TEXTS, p.argmax(1) == q_logits.argmax(1))
    assert (found["top1"].low, found["top1"].high) == clustered_wilson(agree.tolist(), tokens.tolist())
    mean = found["mean_kl"]
    assert (mean.low, mean.high) == pytest.approx((kl.mean() - reach, kl.mean() + reach))
    ratio = found["perplexity_ratio"]
    assert ratio.low < ratio.value < ratio.high
    assert ratio.low * ratio.high == pytest.approx(ratio.value**2), "exp(r +- t SE)"
    assert found["p99_kl"].low <= found["p99_kl"].value <= found["p99_kl"].high


def test_top_1_agreement_of_texts_that_differ_is_within_its_interval():
    rng, held = np.random.default_rng(5), 0
    for _ in range(200):
        rates, texts = rng.beta(9, 1, 30), np.repeat(np.arange(30), 50)
        old = np.zeros(len(texts), divergence.dtype(2))
        old["ids"], old["logprobs"], old["rest"], old["logprob"] = [0, 1], np.log([0.6, 0.3]), 0.1, np.log(0.6)
        new = old.copy()
        new["ids"][rng.random(len(texts)) > rates[texts]] = [1, 0]
        top1 = divergence.figures(old, new, texts.tolist())[0]["top1"]
        held += top1.low <= 0.9 <= top1.high
    assert held / 200 > 0.9  # with tokens taken as independent: 0.59


def test_one_text_takes_its_tokens_as_independent_and_one_token_has_no_interval():
    p = logits(9, 50)
    q = p + 0.2 * logits(10, 50, scale=1.0)
    found, kl = divergence.figures(recorded(p, V), recorded(q, V), [0] * 50)
    low, high = stats.t.interval(0.95, 49, kl.mean(), stats.sem(kl))
    assert (found["mean_kl"].low, found["mean_kl"].high) == pytest.approx((low, high))
    found, _ = divergence.figures(recorded(p[:1], V), recorded(q[:1], V), [0])
    assert found["mean_kl"].low is None
    assert found["median_kl"].low is None
