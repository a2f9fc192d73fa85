"""Buckets: passes of one fixed shape, so that an answer is bit-equal whatever is computed beside it.

A pass holds `ROWS` rows of a length that only the request decides; what a batch leaves empty is filled with dummies.
The kernels of a matrix product are chosen by its shape, so equal shapes round equally, in whatever row a prompt stands.
Everything after the model (evidence, choice, the output layer of scoring) is computed row by row.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm.engines.loading import quiet

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine

Item = TypeVar("Item")

#: Rows of every pass. A lone request costs as much as these: fewer would be slower for many, more for one.
ROWS = 8


def padded_length(tokens: int) -> int:
    """Return the length of the bucket for a row of ``tokens``: 16, 32, 48, 64, 96, 128, 192, ...

    It is never ``tokens`` itself. A batch without any padding would get no mask, and so another attention kernel.
    """
    power = max(16, 1 << tokens.bit_length())
    between = power * 3 // 4
    return between if between > max(tokens, 32) else power


def by_length(items: Iterable[Item], tokens: Callable[[Item], int]) -> list[list[Item]]:
    """Group items by the length of their bucket."""
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[padded_length(tokens(item))].append(item)
    return list(groups.values())


def hold(engine: LocalEngine) -> bool:
    """Check on the model itself that neighbours change nothing, and warn where they do.

    On a CPU whose products round by where in memory a row lies, torch's fused attention is given up first: on AMD's
    unasked, as only some buffers lie so that the check sees it.
    """
    from pytest_llm.engines.products import mkl_on_amd

    fused = engine.model.device.type == "cpu" and engine.spec.attn_implementation == "sdpa"
    for plain in ((True,) if mkl_on_amd() else (False, True)) if fused else (False,):
        engine.plain_attention = plain
        if _bit_equal(engine) and engine.head.layerwise and _as_alone(engine):
            return True
    engine.plain_attention = False
    warnings.warn(
        f"pytest_llm: a neighbour in the batch changes the answers of {engine.spec.source!r} even in batches of one "
        "shape (experts that share capacity do, caps on logits may, or states that padding goes through): it is asked "
        "one prompt at a time",
        stacklevel=2,
    )
    return False


@contextlib.contextmanager
def attention(engine: LocalEngine, bucket: int) -> Iterator[None]:
    """Attend by torch's plain products in a pass of one shape, where its fused attention rounds by the row.

    That has a buffer for each thread, and MKL's kernels for AMD CPUs round by how a buffer is aligned.
    """
    if not bucket or not engine.plain_attention:
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def _bit_equal(engine: LocalEngine) -> bool:
    """Answer random prompts, then each of them one row away, among other random prompts.

    Their logprobs, generated and scored, must be the same bits: some kernels round every second row in one way and the
    rest in another (Qwen3.5's recurrent steps). The negative control is another prompt, which must have others.
    """
    rng = random.Random(0)
    vocabulary = engine.config.get_text_config(decoder=True).vocab_size

    def prompts(count: int) -> list[list[int]]:
        return [[rng.randrange(vocabulary) for _ in range(rng.randint(5, 14))] for _ in range(count)]

    needles = prompts(ROWS)
    first = _answers(engine, needles)
    for start in (0, 1):
        moved = prompts(ROWS)
        moved[start::2] = needles[1 - start :: 2]
        if _answers(engine, moved)[start::2] != first[1 - start :: 2]:
            return False
    return bool(first[0] != first[1])


def _as_alone(engine: LocalEngine) -> bool:
    """Whether a prompt in a bucket, padded and with dummies beside it, is answered as it is alone, but for rounding."""
    import torch

    from pytest_llm.engines.choosing import Draft
    from pytest_llm.engines.decoding import decode
    from pytest_llm.engines.neighbours import COARSE, ROUNDING, moved
    from pytest_llm.requests import Generate

    rng, vocabulary = random.Random(1), engine.config.get_text_config(decoder=True).vocab_size
    draft = Draft(Generate("", max_new_tokens=4), [rng.randrange(vocabulary) for _ in range(24)])
    with torch.no_grad(), quiet():
        decode(engine, [draft], lambda one: one.whole, bucket=ROWS)
    return moved(engine, draft) <= (ROUNDING if engine.spec.dtype == "float32" else COARSE)


def _answers(engine: LocalEngine, prompts: list[list[int]]) -> list[Any]:
    """Return what each of a batch of prompts gets, generated and scored."""
    import torch

    from pytest_llm.engines.choosing import Draft
    from pytest_llm.engines.decoding import decode
    from pytest_llm.engines.rows import Row, forward
    from pytest_llm.requests import Generate

    drafts = [Draft(Generate("", max_new_tokens=4), prompt) for prompt in prompts]
    rows = [Row(0, prompt, [(0, prompt[1]), (len(prompt) - 2, prompt[-1])]) for prompt in prompts]
    with torch.no_grad(), quiet():
        decode(engine, drafts, lambda draft: draft.whole, bucket=ROWS)
    scored = forward(engine, rows, bucket=ROWS)
    return [(d.token_ids, d.logprobs, d.margins, s) for d, s in zip(drafts, scored, strict=True)]
