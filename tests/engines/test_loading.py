"""Loading: lazily, quietly, with adapters, and with errors that say what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    IBertForMaskedLM,
    PreTrainedTokenizerFast,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    RobertaForMaskedLM,
    XLMConfig,
    XLMWithLMHeadModel,
)
from transformers.utils import logging

from pytest_llm.engines.batching import in_batches
from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError
from pytest_llm.requests import Activations, Embed, Generate, Logprobs, Loss, Score
from tests.engines.conftest import answers, engine_for, first, with_token

PROMPTS = ["the red", "the capital of peru is"]
MESSAGES = ({"role": "user", "content": "hello"},)


@pytest.mark.parametrize(
    "request_",
    [
        Generate("the<|user|>"),
        Loss("the<|user|>"),
        Logprobs("the<|user|>"),
        Score("the", (" red", "<|user|>")),
        Embed("<|user|>"),
        Activations("<|user|>"),
    ],
)
def test_a_token_without_an_embedding_is_named(tiny_gpt2, tmp_path, request_):
    shutil.copytree(tiny_gpt2, tmp_path, dirs_exist_ok=True)
    with_token(tiny_gpt2).save_pretrained(tmp_path)
    engine = engine_for(tmp_path)
    with pytest.raises(
        LLMError, match=r"request 0: the model has 388 embeddings.* '<\|user\|>' \(id 388\) of '(the)?<"
    ):
        answers(engine, [request_])
    assert len(answers(engine, [Loss("the red"), Loss("the red cat sees")])) == 2, "the new token pads, and is masked"


def test_everything_is_loaded_when_it_is_needed_and_let_go(tiny_gpt2):
    engine = engine_for(tiny_gpt2)
    assert engine.load_seconds == 0
    size = engine.nbytes
    answers(engine, [Generate(prompt, max_new_tokens=2) for prompt in PROMPTS])
    assert engine.load_seconds > 0
    assert engine.nbytes >= 4 * sum(p.numel() for p in engine.model.parameters())
    assert size == pytest.approx(engine.nbytes, rel=0.2)
    assert not engine.model.training
    assert not any(p.requires_grad for p in engine.model.parameters())
    engine.close()
    assert "model" not in vars(engine)
    answers(engine, [Generate("the", max_new_tokens=1)])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
def test_weights_stay_mapped_from_their_file(smol):
    weight = smol.model.get_input_embeddings().weight
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            span, _, _, _, _, *path = line.split()
            start, end = (int(x, 16) for x in span.split("-"))
            if start <= weight.data_ptr() < end:
                assert path, "the weights are in anonymous memory: a private copy"
                assert path[0].endswith(".safetensors")
                return
    pytest.fail("the weights are in no mapping")


def test_quiet_and_the_users_settings_are_kept(tiny_gpt2, capfd):
    logging.set_verbosity_info()
    try:
        answers(engine_for(tiny_gpt2), [Generate("the", max_new_tokens=2), Generate("the", num_beams=2)])
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_gradients_stay_enabled_for_the_caller(gpt2):
    for _ in gpt2.answer([Generate("the", max_new_tokens=1), Loss("the red")]):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def setting(file, name, value):
    def damage(folder):
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), name: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load the weights of 'model'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"junk" * 9), "cannot load the weights of 'model'"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load the configuration of 'model'"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot load the tokenizer of 'model'"),
        (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "model holds no vocabulary; put there"),
        (
            setting("config.json", "architectures", 5),
            "architectures in config.json is 5, and should be a list of names",
        ),
        (setting("config.json", "architectures", [[]]), "cannot load the configuration of 'model'"),
        (setting("tokenizer_config.json", "model_max_length", {}), "model_max_length is {}, and should be a number"),
        (setting("generation_config.json", "eos_token_id", "x"), "eos_token_id in generation_config.json is 'x', and"),
        (setting("generation_config.json", "eos_token_id", [1, {}]), "cannot load the weights of 'model'"),
        (setting("generation_config.json", "eos_token_id", 10**30), "cannot load the weights of 'model'"),
    ],
)
def test_a_broken_model_says_what_is_broken(tiny_gpt2, tmp_path, damage, message):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        answers(engine_for(folder), [Generate("the")])
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("place", ["configuration", "template"])
def test_what_the_files_of_a_model_say_is_shown_as_text_and_on_one_line(tiny_gpt2, tmp_path, place):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    hostile = "x\x1b]0;title\x07\x1b[2K\u202e\n1 passed"
    if place == "configuration":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": hostile}))
    else:
        (folder / "chat_template.jinja").write_text(f"{{{{ raise_exception({hostile!r}) }}}}")
    with pytest.raises(LLMError) as caught:
        answers(engine_for(folder), [Generate(MESSAGES)])
    assert str(caught.value).isprintable()
    assert "1 passed" in str(caught.value)


def test_missing_tensors_are_not_made_up(tiny_gpt2, tmp_path):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "h.1.mlp.c_fc.weight" in name)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotFoundError, match=rf"1 tensors are missing \({name}"):
        answers(engine_for(folder), [Generate("the")])


def test_tensors_of_another_shape_are_named(tiny_gpt2, tmp_path):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 390}))
    message = r"transformer\.wte\.weight is \[388, 64\] in the file and \[390, 64\] by the configuration"
    with pytest.raises(ModelNotFoundError, match=message):
        answers(engine_for(folder), [Generate("the")])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("transformer.h.0.attn.c_attn.lora_A.default.weight", True),
        ("transformer.h.2.mlp.c_fc.weight", True),
        ("score.weight", False),  # a classifier's head
        ("transformer.h.0.attn.masked_bias", False),
    ],
)
def test_tensors_that_nothing_uses_are_named(tiny_gpt2, tmp_path, recwarn, name, told):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    tensors = {**load_file(folder / "model.safetensors"), name: torch.zeros(2)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    engine = engine_for(folder)
    for prompt in PROMPTS:
        answers(engine, [Generate(prompt, max_new_tokens=1)])
    found = [str(one.message) for one in recwarn if "pytest_llm" in str(one.message)]
    assert len(found) == told
    assert all(
        f"1 tensors in the weights of 'model' are used by nothing in GPT2LMHeadModel ({name}" in one for one in found
    )


def test_pickled_weights_need_leave(tiny_gpt2, tmp_path, gpt2):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="set llm_trust_pickle"):
        answers(engine_for(folder), [Generate("the")])
    request = Generate("the red", max_new_tokens=4)
    found, expected = (first(answers(engine, [request])[0]) for engine in (engine_for(folder, trust_pickle=True), gpt2))
    assert found["token_ids"] == expected["token_ids"]
    # Weights lie elsewhere in memory than those of a mapped file, and kernels may round by that.
    assert found["logprobs"] == pytest.approx(expected["logprobs"], abs=1e-5)


def test_a_model_that_answers_nan_is_an_error(tiny_gpt2, tmp_path):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "ln_f.weight" in name)
    tensors[name][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for request in (Generate("the"), Loss("the red"), Embed("the")):
        with pytest.raises(LLMError, match="not a number"):
            answers(engine_for(folder), [request])


def test_batches_are_halved_when_memory_runs_out():
    def compute(batch):
        if len(batch) > 3:
            torch.empty(1 << 45)
        return [item * 2 for item in batch]

    found = list(in_batches(range(20), compute, size=8, length=lambda item: item))
    assert sorted(item for batch, _ in found for item in batch) == list(range(20))
    assert all(result == [item * 2 for item in batch] for batch, result in found)
    assert max(len(batch) for batch, _ in found) == 2, "8 and 4 do not fit"
    with pytest.raises(LLMError, match="memory does not hold a pass over 1 token .*allocat"):
        list(in_batches([1], lambda batch: compute([1] * 9), size=8, length=lambda item: item))
    with pytest.raises(RuntimeError, match="a bug"):
        list(in_batches([1, 2], lambda batch: (_ for _ in ()).throw(RuntimeError("a bug")), size=8, length=int))


def test_batches_are_cut_by_weight_and_tokens():
    sizes = [len(b) for b, _ in in_batches(range(10), list, size=8, length=lambda i: 1, weight=lambda i: 3)]
    assert sizes == [2] * 5
    lengths = [[100, 100], [50, 50, 10, 10], [10]]
    found = [b for b, _ in in_batches([10, 100, 50, 10, 100, 50, 10], list, size=8, length=int, tokens=200)]
    assert found == lengths


def test_the_spec_decides_dtype_and_attention(tiny_gpt2):
    engine = engine_for(tiny_gpt2, dtype="float64")
    (answer,) = answers(engine, [Generate("the capital of japan is", max_new_tokens=5)])
    assert engine.model.dtype == torch.float64
    assert engine.model.config._attn_implementation == "sdpa"
    assert first(answer)["text"] == " tokyo."
    assert json.dumps(answer, allow_nan=False)


def save_masked_tokenizer(folder):
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<mask>", "a"])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", mask_token="<mask>").save_pretrained(folder)


@pytest.mark.parametrize(("causal", "family"), [(False, "masked"), (True, "decoder")])
def test_a_class_that_is_both_is_what_its_configuration_says(tmp_path, causal, family):
    config = XLMConfig(
        vocab_size=10, emb_dim=8, n_layers=1, n_heads=1, n_langs=1, max_position_embeddings=20, causal=causal,
        pad_index=1, mask_index=3,
    )  # fmt: skip
    model = XLMWithLMHeadModel(config).eval()
    model.save_pretrained(tmp_path)
    save_masked_tokenizer(tmp_path)
    engine = engine_for(tmp_path)
    assert engine.family == family
    if not causal:
        (answer,) = answers(engine, [Loss("a </s>")])
        with torch.no_grad():
            logits = model(torch.tensor([[3, 2], [4, 3]])).logits.log_softmax(-1)
        assert answer["token_logprobs"] == pytest.approx([logits[0, 0, 4].item(), logits[1, 1, 2].item()], abs=1e-5)


def test_of_a_model_that_sees_the_decoder_answers_where_transformers_has_one_of_it(tiny_gpt2, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 16, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "pad_token_id": 0,
    }  # fmt: skip
    seen = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=seen)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = answers(engine_for(tmp_path), [Generate(prompt, max_new_tokens=6) for prompt in PROMPTS])

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        expected = model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
        assert first(answer)["token_ids"] == expected.tolist()


@pytest.mark.parametrize("model_class", [RobertaForMaskedLM, IBertForMaskedLM])
def test_padding_takes_its_rows_from_the_context_once_the_weights_are_there(tmp_path, model_class):
    # RoBERTa numbers positions from padding_idx + 1. Untrained: only the shape of its embeddings is asked about.
    config = model_class.config_class(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    model_class(config).save_pretrained(tmp_path)
    save_masked_tokenizer(tmp_path)
    engine = engine_for(tmp_path)
    assert engine.context_length == 20
    assert engine.model
    assert engine.context_length == 18
    engine.close()
    assert engine.context_length == 20
    for tokens in (19, 20, 40):  # the first question of a process is told the same
        with pytest.raises(InvalidInputError, match=f"{tokens} tokens, but the model's context is 18 tokens"):
            answers(engine_for(tmp_path), [Embed("a"), Embed("a " * tokens)])
    assert len(answers(engine_for(tmp_path), [Embed("a " * 18)])) == 1
