"""Rotary embeddings that turn by the longest position of a pass: each answer is what transformers gives alone."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from pytest_llm.engines.loading import quiet
from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Activations, Embed, Generate, Logprobs, Loss, Score
from tests.engines.conftest import answers, engine_for, first

#: Up to so many tokens both models turn as they were trained to.
TRAINED = 32
SHORT, CROSSING, LONG = "the red cat", " ".join(["the red cat sees"] * 7), " ".join(["the blue dog likes"] * 12)
PROMPTS = [SHORT, LONG, CROSSING, "the capital of"]


@pytest.fixture(scope="module", params=["longrope", "dynamic"])
def folder(request, tiny_gpt2, tmp_path_factory):
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    size = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    if request.param == "longrope":
        rope = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
        config = Phi3Config(
            **size, max_position_embeddings=256, original_max_position_embeddings=TRAINED,
            rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, **rope},
        )  # fmt: skip
    else:
        rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
        config = LlamaConfig(**size, max_position_embeddings=TRAINED, rope_parameters=rope)
    torch.manual_seed(0)
    with quiet():
        model = (Phi3ForCausalLM if request.param == "longrope" else LlamaForCausalLM)(config)
    for weight in model.parameters():
        if weight.ndim == 2:  # a random model attends to little
            weight.data.mul_(4)
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def engine(folder):
    return engine_for(folder)


@functools.cache
def _loaded(folder):
    with quiet():
        return AutoModelForCausalLM.from_pretrained(folder)


def alone(folder):
    """A model that has read nothing yet."""
    return copy.deepcopy(_loaded(folder))


def logprobs_alone(folder, ids):
    """The logprob of every token but the first by one plain pass."""
    with torch.no_grad():
        logits = alone(folder)(torch.tensor([ids])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def test_the_prompts_are_on_both_sides_and_one_crosses(engine):
    lengths = [len(engine.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
    assert sorted(lengths)[1] < TRAINED < sorted(lengths)[-1]
    assert TRAINED - 12 < len(engine.tokenizer(CROSSING)["input_ids"]) < TRAINED


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_generate(folder, exact, beams):
    engine = engine_for(folder, exact=exact)
    found = answers(engine, [Generate(prompt, max_new_tokens=12, num_beams=beams) for prompt in PROMPTS])
    for prompt, answer in zip(PROMPTS, map(first, found), strict=True):
        ids = torch.tensor([engine.tokenizer(prompt)["input_ids"]])
        with quiet():
            output = alone(folder).generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, num_beams=beams,
                output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
        assert answer["token_ids"] == output.sequences[0, ids.shape[1] :].tolist()
        if beams == 1:
            logprobs = [
                logits[0].log_softmax(-1)[token].item()
                for logits, token in zip(output.logits, answer["token_ids"], strict=True)
            ]
            assert answer["logprobs"] == pytest.approx(logprobs, abs=2e-4)


def test_beams_have_the_evidence_of_greedy_decoding(engine):
    greedy, beams = map(first, answers(engine, [Generate(CROSSING, max_new_tokens=12, num_beams=n) for n in (1, 2)]))
    same = [a == b for a, b in zip(greedy["token_ids"], beams["token_ids"], strict=False)]
    shared = [*same, False].index(False)
    assert shared > 0, "nothing to compare"
    assert beams["logprobs"][:shared] == pytest.approx(greedy["logprobs"][:shared], abs=2e-4)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("tokens", [TRAINED, TRAINED + 1, 2 * TRAINED])
def test_a_text_among_others_is_scored_as_alone(folder, exact, tokens):
    engine = engine_for(folder, exact=exact)
    ids = engine.tokenizer(LONG + LONG)["input_ids"][:tokens]
    text = engine.tokenizer.decode(ids)
    assert engine.tokenizer(text)["input_ids"] == ids
    expected = pytest.approx(logprobs_alone(folder, ids), abs=2e-4)
    loss, *_ = answers(engine, [Loss(text), *map(Loss, PROMPTS)])
    assert loss["token_logprobs"] == expected
    logprobs, *_ = answers(engine, [Logprobs(text), *map(Logprobs, PROMPTS)])
    assert [position["logprob"] for position in logprobs["positions"][1:]] == expected
    for last in (1, 2):
        start, end = map(engine.tokenizer.decode, (ids[:-last], ids[-last:]))
        score, _ = answers(engine, [Score(start, (end, " the", " red cat sees the")), Score(SHORT, (" sees",))])
        wanted = sum(logprobs_alone(folder, ids)[-last:])
        assert score["scores"][0]["logprob"] == pytest.approx(wanted, abs=5e-4)


def test_embeddings_and_layers_do_not_depend_on_neighbours(folder, engine):
    texts = [SHORT, LONG, CROSSING]
    for found, expected in zip(
        answers(engine, [Embed(text) for text in texts]),
        [answers(engine_for(folder), [Embed(text)])[0] for text in texts],
        strict=True,
    ):
        assert found["vector"] == pytest.approx(expected["vector"], abs=1e-5)
    for found, expected in zip(
        answers(engine, [Activations(text) for text in texts]),
        [answers(engine_for(folder), [Activations(text)])[0] for text in texts],
        strict=True,
    ):
        assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
        assert found["sketch"][1] == pytest.approx(expected["sketch"][1], abs=1e-3)


def test_a_long_text_leaves_nothing_behind(folder, engine):
    for text in (LONG + LONG, LONG, SHORT):
        ids = engine.tokenizer(text)["input_ids"]
        (loss,) = answers(engine, [Loss(text)])
        assert loss["token_logprobs"] == pytest.approx(logprobs_alone(folder, ids), abs=2e-4)


def test_the_context_is_the_scaled_one(folder, engine):
    limit = 256 if engine.config.rope_parameters["rope_type"] == "longrope" else 4 * TRAINED
    assert engine.context_length == limit
    with pytest.raises(InvalidInputError, match=f"context is {limit} tokens"):
        answers(engine, [Generate(SHORT, max_new_tokens=limit)])
