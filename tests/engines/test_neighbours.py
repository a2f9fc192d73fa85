"""A batch changes no answer, whatever the architecture: where padding or a shared start would, it is given up."""

from __future__ import annotations

import functools

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_llm.requests import Generate, Score
from tests.engines.conftest import answers, engine_for

HEADER = 2 * "the red cat sees the dog. the capital of france is paris. the green owl hears the fox. "
SHORT = ["the red cat", "the capital of peru is", "the blue dog sees the owl. the black hen likes"]
HEADED = [HEADER + text for text in SHORT]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
#: By architecture: its sizes; whether padding leaves its answers alone, and whether a shared start does.
MODELS = {
    "Llama": (SIZES, True, True),
    "Rwkv": ({"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 128}, False, None),
    "RecurrentGemma": ({**SIZES, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16}, False, None),
    "MiniMax": (
        {**SIZES, "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 16,
         "block_size": 8, "layer_types": ["linear_attention", "full_attention"]}, False, None,
    ),
    "Bart": (
        {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "is_decoder": True,
         "is_encoder_decoder": False}, False, None,
    ),
    "Mpt": ({"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 128}, True, False),
    "GPTNeo": (
        {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
         "window_size": 16}, True, False,
    ),
    "Gemma4Text": (
        {**SIZES, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32, "sliding_window": 16,
         "layer_types": ["sliding_attention", "full_attention"], "hidden_size_per_layer_input": 8,
         "vocab_size_per_layer_input": 400}, True, None,
    ),
    "OpenAIGPT": ({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}, True, None),
}  # fmt: skip

#: Whose states transformers cannot put into another order.
NO_BEAMS = ("rwkv", "minimax", "recurrent_gemma")


@pytest.fixture(params=MODELS)
def architecture(request, tiny_gpt2, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    tokenizer.save_pretrained(tmp_path)
    sizes, padding, start = MODELS[request.param]
    rules = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = getattr(transformers, f"{request.param}Config")(**{**rules, **sizes})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            if weight.dim() >= 2:
                weight.normal_(0, 0.25)
        model.save_pretrained(tmp_path)
    return tmp_path, padding, start


def evidence(engine, requests):
    return [one["sequences"] if "sequences" in one else one["scores"] for one in answers(engine, requests)]


def same(found, expected):
    for ours, alone in zip(found, expected, strict=True):
        for one, other in zip(ours, alone, strict=True):
            assert one.get("token_ids") == other.get("token_ids")
            key = "logprobs" if "logprobs" in one else "logprob"
            assert one[key] == pytest.approx(other[key], abs=1e-3)


@pytest.mark.parametrize("prompts", [SHORT, HEADED], ids=["short", "headed"])
def test_a_batch_answers_as_each_prompt_alone(architecture, prompts):
    folder, padding, start = architecture
    engine, alone = engine_for(folder), engine_for(folder, batch_size=1)
    for make in (
        lambda text: Generate(text, max_new_tokens=8, min_new_tokens=3),
        lambda text: Generate(text, max_new_tokens=5, do_sample=True, num_return_sequences=2),
        lambda text: Generate(text, max_new_tokens=4, num_beams=2),
        lambda text: Score(text, (" the hen", " a")),
    ):
        requests = [make(text) for text in prompts]
        if getattr(requests[0], "num_beams", 1) > 1 and engine.config.model_type in NO_BEAMS:
            continue
        same(evidence(engine, requests), [evidence(alone, [request])[0] for request in requests])
    assert engine.one_by_one != padding
    assert start is None or prompts is SHORT or engine.shares_starts == start


@pytest.mark.parametrize("architecture", ["Llama", "MiniMax"], indirect=True)
def test_exact_answers_are_those_of_the_model(architecture):
    folder, padding, _ = architecture
    engine = engine_for(folder, exact=True)
    requests = [Generate(text, max_new_tokens=6) for text in SHORT]
    if padding:
        found = evidence(engine, requests)
    else:
        with pytest.warns(UserWarning, match="states that padding goes through"):
            found = evidence(engine, requests)
    same(found, [evidence(engine_for(folder, batch_size=1), [request])[0] for request in requests])


def test_what_held_is_asked_again_where_prompts_are_twice_as_long(gpt2):
    gpt2.harmless.clear()
    answers(gpt2, [Generate(text, max_new_tokens=2) for text in SHORT])
    longest = gpt2.harmless[False]
    answers(gpt2, [Generate(text, max_new_tokens=2) for text in [*SHORT, SHORT[2] + " the"]])
    assert gpt2.harmless == {False: longest}
    answers(gpt2, [Generate(text, max_new_tokens=2) for text in (SHORT[0], SHORT[2] * 3)])
    assert gpt2.harmless[False] > 2 * longest
    assert not gpt2.one_by_one


@pytest.mark.parametrize("num_beams", [1, 2])
def test_a_batch_that_memory_does_not_hold_is_halved_and_not_asked_one_by_one(tiny_gpt2, monkeypatch, num_beams):
    engine, rows = engine_for(tiny_gpt2), []
    own = engine.model.forward

    @functools.wraps(own)
    def forward(**inputs):
        rows.append(len(inputs["input_ids"]))
        return own(**inputs) if rows[-1] <= 2 else torch.empty(1 << 45)

    monkeypatch.setattr(engine.model, "forward", forward)
    monkeypatch.setattr(type(engine), "tokens_per_pass", lambda engine, scoring: 1 << 20)
    requests = [Generate(text, max_new_tokens=2, num_beams=num_beams) for text in (*SHORT, *HEADED)]
    assert len(answers(engine, requests)) == 6
    assert max(rows) > 2
    assert not engine.one_by_one
