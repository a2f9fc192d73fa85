"""Logprobs of given text: ``loss``, ``logprobs`` and ``score``.

All three come down to rows of token ids with targets: at position p, how probable is token t?
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.batching import in_batches, share_prefixes
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.prompts import check_length, encode, leading_special_ids, pad, prompt_ids, render, require_text
from pytest_llm.errors import InvalidInputError, LLMError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Logprobs, Loss, Score

#: Padded tokens in one forward pass, for each prompt of the batch size: bounds the activations of long texts.
TOKENS_PER_ROW = 512


@dataclasses.dataclass
class Row:
    """A sequence for one forward pass.

    ``targets`` are ``(position, token)``: the token to score under the logits at that position. With
    ``source``, ``ids`` are the decoder's and ``source`` the encoder's. ``owner`` is the request's index.
    """

    owner: int
    ids: list[int]
    targets: list[tuple[int, int]]
    source: list[int] | None = None
    key: Any = None


@dataclasses.dataclass
class Scored:
    """One target: its logprob in nats, whether it is the most probable token, the best ``(id, logprob)``."""

    logprob: float
    best: bool
    top: list[tuple[int, float]]


def evaluate(engine: LocalEngine, rows: Sequence[Row], top_k: int = 0) -> Iterator[list[tuple[Row, list[Scored]]]]:
    """Yield, batch by batch, every row with its scored targets."""
    shareable = engine.family == "decoder" and not engine.exact
    groups = share_prefixes(rows, _before_targets) if shareable else [([], rows)]
    for prefix, members in groups:
        cache = prefix_cache(engine, prefix) if prefix else None
        if cache is None:
            prefix = []

        def compute(batch: list[Row], prefix: list[int] = prefix, cache: Any = cache) -> list[list[Scored]]:
            return _forward(engine, batch, prefix, cache, top_k)

        size = engine.batch_size
        for batch, scored in in_batches(
            members, compute, size=size, length=_padded_length, tokens=size * TOKENS_PER_ROW
        ):
            yield list(zip(batch, scored, strict=True))


def _before_targets(row: Row) -> list[int]:
    """Return what may be computed apart (less its last token): no target reads logits there."""
    return row.ids[: min(position for position, _ in row.targets) + 1]


def _padded_length(row: Row) -> int:
    return max(len(row.ids), len(row.source or ()))


def prefix_cache(engine: LocalEngine, prefix: list[int]) -> Any:
    """Return the keys and values of ``prefix``, or ``None`` for a model whose state cannot be copied by rows."""
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    with torch.no_grad(), quiet():
        cache = DynamicCache(config=engine.model.config)
        ids = torch.tensor([prefix], device=engine.model.device)
        engine.model(input_ids=ids, **{cache_argument(engine.model): cache}, use_cache=True, logits_to_keep=1)
    return cache if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers) else None


def cache_argument(model: Any) -> str:
    """Return the name of the forward argument that takes a cache (it changed within transformers 5)."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def expand_cache(cache: Any, rows: int) -> Any:
    """Return a copy of a one-row cache for ``rows`` sequences."""
    copied = copy.deepcopy(cache)
    copied.batch_repeat_interleave(rows)
    return copied


def forward_inputs(
    engine: LocalEngine, batch: list[Row], prefix: Sequence[int] = (), cache: Any = None
) -> dict[str, Any]:
    """Return the model's arguments for one pass over ``batch``, less the ``prefix`` that ``cache`` holds.

    Tokens after a position cannot change it: a causal model needs no mask when the padding is on the right.
    """
    model, device = engine.model, engine.model.device
    ids, mask = pad([row.ids[len(prefix) :] for row in batch], engine.pad_id, device)
    if engine.family == "masked":
        return {"input_ids": ids, "attention_mask": mask}
    if engine.family == "encoder-decoder":
        source, source_mask = pad([row.source or [] for row in batch], engine.pad_id, device)
        return {
            "input_ids": source,
            "attention_mask": source_mask,
            "decoder_input_ids": ids,
            "use_cache": False,
        }
    if prefix:
        return {"input_ids": ids, cache_argument(model): expand_cache(cache, len(batch)), "use_cache": True}
    return {"input_ids": ids, "use_cache": False}


