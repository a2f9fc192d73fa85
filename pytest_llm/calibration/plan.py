"""What is changed in each run: only what should not matter."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Generate, Request

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer, Engine

#: A run changes one of these, or several. Sampled answers get another seed in every run as well.
CHANGES = ("batch", "threads", "neighbours", "attention", "library")

_BATCH_SIZES = (1, 2, 3, 5, 8)


def changes_of(number: int) -> tuple[str, ...]:
    """Return what run ``number`` changes: nothing in run 0, then each change alone, then mixtures of them."""
    if number <= len(CHANGES):
        return CHANGES[number - 1 : number] if number else ()
    kept = random.Random(number).randrange(1, 2 ** len(CHANGES))
    return tuple(name for i, name in enumerate(CHANGES) if kept >> i & 1)


@contextlib.contextmanager
def perturbed(engine: Engine, number: int) -> Iterator[Engine]:
    """Let ``engine`` compute as run ``number`` does.

    Where batches have one fixed shape (`LocalEngine.exact`) another size is no change that happens, and it stays. An
    engine outside this process is left as it is.
    """
    from pytest_llm.engines.harmless import harmless_changes
    from pytest_llm.engines.local import LocalEngine

    changes = changes_of(number)
    if not changes or not isinstance(engine, LocalEngine):
        yield engine
        return
    own = engine.batch_size
    possible = harmless_changes(engine)
    with contextlib.ExitStack() as stack:
        for name in changes:
            if name != "batch" and name in possible:
                stack.enter_context(possible[name])
        try:
            if "batch" in changes and not engine.exact:
                engine.batch_size = _BATCH_SIZES[number % len(_BATCH_SIZES)]
            yield _Crowded(engine) if "neighbours" in changes and engine.batch_size > 1 else engine
        finally:
            engine.batch_size = own


class _Crowded:
    """An engine in which every batch of answers has one longer neighbour, so that the others are padded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer as the engine does, with a neighbour where one fits."""
        neighbour = _neighbour(requests)
        answered = self._engine.answer([*requests, *([neighbour] if neighbour else [])])
        try:
            first = next(answered)
        except InvalidInputError:  # the neighbour is too long for this model, or a request is wrong in itself
            yield from self._engine.answer(requests)
            return
        yield from (one for one in (first, *answered) if one[0] < len(requests))


def _neighbour(requests: Sequence[Request]) -> Request | None:
    from pytest_llm.probes import longer

    for request in requests:
        if isinstance(request, Generate):
            return dataclasses.replace(request, prompt=longer(request.prompt))
        text = getattr(request, "text", None)
        if isinstance(text, str) and request.kind in ("loss", "logprobs", "embed"):
            return dataclasses.replace(request, text=f"Neighbour: {text} {text}")  # type: ignore[call-arg]
    return None
