"""Rotary embeddings that turn by the longest position of a pass: ``longrope`` and ``dynamic``.

Beyond the length they were trained for they turn all positions of a pass otherwise, and with them its neighbours in the
batch. What stays within that length may share a pass with its like; what does not is computed alone, and not padded:
then it is what transformers computes for it.
"""

from __future__ import annotations

from typing import Any


def trained_length(config: Any) -> int | None:
    """Return up to how many tokens the longest position changes nothing; ``None`` where it never does."""
    text = config.get_text_config(decoder=True)
    lengths = [text.max_position_embeddings for _ in _scaled(text, "dynamic")]
    for rope in _scaled(text, "longrope"):
        lengths.append(rope.get("original_max_position_embeddings") or text.original_max_position_embeddings)
    return min(lengths, default=None)


def factor(text: Any) -> float:
    """Return how many times ``max_position_embeddings`` a model attends to: with ``dynamic`` that is not scaled yet."""
    return max((rope.get("factor") or 1.0 for rope in _scaled(text, "dynamic")), default=1.0)


def forget_lengths(model: Any) -> None:
    """Let ``dynamic`` embeddings turn by each pass alone, where transformers' keep those of the longest before it."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and "dynamic" in str(getattr(module, "rope_type", "")):
            module.register_forward_pre_hook(_Forget(module))


class _Forget:
    def __init__(self, module: Any) -> None:
        self._buffers = {name: one for name, one in module.named_buffers() if name.endswith("inv_freq")}

    def __call__(self, module: Any, args: Any) -> None:
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            setattr(module, name, module.original_max_seq_len)
        for name, frequencies in self._buffers.items():
            module.register_buffer(name, frequencies, persistent=False)


def _scaled(text: Any, kind: str) -> list[dict[str, Any]]:
    """Return the parameters of embeddings of one kind; a model may have several, by the type of layer."""
    ropes = getattr(text, "rope_parameters", None) or {}
    found = [ropes, *(one for one in ropes.values() if isinstance(one, dict))]
    return [one for one in found if kind in str(one.get("rope_type") or one.get("type") or "")]
