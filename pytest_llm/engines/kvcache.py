"""Keys and values: one copy of a shared prefix for all rows, and room to grow without copying what is there."""

from __future__ import annotations

import copy
import functools
import inspect
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.loading import quiet

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine

#: Tokens that a layer makes room for at a time, or a quarter of those it has.
ROOM = 64


def cache_argument(model: Any) -> str:
    """Return the name of the forward argument that takes a cache (it changed within transformers 5)."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def prefix_cache(engine: LocalEngine, prefix: list[int]) -> Any:
    """Return the keys and values of ``prefix``; ``None`` where the model keeps none, or no such that can be copied by
    rows, or was seen to answer otherwise after them (`neighbours`).
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if not engine.shares_starts:
        return None
    with torch.no_grad(), quiet():
        cache = DynamicCache(config=engine.model.config)
        ids = torch.tensor([prefix], device=engine.model.device)
        try:
            engine.model(input_ids=ids, **{cache_argument(engine.model): cache}, use_cache=True, logits_to_keep=1)
        except (TypeError, ValueError):  # it has a cache of its own kind, or none
            return None
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)
    return cache if plain and cache.get_seq_length() == len(prefix) else None


def expand_cache(cache: Any, rows: int) -> Any:
    """Return a copy of a one-row cache for ``rows`` sequences."""
    copied = copy.deepcopy(cache)
    copied.batch_repeat_interleave(rows)
    return copied


def make_roomy(cache: Any) -> None:
    """Let the plain layers of a cache grow in place, where transformers' own copy all they hold at every token.

    Other layers (sliding windows, states) and other caches stay as they are.
    """
    from transformers.cache_utils import DynamicLayer

    own = getattr(cache, "self_attention_cache", cache)  # an encoder-decoder's; what it crosses to never grows
    roomy = _roomy_layer()
    if getattr(own, "layer_class_to_replicate", None) is DynamicLayer:  # a cache that makes its layers as it goes
        own.layer_class_to_replicate = roomy
    for layer in getattr(own, "layers", ()):
        if type(layer) is DynamicLayer:
            layer.__class__ = roomy


@functools.cache
def _roomy_layer() -> type:
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        """A `DynamicLayer` whose keys and values, [rows, heads, tokens, width], are views into larger arrays."""

        keys: Any
        values: Any
        _room: tuple[Any, ...] = ()

        def update(self, key_states: Any, value_states: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
            if not self.is_initialized or not self.keys.numel():
                kept: tuple[Any, Any] = super().update(key_states, value_states, *args, **options)
                return kept
            start = self.keys.shape[-2]
            end = start + key_states.shape[-2]
            held = (self.keys, self.values)
            # Whoever replaced the keys (rows were selected, say) replaced our view with an array of its own.
            ours = self._room and all(a.data_ptr() == b.data_ptr() for a, b in zip(self._room, held, strict=True))
            if not ours or self._room[0].shape[-2] < end or self._room[0].shape[:-2] != self.keys.shape[:-2]:
                self._room = tuple(_with_room(one, end) for one in held)
            keys, values = self._room
            keys[..., start:end, :] = key_states
            values[..., start:end, :] = value_states
            self.keys, self.values = keys[..., :end, :], values[..., :end, :]
            return self.keys, self.values

    return RoomyLayer


def _with_room(held: Any, end: int) -> Any:
    """Return an array that starts with ``held`` and has room for ``end`` tokens and some more."""
    shape = list(held.shape)
    shape[-2] = end + max(ROOM, end // 4)
    roomy = held.new_empty(shape)
    roomy[..., : held.shape[-2], :] = held
    return roomy
