"""Products with weights on a CPU, by whichever of torch's two libraries is faster there.

torch multiplies float32 matrices with MKL, whose kernels for a CPU that is not Intel's are AVX2's: half of what AVX-512
gives. oneDNN, which torch has too, asks the CPU what it can do. Neither copies the weights. Which one multiplies
follows from the CPU alone: all processes on a machine, in every run, round alike.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def onednn_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``x @ weight.T + bias`` as oneDNN computes it; ``x`` [..., K], ``weight`` [N, K], ``bias`` [N]."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class OneDNNLinear(torch.nn.Linear):
    """A `torch.nn.Linear` that multiplies with oneDNN, where no gradient is wanted: it has none there."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the product; see `torch.nn.Linear`."""
        if torch.is_grad_enabled():
            return super().forward(input)
        return onednn_product(input, self.weight, self.bias)


class OneDNNConv1D(Conv1D):  # type: ignore[misc]
    """GPT-2's layer, whose weights are [K, N], likewise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product; see `transformers.pytorch_utils.Conv1D`."""
        if torch.is_grad_enabled():
            product: torch.Tensor = super().forward(x)
            return product
        return onednn_product(x, self.weight.t(), self.bias)


#: What multiplies with oneDNN in place of what. Only these classes themselves: a subclass computes something else.
_LAYERS: dict[type, type] = {torch.nn.Linear: OneDNNLinear, Conv1D: OneDNNConv1D}


def use_onednn(model: Any, use: bool) -> None:
    """Let the float32 layers of ``model``, on a CPU, multiply with oneDNN, or as torch's own do."""
    classes = _LAYERS if use else {theirs: own for own, theirs in _LAYERS.items()}
    for layer in model.modules():
        # Of weights that are a part of others, oneDNN's product takes a thousand times as long.
        if type(layer) in classes and layer.weight.dtype == torch.float32 and layer.weight.is_contiguous():
            layer.__class__ = classes[type(layer)]


@contextlib.contextmanager
def multiplying(model: Any, onednn: bool) -> Iterator[None]:
    """Let ``model`` multiply with oneDNN, or as torch's own layers do, inside the block."""
    own = uses_onednn(model)
    use_onednn(model, onednn)
    try:
        yield
    finally:
        use_onednn(model, own)


def uses_onednn(model: Any) -> bool:
    """Say whether a layer of ``model`` multiplies with oneDNN."""
    return any(type(layer) in _LAYERS.values() for layer in model.modules())


@functools.cache
def onednn_works() -> bool:
    """Say whether this build of torch multiplies with oneDNN on this CPU."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    try:
        onednn_product(torch.ones(1, 2), torch.ones(3, 2))
    except (AttributeError, RuntimeError):  # another version of torch, another kind of CPU
        return False
    return True


@functools.cache
def mkl_on_amd() -> bool:
    """Say whether torch multiplies with MKL on a CPU of AMD's, whose kernels there round by how a buffer is aligned."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return str(capabilities.get("cpu_name")).startswith("AMD") and mkl


def onednn_is_faster() -> bool:
    """Say whether oneDNN is faster than torch's own product here: on AMD's CPUs, where torch's own is MKL's.

    With AVX-512 it is 1.2 to 2 times as fast, with AVX2 from 3 % slower to a tenth faster (`docs/speed.md`).
    """
    return mkl_on_amd() and onednn_works()


def plain_product(layer: Any) -> Product | None:
    """Return how ``layer`` multiplies its input with a part of its weights; ``None`` where it does more than that."""
    if layer._forward_hooks or getattr(layer, "bias", None) is not None:
        return None
    return {torch.nn.Linear: torch.nn.functional.linear, OneDNNLinear: onednn_product}.get(type(layer))
