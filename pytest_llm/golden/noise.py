"""The noise floor: how far a figure moves when nothing that matters has changed.

It is measured once, when a golden is written: the same weights answer again with another batch shape, attention
implementation and thread count. A tolerance is never below `FACTOR` times that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.asking import Asker
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Request

FACTOR = 5.0

#: Default bound of the relative error of a layer's states. In float32 on a CPU another batch, attention or thread count
#: moved SmolLM2-135M's by 1e-6; noise of 0.1 % of the norm of one layer's weights by 1e-3.
MAX_ERROR = 1e-4

#: Texts the floor is measured on, from the first: it is one figure, and each costs a pass a change.
TEXTS = 16


def measure_floor(
    model: Asker, requests: Sequence[Request], measure: Callable[[list[Answer]], dict[str, Any]]
) -> dict[str, Any]:
    """Return by name of the change: ``change``, what it was, and the figures that ``measure`` gives of its answers."""
    found = model.answers_otherwise(requests[:TEXTS])
    return {name: {"change": what, **measure(answers)} for name, (what, answers) in found.items()}


def floor_of(recorded: Any, figure: str) -> float | None:
    """Return the largest ``figure`` of a recorded floor; ``None`` when none was measured."""
    changes = recorded.values() if isinstance(recorded, dict) else ()
    found = [float(one[figure]) for one in changes if isinstance(one, dict) and figure in one]
    return max(found, default=None)


def described(recorded: Any) -> str:
    """Return what a recorded floor was measured by, as ``batch 16 → 1, threads 2 → 1``."""
    changes = recorded.items() if isinstance(recorded, dict) else ()
    return ", ".join(f"{name} {one['change']}" for name, one in changes if isinstance(one, dict) and "change" in one)
