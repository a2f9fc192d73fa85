"""Encoder-decoders: what their answers start from, and a target's tokens, which a tokenizer may write otherwise."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    LEDConfig,
    LEDForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import digest_of
from pytest_llm.request_json import request_from_json
from pytest_llm.requests import Activations, Embed, Generate, Loss, Score
from tests.engines.conftest import answers, engine_for, first
from tests.tiny_models import FRENCH, make_mbart

SOURCE, TARGET = "blue dog", "red cat sees"


@pytest.fixture(scope="module", params=[MBart50Tokenizer, MBartTokenizer])
def mbart(request, tmp_path_factory):
    return engine_for(make_mbart(tmp_path_factory.mktemp("mbart"), request.param))


@pytest.fixture(scope="module")
def mbart50(tmp_path_factory):
    return engine_for(make_mbart(tmp_path_factory.mktemp("mbart50")))


def test_the_loss_is_that_of_transformers_with_labels(mbart):
    batch = mbart.tokenizer(SOURCE, text_target=TARGET, return_tensors="pt")
    with torch.no_grad():
        expected = mbart.model(**batch).loss.item()
    (found,) = answers(mbart, [Loss(TARGET, source=SOURCE)])
    assert found["token_ids"] == batch["labels"][0].tolist()
    assert -sum(found["token_logprobs"]) / 5 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_answers_start_as_asked_each_in_a_shared_batch(mbart, num_beams):
    german, french = mbart.tokenizer.convert_tokens_to_ids(["de_DE", "fr_XX"])
    name = "forced_bos_token_id" if mbart.config.decoder_start_token_id else "decoder_start_token_id"
    asked = [{name: german}, {name: french}, {} if name.startswith("decoder") else {name: german}]
    found = answers(mbart, [Generate(SOURCE, max_new_tokens=6, num_beams=num_beams, options=o) for o in asked])
    inputs = mbart.tokenizer(SOURCE, return_tensors="pt")
    for answer, language in zip(found, (german, french, german), strict=True):
        expected = mbart.model.generate(**inputs, max_new_tokens=6, num_beams=num_beams, **{name: language})
        assert first(answer)["token_ids"] == expected[0, 1:].tolist()
    assert first(found[0])["token_ids"] != first(found[1])["token_ids"]


def test_the_greedy_answer_is_scored_as_such(mbart):
    (language,) = mbart.tokenizer.convert_tokens_to_ids(["de_DE"])
    options = {"forced_bos_token_id": language} if mbart.config.decoder_start_token_id else {}
    (answer,) = answers(mbart, [Generate(SOURCE, max_new_tokens=6, options=options)])
    text = first(answer)["text"].strip()
    (found,), (loss,) = (
        [one["scores"][0] for one in answers(mbart, [Score(SOURCE, (text,))])],
        answers(mbart, [Loss(text, source=SOURCE)]),
    )
    words = [value for token, value in zip(loss["token_ids"], loss["token_logprobs"], strict=True) if token > 3]
    words = [value for value in words if value > -500]  # not the language: the model never answers it
    assert found["is_greedy"]
    assert found["logprob"] == pytest.approx(sum(words), abs=1e-3)


def test_another_language_is_scored_by_its_token(mbart50):
    german, french = mbart50.tokenizer.convert_tokens_to_ids(["de_DE", "fr_XX"])
    (answer,) = answers(mbart50, [Generate(SOURCE, max_new_tokens=6, options={"forced_bos_token_id": french})])
    texts = (first(answer)["text"].strip(),)
    (own,), (same,), (other,) = (
        one["scores"] for one in answers(mbart50, [Score(SOURCE, texts, {}, token) for token in (None, german, french)])
    )
    assert own == same
    assert (own["is_greedy"], other["is_greedy"]) == (False, True)


@pytest.mark.parametrize("end", ["\n", " "])
def test_white_space_that_ends_a_source_stays_the_sources(mbart50, end):
    (found,), (loss,) = (
        answers(mbart50, [Score(SOURCE + end, (TARGET,))])[0]["scores"],
        answers(mbart50, [Loss(TARGET, source=SOURCE + end)]),
    )
    words = [value for token, value in zip(loss["token_ids"], loss["token_logprobs"], strict=True) if token > 3]
    assert found["tokens"] == 3
    assert found["logprob"] == pytest.approx(sum(value for value in words if value > -500), abs=1e-3)

    once, still = (digest_of(Score(text, (TARGET,)).to_json()) for text in (SOURCE + end, SOURCE))
    assert Score(SOURCE + end, (TARGET,)).digest != once  # a store has the answers of before under this
    assert Score(SOURCE, (TARGET,)).digest == still


def test_a_model_that_names_its_forced_token(tmp_path):
    engine = engine_for(make_mbart(tmp_path, forced_bos_token_id=0))
    assert engine.model.generation_config.forced_bos_token_id == 0
    (answer,) = answers(engine, [Generate(SOURCE, max_new_tokens=6)])
    assert first(answer)["token_ids"][0] == 0
    (found,) = answers(engine, [Score(SOURCE, (first(answer)["text"].strip(),))])
    assert found["scores"][0]["is_greedy"]


class _TwoVocabularies(PreTrainedTokenizerFast):
    """A tokenizer with other pieces for a target than for a source, as Marian's: words, and single letters."""

    def _switch_to_input_mode(self):
        self._tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")

    def _switch_to_target_mode(self):
        self._tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def test_a_target_with_pieces_of_its_own(tmp_path):
    engine = engine_for(make_mbart(tmp_path, MBartTokenizer))
    names = ["<s>", "<pad>", "</s>", "<unk>", *"abcd", "ab", "cd"]
    raw = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    vars(engine)["tokenizer"] = _TwoVocabularies(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>")
    loss, score, states = answers(
        engine, [Loss("ab cd", source="ab"), Score("ab", ("ab", "ab cd")), Activations("ab cd", source="ab")]
    )
    assert loss["token_ids"] == [8, 9]
    assert [one["tokens"] for one in score["scores"]] == [1, 2]
    assert states["token_ids"] == [4, 5, 9, 8, 9]  # the source in letters; the last token, which a target starts from


def nllb(folder):
    """NLLB as it is published: a target begins with the language, which a decoder that starts from </s> is forced to."""
    words = {f"▁{word}": 4 + i for i, word in enumerate(sorted({*FRENCH, *FRENCH.values()}))}
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    tokenizer = NllbTokenizer(vocab={**special, **words}, merges=[], src_lang="eng_Latn", tgt_lang="fra_Latn")
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}  # fmt: skip
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(
        M2M100Config(vocab_size=len(tokenizer), d_model=32, init_std=0.5, decoder_start_token_id=2, **sizes)
    )
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def translators(mbart50, tmp_path_factory):
    return {
        "mbart50": mbart50,
        "mbart": engine_for(make_mbart(tmp_path_factory.mktemp("first"), MBartTokenizer)),
        "nllb": engine_for(nllb(tmp_path_factory.mktemp("nllb"))),
    }


