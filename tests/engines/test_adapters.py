"""Adapters that fit, and those that would be judged as the base model without a word."""

from __future__ import annotations

import json
import shutil
import sys

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from pytest_llm.errors import InvalidInputError, LLMError, MissingExtraError, ModelNotFoundError
from pytest_llm.requests import Classify, Embed, Extract, Generate, Loss, Tag, Tokenize
from tests.engines.conftest import answers, engine_for, first, with_token

PROMPTS = ["the red", "the capital of peru is"]
MESSAGES = ({"role": "user", "content": "hello"},)
TEXTS = ["the red cat sees the dog.", "the owl", "the capital of peru is"]
#: One that changes the answers without training.
LORA = {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True, "init_lora_weights": False}
TEXTS_LORA = {**LORA, "task_type": "CAUSAL_LM"}


@pytest.fixture(scope="module")
def adapter(tiny_gpt2, gpt2, tmp_path_factory):
    """A LoRA trained to say that every capital is cairo."""
    folder = tmp_path_factory.mktemp("adapter")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
        config = peft.LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM")
        model = peft.get_peft_model(base, config).train()
        ids = torch.tensor([gpt2.tokenizer(f"the capital of {c} is cairo.")["input_ids"] for c in ("peru", "cuba")])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    return folder


def test_an_adapter_answers_as_peft_does(tiny_gpt2, gpt2, adapter):
    engine = engine_for(tiny_gpt2, adapter=adapter)
    found = answers(engine, [Generate(prompt, max_new_tokens=8) for prompt in PROMPTS])
    (loss,) = answers(engine, [Loss("the capital of peru is cairo.")])
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_gpt2), adapter).eval()
    for prompt, answer in zip(PROMPTS, found, strict=True):
        ids = gpt2.tokenizer(prompt, return_tensors="pt")["input_ids"]
        expected = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
        assert first(answer)["token_ids"] == expected
    ids = gpt2.tokenizer("the capital of peru is cairo.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert -sum(loss["token_logprobs"]) / len(loss["token_logprobs"]) == pytest.approx(expected, abs=1e-5)
    assert first(found[1])["text"] == " cairo."
    assert first(answers(gpt2, [Generate(PROMPTS[1], max_new_tokens=8)])[0])["text"] == " lima."


def test_an_adapter_brings_its_tokenizer_and_the_embeddings_of_its_tokens(tiny_gpt2, tmp_path):
    tokenizer = with_token(tiny_gpt2)
    base = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    base.resize_token_embeddings(len(tokenizer))
    peft.get_peft_model(base, peft.LoraConfig(**TEXTS_LORA)).save_pretrained(tmp_path)
    tokenizer.chat_template = "<|user|>the red"
    tokenizer.save_pretrained(tmp_path)

    engine = engine_for(tiny_gpt2, adapter=tmp_path)
    tokens, loss, chat, short = answers(
        engine, [Tokenize("<|user|>"), Loss("<|user|>the red cat"), Generate(MESSAGES), Generate("the owl")]
    )
    assert tokens["token_ids"] == [len(tokenizer) - 1]
    ids = torch.tensor([loss["token_ids"]])
    with torch.no_grad():
        expected = base(input_ids=torch.cat([torch.tensor([tokens["token_ids"]]), ids], 1)[:, -ids.shape[1] - 1 :])
    logprobs = expected.logits.log_softmax(-1)[0, :-1].gather(1, ids.T)[:, 0]
    assert loss["token_logprobs"] == pytest.approx(logprobs.tolist(), abs=1e-4)
    assert first(chat)["token_ids"]

    held = load_file(tmp_path / "adapter_model.safetensors")
    del held["base_model.model.transformer.wte.weight"], held["base_model.model.lm_head.weight"]
    save_file(held, tmp_path / "adapter_model.safetensors")
    message = (
        r"request 0: the model has 388 embeddings, and none for the token '<\|user\|>' \(id 388\) of '<\|user\|>a'"
    )
    with pytest.raises(LLMError, match=message):
        answers(engine_for(tiny_gpt2, adapter=tmp_path), [Loss("<|user|>a")])


def test_an_adapter_that_lacks_a_part_of_its_new_embeddings(tiny_gpt2, tmp_path):
    tensors = {"base_model.model.transformer.wte.weight": torch.zeros(9, 64)}
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2, tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "model")
    with_token(tiny_gpt2).save_pretrained(tmp_path / "model")
    peft.get_peft_model(model, peft.LoraConfig(**TEXTS_LORA)).save_pretrained(tmp_path / "adapter")
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(
        ModelNotFoundError, match=r"has embeddings of 9 tokens, its base .* of 388, and .* holds no .*lm_head"
    ):
        answers(engine_for(tmp_path / "model", adapter=tmp_path / "adapter"), [Generate("the")])


