"""Classifiers, against transformers' pipeline."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BartForSequenceClassification,
    BertForSequenceClassification,
    ConvBertForSequenceClassification,
    DistilBertForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaForSequenceClassification,
    RobertaForSequenceClassification,
    T5ForSequenceClassification,
    XLNetForSequenceClassification,
    pipeline,
)

from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError
from pytest_llm.labels import Classification
from pytest_llm.requests import Activations, Classify, Embed, Generate
from pytest_llm.results import Origin
from tests.engines.conftest import answers, engine_for
from tests.tiny_models import FEELS, retrain

TEXTS = ["the red cat likes the dog.", "the owl", "the blue owl sees the hen. the black hen wants the white fox."]


def classified(engine, requests):
    return [Classification.from_json(answer, Origin()) for answer in answers(engine, requests)]


def by_pipeline(folder, texts, **options):
    """What transformers says of texts, or of pairs of them, one at a time."""
    ask = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu", top_k=None)
    asked = [dict(zip(("text", "text_pair"), [one] if isinstance(one, str) else one, strict=False)) for one in texts]
    return [{row["label"]: row["score"] for row in ask(one, **options)} for one in asked]


@pytest.fixture
def changed(tiny_classifier, tmp_path):
    """Return a copy of the classifier with other fields in its configuration."""

    def change(**fields):
        folder = shutil.copytree(tiny_classifier, tmp_path / "changed")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))
        return folder

    return change


def test_it_equals_the_pipeline(tiny_classifier):
    pairs = [(TEXTS[0], TEXTS[2]), (TEXTS[2], "the hen"), (TEXTS[1], "")]
    requests = [*map(Classify, TEXTS), *(Classify(*pair) for pair in pairs)]
    found = classified(engine_for(tiny_classifier), requests)
    for ours, theirs in zip(found, by_pipeline(tiny_classifier, [*TEXTS, *pairs]), strict=True):
        assert list(ours.scores) == ["neutral", "positive"]
        assert ours.scores == pytest.approx(theirs, abs=1e-5)
        assert sum(ours.scores.values()) == pytest.approx(1.0)
    for ours, theirs in zip(
        found, by_pipeline(tiny_classifier, [*TEXTS, *pairs], function_to_apply="none"), strict=True
    ):
        assert dict(zip(ours.scores, ours.logits, strict=True)) == pytest.approx(theirs, abs=1e-4)
    assert abs(found[0].logits[0] - found[3].logits[0]) > 0.01  # the second text was read


def test_it_says_what_the_model_learnt(tiny_classifier):
    texts = [f"the red cat {verb} the dog." for verb in FEELS]
    found = classified(engine_for(tiny_classifier), [Classify(text) for text in texts])
    assert found == list(FEELS.values())
    for one in found:
        assert one.score == max(one.scores.values()) > 0.9
        assert one.margin == pytest.approx(abs(one.logits[0] - one.logits[1]))
        assert one.above(0.9) == [one]


@pytest.mark.parametrize(
    ("model_class", "fields", "batched"),
    [
        (BertForSequenceClassification, {}, True),
        (RobertaForSequenceClassification, {}, True),
        (DistilBertForSequenceClassification, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, True),
        (ConvBertForSequenceClassification, {"embedding_size": 32}, False),
        (XLNetForSequenceClassification, {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, False),
        (GPT2ForSequenceClassification, {"n_embd": 32, "n_layer": 2, "n_head": 2}, True),
        (LlamaForSequenceClassification, {"num_key_value_heads": 2}, True),
        (LlamaForSequenceClassification, {"num_key_value_heads": 2, "pad_token_id": None}, False),
        (
            BartForSequenceClassification,
            {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2, "init_std": 0.2},
            True,
        ),
        (T5ForSequenceClassification, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}, True),
    ],
)  # fmt: skip
def test_every_architecture_equals_the_pipeline_in_batches(tiny_bert, tmp_path, model_class, fields, batched):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes = {} if {"d_model", "n_embd", "dim"} & fields.keys() else sizes
    rules = {"vocab_size": len(tokenizer), "pad_token_id": 0, "num_labels": 3, "eos_token_id": 3, "bos_token_id": 2}
    rules |= {"decoder_start_token_id": 2} if "d_model" in fields else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**{**sizes, **rules, "initializer_range": 0.2, **fields}))
        model.save_pretrained(tmp_path)
    engine = engine_for(tmp_path)
    found = classified(engine, [Classify(text) for text in TEXTS])
    for ours, theirs in zip(found, by_pipeline(tmp_path, TEXTS), strict=True):
        assert ours.scores == pytest.approx(theirs, abs=1e-5)
    assert len({round(one.logits[0], 3) for one in found}) == 3  # it tells the texts apart
    assert (engine.free_size > 1 and engine.config.pad_token_id is not None) == batched
    states = answers(engine, [ask(text) for ask in (Embed, Activations) for text in TEXTS])
    assert all(states)


@pytest.mark.parametrize(
    ("fields", "sums_to_one"),
    [
        ({"problem_type": "multi_label_classification"}, False),
        ({"problem_type": "regression"}, False),
        ({"problem_type": "single_label_classification"}, True),
    ],
)
def test_scores_follow_the_configuration(changed, fields, sums_to_one):
    folder = changed(**fields)
    (ours,) = classified(engine_for(folder), [Classify(TEXTS[0])])
    (theirs,) = by_pipeline(folder, TEXTS[:1])
    assert ours.scores == pytest.approx(theirs, abs=1e-5)
    assert (sum(ours.scores.values()) == pytest.approx(1.0)) == sums_to_one


def test_one_output_is_a_probability(changed):
    folder = changed(problem_type=None, id2label={"0": "relevance"}, label2id={"relevance": 0})
    weights = load_file(folder / "model.safetensors")
    weights |= {name: weights[name][:1].clone() for name in ("classifier.weight", "classifier.bias")}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    ours = classified(engine_for(folder), [Classify(text, TEXTS[1]) for text in TEXTS])
    theirs = by_pipeline(folder, [(text, TEXTS[1]) for text in TEXTS])
    assert [one.scores for one in ours] == [pytest.approx(one, abs=1e-5) for one in theirs]
    assert ours[0] == "relevance"
    assert ours[0].score == pytest.approx(1 / (1 + torch.tensor(-ours[0].logits[0]).exp().item()))
    assert ours[0].margin == float("inf")


def test_scores_of_outputs_that_are_far_apart():
    data = {"labels": ["a", "b", "c"], "logits": [-1000.0, 0.0, 1000.0]}
    sigmoid, softmax = (Classification.from_json({**data, "function": f}, Origin()) for f in ("sigmoid", "softmax"))
    assert sigmoid.scores == {"a": 0.0, "b": 0.5, "c": 1.0}
    assert softmax.scores == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert sigmoid.above() == ["b", "c"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Classify(""), "request 0: the text is empty"),
        (Classify("the " * 40, "owl " * 40), "request 0: 83 tokens, but the model's context is 64"),
        (Generate("the"), "cannot answer 'generate': this classifier model answers activations, classify, embed"),
    ],
)
def test_what_cannot_be_asked(tiny_classifier, question, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(engine_for(tiny_classifier), [question])


def test_a_model_without_a_head_refuses(bert):
    with pytest.raises(InvalidInputError, match=r"\(BertForMaskedLM\) cannot answer 'classify' \(.* sequence-class"):
        answers(bert, [Classify("the red cat")])


def test_a_pooler_that_is_not_in_the_file_is_no_pooler_at_random(changed):
    folder = changed()
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelNotFoundError, match=r"2 tensors are missing \(bert.pooler.dense.bias"):
        answers(engine_for(folder), [Classify(TEXTS[0])])


def test_damaged_weights_and_labels_are_no_answer(changed):
    folder = changed(id2label={"0": "good", "1": "good"})
    with pytest.raises(InvalidInputError, match=r"two labels of the model have one name: \['good', 'good'\]"):
        classified(engine_for(folder), [Classify(TEXTS[0])])
    retrain(folder, lambda weights: weights["classifier.bias"][0].fill_(float("nan")))
    with pytest.raises(LLMError, match="the model's output is not a number"):
        answers(engine_for(folder), [Classify(TEXTS[0])])