@pytest.mark.parametrize(
    ("name", "option", "source", "target", "other"),
    [
        ("mbart50", "forced_bos_token_id", "fr_XX", "nl_XX", "de_DE"),
        ("mbart", "decoder_start_token_id", "fr_XX", "nl_XX", "de_DE"),
        ("nllb", "forced_bos_token_id", "deu_Latn", "nld_Latn", "fra_Latn"),
    ],
)
def test_languages_are_those_of_transformers(translators, name, option, source, target, other):
    engine = translators[name]
    tokenizer, model = engine.tokenizer, engine.model
    own = tokenizer.src_lang, tokenizer.tgt_lang, tokenizer(SOURCE)["input_ids"]
    plain, given, beams, there = answers(
        engine,
        [
            Generate(SOURCE, max_new_tokens=6),
            Generate(SOURCE, max_new_tokens=6, src_lang=source, tgt_lang=target),
            Generate(SOURCE, max_new_tokens=6, src_lang=source, tgt_lang=target, num_beams=2),
            Generate(SOURCE, max_new_tokens=6, src_lang=source),
        ],
    )
    loss, loss_there = answers(
        engine, [Loss(TARGET, source=SOURCE, src_lang=source, tgt_lang=target), Loss(TARGET, source=SOURCE)]
    )
    score, elsewhere = answers(
        engine, [Score(SOURCE, (TARGET,), src_lang=source, tgt_lang=lang) for lang in (target, other)]
    )
    assert (tokenizer.src_lang, tokenizer.tgt_lang, tokenizer(SOURCE)["input_ids"]) == own

    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    try:
        inputs = tokenizer(SOURCE, return_tensors="pt")
        batch = tokenizer(SOURCE, text_target=TARGET, return_tensors="pt")
    finally:
        tokenizer.tgt_lang, tokenizer.src_lang = own[1], own[0]
    language = {option: tokenizer.convert_tokens_to_ids(target)}
    for answer, num_beams in ((given, 1), (beams, 2)):
        expected = model.generate(**inputs, max_new_tokens=6, num_beams=num_beams, **language)
        assert first(answer)["token_ids"] == expected[0, 1:].tolist()
    assert len({str(first(answer)["logprobs"]) for answer in (plain, given, there)}) == 3
    with torch.no_grad():
        expected = model(**batch).loss.item()
    assert loss["token_ids"] == batch["labels"][0].tolist()
    assert -sum(loss["token_logprobs"]) / len(loss["token_ids"]) == pytest.approx(expected, rel=1e-5)
    assert loss["token_logprobs"] != loss_there["token_logprobs"]
    around = (language[option], tokenizer.eos_token_id)
    words = [x for token, x in zip(loss["token_ids"], loss["token_logprobs"], strict=True) if token not in around]
    assert score["scores"][0]["logprob"] == pytest.approx(sum(words), abs=1e-3)
    assert score["scores"][0]["logprob"] != elsewhere["scores"][0]["logprob"]