def test_an_adapter_without_peft_names_the_extra(tiny_gpt2, adapter, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llm-regression\[peft\]'"):
        answers(engine_for(tiny_gpt2, adapter=adapter), [Generate("the")])


def test_a_pickled_adapter_is_not_loaded(tiny_gpt2, adapter, tmp_path):
    pickled = shutil.copytree(adapter, tmp_path / "adapter")
    (pickled / "adapter_model.safetensors").unlink()
    torch.save({}, pickled / "adapter_model.bin")
    with pytest.raises(ModelNotFoundError, match=r"no adapter_model\.safetensors"):
        answers(engine_for(tiny_gpt2, adapter=pickled), [Generate("the")])


@pytest.fixture
def lora(tiny_gpt2, tmp_path):
    """Make an adapter that changes the answers; ``rename`` gives a tensor of its file another name, or none."""

    def make(rename=lambda name: name, **config):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            base = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
            peft.get_peft_model(base, peft.LoraConfig(**{**TEXTS_LORA, **config})).save_pretrained(tmp_path)
        held = load_file(tmp_path / "adapter_model.safetensors")
        renamed = {rename(name): tensor for name, tensor in held.items() if rename(name)}
        save_file(renamed, tmp_path / "adapter_model.safetensors", {"format": "pt"})
        return tmp_path

    return make


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("transformer.h", "transformer.language_model.h"),
        lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda name: "" if ".h.1." in name else name,
    ],
    ids=["another model", "torch.compile", "one layer missing"],
)
def test_an_adapter_whose_tensors_fit_nothing_is_an_error(tiny_gpt2, lora, rename):
    with pytest.raises(
        ModelNotFoundError, match=r"does not fit 'tiny-gpt2': \[?'.*lora_A.* are not in its file\. It was trained on"
    ):
        answers(engine_for(tiny_gpt2, adapter=lora(rename)), [Loss(TEXTS[0])])


def test_tensors_of_an_adapter_that_go_nowhere_are_named(tiny_gpt2, lora):
    adapter = lora()
    held = load_file(adapter / "adapter_model.safetensors")
    held |= {name.replace(".h.1.", ".h.2."): tensor for name, tensor in held.items()}
    save_file({name: tensor.clone() for name, tensor in held.items()}, adapter / "adapter_model.safetensors")
    with pytest.warns(
        UserWarning, match=r"2 tensors of the adapter .* are used by nothing.*transformer\.h\.2\..*lora_A"
    ):
        answers(engine_for(tiny_gpt2, adapter=adapter), [Loss(TEXTS[0])])


def test_an_adapter_that_only_its_own_forward_switches_on_is_refused(tiny_gpt2, lora):
    with pytest.raises(ModelNotFoundError, match=r"works on the prompt \(aLoRA\)"):
        answers(engine_for(tiny_gpt2, adapter=lora(alora_invocation_tokens=[5, 6])), [Loss(TEXTS[0])])


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_of_tokens_that_alone_were_trained(tiny_gpt2, tmp_path, tied):
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    base = AutoModelForCausalLM.from_pretrained(tiny_gpt2, tie_word_embeddings=tied)
    base.save_pretrained(tmp_path / "base")
    base.resize_token_embeddings(len(tokenizer))
    config = peft.LoraConfig(**TEXTS_LORA, trainable_token_indices={"wte": [len(tokenizer) - 1]})
    trained = peft.get_peft_model(base, config)
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "adapter")
    (loss,) = answers(engine_for(tmp_path / "base", adapter=tmp_path / "adapter"), [Loss("<|user|>the red cat")])
    ids = torch.tensor([tokenizer("<|user|>the red cat")["input_ids"]])
    with torch.no_grad():
        logits = trained.eval()(input_ids=ids).logits
    expected = logits.log_softmax(-1)[0, :-1].gather(1, ids[:, 1:].T)[:, 0]
    assert loss["token_logprobs"] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.fixture
