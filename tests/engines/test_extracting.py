"""Extractive question answering, against what the question-answering pipeline of transformers 4 does, written anew."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlbertForQuestionAnswering,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BartForQuestionAnswering,
    BertForQuestionAnswering,
    CanineConfig,
    CanineForQuestionAnswering,
    CanineTokenizer,
    ConvBertForQuestionAnswering,
    DistilBertForQuestionAnswering,
    ElectraForQuestionAnswering,
    GPT2ForQuestionAnswering,
    LlamaForQuestionAnswering,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForQuestionAnswering,
    T5ForQuestionAnswering,
    XLNetForQuestionAnswering,
    XLNetForQuestionAnsweringSimple,
)

from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError
from pytest_llm.requests import Activations, Classify, Embed, Extract, Generate
from tests.engines.conftest import answers, engine_for
from tests.tiny_models import QUESTIONS, UNSEEN, passage, retrain

COLOUR, WHO = QUESTIONS
CONTEXT = "the cow hears the dog. the green owl sees the hen. the fox knows the cat."
LONG = " ".join(["the cow hears the dog. the fox wants the hen."] * 8 + [CONTEXT])


def spans(engine, requests):
    return [answer["spans"][0] for answer in answers(engine, requests)]


def by_hand(folder, request, *, limit=64):
    """What the pipeline answers: one window at a time, cut by the tokenizer, each span of a window in a table."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForQuestionAnswering.from_pretrained(folder)
    shared = request.doc_stride if request.max_seq_len <= limit else min(request.doc_stride, limit // 2)
    last = model.config.model_type == "xlnet"
    texts = (request.context, request.question) if last else (request.question, request.context)
    encoded = tokenizer(
        *texts, truncation="only_first" if last else "only_second", max_length=min(request.max_seq_len, limit),
        stride=shared, return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    found, empty = [], 1.0
    for i, window in enumerate(encoded.encodings):
        inputs = {name: torch.tensor([encoded[name][i]]) for name in tokenizer.model_input_names}
        with torch.no_grad():
            output = model.eval()(**inputs)
        own = np.array([s == (0 if last else 1) for s in encoded.sequence_ids(i)])
        cls = np.array([t == tokenizer.cls_token_id for t in encoded["input_ids"][i]])
        rows = [np.where(own | cls, logits[0].numpy(), -1e4) for logits in (output.start_logits, output.end_logits)]
        start, end = (np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in rows)
        empty = min([empty, *(start * end)[cls]])
        start, end = start * own, end * own
        table = np.tril(np.triu(np.outer(start, end)), request.max_answer_len - 1)
        first, final = np.unravel_index(table.argmax(), table.shape)
        chars = window.offsets[first][0], window.offsets[final][1]
        if request.align_to_words:
            chars = (
                window.word_to_chars(window.token_to_word(first), 0 if last else 1)[0],
                window.word_to_chars(window.token_to_word(final), 0 if last else 1)[1],
            )
        found.append((table.max(), *chars))
    score, start, end = max(found, key=lambda one: one[0])
    if request.handle_impossible_answer and empty > score:
        score, start, end = empty, 0, 0
    return {"text": request.context[start:end], "start": start, "end": end, "score": pytest.approx(score, rel=1e-4)}


@pytest.fixture
def changed(tiny_extractive, tmp_path):
    """Return a copy of the model with other fields in its configuration."""

    def change(**fields):
        folder = shutil.copytree(tiny_extractive, tmp_path / "changed")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))
        return folder

    return change


def retrained(folder, change):
    retrain(folder, change)
    return engine_for(folder)


