"""Loaded models, kept for the session as far as memory allows."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Pool:
    """Keeps what was loaded, up to ``limit`` bytes, and drops the least recently used.

    A caller must ask for a model each time it needs it and hold on to none: what is referenced elsewhere stays in
    memory, whatever the pool thinks. A model with a ``close`` method has it called when it leaves. Not thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._models: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], tuple[T, int]]) -> T:
        """Return the model of ``key``, from the pool or from ``load()``, which gives it with its size in bytes.

        A model larger than the limit is kept too, alone, until the next one is loaded.
        """
        if key in self._models:
            self._models.move_to_end(key)
            kept: T = self._models[key][0]
            return kept
        model, size = load()
        self._models[key] = (model, size)
        evicted = False
        while len(self._models) > 1 and sum(size for _, size in self._models.values()) > self._limit:
            self.drop(next(iter(self._models)))
            evicted = True
        if evicted:
            gc.collect()  # modules and their hooks form cycles, which hold the weights until a collection
        return model

    def clear(self) -> None:
        """Drop every model."""
        while self._models:
            self.drop(next(iter(self._models)))

    def drop(self, key: Hashable) -> None:
        """Drop the model of ``key``, if it is there."""
        model, _ = self._models.pop(key, (None, 0))
        close = getattr(model, "close", None)
        if close is not None:
            close()
