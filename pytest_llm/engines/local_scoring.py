"""Logprobs of given text: ``loss``, ``logprobs`` and ``score``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.languages import spoken
from pytest_llm.engines.prompts import (
    answer_start,
    check_length,
    check_token_options,
    decoder_ids,
    encode,
    leading_special_ids,
    prompt_ids,
    render,
    require_text,
    start_token,
)
from pytest_llm.engines.rows import Row, Scored, collect
from pytest_llm.errors import InvalidInputError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Logprobs, Loss, Score


def loss(engine: LocalEngine, group: list[tuple[int, Loss]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Loss` requests.

    Decoders: the sliding window of the Hugging Face perplexity guide
    (https://huggingface.co/docs/transformers/perplexity). Each window scores the tokens no earlier one scored. A
    window's first token has nothing before it and is not scored: without BOS the text's first token never is; with
    a tokenizer that adds BOS it is. Encoder-decoders: every target token given the source, end token included.
    Masked models: the pseudo-log-likelihood, each token given all others (Salazar et al. 2020, arXiv:1910.14659).
    """
    rows: list[Row] = []
    for index, request in group:
        require_text(request.text, index)
        if request.source is not None and engine.family != "encoder-decoder":
            hint = "; to score text after a prompt use score()" if engine.family == "decoder" else ""
            raise InvalidInputError(f"request {index}: a source is for encoder-decoders{hint}")
        if (request.window or request.stride) and engine.family != "decoder":
            raise InvalidInputError(
                f"request {index}: window and stride are for decoders: this {engine.family} model reads a text whole"
            )
        make = {"decoder": _windows, "encoder-decoder": _target, "masked": _masked}[engine.family]
        with spoken(engine, request, index):
            made = make(engine, index, request)
        if not any(row.targets for row in made):
            hint = ": leave it out" if engine.family == "decoder" else ""
            if hint and start_token(engine) is not None:
                hint += "; score('', [text]) has it follow the BOS token"
            raise InvalidInputError(
                f"request {index}: {request.text[:40]!r} is a single token, which nothing before it predicts{hint}"
            )
        rows += made

    def finish(index: int, parts: list[tuple[Row, list[Scored]]]) -> Answer:
        ids = [token for row, _ in parts for _, token in row.targets]
        return {
            "token_ids": ids,
            "tokens": [engine.token_texts.legible(token) for token in ids],
            "token_logprobs": [one.logprob for _, scored in parts for one in scored],
        }

    return collect(engine, rows, finish)