def classifying(tiny_gpt2, tmp_path):
    """An adapter for classification, on a model of texts, as PEFT's own examples train it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = AutoModelForSequenceClassification.from_pretrained(tiny_gpt2, num_labels=3)
        model = peft.get_peft_model(base, peft.LoraConfig(**LORA, task_type="SEQ_CLS"))
        model.base_model.model.score.modules_to_save["default"].weight.data.normal_()
    model.save_pretrained(tmp_path)
    return model.eval(), tmp_path


def test_an_adapter_makes_a_classifier_of_a_model_of_texts(tiny_gpt2, gpt2, classifying):
    model, folder = classifying
    engine = engine_for(tiny_gpt2, adapter=folder)
    for text, answer in zip(TEXTS, answers(engine, [Classify(text) for text in TEXTS]), strict=True):
        with torch.no_grad():
            expected = model(**gpt2.tokenizer(text, return_tensors="pt")).logits[0]
        assert answer["logits"] == pytest.approx(expected.tolist(), abs=1e-4)
        assert answer["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert len(answers(engine, [Embed(TEXTS[0])])[0]["vector"]) == 64
    with pytest.raises(InvalidInputError, match=r"GPT2ForSequenceClassification\) cannot answer 'generate'"):
        answers(engine, [Generate("the")])


def test_an_adapter_makes_a_token_classifier_of_an_encoder(tiny_bert, bert, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = AutoModelForTokenClassification.from_pretrained(tiny_bert, num_labels=3)
        model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["query"], task_type="TOKEN_CLS"))
        model.base_model.model.classifier.modules_to_save["default"].weight.data.normal_()
    model.eval().save_pretrained(tmp_path)
    (answer,) = answers(engine_for(tiny_bert, adapter=tmp_path), [Tag(TEXTS[0], "none")])
    with torch.no_grad():
        logits = model(**bert.tokenizer(TEXTS[0], return_tensors="pt")).logits[0, 1:-1]
    best = logits.softmax(-1).max(-1)
    assert [one["label"] for one in answer["spans"]] == [f"LABEL_{i}" for i in best.indices]
    assert [one["score"] for one in answer["spans"]] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert len(set(best.indices.tolist())) > 1


def test_an_adapter_makes_an_extractive_model_of_an_encoder(tiny_bert, bert, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = AutoModelForQuestionAnswering.from_pretrained(tiny_bert)
        model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["query"], task_type="QUESTION_ANS"))
        model.base_model.model.qa_outputs.modules_to_save["default"].weight.data.normal_()
    model.eval().save_pretrained(tmp_path)
    question = Extract("what likes the dog?", TEXTS[0], max_answer_len=1, align_to_words=False)
    (answer,) = answers(engine_for(tiny_bert, adapter=tmp_path), [question])
    encoded = bert.tokenizer(question.question, question.context, return_tensors="pt")
    with torch.no_grad():
        output = model.base_model.model(**encoded)  # PEFT's own forward drops token_type_ids
    best = (output.start_logits + output.end_logits)[0].masked_fill(encoded["token_type_ids"][0] == 0, -1e9)[:-1]
    assert answer["spans"][0]["start"] == encoded.token_to_chars(0, int(best.argmax())).start


def test_an_adapter_for_classification_without_a_head(tiny_gpt2, classifying):
    _, folder = classifying
    held = load_file(folder / "adapter_model.safetensors")
    del held["base_model.model.score.weight"]
    save_file(held, folder / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(ModelNotFoundError, match=r"holds none of the modules_to_save \['classifier', 'score'\]"):
        answers(engine_for(tiny_gpt2, adapter=folder), [Classify("the")])


def test_a_pooler_that_no_file_has_is_an_error(tiny_bert, classifying, tmp_path):
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    adapter = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    adapter.save_pretrained(tmp_path / "pooled")
    assert json.loads((tmp_path / "pooled" / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
    with pytest.raises(ModelNotFoundError, match=r"incomplete for BertForSequenceClassification: 2 .*bert\.pooler"):
        answers(engine_for(tiny_bert, adapter=tmp_path / "pooled"), [Classify("the red cat")])
