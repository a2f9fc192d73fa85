"""Sampling: a request's answer comes from its own seed, and from the right distribution."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import stats
from transformers import GenerationConfig

from pytest_llm.requests import Generate
from tests.engines.conftest import answers, engine_for, first

PROMPTS = ["the red", "the capital of", "the blue cat sees the", "the", "the green owl"]


def sampled(prompt, seed, **settings):
    return Generate(prompt, max_new_tokens=settings.pop("max_new_tokens", 8), do_sample=True, seed=seed, **settings)


def test_independent_of_neighbours_order_and_batch_size(gpt2, tiny_gpt2):
    requests = [sampled(prompt, seed, temperature=1.5) for prompt in PROMPTS for seed in (0, 1, 2)]
    batched = [first(answer)["token_ids"] for answer in answers(gpt2, requests)]
    backwards = [first(answer)["token_ids"] for answer in answers(gpt2, requests[::-1])][::-1]
    single = [first(answer)["token_ids"] for answer in answers(engine_for(tiny_gpt2, batch_size=1), requests)]
    assert batched == backwards == single
    assert len(set(map(tuple, batched))) > len(PROMPTS), "seeds must matter"


def test_returned_sequences_have_their_own_streams(gpt2):
    (several,) = answers(gpt2, [sampled("the", 3, num_return_sequences=6, temperature=2.0)])
    texts = [one["text"] for one in several["sequences"]]
    assert len(texts) == 6
    assert len(set(texts)) > 3
    (one,) = answers(gpt2, [sampled("the", 3, temperature=2.0)])
    assert first(one)["text"] == texts[0]


def test_the_global_random_state_is_left_alone(tiny_gpt2):
    engine = engine_for(tiny_gpt2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    answers(engine, [sampled("the", 1), Generate("the", num_beams=2, max_new_tokens=3)])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 5},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"options": {"typical_p": 0.7}},
        {"options": {"epsilon_cutoff": 0.05}},
        {"options": {"eta_cutoff": 0.1}},
        {"repetition_penalty": 1.5, "top_k": 8},
    ],
    ids=str,
)
def test_first_tokens_follow_the_distribution_transformers_defines(gpt2, settings):
    n = 400
    prompt = "the red cat sees the"
    found = answers(gpt2, [sampled(prompt, seed, max_new_tokens=1, **settings) for seed in range(n)])
    counts = Counter(first(answer)["token_ids"][0] for answer in found)
    ids = gpt2.tokenizer(prompt, return_tensors="pt")["input_ids"]
    flat = {"top_k": 0, **{k: v for k, v in settings.items() if k != "options"}, **settings.get("options", {})}
    config = GenerationConfig(
        max_new_tokens=1, do_sample=True, return_dict_in_generate=True, output_scores=True, **flat
    )
    with torch.random.fork_rng():
        probabilities = gpt2.model.generate(ids, generation_config=config).scores[0][0].softmax(-1).double()
    assert all(probabilities[token] > 0 for token in counts)
    # Pool what is expected fewer than five times, as the chi-square test wants.
    common = [token for token in range(len(probabilities)) if probabilities[token] * n >= 5]
    expected = [probabilities[token].item() * n for token in common]
    observed = [counts[token] for token in common]
    rest = n - sum(expected)
    if rest > 1e-6:
        expected, observed = [*expected, rest], [*observed, n - sum(observed)]
    if len(expected) > 1:
        scale = n / sum(expected)
        assert stats.chisquare(observed, [e * scale for e in expected]).pvalue > 1e-3


def test_prompts_do_not_share_their_luck(gpt2):
    # With one noise for all prompts of a seed, the same continuation would be drawn after each of these.
    prompts = [f"the {c} cat sees the" for c in ("red", "blue", "green", "black", "white", "brown")]
    found = answers(gpt2, [sampled(prompt, 0, temperature=3.0, max_new_tokens=1) for prompt in prompts])
    assert len({first(answer)["token_ids"][0] for answer in found}) > 2


def test_a_negative_margin_says_a_less_probable_token_was_drawn(gpt2):
    found = answers(gpt2, [sampled("the red", seed, temperature=2.0, max_new_tokens=4) for seed in range(8)])
    ids = gpt2.tokenizer("the red")["input_ids"]
    signs = set()
    for answer in map(first, found):
        with torch.no_grad():
            logits = gpt2.model(torch.tensor([ids + answer["token_ids"]])).logits[0, len(ids) - 1 : -1]
        for row, token, margin, rival in zip(
            logits, answer["token_ids"], answer["margins"], answer["runner_ups"], strict=True
        ):
            assert margin == pytest.approx((row[token] - row[rival]).item(), abs=1e-4)
            assert (margin < 0) == (token != row.argmax().item())
            signs.add(margin < 0)
    assert signs == {True, False}
