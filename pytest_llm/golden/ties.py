"""The evidence at the first token where two answers part.

Up to that token both runs saw the same text, so their distributions there are about the same thing. Greedy decoding
takes the larger of two logits; when two are within rounding of each other, harmless changes (batch, threads, kernel)
swap them, and everything after differs. That is a near-tie, not a worse model. It is claimed only on evidence from
both sides: each run's runner-up is the other's choice, and both margins are within the bound. One side alone would
excuse a model whose preference has moved by any amount. (vLLM's ``check_logprobs_close`` asks less: each side's token
in the other's top five.)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pytest_llm.golden.diff import first_difference
from pytest_llm.results import Generation


@dataclasses.dataclass(frozen=True)
class Parting:
    """The first divergent token. ``position`` counts from 0; ``tie`` is the verdict, ``why`` its reason."""

    position: int
    tie: bool
    why: str
    figures: dict[str, Any]
    words: str


def parting(golden: Generation, new: Generation, bound: float) -> Parting | None:
    """Compare two answers at their first divergent token; ``None`` without two different token sequences."""
    a, b = golden.token_ids, new.token_ids
    if not a or not b or a == b:
        return None
    k = first_difference(a, b)
    old_token, new_token = _token(golden, k), _token(new, k)
    if old_token == new_token:  # two bytes that are each a part of a character, say
        old_token, new_token = (f"{token} (id {ids[k]})" for token, ids in ((old_token, a), (new_token, b)))
    figures: dict[str, Any] = {"token": k, "golden token": old_token, "new token": new_token}
    for label, side in (("golden", golden), ("new", new)):
        if k < len(side.logprobs):
            figures[f"{label} logprob"] = side.logprobs[k]
        if k < len(side.margins):
            figures[f"{label} margin"] = side.margins[k]
    shifts = [abs(x - y) for x, y in zip(golden.logprobs[:k], new.logprobs[:k], strict=False)]
    if shifts:
        # Tells noise from another model: the same tokens, how differently did the two runs rate them?
        figures["mean shift before"] = math.fsum(shifts) / len(shifts)
    why = _no_tie(golden, new, k, bound)
    return Parting(k, not why, why, {**figures, "bound": bound}, f"token {k}: {old_token} → {new_token}")


def _no_tie(golden: Generation, new: Generation, k: int, bound: float) -> str:
    request = new.origin.request
    if request.get("do_sample", True) or request.get("num_beams", 0) != 1:
        return (
            "only a greedy answer can part at a tie; this one was sampled, searched by beams, or has no known request"
        )
    for label, side, other in (("the golden", golden, new), ("the new answer", new, golden)):
        if k >= len(side.token_ids) or k >= len(other.token_ids):
            return "one answer ends where the other goes on"
        if k >= len(side.margins) or k >= len(side.runner_ups):
            return f"{label} holds no logprobs, so a tie cannot be told"
        if side.runner_ups[k] != other.token_ids[k]:
            return f"no tie: {label} had another runner-up than the other side's choice"
        if not side.margins[k] <= bound:
            return f"no tie: {label} preferred its token by {side.margins[k]:.4g} nats (bound {bound:g})"
    return ""


def _token(side: Generation, k: int) -> str:
    if k >= len(side.token_ids):
        return "(end)"
    return repr(side.tokens[k]) if k < len(side.tokens) else f"id {side.token_ids[k]}"
