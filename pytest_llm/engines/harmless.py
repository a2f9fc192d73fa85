"""Changes that should not matter: what an engine can compute otherwise with the same weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.loading import quiet

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine


def harmless_changes(engine: LocalEngine) -> dict[str, contextlib.AbstractContextManager[str]]:
    """Return each change by name, as a context in which ``engine`` computes that way; it gives what changed.

    ``batch``: sequences in one forward pass; ``attention``: its implementation, where the model has another;
    ``threads`` of torch, and the ``library`` it multiplies with, where it has two: on a CPU.
    """
    changes: dict[str, contextlib.AbstractContextManager[str]] = {"batch": _batch(engine)}
    own = engine.model.config._attn_implementation
    other = "eager" if own != "eager" else "sdpa"
    if _settable(engine, other) and _settable(engine, own):
        changes["attention"] = _attention(engine, own, other)
    if engine.model.device.type == "cpu":
        changes["threads"] = _threads()
        if engine.spec.dtype == "float32":
            from pytest_llm.engines.products import onednn_works

            if onednn_works():
                changes["library"] = _library(engine.model)
    return changes


@contextlib.contextmanager
def _batch(engine: LocalEngine) -> Iterator[str]:
    own = engine.batch_size
    engine.batch_size = 1 if own > 1 else 8
    try:
        yield f"{own} → {engine.batch_size}"
    finally:
        engine.batch_size = own


@contextlib.contextmanager
def _attention(engine: LocalEngine, own: str, other: str) -> Iterator[str]:
    _settable(engine, other)
    try:
        yield f"{own} → {other}"
    finally:
        _settable(engine, own)


@contextlib.contextmanager
def _threads() -> Iterator[str]:
    import torch

    own = torch.get_num_threads()
    other = 1 if own > 1 else 2
    torch.set_num_threads(other)
    try:
        yield f"{own} → {other}"
    finally:
        torch.set_num_threads(own)


@contextlib.contextmanager
def _library(model: Any) -> Iterator[str]:
    from pytest_llm.engines.products import multiplying, uses_onednn

    own = uses_onednn(model)
    with multiplying(model, not own):
        yield "oneDNN → BLAS" if own else "BLAS → oneDNN"


def _settable(engine: LocalEngine, attention: str) -> bool:
    """Switch to an attention implementation; ``False`` when the model does not have it."""
    try:
        with quiet():
            engine.model.set_attn_implementation(attention)
    except (ValueError, ImportError, AttributeError):  # unknown to the model, its package missing, an older model
        return False
    return bool(engine.model.config._attn_implementation == attention)
