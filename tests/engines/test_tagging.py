"""Token classifiers, against transformers' pipeline."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForTokenClassification,
    BertTokenizerLegacy,
    ConvBertForTokenClassification,
    DistilBertForTokenClassification,
    GPT2ForTokenClassification,
    LlamaForTokenClassification,
    RobertaForTokenClassification,
    T5ForTokenClassification,
    pipeline,
)

from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.requests import Activations, Classify, Embed, Tag
from pytest_llm.results import Origin
from pytest_llm.spans import spans
from tests.engines.conftest import answers, engine_for
from tests.tiny_models import parts, retrain, sentences

TEXTS = [
    "the red cat likes the dog.",
    "The  RED owl\nknows the hén!  the black hen wants the white fox.",
    "owl",
    "the capital of france is paris.",
]
LONG = " ".join(random.Random(1).sample(sentences()[1200:], 30))
STRATEGIES = ("none", "simple", "first", "average", "max")


def tagged(engine, requests):
    return [spans(answer, Origin()) for answer in answers(engine, requests)]


def by_pipeline(folder, texts, **options):
    """What transformers says of texts, one at a time: (start, end, label, score) of each span."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ask = pipeline("token-classification", model=str(folder), tokenizer=tokenizer, device="cpu", **options)
    rows = [ask(text) for text in texts]
    label = "entity" if options["aggregation_strategy"] == "none" else "entity_group"
    return [[(one["start"], one["end"], one[label], one["score"]) for one in row] for row in rows]


def agree(ours, theirs, texts):
    for text, mine, other in zip(texts, ours, theirs, strict=True):
        kept = [(text[start:end].strip(), label, score) for start, end, label, score in other]
        kept = [one for one in kept if one[0]]
        assert [(str(one), one.label) for one in mine] == [one[:2] for one in kept]
        assert [one.score for one in mine] == pytest.approx([score for *_, score in kept], abs=1e-5)
        assert [text[one.start : one.end] for one in mine] == mine


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_equals_the_pipeline(tiny_tagger, strategy):
    ours = tagged(engine_for(tiny_tagger), [Tag(text, strategy) for text in TEXTS])
    agree(ours, by_pipeline(tiny_tagger, TEXTS, aggregation_strategy=strategy), TEXTS)
    assert all(ours[:2])


def test_it_finds_what_the_model_learnt(tiny_tagger):
    texts = [f"{text} {other}" for text, other in zip(sentences()[1200::97], sentences()[1250::97], strict=False)]
    found = tagged(engine_for(tiny_tagger), [Tag(text) for text in texts])
    places = [[(one.start, one.end, one.label) for one in row] for row in found]
    assert sum(map(len, places)) > 60
    assert places == [parts(text) for text in texts]


@pytest.mark.parametrize("stride", [1, 20])
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_long_text_in_windows_equals_the_pipeline(tiny_tagger, stride, strategy):
    requests = [Tag(LONG, strategy, stride), Tag(TEXTS[0], strategy, stride)]
    ours = tagged(engine_for(tiny_tagger, batch_size=2), requests)
    texts = [LONG, TEXTS[0]]
    agree(ours, by_pipeline(tiny_tagger, texts, aggregation_strategy=strategy, stride=stride), texts)
    assert ours[0][-1].end > len(LONG) - 10


@pytest.mark.parametrize(
    ("model_class", "fields"),
    [
        (BertForTokenClassification, {}),
        (RobertaForTokenClassification, {}),
        (DistilBertForTokenClassification, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
        (ConvBertForTokenClassification, {"embedding_size": 32}),
        (GPT2ForTokenClassification, {"n_embd": 32, "n_layer": 2, "n_head": 2}),
        (LlamaForTokenClassification, {"num_key_value_heads": 2}),
        (T5ForTokenClassification, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}),
    ],
)
@pytest.mark.parametrize("world", ["bert", "gpt2"])
def test_every_architecture_equals_the_pipeline_in_batches(request, tmp_path, model_class, fields, world):
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(f"tiny_{world}"))
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes = {} if {"d_model", "n_embd", "dim"} & fields.keys() else sizes
    rules = {"vocab_size": len(tokenizer), "pad_token_id": 0, "num_labels": 3, "eos_token_id": 3, "bos_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**{**sizes, **rules, "initializer_range": 0.2, **fields}))
        model.save_pretrained(tmp_path)
    engine = engine_for(tmp_path)
    ours = tagged(engine, [Tag(text) for text in TEXTS])
    agree(ours, by_pipeline(tmp_path, TEXTS, aggregation_strategy="simple"), TEXTS)
    assert len({one.label for row in ours for one in row}) > 1
    assert (engine.free_size > 1) == (model_class is not ConvBertForTokenClassification)
    assert all(answers(engine, [ask(text) for ask in (Embed, Activations) for text in TEXTS]))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Tag(""), "request 0: the text is empty"),
        (Tag(LONG), r"request 0: \d+ tokens, but the model's context is 64 tokens: give stride="),
        (Tag(LONG, stride=62), r"stride=62 leaves nothing new in a window of 62 tokens"),
        (
            Classify("the"),
            r"cannot answer 'classify' \(classify\(\) is for models with a sequence-classification head\): "
            "this tagger model answers activations, embed, tag, tokenize",
        ),  # fmt: skip
    ],
)
def test_what_cannot_be_asked(tiny_tagger, question, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(engine_for(tiny_tagger), [question])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aggregation_strategy": "best"}, r"aggregation_strategy is one of none, simple, .*, not 'best'"),
        ({"aggregation_strategy": "none", "stride": 3}, "stride needs an aggregation_strategy other than 'none'"),
        ({"stride": -1}, r"stride cannot be negative"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Tag("the red cat", **arguments)


def test_a_slow_tokenizer_does_not_know_where_its_tokens_stand(tiny_tagger):
    engine = engine_for(tiny_tagger)
    words = sorted(engine.tokenizer.get_vocab(), key=engine.tokenizer.get_vocab().get)
    vocabulary = engine.folder.parent / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    vars(engine)["tokenizer"] = BertTokenizerLegacy(str(vocabulary))
    with pytest.raises(InvalidInputError, match=r"tag\(\) needs a fast tokenizer.*BertTokenizerLegacy is a slow one"):
        answers(engine, [Tag("the red cat")])


def test_damaged_weights_are_no_answer(tiny_tagger, tmp_path):
    folder = shutil.copytree(tiny_tagger, tmp_path / "changed")
    retrain(folder, lambda weights: weights["classifier.bias"][0].fill_(float("nan")))
    with pytest.raises(LLMError, match="the model's output is not a number"):
        answers(engine_for(folder), [Tag(TEXTS[0])])


def test_a_head_that_is_not_in_the_file_is_no_head_at_random(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForTokenClassification"]}))
    with pytest.raises(LLMError, match=r"incomplete for BertForTokenClassification: 2 tensors are missing"):
        answers(engine_for(folder), [Tag(TEXTS[0])])
