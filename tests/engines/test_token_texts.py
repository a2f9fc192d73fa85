"""The text of a token, in every kind of vocabulary."""

from __future__ import annotations

import re

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pytest_llm.engines.token_texts import TokenTexts
from pytest_llm.requests import Generate, Logprobs, Loss
from tests.engines.conftest import answers, first


def llama(words):
    """A tokenizer as Llama 2's: SentencePiece with bytes for what is in no word."""
    byte = [f"<0x{i:02X}>" for i in range(256)]
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *byte, *words])}
    raw = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def metaspace(words):
    """A tokenizer as T5's."""
    raw = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *((word, -1.0) for word in words)], unk_id=0))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>")


@pytest.mark.parametrize("make", [llama, metaspace])
@pytest.mark.parametrize("others", [["▁", "a"], ["▁a"], []], ids=["parts", "word", "unknown"])
def test_sentencepiece_tells_a_word_from_its_end(make, others):
    tokenizer = make([*others, "ke", "▁ke", "▁▁", "."])
    texts = TokenTexts(tokenizer)
    named = {token: texts[i] for token, i in tokenizer.get_vocab().items()}
    shown = {token: named[token] for token in ("ke", "▁ke", "▁▁", ".", "</s>")}
    assert shown == {"ke": "ke", "▁ke": " ke", "▁▁": "  ", ".": ".", "</s>": "</s>"}
    if make is llama:
        some = [tokenizer.get_vocab()[f"<0x{byte:02X}>"] for byte in (0x41, 0x0A, 0xE5, 0xAD)]
        assert [texts[token] for token in some] == ["A", "\n", "\ufffd", "\ufffd"]
        assert [texts.legible(token) for token in some] == ["A", "\n", "\\xe5", "\\xad"]


def test_words_are_shown_with_the_space_before_them(bert, t5):
    (answer,) = answers(bert, [Loss("the capital of france is paris.")])
    assert "".join(answer["tokens"]) == " the capital of france is paris."
    assert bert.token_texts[bert.tokenizer.mask_token_id] == "[MASK]"
    pieces = [token for token in bert.tokenizer.get_vocab() if token.startswith("##")]
    assert pieces
    assert {piece: bert.token_texts[bert.tokenizer.convert_tokens_to_ids(piece)] for piece in pieces} == {
        piece: piece[2:] for piece in pieces
    }
    answer = first(answers(t5, [Generate("le chat noir voit le chien")])[0])
    assert answer["tokens"] == [" the", " black", " cat", " sees", " the", " dog", "</s>"]


def test_byte_level_tokens_are_what_they_decode_to(smol):
    decode = smol.tokenizer.decode
    everything = range(len(smol.tokenizer))
    assert [smol.token_texts[token] for token in everything] == [decode([token]) for token in everything]
    (answer,) = answers(smol, [Logprobs("Paris is 巴黎.", top_k=2)])
    for position in answer["positions"]:
        assert position["token"] == decode([position["token_id"]])
        assert [text for _, text, _ in position["top"]] == [decode([token]) for token, _, _ in position["top"]]


def test_a_part_of_a_character_is_shown_as_its_bytes(smol):
    text = "Paris is 巴黎 नमस्ते 👩‍👩‍👧, café \ufffd."
    ids = smol.tokenizer(text)["input_ids"]
    shown = [smol.token_texts.legible(token) for token in ids]
    assert "\\x" in "".join(shown)
    raw = [part.encode() for part in re.split(r"\\x([0-9a-f]{2})", "".join(shown))]
    assert b"".join(bytes.fromhex(part.decode()) if i % 2 else part for i, part in enumerate(raw)).decode() == text
    (loss,) = answers(smol, [Loss(text)])
    assert loss["tokens"] == shown[1:]
    everything = range(len(smol.tokenizer))
    assert not any(
        "\ufffd" in smol.token_texts.legible(token).replace(smol.tokenizer.decode(ids[-2]), "") for token in everything
    )
