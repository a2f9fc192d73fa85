"""Memory: how many tokens a pass may hold, and what is kept of the last pass for the next."""

from __future__ import annotations

import functools
import os
from typing import Any

from pytest_llm import machine

#: Part of the free memory that one pass may take; the rest is for weights still to come, and for error.
_PART = 4
#: Bytes of the largest array, and of all arrays, that stay with this process when freed (see `keep_freed`).
_KEPT = 128 << 20, 512 << 20
#: What says that somebody has chosen how memory is allocated.
_CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def tokens_in_memory(model: Any) -> int:
    """Return how many tokens, their keys and values kept, a quarter of the device's free memory holds."""
    return max(1, free_bytes(model.device) // _PART // bytes_per_token(model))


def bytes_per_token(model: Any) -> int:
    """Return what a token costs: keys and values in every layer, and the largest activations of one layer.

    An estimate from the config. Running out of memory all the same halves the batch (`batching.in_batches`).
    """
    config = model.config.get_text_config(decoder=True)
    hidden, layers, heads = (
        _number(config, *names)
        for names in (("hidden_size", "d_model", "n_embd"), ("num_hidden_layers", "n_layer"), ("num_attention_heads",))
    )
    width = _number(config, "head_dim") or hidden // max(1, heads)
    kept = 2 * layers * (_number(config, "num_key_value_heads") or heads) * width
    inner = _number(config, "intermediate_size", "d_ff", "n_inner") or 4 * hidden
    return int(max(1, kept + 8 * hidden + 3 * inner) * model.dtype.itemsize)


def free_bytes(device: Any) -> int:
    """Return the bytes that can still be allocated on ``device``, in the container that this process is in."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.available()


def keep_freed() -> None:
    """Let a CPU's passes reuse memory, where glibc gives each array back to the system as soon as it is freed.

    To get it again, page by page and filled with zeros, takes a tenth of a forward pass. Two `mallopt` thresholds do
    it (https://man7.org/linux/man-pages/man3/mallopt.3.html); an allocator that somebody has chosen is left alone.
    """
    libc = _glibc()
    if libc is not None:
        largest, total = _KEPT
        libc.mallopt(-3, largest)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, total)  # M_TRIM_THRESHOLD


def give_back() -> None:
    """Give what `keep_freed` keeps, and is free, back to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """Return glibc, ``None`` where there is another library, or somebody has chosen how memory is allocated."""
    import ctypes

    if any(os.environ.get(name) for name in _CHOSEN):
        return None
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _number(config: Any, *names: str) -> int:
    def value(name: str) -> Any:
        try:
            return getattr(config, name, None)
        except RuntimeError:  # each layer has its own (Gemma 4): the largest
            return max(getattr(layer, name) for layer in config.per_layer_config)

    return next((found for found in map(value, names) if isinstance(found, int)), 0)
