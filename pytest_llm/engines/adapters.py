"""Putting a PEFT adapter on a model, with the embeddings of the tokens it was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import MissingExtraError, ModelNotFoundError
from pytest_llm.weights.tensors import read_header

if TYPE_CHECKING:
    from pytest_llm.weights.spec import ModelSpec


def with_adapter(model: Any, adapter: Path, spec: ModelSpec) -> Any:
    """Return ``model`` with the adapter's layers in it.

    Raises:
        MissingExtraError: ``peft`` is not installed.
        ModelNotFoundError: the adapter is pickled without leave, of a kind that is not supported, or lacks embeddings.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"the adapter {spec.adapter or adapter.name!r} needs peft: pip install 'pytest-llm-regression[peft]'"
        ) from error
    if not spec.trust_pickle and not (adapter / "adapter_model.safetensors").is_file():
        raise ModelNotFoundError(
            f"the adapter {spec.adapter or adapter.name!r} has no adapter_model.safetensors "
            "(a pickled .bin is loaded only with llm_trust_pickle)"
        )
    _fit_embeddings(model, adapter, spec)
    wrapped = peft.PeftModel.from_pretrained(model, str(adapter))
    if wrapped.active_peft_config.is_prompt_learning:
        raise ModelNotFoundError(
            f"the adapter {spec.adapter or adapter.name!r} learns a prompt ({wrapped.active_peft_config.peft_type}); "
            "only adapters inside the layers (LoRA and its kin) are supported"
        )
    return wrapped.get_base_model()  # PEFT put its layers into it: forward and generate run them


def _fit_embeddings(model: Any, adapter: Path, spec: ModelSpec) -> None:
    """Give ``model`` as many embeddings as the adapter holds: tokens were added before it was trained.

    Raises:
        ModelNotFoundError: it does not hold all of them, and the rest would be random.
    """
    file = adapter / "adapter_model.safetensors"
    held = read_header(file) if file.is_file() else {}
    names = {module: f"base_model.model.{name}.weight" for name, module in model.named_modules()}
    layers = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
    sizes = {held[names[layer]].shape[0] for layer in layers if names[layer] in held}
    has = layers[0].weight.shape[0] if layers else 0
    if sizes <= {has}:
        return
    known = {layer.weight.data_ptr() for layer in layers if names[layer] in held}
    lacking = [names[layer] for layer in layers if layer.weight.data_ptr() not in known]
    if lacking:
        raise ModelNotFoundError(
            f"the adapter {spec.adapter!r} has embeddings of {max(sizes)} tokens, its base {spec.source!r} of {has}, "
            f"and the adapter holds no {lacking[0]} to go with them: save it with save_embedding_layers=True"
        )
    model.resize_token_embeddings(max(sizes), mean_resizing=False)
