"""Whether a decoder answers a prompt in a batch as it does alone: found out on its own answers.

Padding stands before a shorter prompt, and between a start that was computed apart and what follows. A model that
counts padding as places, or carries a state through it, answers otherwise then: RWKV and RecurrentGemma do, MPT and
GPT-Neo after a shared start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llm.engines.batching import out_of_memory
from pytest_llm.engines.choosing import NO_RIVAL, Draft
from pytest_llm.engines.decoding import decode
from pytest_llm.engines.rows import Row, forward
from pytest_llm.requests import Generate

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine

#: Nats by which rounding moves a logprob at most: in float32, and in less.
ROUNDING, COARSE = 0.01, 0.25


def alike(engine: LocalEngine, drafts: Sequence[Draft], prefix: Sequence[int] = ()) -> bool:
    """Whether the most padded of sequences just decoded together has the logprobs that it has alone.

    It is asked once, and again where prompts are twice as long as those it held for.
    """
    if not _unproven(engine, [draft.prompt for draft in drafts], prefix):
        return True
    same = moved(engine, min(drafts, key=_length)) <= ROUNDING
    if same:
        engine.harmless[bool(prefix)] = max(map(_length, drafts))
    return same


def may_share(engine: LocalEngine, prompts: Sequence[list[int]]) -> bool:
    """Whether prompts may be padded to one length, for a search, which does not say how probable its tokens were."""
    if not _unproven(engine, prompts, ()):
        return True
    drafts = [Draft(Generate("", max_new_tokens=4), prompt) for prompt in prompts]
    try:
        decode(engine, drafts, lambda draft: draft.whole)
    except Exception as error:  # the model takes no batch
        if out_of_memory(error):
            raise
        return False
    return alike(engine, drafts)


def moved(engine: LocalEngine, draft: Draft) -> float:
    """Return by how many nats a logprob of a decoded sequence differs at most from that of one pass over it alone."""
    ids = [*draft.prompt, *draft.token_ids]
    row = Row(0, ids[:-1], [(place - 1, ids[place]) for place in range(len(draft.prompt), len(ids))])
    (alone,) = forward(engine, [row])
    pairs = zip(alone, draft.logprobs, strict=True)
    return max(abs(max(one.logprob, -NO_RIVAL) - logprob) for one, logprob in pairs)


def _unproven(engine: LocalEngine, prompts: Sequence[list[int]], prefix: Sequence[int]) -> bool:
    lengths = set(map(len, prompts))
    return len(lengths) > 1 and not engine.exact and max(lengths) > 2 * engine.harmless.get(bool(prefix), 0)


def _length(draft: Draft) -> int:
    return len(draft.prompt)