def test_languages_that_a_model_does_not_know(translators, t5, gpt2):
    def refused(engine, message, **languages):
        for request in (Generate(SOURCE, **languages), Loss(TARGET, source=SOURCE if engine is not gpt2 else None, **languages),
                        Score(SOURCE, (TARGET,), **languages)):  # fmt: skip
            with pytest.raises(InvalidInputError, match=f"request 0: {message}"):
                answers(engine, [request])

    refused(translators["mbart50"], r"the model knows no src_lang='fr'; near it are fr_XX", src_lang="fr")
    refused(translators["nllb"], r"the model knows no tgt_lang='french'; near it are fra_Latn", tgt_lang="french")
    refused(translators["nllb"], r"the model knows no tgt_lang='1'; it knows 202, as ace_Arab, ", tgt_lang="1")
    refused(t5, r"the model's tokenizer \(\w+\) cannot be set to a language", src_lang="fr")
    refused(gpt2, "src_lang and tgt_lang is for encoder-decoders", src_lang="fr", tgt_lang="de")


def test_a_request_names_languages_only_where_they_are_given():
    assert not {"src_lang", "tgt_lang"} & set().union(
        Generate("a").to_json(), Loss("a", source="b").to_json(), Score("a", ("b",)).to_json()
    )
    request = Loss("a", source="b", tgt_lang="fr_XX")
    assert request.to_json()["tgt_lang"] == "fr_XX"
    assert request_from_json(request.to_json()) == request
    with pytest.raises(InvalidInputError, match=r"generate\(\): src_lang must be text, not 5"):
        Generate("a", src_lang=5)
    for ask in (
        lambda: Generate("a", tgt_lang="fr_XX", options={"forced_bos_token_id": 5}),
        lambda: Score("a", ("b",), {}, 5, tgt_lang="fr_XX"),
    ):
        with pytest.raises(InvalidInputError, match="tgt_lang says what forced_bos_token_id would say: give one of"):
            ask()


