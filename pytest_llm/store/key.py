"""The key of an answer: a digest of everything that decides it, never a model's name alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pytest_llm import environment

if TYPE_CHECKING:
    from pytest_llm.weights.spec import ModelSpec

#: Raised when a change in this package changes answers: older answers then miss.
ENGINE_VERSION = 4


def identity(digest: str, spec: ModelSpec, *, own_code: bool = False, gguf: bool = False) -> dict[str, Any]:
    """Return everything but the request that decides an answer, by name.

    ``digest`` covers the content of the weights, adapter, tokenizer, config and chat template. ``shape``
    says how batches are formed: ``any`` in float32 and above, where neighbours change nothing but
    rounding; ``bucket-1`` with ``--llm-exact`` and in reduced precision (`pytest_llm.engines.buckets`); the number
    is raised when that way of forming them changes. ``own_code`` says that code that comes with the model runs, where
    transformers' own may be another; ``gguf`` that the package of that name unpacks the weights. Of a service its
    address, the model's name there and what the user calls its revision stand for all of that.
    """
    if spec.base_url is not None:
        return {
            "service": spec.base_url,
            "model": spec.source,
            "revision": spec.revision or "",
            "device": spec.device,
            "engine": ENGINE_VERSION,
        }
    facts = {
        "weights": digest,
        "dtype": spec.dtype,
        "attention": spec.attn_implementation,
        "device": environment.device_type(environment.resolve_device(spec.device)),
        "shape": "bucket-1" if spec.fixed_shapes else "any",
        "torch": environment.version("torch"),
        "transformers": environment.version("transformers"),
        "engine": ENGINE_VERSION,
    }
    if own_code:
        facts["trust_remote_code"] = True
    if spec.adapter:
        facts["peft"] = environment.version("peft")
    if gguf:
        facts["gguf"] = environment.version("gguf")
    return facts


def answer_key(identity_digest: str, request_digest: str, repeat: int = 0) -> bytes:
    """Return the 32-byte key of the ``repeat``-th answer to a request."""
    return hashlib.sha256(f"{identity_digest}\n{request_digest}\n{repeat}".encode()).digest()