def test_it_answers_what_the_model_learnt(tiny_extractive):
    rng = random.Random(5)
    asked = [
        (question, passage(rng, animal, count), answer.format(colour=animal[0], animal=animal[1]) if animal else "")
        for question, answer in QUESTIONS.items()
        for animal in (UNSEEN, ("red", "hen"), None)
        for count in (1, 3, 8)
    ]
    engine = engine_for(tiny_extractive)
    found = spans(engine, [Extract(q, c, handle_impossible_answer=True) for q, c, _ in asked])
    for span, (_, context, answer) in zip(found, asked, strict=True):
        assert span["text"] == answer == context[span["start"] : span["end"]]
        assert span["start"] == context.index(answer)
        assert 0.6 < span["score"] < 1
    for span in spans(engine, [Extract(q, c) for q, c, answer in asked if not answer]):
        assert span["text"]  # unless it may be empty, there is always one
        assert span["score"] < 0.5


def test_a_long_context_is_read_in_windows(tiny_extractive):
    contexts = [LONG, f"{CONTEXT} {LONG.removesuffix(CONTEXT)}", LONG.replace(CONTEXT, CONTEXT.replace("green ", ""))]
    found = spans(engine_for(tiny_extractive), [Extract(WHO, c, handle_impossible_answer=True) for c in contexts])
    assert [one["text"] for one in found] == ["the green owl", "the green owl", ""]
    assert found[0]["start"] == LONG.index("the green owl") > 350
    assert found[1]["start"] == CONTEXT.index("the green owl")


