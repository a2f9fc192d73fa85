"""What encoders answer: ``fill_mask`` and ``embed`` (other models embed too)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.batching import each_whole
from pytest_llm.engines.head import widen
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.local_classify import logits
from pytest_llm.engines.prompts import check_length, encode, pad, require_text
from pytest_llm.engines.rows import Row, checked, evaluate
from pytest_llm.errors import InvalidInputError
from pytest_llm.weights.listing import default_prompt, lowers_case, own_length

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Embed, FillMask

#: Relative error of hidden states that another shape of the batch may make; what leaks is hundredths and more.
_ROUNDING = 1e-3


def fill_mask(engine: LocalEngine, group: list[tuple[int, FillMask]]) -> Iterator[tuple[int, Answer]]:
    """Answer `FillMask` requests: the best tokens for each mask, the other masks left as they are."""
    mask = engine.tokenizer.mask_token_id
    rows: list[Row] = []
    for index, request in group:
        require_text(request.text, index)
        encoded = engine.tokenizer(request.text, return_special_tokens_mask=True, verbose=False)
        ids = encoded["input_ids"]
        check_length(engine, len(ids), index)
        where = [p for p, token in enumerate(ids) if token == mask]
        if not where:
            raise InvalidInputError(f"request {index}: the text has no mask; write {engine.tokenizer.mask_token!r}")
        # The target is the mask itself: only the best tokens at its position are read.
        inner = [not special for special in encoded["special_tokens_mask"]]
        rows.append(Row(index, ids, [(p, ids[p]) for p in where], key=(request.top_k, inner)))
    decode = engine.tokenizer.decode

    def candidate(row: Row, position: int, token: int, logprob: float) -> dict[str, Any]:
        import math

        filled = [*row.ids[:position], token, *row.ids[position + 1 :]]
        text = decode([one for one, inner in zip(filled, row.key[1], strict=True) if inner])
        return {"token_id": token, "token": decode([token]), "probability": math.exp(logprob), "text": text}

    for batch in evaluate(engine, rows, top_k=max((request.top_k for _, request in group), default=0)):
        for row, scored in batch:
            yield (
                row.owner,
                {
                    "masks": [
                        [candidate(row, position, token, logprob) for token, logprob in one.top[: row.key[0]]]
                        for (position, _), one in zip(row.targets, scored, strict=True)
                    ]
                },
            )


def embed(engine: LocalEngine, group: list[tuple[int, Embed]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Embed` requests from the last hidden layer (an encoder-decoder's encoder).

    ``mean`` averages all tokens but padding, special tokens included, and a default prompt is read before every text,
    as sentence-transformers' ``encode()`` does. That also cuts a text silently at the model's ``max_seq_length``: here
    a longer one is an error.
    """
    longest, lower, prompt = own_length(engine.folder), lowers_case(engine.folder), default_prompt(engine.folder)
    items: list[tuple[int, Embed, list[int]]] = []
    for index, request in group:
        require_text(request.text, index)
        if request.pooling not in ("mean", "cls", "last"):
            raise InvalidInputError(f"request {index}: pooling is mean, cls or last, not {request.pooling!r}")
        text = prompt + request.text
        ids = encode(engine.tokenizer, text.lower() if lower else text, special=True)
        if longest is not None and len(ids) > longest:
            raise InvalidInputError(
                f"request {index}: {len(ids)} tokens, but this sentence encoder embeds {longest} (max_seq_length in "
                "its sentence_bert_config.json): shorten the text, or embed its parts"
            )
        check_length(engine, len(ids), index, source=engine.config.is_encoder_decoder)
        items.append((index, request, ids))
    found = each_whole(engine, items, lambda batch: _vectors(engine, batch), lambda item: len(item[2]))
    for (index, _, _), vector in found:
        yield index, {"vector": vector}


def _vectors(engine: LocalEngine, batch: list[tuple[int, Embed, list[int]]]) -> list[list[float]]:
    import torch

    with torch.no_grad(), quiet():
        hidden = _hidden(engine, [item[2] for item in batch])
        vectors = []
        for (_, request, tokens), states in zip(batch, hidden, strict=True):
            states = states[: len(tokens)]
            vector = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[request.pooling]
            vectors.append(torch.nn.functional.normalize(vector, dim=0) if request.normalize else vector)
    return [checked(vector) for vector in vectors]


def backbone(engine: LocalEngine) -> Any:
    """Return the part of the model that reads a text whole: of an encoder-decoder its encoder."""
    return engine.model.get_encoder() if engine.config.is_encoder_decoder else engine.model.base_model


def _hidden(engine: LocalEngine, rows: list[list[int]]) -> Any:
    """Return the last hidden states of an encoder (or decoder) for token ids, [rows, longest, width]."""
    ids, mask = pad(rows, engine.pad_id, engine.model.device)
    return widen(backbone(engine)(input_ids=ids, attention_mask=mask).last_hidden_state)


def padding_leaks(engine: LocalEngine) -> bool:
    """Find out on the model itself whether padding changes an encoder's states by more than rounding, mask or not.

    It does where a layer mixes positions otherwise than by attention, and so without the mask: ConvBERT, FNet, Funnel.
    Of a classifier the outputs say it: XLNet's are read off the last place, padding or not.
    """
    import torch

    rng = random.Random(0)
    limit = engine.source_length if engine.family == "encoder-decoder" else engine.context_length
    longest = min(24, limit or 24)
    tokens = engine.model.get_input_embeddings().weight.shape[0]
    short, long = ([rng.randrange(tokens) for _ in range(length)] for length in (max(1, longest // 3), longest))

    def read(rows: list[list[int]]) -> Any:
        if engine.family == "classifier":
            return logits(engine, [{"input_ids": ids} for ids in rows])[0]
        return _hidden(engine, rows)[0, : len(short)]

    if engine.family == "classifier":  # where an encoder-decoder's reads the outputs off, there has to be an end token
        short, long = (encode(engine.tokenizer, text, special=True) for text in ("a", "a " * longest))
    try:
        with torch.no_grad(), quiet():
            alone, beside = (read(rows).cpu().double() for rows in ([short], [short, long]))
    except Exception:  # random tokens of two lengths are not for every model: alone, none is padded
        return True
    return bool((alone - beside).norm() > _ROUNDING * alone.norm())
