"""Putting a PEFT adapter on a model, with the embeddings of the tokens it was trained with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.families import Family
from pytest_llm.errors import MissingExtraError, ModelNotFoundError
from pytest_llm.reports.text import shorten
from pytest_llm.weights.listing import read_json
from pytest_llm.weights.tensors import Tensor, read_header

if TYPE_CHECKING:
    from pytest_llm.weights.spec import ModelSpec


def with_adapter(model: Any, adapter: Path, spec: ModelSpec) -> tuple[Any, list[str]]:
    """Return ``model`` with the adapter's layers in it, and which of the adapter's tensors are used by nothing.

    Raises:
        MissingExtraError: ``peft`` is not installed.
        ModelNotFoundError: the adapter is pickled without leave, of a kind that is not supported, does not fit the
            model, or lacks embeddings.
    """
    name = f"the adapter {spec.adapter or adapter.name!r}"
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(f"{name} needs peft: pip install 'pytest-llm-regression[peft]'") from error
    if not spec.trust_pickle and not (adapter / "adapter_model.safetensors").is_file():
        raise ModelNotFoundError(
            f"{name} has no adapter_model.safetensors (a pickled .bin is loaded only with llm_trust_pickle)"
        )
    held = _held(adapter)
    _fit_embeddings(model, held, spec)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wrapped = peft.PeftModel.from_pretrained(model, str(adapter))
    own = wrapped.active_peft_config
    # What PEFT does in its own forward() and generate(), which are not run here.
    kind = own.peft_type if own.is_prompt_learning else "aLoRA" if getattr(own, "alora_invocation_tokens", None) else ""
    if kind:
        raise ModelNotFoundError(
            f"{name} works on the prompt ({kind}); only adapters inside the layers (LoRA and its kin) are supported"
        )
    # Without its tensors a layer answers as if there were no adapter.
    for text in [str(one.message) for one in said if str(one.message).startswith("Found missing adapter keys")]:
        raise ModelNotFoundError(
            f"{name} does not fit {spec.source!r}: {shorten(text.partition(': ')[2], 300)} are not in its file. It was "
            "trained on another model, saved from torch.compile or a wrapper that renames layers, or is incomplete"
        )
    known = {*wrapped.state_dict(), *peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)}
    stray = [name for name in held.keys() - known if ".token_adapter." not in name]  # a tied head's, saved twice
    # PEFT put its layers into the model: forward and generate run them.
    return wrapped.get_base_model(), sorted(stray)


#: What an adapter with a head of its own makes of its base, by PEFT's name for the task.
_HEADS: dict[Any, Family] = {"SEQ_CLS": "classifier", "TOKEN_CLS": "tagger", "QUESTION_ANS": "extractive"}


def head(adapter: Path | None) -> tuple[Family, int] | None:
    """Return what the adapter makes of its base if it brings a head, and how many labels that tells apart.

    Raises:
        ModelNotFoundError: it is to bring one, and holds no layer that says how many.
    """
    if adapter is None:
        return None
    config = read_json(adapter / "adapter_config.json")
    family = _HEADS.get(config.get("task_type"))
    if family is None:
        return None
    heads = [f"base_model.model.{name}." for name in config.get("modules_to_save") or ()]
    sizes = [entry.shape[0] for name, entry in _held(adapter).items() if name.startswith(tuple(heads)) and entry.shape]
    if not sizes:
        saved = config.get("modules_to_save") or []
        raise ModelNotFoundError(
            f"the adapter {adapter.name!r} makes a {family} of its base ({config['task_type']}), and its file holds "
            f"none of the modules_to_save {saved}, which say how many labels there are: save it again"
        )
    return family, min(sizes)


def held_by(adapter: Path | None) -> set[str]:
    """Return the tensors of the base model that the adapter brings itself, by the base model's names."""
    return {name.removeprefix("base_model.model.") for name in _held(adapter)} if adapter is not None else set()


def _held(adapter: Path) -> dict[str, Tensor]:
    file = adapter / "adapter_model.safetensors"
    return read_header(file) if file.is_file() else {}


def _fit_embeddings(model: Any, held: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Give ``model`` as many embeddings as the adapter holds: tokens were added before it was trained.

    Raises:
        ModelNotFoundError: it does not hold all of them, and the rest would be random.
    """
    names = {module: f"base_model.model.{name}.weight" for name, module in model.named_modules()}
    for module, name in names.items():  # as an adapter with trainable_token_indices calls it
        inside = name.replace(".weight", ".token_adapter.base_layer.weight")
        names[module] = inside if inside in held else name
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