def _forward(engine: LocalEngine, batch: list[Row], prefix: list[int], cache: Any, top_k: int) -> list[list[Scored]]:
    import torch

    inputs = forward_inputs(engine, batch, prefix, cache)
    where = [(i, p - len(prefix), token) for i, row in enumerate(batch) for p, token in row.targets]
    index = torch.tensor(where, device=engine.model.device)
    scored: list[Scored] = []
    with torch.no_grad(), quiet():
        for logits in engine.head.logits(inputs, index[:, 0], index[:, 1]):
            scored += _score(logits, index[len(scored) : len(scored) + len(logits), 2], top_k)
    results = iter(scored)
    return [[next(results) for _ in row.targets] for row in batch]


def _score(logits: Any, targets: Any, top_k: int) -> list[Scored]:
    total = logits.logsumexp(-1)
    chosen = logits.gather(1, targets[:, None])[:, 0]
    logprobs = (chosen - total).tolist()
    if any(x != x for x in logprobs):
        raise LLMError("the model's output is not a number (NaN): its weights are damaged, or its dtype overflows")
    best = (logits.argmax(-1) == targets).tolist()
    tops: list[list[tuple[int, float]]] = [[] for _ in best]
    if top_k:
        values, ids = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
        values = values - total[:, None]
        tops = [list(zip(*pair, strict=True)) for pair in zip(ids.tolist(), values.tolist(), strict=True)]
    return [Scored(*one) for one in zip(logprobs, best, tops, strict=True)]


def _collect(
    engine: LocalEngine,
    rows: list[Row],
    finish: Callable[[int, list[tuple[Row, list[Scored]]]], Answer],
    top_k: int = 0,
) -> Iterator[tuple[int, Answer]]:
    """Yield ``(owner, finish(owner, its rows in order))`` as soon as an owner's last row is done."""
    waiting: dict[int, int] = {}
    for row in rows:
        waiting[row.owner] = waiting.get(row.owner, 0) + 1
    order = {id(row): i for i, row in enumerate(rows)}
    done: dict[int, list[tuple[Row, list[Scored]]]] = {owner: [] for owner in waiting}
    for batch in evaluate(engine, rows, top_k):
        for row, scored in batch:
            done[row.owner].append((row, scored))
            waiting[row.owner] -= 1
            if not waiting[row.owner]:
                parts = done.pop(row.owner)
                yield row.owner, finish(row.owner, sorted(parts, key=lambda part: order[id(part[0])]))


# loss -----------------------------------------------------------------------------------------------------------


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
        make = {"decoder": _windows, "encoder-decoder": _target, "masked": _masked}[engine.family]
        made = make(engine, index, request)
        if not any(row.targets for row in made):
            raise InvalidInputError(
                f"request {index}: {request.text[:40]!r} is a single token, which nothing before it predicts"
            )
        rows += made

    def finish(index: int, parts: list[tuple[Row, list[Scored]]]) -> Answer:
        return {
            "token_ids": [token for row, _ in parts for _, token in row.targets],
            "token_logprobs": [one.logprob for _, scored in parts for one in scored],
        }

    return _collect(engine, rows, finish)


def _windows(engine: LocalEngine, index: int, request: Loss) -> list[Row]:
    if request.source is not None:
        raise InvalidInputError(
            f"request {index}: a source is for encoder-decoders; to score text after a prompt use score()"
        )
    ids = encode(engine.tokenizer, request.text, special=True)
    check_length(engine, request.window, index)
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
            rows.append(Row(index, ids[start : end - 1], targets))
        scored = end
        if end == len(ids):
            break
    return rows


def _target(engine: LocalEngine, index: int, request: Loss) -> list[Row]:
    if request.source is None:
        raise InvalidInputError(f"request {index}: an encoder-decoder's loss needs the source of its text (source=)")
    source = encode(engine.tokenizer, request.source, special=True)
    target = list(engine.tokenizer(text_target=request.text, verbose=False)["input_ids"])
    check_length(engine, max(len(source), len(target)), index)
    return [Row(index, [decoder_start(engine), *target[:-1]], list(enumerate(target)), source)]


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


