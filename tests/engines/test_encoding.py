"""Masks and embeddings, against transformers' pipeline and pooling by hand."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForMaskedLM,
    ConvBertForMaskedLM,
    FNetForMaskedLM,
    FunnelForMaskedLM,
    pipeline,
)

from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Activations, Embed, FillMask, Generate
from tests.engines.conftest import answers, engine_for


def test_fill_mask_equals_the_pipeline(bert, tiny_bert):
    texts = ["the capital of [MASK] is rome.", "the red cat [MASK] the dog."]
    fill = pipeline("fill-mask", model=str(tiny_bert), tokenizer=str(tiny_bert), device="cpu")
    for text, answer in zip(texts, answers(bert, [FillMask(text, top_k=4) for text in texts]), strict=True):
        (mask,) = answer["masks"]
        for ours, theirs in zip(mask, fill(text, top_k=4), strict=True):
            assert (ours["token_id"], ours["text"]) == (theirs["token"], theirs["sequence"])
            assert ours["token"] == theirs["token_str"]
            assert ours["probability"] == pytest.approx(theirs["score"], abs=1e-5)
    assert answers(bert, [FillMask(texts[0], top_k=1)])[0]["masks"][0][0]["token"] == "italy"


def test_each_mask_is_filled_by_itself(bert):
    (answer,) = answers(bert, [FillMask("the [MASK] cat sees the [MASK].", top_k=2)])
    assert [len(mask) for mask in answer["masks"]] == [2, 2]
    colour, animal = answer["masks"][0][0], answer["masks"][1][0]
    assert colour["text"] == f"the {colour['token']} cat sees the [MASK]."
    assert animal["text"] == f"the [MASK] cat sees the {animal['token']}."


def test_minilm_embeddings_equal_pooling_by_hand(minilm):
    texts = ["A cat sits on the mat.", "Somewhere, a feline rests.", "Stock prices fell sharply on Monday afternoon."]
    engine = engine_for(minilm)
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model = AutoModel.from_pretrained(minilm).eval()
    pooled = {name: [] for name in ("mean", "cls", "last")}
    for text in texts:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        pooled["mean"].append(states.mean(0))
        pooled["cls"].append(states[0])
        pooled["last"].append(states[-1])
    for pooling, vectors in pooled.items():
        for normalize in (True, False):
            found = answers(engine, [Embed(text, pooling, normalize) for text in texts])
            for answer, vector in zip(found, vectors, strict=True):
                expected = vector / vector.norm() if normalize else vector
                assert answer["vector"] == pytest.approx(expected.tolist(), abs=1e-5)
    cat, feline, stocks = (torch.tensor(a["vector"]) for a in answers(engine, [Embed(text) for text in texts]))
    assert cat @ feline > cat @ stocks + 0.3
    assert type(engine.model).__name__ == "BertModel"
    with pytest.raises(
        InvalidInputError, match=r"cannot answer 'generate': this encoder model answers activations, embed, tokenize"
    ):
        answers(engine, [Generate("hello")])


def test_a_sentence_encoder_that_lowers_case_does(tiny_gpt2, tmp_path):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "encoder")
    (folder / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Transformer"}]')
    texts = [Embed("The RED cat"), Embed("the red cat")]
    for lower in (True, False):
        (folder / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": lower}))
        capitals, small = answers(engine_for(folder), texts)
        assert (capitals["vector"] == pytest.approx(small["vector"], abs=1e-5)) is lower


def test_the_default_prompt_of_a_sentence_encoder_is_read_before_every_text(bert, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "encoder")
    (folder / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Transformer"}]')
    for name, whole in (("query", "the red cat sees the owl"), ("document", "sees the owl"), (None, "sees the owl")):
        said = {"default_prompt_name": name, "prompts": {"query": "the red cat ", "document": None}}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
        (found,), (expected,) = answers(engine_for(folder), [Embed("sees the owl")]), answers(bert, [Embed(whole)])
        assert found["vector"] == pytest.approx(expected["vector"], abs=1e-5)


def test_decoders_and_encoder_decoders_embed_too(gpt2, t5):
    texts = ["the red cat", "the blue owl sees the"]
    for answer, text in zip(answers(gpt2, [Embed(text, "last") for text in texts]), texts, strict=True):
        with torch.no_grad():
            states = gpt2.model.base_model(torch.tensor([gpt2.tokenizer(text)["input_ids"]])).last_hidden_state[0]
        assert answer["vector"] == pytest.approx((states[-1] / states[-1].norm()).tolist(), abs=1e-5)
    (answer, _) = answers(t5, [Embed("le chat noir", normalize=False), Embed("le chat noir voit le chien")])
    with torch.no_grad():
        states = t5.model.get_encoder()(**t5.tokenizer("le chat noir", return_tensors="pt")).last_hidden_state[0]
    assert answer["vector"] == pytest.approx(states.mean(0).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (FillMask("no mask here"), r"the text has no mask; write '\[MASK\]'"),
        (FillMask(""), "request 0: the text is empty"),
        (Embed(""), "request 0: the text is empty"),
        (Embed("the", pooling="max"), "pooling is mean, cls or last, not 'max'"),
        (Embed("the " * 100), "102 tokens, but the model's context is 64"),
    ],
)
def test_what_cannot_be_asked(bert, question, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(bert, [question])


SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.2}
FUNNEL = {"block_sizes": [1, 1], "d_model": 32, "d_head": 16, "d_inner": 64, "n_head": 2, "initializer_std": 0.5}


@pytest.mark.parametrize(
    ("model_class", "sizes", "batched"),
    [
        (BertForMaskedLM, SIZES, True),
        (ConvBertForMaskedLM, {**SIZES, "embedding_size": 32}, False),
        (FNetForMaskedLM, SIZES, False),
        (FunnelForMaskedLM, FUNNEL, False),
    ],
)
def test_a_longer_neighbour_changes_no_answer(tiny_bert, tmp_path, model_class, sizes, batched):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = model_class.config_class(vocab_size=len(tokenizer), hidden_size=32, pad_token_id=0, **sizes)
        model_class(config).save_pretrained(tmp_path)
    engine = engine_for(tmp_path)
    short, long = "the [MASK] cat", "the capital of peru is lima. " * 4
    for ask in (Embed, Activations, FillMask):
        ((alone,), (beside, _)) = (
            answers(engine, [ask(text) for text in texts]) for texts in ([short], [short, long + "[MASK]"])
        )
        if ask is FillMask:
            alone, beside = ([one["probability"] for one in answer["masks"][0]] for answer in (alone, beside))
        else:
            alone, beside = (answer["vector" if ask is Embed else "norms"] for answer in (alone, beside))
        assert beside == pytest.approx(alone, abs=1e-4)
    assert (engine.free_size > 1) == batched