OPTIONS = [
    {}, {"handle_impossible_answer": True}, {"max_answer_len": 1}, {"max_seq_len": 30, "doc_stride": 7},
    {"align_to_words": False}, {"max_seq_len": 40, "doc_stride": 1, "handle_impossible_answer": True},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_it_equals_the_pipeline(tiny_extractive, options):
    contexts = [CONTEXT, LONG, LONG * 2, CONTEXT.replace("green ", ""), "a  Red\n\ncât, unKNOWN東京😀 words.", "owl"]
    requests = [Extract(question, context, **options) for context in contexts for question in (COLOUR, WHO)]
    for batch_size in (64, 3, 1):  # windows of one question in several batches
        found = spans(engine_for(tiny_extractive, batch_size=batch_size), requests)
        assert found == [by_hand(tiny_extractive, request) for request in requests]


BART = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "init_std": 0.2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model_class", "fields", "batched"),
    [
        (BertForQuestionAnswering, {}, True),
        (RobertaForQuestionAnswering, {"max_position_embeddings": 65}, True),
        (DistilBertForQuestionAnswering, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, True),
        (AlbertForQuestionAnswering, {"embedding_size": 16}, True),
        (ElectraForQuestionAnswering, {"embedding_size": 32}, True),
        (ConvBertForQuestionAnswering, {"embedding_size": 32}, False),
        (XLNetForQuestionAnsweringSimple, {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, True),
        (GPT2ForQuestionAnswering, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, True),
        (LlamaForQuestionAnswering, {"num_key_value_heads": 2, "pad_token_id": None}, True),
        (BartForQuestionAnswering, BART, True),
        (T5ForQuestionAnswering, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}, True),
    ],
)
def test_every_architecture_equals_the_pipeline_in_batches(tiny_extractive, tmp_path, model_class, fields, batched):
    tokenizer = AutoTokenizer.from_pretrained(tiny_extractive)
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes = {} if {"d_model", "n_embd", "dim"} & fields.keys() else sizes
    rules = {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}
    rules |= {"decoder_start_token_id": 2} if "d_model" in fields else {}
    if not {"n_positions", "d_kv", "d_inner"} & fields.keys():
        rules["max_position_embeddings"] = 64
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**{**sizes, **rules, "initializer_range": 0.2, **fields}))
        model.qa_outputs.weight.data *= 5
        model.save_pretrained(tmp_path)
    engine = engine_for(tmp_path)
    requests = [
        Extract(question, context, max_seq_len=length, doc_stride=length // 3)
        for question in (COLOUR, WHO)
        for context in (CONTEXT, LONG)
        for length in (30, 64)
    ]
    assert spans(engine, requests) == [by_hand(tmp_path, request) for request in requests]
    assert (engine.free_size > 1) == batched
    assert all(answers(engine, [ask(text) for ask in (Embed, Activations) for text in (CONTEXT, "the owl")]))


def test_places_are_characters_also_where_tokens_are_bytes(tiny_gpt2, tmp_path):
    raw = Tokenizer.from_file(str(tiny_gpt2 / "tokenizer.json"))
    raw.add_special_tokens(["<s>", "</s>"])
    ids = {name: raw.token_to_id(name) for name in ("<s>", "</s>")}
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, cls_token="<s>", sep_token="</s>", pad_token="<|endoftext|>", model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.save_pretrained(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        RobertaForQuestionAnswering(
            RobertaConfig(
                vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=64, max_position_embeddings=65, initializer_range=0.3, pad_token_id=0,
            )
        ).save_pretrained(tmp_path)  # fmt: skip
    context = (
        "Zoë wohnt im Schloß «Ñandú» — 東京 ist weit, naïve café für 12€ 😀👍🏽, Ελλάδα, cafe\u0301 и Москва. " * 2
    )
    requests = [
        Extract(question, context, align_to_words=words, max_answer_len=length)
        for question in ("Wo?", "東京は?", "What costs 12€ 😀?")
        for words in (True, False)
        for length in (1, 15)
    ]
    found = spans(engine_for(tmp_path), requests)
    for span, request in zip(found, requests, strict=True):
        theirs = by_hand(tmp_path, request)
        assert span["score"] == theirs["score"]
        assert span["text"] == context[span["start"] : span["end"]]
        # At the end of a window theirs may lack the rest of a word.
        assert span["start"] <= theirs["start"] < theirs["end"] <= span["end"]
        assert theirs == span or request.align_to_words
    assert sum(span == by_hand(tmp_path, request) for span, request in zip(found, requests, strict=True)) >= 10


def test_a_tokenizer_without_words_answers_by_tokens(tiny_extractive, tmp_path):
    folder = shutil.copytree(tiny_extractive, tmp_path / "one-word")
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces = sorted(words.get_vocab(), key=words.token_to_id)
    raw = Tokenizer(models.Unigram([(f"▁{piece}" if piece.isalpha() else piece, -1.0) for piece in pieces], unk_id=1))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.post_processor = words.post_processor
    raw.add_special_tokens(pieces[:5])
    raw.save(str(folder / "tokenizer.json"))
    found = spans(engine_for(folder), [Extract(COLOUR, CONTEXT), Extract(WHO, CONTEXT), Extract(COLOUR, "green")])
    assert [one["text"].strip() for one in found] == ["green", "the green owl", "green"]


def test_what_a_tokenizer_says_of_padding_and_cutting_decides_nothing(tiny_extractive, tmp_path):
    requests = [Extract(WHO, context, handle_impossible_answer=True) for context in (CONTEXT, LONG, "the owl")]
    folder = shutil.copytree(tiny_extractive, tmp_path / "sides")
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.enable_padding(direction="left", length=50)
    raw.enable_truncation(20, stride=3, direction="left")
    raw.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"padding_side": "left", "truncation_side": "left", "model_max_length": 10}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert spans(engine_for(folder), requests) == spans(engine_for(tiny_extractive), requests)


def test_exact_answers_are_the_same_beside_any_other(tiny_extractive):
    requests = [Extract(WHO, CONTEXT), Extract(COLOUR, LONG), Extract(COLOUR, "the owl")]
    together = spans(engine_for(tiny_extractive, exact=True), requests)
    assert together == [spans(engine_for(tiny_extractive, exact=True), [request])[0] for request in requests]
    halves = spans(engine_for(tiny_extractive, dtype="bfloat16"), requests)
    assert [one["text"] for one in halves[:2]] == ["the green owl", "green"]
    assert halves[0]["score"] == pytest.approx(together[0]["score"], abs=0.05)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            Extract("what " * 70, CONTEXT),
            "the question, with special tokens, takes 73 tokens, and a window has 64: no context fits beside it. "
            "Shorten it$",
        ),
        (Extract("what " * 70, CONTEXT, max_seq_len=60, doc_stride=2), "Shorten it, or raise max_seq_len"),
        (
            Extract(COLOUR, LONG, max_seq_len=30, doc_stride=22),
            "room for 22 tokens of the context .* share doc_stride=22 of them with the next: give a doc_stride below 22",
        ),
        (Extract(COLOUR, "\u200b\u200d"), "the tokenizer finds nothing to read in the context"),
        (
            Generate("the"),
            "cannot answer 'generate': this extractive model answers activations, answer, embed, tokenize",
        ),
    ],
)
def test_what_cannot_be_asked(tiny_extractive, question, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(engine_for(tiny_extractive), [question])


def test_what_fits_in_one_window_shares_nothing_with_another(tiny_extractive):
    (found,) = spans(engine_for(tiny_extractive), [Extract(COLOUR, CONTEXT, max_seq_len=64, doc_stride=60)])
    assert found["text"] == "green"


def test_a_model_without_such_a_head_refuses(bert, tiny_classifier):
    for engine, kind in ((bert, "masked"), (engine_for(tiny_classifier), "classifier")):
        with pytest.raises(
            InvalidInputError,
            match=rf"cannot answer 'answer' \(answer\(\) is for models with a question-answering head\): this {kind} ",
        ):
            answers(engine, [Extract(COLOUR, CONTEXT)])
    with pytest.raises(InvalidInputError, match="cannot answer 'classify'"):
        answers(bert, [Classify(CONTEXT)])


def test_a_head_that_searches_with_beams_is_refused(tiny_extractive, tmp_path):
    AutoTokenizer.from_pretrained(tiny_extractive).save_pretrained(tmp_path)
    XLNetForQuestionAnswering(
        XLNetForQuestionAnswering.config_class(vocab_size=200, d_model=32, n_layer=1, n_head=2, d_inner=64)
    ).save_pretrained(tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"as this one's head does: it is for XLNetForQuestionAnsweringSimple\)"
    ):
        answers(engine_for(tmp_path), [Extract(COLOUR, CONTEXT)])


def test_a_slow_tokenizer_is_refused(tmp_path):
    CanineTokenizer().save_pretrained(tmp_path)
    CanineForQuestionAnswering(
        CanineConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match=r"answer\(\) needs a fast tokenizer.*CanineTokenizer is a slow one"):
        answers(engine_for(tmp_path), [Extract(COLOUR, CONTEXT)])


def test_no_answer_needs_a_token_that_stands_for_it(tiny_extractive, tmp_path):
    folder = shutil.copytree(tiny_extractive, tmp_path / "no-cls")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "cls_token": None}))
    assert spans(engine_for(folder), [Extract(COLOUR, CONTEXT)])[0]["text"] == "green"
    with pytest.raises(InvalidInputError, match="handle_impossible_answer needs a CLS token"):
        answers(engine_for(folder), [Extract(COLOUR, CONTEXT, handle_impossible_answer=True)])


def test_damaged_weights_are_no_answer(changed):
    folder = changed()
    with pytest.raises(LLMError, match="the model's output is not a number"):
        answers(
            retrained(folder, lambda weights: weights["qa_outputs.bias"].fill_(float("nan"))), [Extract(WHO, CONTEXT)]
        )
    with pytest.raises(
        ModelNotFoundError, match=r"incomplete for BertForQuestionAnswering: 2 tensors.*qa_outputs.bias"
    ):
        answers(
            retrained(folder, lambda w: [w.pop(f"qa_outputs.{name}") for name in ("weight", "bias")]),
            [Extract(WHO, CONTEXT)],
        )