def _windows(engine: LocalEngine, index: int, request: Loss) -> list[Row]:
    ids = encode(engine.tokenizer, request.text, special=True)
    if request.window > (engine.context_length or request.window):
        raise InvalidInputError(
            f"request {index}: window={request.window} is larger than the model's context of {engine.context_length} "
            "tokens; without window= it is the whole context"
        )
    if request.window == 1:
        raise InvalidInputError(f"request {index}: window must be at least 2: a token is predicted from one before it")
    window = request.window or engine.context_length or len(ids)
    stride = request.stride or max(1, window // 2)
    if stride > window:
        raise InvalidInputError(
            f"request {index}: stride {stride} is larger than window {window}: tokens would be lost"
        )
    rows: list[Row] = []
    scored = 0
    for start in range(0, len(ids), stride):
        end = min(start + window, len(ids))
        targets = [(p - 1 - start, ids[p]) for p in range(max(start + 1, scored), end)]
        if targets:
            # The last token changes nothing that is scored, unless by its position.
            rows.append(Row(index, ids[start : end if engine.alone(end - start) else end - 1], targets))
        scored = end
        if end == len(ids):
            break
    return rows


def _target(engine: LocalEngine, index: int, request: Loss) -> list[Row]:
    if request.source is None:
        raise InvalidInputError(f"request {index}: an encoder-decoder's loss needs the source of its text (sources=)")
    source = encode(engine.tokenizer, request.source, special=True)
    start, target = decoder_ids(engine, request.text)
    check_length(engine, len(source), index, source=True)
    check_length(engine, len(target), index)
    return [Row(index, [start, *target[:-1]], list(enumerate(target)), source)]


def _masked(engine: LocalEngine, index: int, request: Loss) -> list[Row]:
    mask = engine.tokenizer.mask_token_id
    if mask is None:
        raise InvalidInputError(f"request {index}: the tokenizer has no mask token")
    encoded = engine.tokenizer(request.text, return_special_tokens_mask=True, verbose=False)
    ids = encoded["input_ids"]
    check_length(engine, len(ids), index)
    return [
        Row(index, [*ids[:p], mask, *ids[p + 1 :]], [(p, ids[p])])
        for p, special in enumerate(encoded["special_tokens_mask"])
        if not special
    ]


# logprobs -------------------------------------------------------------------------------------------------------


def logprobs(engine: LocalEngine, group: list[tuple[int, Logprobs]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Logprobs` requests: each token given all before it; the first has none."""
    rows: list[Row] = []
    for index, request in group:
        require_text(request.text, index)
        ids = encode(engine.tokenizer, request.text, special=True)
        check_length(engine, len(ids), index)
        rows.append(Row(index, ids, list(enumerate(ids[1:])), key=request.top_k))
    texts = engine.token_texts

    def finish(index: int, parts: list[tuple[Row, list[Scored]]]) -> Answer:
        (row, scored), *_ = parts
        positions = [{"token_id": row.ids[0], "token": texts[row.ids[0]], "logprob": None, "top": []}]
        for (_, token), one in zip(row.targets, scored, strict=True):
            top = [[other, texts[other], value] for other, value in one.top[: row.key]]
            positions.append({"token_id": token, "token": texts[token], "logprob": one.logprob, "top": top})
        return {"positions": positions}

    return collect(engine, rows, finish, top_k=max((request.top_k for _, request in group), default=0))


# score ----------------------------------------------------------------------------------------------------------


def score(engine: LocalEngine, group: list[tuple[int, Score]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Score` requests.

    A decoder's boundary is lm-evaluation-harness's (``TemplateLM._encode_pair``): spaces that end the prompt move
    to the continuation, prompt + continuation are encoded whole, and what follows the prompt's own tokens
    is the continuation. After a rendered chat, where an answer starts, no space moves, but where it is part of
    the continuation's first token. An encoder-decoder's continuation follows the tokens that every answer begins with,
    and its source stays whole.
    A continuation's row that another row begins with is not computed again, so one pass serves all continuations of
    one token.
    """
    rows: list[Row] = []
    counts: dict[int, int] = {}
    for index, request in group:
        with spoken(engine, request, index) as options:
            source, pairs = _encode_pairs(engine, index, request, options)
        counts[index] = len(pairs)
        for context, tokens in pairs:
            check_length(engine, len(context) + len(tokens) - 1, index)
        # Longest first: a row can only be the start of one at least as long.
        kept: list[Row] = []
        for number, (context, tokens) in sorted(enumerate(pairs), key=lambda pair: -len(pair[1][1])):
            whole = [*context, *tokens]
            ids = whole[:-1]
            row = next((row for row in kept if row.ids[: len(ids)] == ids), None)
            if engine.alone(len(whole)):  # its last token's position matters too, and no shorter row begins it
                row = Row(index, whole, [], source, key=[])
                rows.append(row)
            elif row is None:
                row = Row(index, ids, [], source, key=[])
                kept.append(row)
            first = len(row.targets)
            row.targets += [(len(context) - 1 + i, token) for i, token in enumerate(tokens)]
            row.key.append((number, first, len(row.targets)))
        rows += kept

    def finish(index: int, parts: list[tuple[Row, list[Scored]]]) -> Answer:
        scores: list[Any] = [None] * counts[index]
        for row, scored in parts:
            for number, first, last in row.key:
                one = scored[first:last]
                scores[number] = {
                    "logprob": sum(s.logprob for s in one),
                    "tokens": len(one),
                    "is_greedy": all(s.best for s in one),
                }
        return {"scores": scores}

    return collect(engine, rows, finish)


def _encode_pairs(
    engine: LocalEngine, index: int, request: Score, options: dict[str, int]
) -> tuple[list[int] | None, list[tuple[list[int], list[int]]]]:
    """Return the encoder's source (or ``None``), and context and continuation ids of every continuation."""
    tokenizer = engine.tokenizer
    if not request.continuations:
        raise InvalidInputError(f"request {index}: no continuations to score")
    prompt = render(engine, request.prompt, request.template, index)
    chat = not isinstance(request.prompt, str)
    source: list[int] | None = None
    if engine.family == "encoder-decoder":
        source = encode(tokenizer, prompt, special=not chat)
        check_length(engine, len(source), index, source=True)
        forced = options.get("forced_bos_token_id", request.forced_bos_token_id)
        check_token_options(engine, {"forced_bos_token_id": forced}, index)
        context, split = answer_start(engine, forced, options.get("decoder_start_token_id")), 0
    elif request.forced_bos_token_id is not None:
        raise InvalidInputError(f"request {index}: forced_bos_token_id is for encoder-decoders")
    else:
        bare = encode(tokenizer, prompt.rstrip(), special=False)
        start = [] if chat else leading_special_ids(tokenizer)
        context, split = start + bare, len(bare)
        if not context:
            context = prompt_ids(engine, "", {}, True, index)
    rendered = encode(tokenizer, prompt, special=False) if chat and source is None else []
    pairs = []
    for continuation in request.continuations:
        before = "" if source is not None else prompt
        whole = encode(tokenizer, before + continuation, special=False, target=source is not None)
        apart = bool(rendered) and whole[: len(rendered)] == rendered
        given, tokens = (rendered, whole[len(rendered) :]) if apart else (context, whole[split:])
        if not tokens:
            raise InvalidInputError(f"request {index}: the continuation {continuation!r} has no tokens")
        pairs.append((given, tokens))
    return source, pairs
