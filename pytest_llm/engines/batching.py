"""Cutting work into batches: sorted by length, within a budget, halved when memory runs out."""

from __future__ import annotations

import gc
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm.engines import buckets
from pytest_llm.engines.kvcache import prefix_cache
from pytest_llm.errors import LLMError
from pytest_llm.reports.text import counted, one_line

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Batches in one part of work that processes share: large enough to sort by length in, small enough to share out.
PART = 4
#: Tokens two prompts must share at their start before the start is computed once for both.
SHARED_TOKENS = 32


def in_batches(
    items: Sequence[Item],
    compute: Callable[[list[Item]], Result],
    *,
    size: int,
    length: Callable[[Item], int],
    weight: Callable[[Item], int] = lambda item: 1,
    tokens: int | None = None,
    alone: Callable[[Item], bool] = lambda item: False,
) -> Iterator[tuple[list[Item], Result]]:
    """Yield ``(batch, compute(batch))`` over all ``items``, longest first.

    A batch holds at most ``size`` sequences (an item counts ``weight``) and, padded to its longest,
    ``tokens`` tokens; an item too large for both goes alone, and so does what ``alone`` says. A batch the
    memory cannot hold is halved, and so are those after it.

    Raises:
        LLMError: a single item does not fit into memory.
    """
    pending = deque(sorted(items, key=length, reverse=True))
    most = len(pending)
    while pending:
        longest, batch, count = length(pending[0]), [pending.popleft()], 0
        count = weight(batch[0])
        while pending and len(batch) < most and not alone(batch[0]) and not alone(pending[0]):
            grown = count + weight(pending[0])
            if grown > size or (tokens is not None and grown * longest > tokens):
                break
            count = grown
            batch.append(pending.popleft())
        try:
            result = compute(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise LLMError(
                    f"the memory does not hold a pass over {counted(longest, 'token')} ({one_line(error)}): ask for "
                    "less at once (a shorter text, max_new_tokens, num_beams), or choose another dtype or device"
                ) from error
        else:
            yield batch, result
            continue
        # Outside the handler: the exception's frames held the tensors.
        most = len(batch) // 2
        pending.extendleft(reversed(batch))
        _free()


def each_whole(
    engine: LocalEngine,
    items: Sequence[Item],
    compute: Callable[[list[Item]], Iterable[Result]],
    length: Callable[[Item], int],
    *,
    padded: bool = True,
) -> Iterator[tuple[Item, Result]]:
    """Yield every item of ``length`` tokens with its result, from passes whose shape follows what is in them."""
    for batch, found in in_batches(
        items,
        compute,
        size=engine.free_size if padded else 1,
        length=length,
        tokens=engine.tokens_per_pass(scoring=True),
        alone=lambda item: engine.alone(length(item)),
    ):
        yield from zip(batch, found, strict=True)


def grouped(
    engine: LocalEngine,
    items: Sequence[Item],
    *,
    start: Callable[[Item], list[int]],
    length: Callable[[Item], int],
    new: Callable[[Item], int] = lambda item: 0,
) -> Iterator[tuple[list[Item], list[int], Any, int, int]]:
    """Yield groups ``(items, prefix, cache, size, bucket)`` of what may share passes of up to ``size`` sequences.

    ``prefix`` are their first ids, if those are computed once, and ``cache`` holds what became of them; ``bucket`` is
    how many rows each pass is filled up to, 0 for passes of any shape. Of an item, ``start`` are the ids that may be
    computed apart, but for the last; ``length`` its tokens, and ``new`` those that come after them.
    """
    bucket = engine.bucket if items else 0
    together: list[Item] = []
    alone: list[Item] = []
    for item in items:
        tokens = buckets.padded_length(length(item)) if bucket else length(item)
        (alone if engine.alone(tokens + new(item)) else together).append(item)
    if bucket:
        for members in buckets.by_length(together, length):
            yield members, [], None, bucket, bucket
    elif engine.family == "decoder" and not engine.exact:
        size = engine.free_size  # as it is now: `neighbours` may learn otherwise in between
        for prefix, members in share_prefixes(together, start):
            cache = prefix_cache(engine, prefix) if prefix else None
            yield members, prefix if cache is not None else [], cache, size, 0
    else:
        yield together, [], None, engine.free_size, 0
    yield alone, [], None, 1, 0


def share_prefixes(items: Sequence[Item], ids: Callable[[Item], list[int]]) -> list[tuple[list[int], list[Item]]]:
    """Group items into ``(prefix, items)``: where many start alike, the start they share, else ``[]``.

    A prefix is always shorter than every sequence of its group.
    """
    groups: dict[tuple[int, ...], list[Item]] = defaultdict(list)
    for item in items:
        groups[tuple(ids(item)[:SHARED_TOKENS])].append(item)
    rest: list[Item] = []
    shared: list[tuple[list[int], list[Item]]] = []
    for start, members in groups.items():
        if len(members) == 1 or len(start) < SHARED_TOKENS:
            rest.extend(members)
            continue
        # What the least and the greatest of a sorted set share, all share.
        least, greatest = min(map(ids, members)), max(map(ids, members))
        longest = min(len(ids(member)) for member in members) - 1
        same = next((i for i, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), longest)
        shared.append((least[: min(same, longest)], members))
    return shared + ([([], rest)] if rest else [])


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory cannot hold what was asked for."""
    message = str(error).lower()
    # "Can't allocate memory" is torch's on Linux, "not enough memory" on Windows, "out of memory" that of a GPU.
    said = any(words in message for words in ("allocate memory", "not enough memory", "out of memory"))
    return said or isinstance(error, MemoryError)


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
