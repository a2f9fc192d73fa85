"""What the arguments of a question may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError

if TYPE_CHECKING:
    from pytest_llm.requests import Generate


def listed(value: Any, what: str) -> list[Any]:
    """Return one input, or many, as a list. Each has to be text, but for a ``what`` of "prompt" or "conversation".

    Raises:
        InvalidInputError: there is none, it is no text where it must be, or many of them have no order.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, (Mapping, set, frozenset)):
        hint = ": put one message in a list" if isinstance(value, Mapping) and "role" in value else ""
        raise InvalidInputError(f"a {what} or a list of them is needed, not a {type(value).__name__}{hint}")
    if not isinstance(value, Iterable):
        raise InvalidInputError(f"a {what} or a list of them is needed, not {value!r}")
    items = list(value)
    if not items:
        raise InvalidInputError(f"the list of {what}s is empty: there is nothing to ask")
    for index, item in enumerate(items):
        if what not in ("prompt", "conversation") and not isinstance(item, str):
            raise InvalidInputError(f"{what} {index} is not a string but {type(item).__name__}: {item!r:.80}")
    return items


def check_generate(r: Generate) -> None:
    """Check every argument of a request.

    Raises:
        InvalidInputError: one is out of range, or two do not go together.
    """

    def need(ok: bool, what: str) -> None:
        if not ok:
            raise InvalidInputError(f"generate(): {what}")

    for name in ("temperature", "top_p", "min_p", "repetition_penalty", "length_penalty"):
        value = getattr(r, name)
        need(
            isinstance(value, (int, float)) and math.isfinite(value),
            f"{name} must be a finite number, not {value!r}",
        )
        object.__setattr__(r, name, float(value))
    for name in (
        "max_new_tokens", "min_new_tokens", "top_k", "no_repeat_ngram_size", "num_beams", "num_return_sequences",
        "seed",
    ):  # fmt: skip
        value = getattr(r, name)
        need(
            isinstance(value, int) and not isinstance(value, bool),
            f"{name} must be an integer, not {value!r}",
        )
        need(value >= 0, f"{name} cannot be negative ({value})")
    need(r.max_new_tokens > 0, "max_new_tokens must be at least 1")
    need(r.min_new_tokens <= r.max_new_tokens, "min_new_tokens is larger than max_new_tokens")
    need(r.temperature > 0, "temperature must be above 0; for greedy decoding leave do_sample=False")
    need(0 < r.top_p <= 1, f"top_p must lie in (0, 1], not {r.top_p}")
    need(0 <= r.min_p <= 1, f"min_p must lie in [0, 1], not {r.min_p}")
    need(r.repetition_penalty > 0, "repetition_penalty must be above 0")
    need(r.num_beams >= 1 and r.num_return_sequences >= 1, "num_beams and num_return_sequences start at 1")
    need(all(isinstance(s, str) and s for s in r.stop), "stop strings must be non-empty text")
    if r.num_beams > 1:
        need(not r.do_sample, "beam sampling is not supported: use num_beams=1 to sample, or do_sample=False")
        need(
            r.num_return_sequences <= r.num_beams,
            f"num_return_sequences={r.num_return_sequences} needs at least as many num_beams ({r.num_beams})",
        )
    elif not r.do_sample:
        need(
            r.num_return_sequences == 1,
            f"greedy decoding has one answer: num_return_sequences={r.num_return_sequences} needs "
            "do_sample=True or num_beams",
        )