def test_what_is_for_encoder_decoders(gpt2):
    with pytest.raises(InvalidInputError, match="request 0: forced_bos_token_id is for encoder-decoders"):
        answers(gpt2, [Score("the", (" red",), {}, 5)])
    with pytest.raises(InvalidInputError, match="request 0: decoder_start_token_id is for encoder-decoders"):
        answers(gpt2, [Generate("the", options={"decoder_start_token_id": 5})])
    with pytest.raises(InvalidInputError, match=r"score\(\): forced_bos_token_id must be an integer, not 'de_DE'"):
        Score("the", (" red",), {}, "de_DE")


def _pair(encoder, decoder):
    sizes = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    encoder, decoder = (kind(max_position_embeddings=n, pad_token_id=1, **sizes) for kind, n in (encoder, decoder))
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id = 0, 1
    return EncoderDecoderModel(config)


def _led():
    sizes = {f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    return LEDForConditionalGeneration(
        LEDConfig(vocab_size=10, d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, attention_window=[4],
                  max_encoder_position_embeddings=20, max_decoder_position_embeddings=10, **sizes)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "encoder", "decoder"),
    [
        (lambda: _pair((BertConfig, 20), (BertConfig, 10)), 20, 10),
        (lambda: _pair((BertConfig, 10), (BertConfig, 20)), 10, 20),
        (lambda: _pair((RobertaConfig, 12), (RobertaConfig, 22)), 10, 20),  # two rows of each go to padding
        (_led, 20, 10),
    ],
)
def test_encoder_and_decoder_have_limits_of_their_own(tmp_path, make, encoder, decoder):
    make().save_pretrained(tmp_path)
    names = ["<s>", "<pad>", "</s>", "<unk>", "a"]
    raw = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    engine, most, answer = engine_for(tmp_path), "a " * encoder, "a " * decoder
    answers(engine, [Generate(most, max_new_tokens=decoder - 1), Loss(answer, source=most), Embed(most)])
    answers(engine, [Score(most, (answer,)), Activations(answer[2:], source=most)])
    for request, part, limit in (
        (Generate(most + "a", max_new_tokens=1), "encoder", encoder),
        (Embed(most + "a"), "encoder", encoder),
        (Loss("a", source=most + "a"), "encoder", encoder),
        (Activations("a", source=most + "a"), "encoder", encoder),
        (Score(most + "a", ("a",)), "encoder", encoder),
        (Generate("a", max_new_tokens=decoder), "decoder", decoder),
        (Loss(answer + "a", source="a"), "decoder", decoder),
        (Activations(answer, source="a"), "decoder", decoder),
        (Score("a", (answer + "a",)), "decoder", decoder),
    ):
        for one in (engine, engine_for(tmp_path)):  # the first question of a process is told the same
            with pytest.raises(InvalidInputError, match=f"{limit + 1}.*, but the model's {part}'s context is {limit}"):
                answers(one, [request])


@pytest.mark.parametrize(
    "options",
    [
        {"forced_bos_token_id": 99999},
        {"forced_bos_token_id": "de_DE"},
        {"forced_eos_token_id": [2, 99999]},
        {"decoder_start_token_id": -1},
        {"suppress_tokens": [99999]},
        {"begin_suppress_tokens": [99999]},
        {"bad_words_ids": [[4], [5, 99999]]},
    ],
)
def test_a_token_that_the_model_does_not_have(mbart50, options):
    (name,) = options
    with pytest.raises(InvalidInputError, match=rf"request 1: {name} names the token .*, and the model has a vocabul"):
        answers(mbart50, [Generate(SOURCE, max_new_tokens=4, options=one) for one in ({}, options)])
    with pytest.raises(InvalidInputError, match=rf"forced_bos_token_id .* {len(mbart50.tokenizer)} tokens, whose ids"):
        answers(mbart50, [Score(SOURCE, ("red",), {}, 99999)])
