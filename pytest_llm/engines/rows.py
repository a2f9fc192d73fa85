"""Rows of token ids and the tokens to score in them: at position p, how probable is token t?

What ``loss``, ``logprobs``, ``score`` and ``fill_mask`` come down to, run in batches that share what they can.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import buckets, head
from pytest_llm.engines.batching import grouped, in_batches
from pytest_llm.engines.kvcache import cache_argument, expand_cache
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.prompts import pad
from pytest_llm.errors import LLMError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer


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
    nothing = [row for row in rows if not row.targets]  # a text of one token: nothing before it predicts it
    if nothing:
        yield [(row, []) for row in nothing]
        rows = [row for row in rows if row.targets]
    for members, prefix, cache, size, bucket in grouped(engine, rows, start=_before_targets, length=padded_length):
        compute = functools.partial(forward, engine, prefix=prefix, cache=cache, top_k=top_k, bucket=bucket)
        tokens = None if bucket else engine.tokens_per_pass(scoring=True)
        for batch, scored in in_batches(members, compute, size=size, length=padded_length, tokens=tokens):
            yield list(zip(batch, scored, strict=True))


def _before_targets(row: Row) -> list[int]:
    """Return what may be computed apart (less its last token): no target reads logits there."""
    return row.ids[: min(position for position, _ in row.targets) + 1]


def padded_length(row: Row) -> int:
    """Return how many tokens the longer of the model's inputs has."""
    return max(len(row.ids), len(row.source or ()))


def forward_inputs(
    engine: LocalEngine, batch: list[Row], prefix: Sequence[int] = (), cache: Any = None, bucket: int = 0
) -> dict[str, Any]:
    """Return the model's arguments for one pass over ``batch``, less the ``prefix`` that ``cache`` holds.

    With ``bucket``, dummies fill it up to that many rows, and padding to the length of their bucket.

    Tokens after a position cannot change it: a causal model needs no mask when the padding is on the right.
    """
    model, device = engine.model, engine.model.device
    tokens = [row.ids[len(prefix) :] for row in batch]
    length = 0
    if bucket:
        length = buckets.padded_length(max(map(len, tokens)))
        tokens += [[engine.pad_id]] * (bucket - len(tokens))
    ids, mask = pad(tokens, engine.pad_id, device, length=length)
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


def forward(
    engine: LocalEngine,
    batch: list[Row],
    prefix: Sequence[int] = (),
    cache: Any = None,
    top_k: int = 0,
    bucket: int = 0,
) -> list[list[Scored]]:
    """Return the scored targets of every row, in one pass; see `forward_inputs`."""
    import torch

    inputs = forward_inputs(engine, batch, prefix, cache, bucket)
    where = [(i, p - len(prefix), token) for i, row in enumerate(batch) for p, token in row.targets]
    index = torch.tensor(where, device=engine.model.device)
    scored: list[Scored] = []
    with torch.no_grad(), quiet(), buckets.attention(engine, bucket):
        rows, columns, targets = index.unbind(1)
        parts = None if top_k or bucket else engine.head.parts(inputs, rows, columns)
        if parts is not None:
            wanted = targets.split(head.TILE[0])  # type: ignore[no-untyped-call]
            for logits, these in zip(parts, wanted, strict=True):
                scored += _score_parts(logits, these)
        else:
            for logits in engine.head.logits(inputs, rows, columns, apart=bool(bucket)):
                scored += _score(logits, targets[len(scored) : len(scored) + len(logits)], top_k)
    results = iter(scored)
    return [[next(results) for _ in row.targets] for row in batch]


def _score(logits: Any, targets: Any, top_k: int) -> list[Scored]:
    """Score one chunk of logits [n, V], which are overwritten."""
    # The best of a vocabulary are compared by how they share out the probability: in float32 the rest of a sure
    # prediction, 1 less the sum of the best, is rounding error.
    logits = logits.double() if top_k and logits.device.type != "mps" else logits
    highest = logits.amax(-1)  # not max: finding out where it is takes five times as long
    chosen = logits.gather(1, targets[:, None])[:, 0]
    values, ids = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
    # logsumexp in place: nothing as large as the logits is made once more.
    total = highest + logits.sub_(highest[:, None]).exp_().sum(-1).log_()
    logprobs = checked(chosen - total)
    best = (chosen == highest).tolist()
    tops: list[list[tuple[int, float]]] = [[] for _ in best]
    if top_k:
        values = values - total[:, None]
        tops = [list(zip(*pair, strict=True)) for pair in zip(ids.tolist(), values.tolist(), strict=True)]
    return [Scored(*one) for one in zip(logprobs, best, tops, strict=True)]


def _score_parts(parts: Iterable[Any], targets: Any) -> list[Scored]:
    """Score ``targets`` [n] by logits [n, v] of a vocabulary in parts, which are overwritten.

    The logsumexp is kept up from part to part (Milakov and Gimelshein 2018, arXiv:1805.02867).
    """
    import torch

    highest = torch.full(targets.shape, -torch.inf, device=targets.device)
    total, chosen = torch.zeros_like(highest), torch.zeros_like(highest)
    start = 0
    for logits in parts:
        width = logits.shape[1]
        before, highest = highest, torch.maximum(highest, logits.amax(-1))
        here = (targets >= start) & (targets < start + width)
        found = logits.gather(1, (targets - start).clamp(0, width - 1)[:, None])[:, 0]
        chosen = torch.where(here, found, chosen)
        total = total * (before - highest).exp() + logits.sub_(highest[:, None]).exp_().sum(-1)
        start += width
    logprobs = checked(chosen - (highest + total.log()))
    return [Scored(*one, []) for one in zip(logprobs, (chosen == highest).tolist(), strict=True)]


def checked(numbers: Any) -> list[float]:
    """Return a tensor's numbers.

    Raises:
        LLMError: one is NaN.
    """
    found: list[float] = numbers.tolist()
    if any(x != x for x in found):
        raise LLMError("the model's output is not a number (NaN): its weights are damaged, or its dtype overflows")
    return found


def collect(
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