def decoder_start(engine: LocalEngine) -> int:
    """Return the token an encoder-decoder's answers start from.

    Raises:
        InvalidInputError: the model names none (many-language models: none is right for all).
    """
    for source in (engine.model.generation_config, engine.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            value = getattr(source, name, None)
            if isinstance(value, int):
                return value
    raise InvalidInputError("the model names no decoder_start_token_id in its generation_config.json")


# logprobs -------------------------------------------------------------------------------------------------------


def logprobs(engine: LocalEngine, group: list[tuple[int, Logprobs]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Logprobs` requests: each token given all before it; the first has none."""
    rows: list[Row] = []
    for index, request in group:
        require_text(request.text, index)
        ids = encode(engine.tokenizer, request.text, special=True)
        check_length(engine, len(ids), index)
        rows.append(Row(index, ids, list(enumerate(ids[1:])), key=request.top_k))
    decode = engine.tokenizer.decode

    def finish(index: int, parts: list[tuple[Row, list[Scored]]]) -> Answer:
        (row, scored), *_ = parts
        positions = [{"token_id": row.ids[0], "token": decode([row.ids[0]]), "logprob": None, "top": []}]
        for (_, token), one in zip(row.targets, scored, strict=True):
            top = [[other, decode([other]), value] for other, value in one.top[: row.key]]
            positions.append({"token_id": token, "token": decode([token]), "logprob": one.logprob, "top": top})
        return {"positions": positions}

    return _collect(engine, rows, finish, top_k=max((request.top_k for _, request in group), default=0))


# score ----------------------------------------------------------------------------------------------------------


def score(engine: LocalEngine, group: list[tuple[int, Score]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Score` requests.

    The boundary is lm-evaluation-harness's (``TemplateLM._encode_pair``): spaces that end the prompt move
    to the continuation, prompt + continuation are encoded whole, and what follows the prompt's own tokens
    is the continuation. A continuation's row that another row begins with is not computed again, so one
    pass serves all continuations of one token.
    """
    rows: list[Row] = []
    counts: dict[int, int] = {}
    for index, request in group:
        source, pairs = _encode_pairs(engine, index, request)
        counts[index] = len(pairs)
        for context, tokens in pairs:
            check_length(engine, len(context) + len(tokens) - 1, index)
        # Longest first: a row can only be the start of one at least as long.
        kept: list[Row] = []
        for number, (context, tokens) in sorted(enumerate(pairs), key=lambda pair: -len(pair[1][1])):
            ids = [*context, *tokens[:-1]]
            row = next((row for row in kept if row.ids[: len(ids)] == ids), None)
            if row is None:
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

    return _collect(engine, rows, finish)


def _encode_pairs(
    engine: LocalEngine, index: int, request: Score
) -> tuple[list[int] | None, list[tuple[list[int], list[int]]]]:
    """Return the encoder's source (or ``None``), and context and continuation ids of every continuation."""
    tokenizer = engine.tokenizer
    if not request.continuations:
        raise InvalidInputError(f"request {index}: no continuations to score")
    prompt = render(tokenizer, request.prompt, request.template, index)
    text = prompt.rstrip()
    spaces = prompt[len(text) :]
    source: list[int] | None = None
    if engine.family == "encoder-decoder":
        source = encode(tokenizer, text, special=isinstance(request.prompt, str))
        check_length(engine, len(source), index)
        context, split = [decoder_start(engine)], 0
    else:
        bare = encode(tokenizer, text, special=False)
        start = leading_special_ids(tokenizer) if isinstance(request.prompt, str) else []
        context, split = start + bare, len(bare)
        if not context:
            context = prompt_ids(engine, "", {}, True, index)
    pairs = []
    for continuation in request.continuations:
        whole = encode(tokenizer, (spaces if source is not None else prompt) + continuation, special=False)
        if not whole[split:]:
            raise InvalidInputError(f"request {index}: the continuation {continuation!r} has no tokens")
        pairs.append((context, whole[split:]))
    return source, pairs
