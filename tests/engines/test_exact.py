"""Exact shapes: an answer is bit-equal whatever is computed beside it, before it or instead of it."""

from __future__ import annotations

import random
import warnings

import pytest
import torch
import transformers

from pytest_llm.engines import buckets, products
from pytest_llm.requests import Generate, Logprobs, Loss, Score
from tests.engines.conftest import answers, engine_for
from tests.tiny_models import sentences

NEEDLES = [
    Generate("the capital of japan is", max_new_tokens=6),
    Generate("the red", max_new_tokens=9, do_sample=True, seed=5, num_return_sequences=3, repetition_penalty=1.2),
    Generate("the white owl", max_new_tokens=7, num_beams=3),
    Loss(text="the green fox finds the black hen."),
    Logprobs("the capital of peru is lima.", top_k=3),
    Score("the capital of cuba is", (" havana", " rome", " paris.")),
]


def beside(rng, needles):
    """The needles in random order, among random other requests."""
    texts = [" ".join(rng.sample(sentences(), rng.randint(1, 4))) for _ in range(rng.randint(1, 20))]
    others = [
        rng.choice(
            [
                Generate(
                    text[:40],
                    max_new_tokens=rng.randint(1, 12),
                    num_return_sequences=rng.choice([1, 1, 9]),
                    do_sample=True,
                ),
                Loss(text=text),
                Score(text, (" yes", " no")),
            ]
        )
        for text in texts
    ]
    mixed = [*needles, *others]
    rng.shuffle(mixed)
    return mixed


def disturbed(engine, rounds=4):
    """Which needles are not bit-equal in every round to what they are alone."""
    alone = [answers(engine, [needle])[0] for needle in NEEDLES]
    wrong = set()
    for seed in range(rounds):
        rng = random.Random(seed)
        chosen = rng.sample(range(len(NEEDLES)), rng.randint(2, len(NEEDLES)))
        mixed = beside(rng, [NEEDLES[i] for i in chosen])
        found = answers(engine, mixed)
        wrong |= {i for i in chosen if found[mixed.index(NEEDLES[i])] != alone[i]}
    return sorted(wrong)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_needle_is_bit_equal_among_any_neighbours(tiny_gpt2, dtype):
    engine = engine_for(tiny_gpt2, dtype=dtype, exact=True)
    assert engine.bucket == buckets.ROWS
    assert disturbed(engine) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_buckets_neighbours_do_change_answers(tiny_gpt2, dtype):
    # The negative control: the needles are seen to move where nothing holds them.
    engine = engine_for(tiny_gpt2, dtype=dtype, exact=True)
    engine.batch_size = 64
    assert engine.bucket == 0
    assert disturbed(engine)


def test_a_real_model_is_bit_equal_among_neighbours(smollm2):
    engine = engine_for(smollm2, exact=True)
    needle = [Generate("The capital of France is", max_new_tokens=4), Loss(text="Water boils at 100 degrees.")]
    others = [Generate("Once upon a time, there was a", max_new_tokens=6), Loss(text="Roses are red, violets are")]
    alone = answers(engine, needle)
    assert answers(engine, [*others, *needle[::-1]])[2:] == alone[::-1]


@pytest.mark.parametrize("seed", [1, 4])
def test_recurrent_steps_that_round_by_the_row_are_seen(tiny_gpt2, tmp_path, seed):
    # A needle in two rows of even number did not see it; of sixteen answers one had other bits beside the rest.
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_gpt2)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
             "intermediate_size": 64, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
             "linear_value_head_dim": 8, "vocab_size": len(tokenizer), "eos_token_id": 0}  # fmt: skip
    torch.manual_seed(seed)
    transformers.Qwen3_5ForCausalLM(transformers.Qwen3_5TextConfig(**sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    rng = random.Random(seed)
    words = " ".join(sentences()).split()
    asked = [Generate(" ".join(rng.choices(words, k=rng.randint(2, 9))), max_new_tokens=6) for _ in range(16)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it is asked one prompt at a time
        engine = engine_for(tmp_path, exact=True)
        assert [answers(engine, [one])[0] for one in asked] == answers(engine, asked)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_is_so_with_any_number_of_threads(tiny_gpt2, threads):
    own = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        engine = engine_for(tiny_gpt2, exact=True)
        assert engine.bucket == buckets.ROWS
        assert disturbed(engine, rounds=2) == []
    finally:
        torch.set_num_threads(own)


def test_where_fused_attention_rounds_by_the_row_the_plain_one_serves(tiny_gpt2, monkeypatch):
    monkeypatch.setattr(products, "mkl_on_amd", lambda: False)
    engine = engine_for(tiny_gpt2, exact=True)
    fused = []

    def rounded(module, args, output):  # as on an AMD CPU with several threads
        fused.append(torch.backends.cuda.flash_sdp_enabled())
        return output * (1 + 1e-6 * torch.arange(len(output))[:, None, None]) if fused[-1] else output

    engine.model.transformer.h[0].mlp.register_forward_hook(rounded)
    assert engine.bucket == buckets.ROWS
    assert fused[0]
    fused.clear()
    assert disturbed(engine, rounds=2) == []
    fused.clear()
    answers(engine, [Generate("the red", max_new_tokens=2), Loss(text=sentences()[0])])
    assert not any(fused)
    assert torch.backends.cuda.flash_sdp_enabled()


def test_where_mkl_multiplies_on_an_amd_cpu_attention_is_plain_unasked(tiny_gpt2, monkeypatch):
    # There the check sees in some layouts of memory alone that fused attention rounds by the row.
    monkeypatch.setattr(products, "mkl_on_amd", lambda: True)
    engine = engine_for(tiny_gpt2, exact=True)
    assert engine.bucket == buckets.ROWS
    assert engine.plain_attention


def test_what_buckets_cannot_hold_is_asked_alone_with_a_warning(tiny_gpt2):
    engine = engine_for(tiny_gpt2, exact=True)
    rows = []

    def leak(module, args, output):  # a layer that mixes the rows of a batch, as experts of a shared capacity do
        rows.append(len(output))
        return output + 1e-3 * output.mean(0, keepdim=True)

    engine.model.transformer.h[0].mlp.register_forward_hook(leak)
    with pytest.warns(UserWarning, match="'tiny-gpt2' even in batches of one shape .* one prompt at a time"):
        assert engine.bucket == 0
    assert disturbed(engine, rounds=2) == []
    rows.clear()
    answers(engine, [Generate(text, max_new_tokens=2) for text in sentences()[:5]] + [Loss(text=sentences()[0])])
    assert set(rows) == {1}


@pytest.mark.parametrize("tokens", [*range(1, 70), 95, 96, 127, 128, 1000])
def test_a_bucket_is_longer_than_what_it_holds_and_not_by_much(tokens):
    length = buckets.padded_length(tokens)
    assert tokens < length <= max(16, 2 * tokens if tokens < 32 else 1.5 * tokens + 1)
    assert buckets.padded_length(length - 1) == length
