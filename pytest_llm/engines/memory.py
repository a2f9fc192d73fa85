"""How many tokens a pass may hold: what a part of the free memory takes."""

from __future__ import annotations

from typing import Any

#: Part of the free memory that one pass may take; the rest is for weights still to come, and for error.
_PART = 4


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
    """Return the bytes that can still be allocated on ``device``."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _number(config: Any, *names: str) -> int:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int)), 0)
