"""What makes a folder loadable, and what to say when it is not."""

from __future__ import annotations

from pathlib import Path

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.weights.listing import ADAPTER_WEIGHTS, read_json, weight_files

_PICKLE = (
    "has pickled weights only ({}), and loading a pickle can run code. If you trust where it comes from, "
    "give --llm-trust-pickle (or set llm_trust_pickle = true)."
)


def check_model(folder: Path, source: str, trust_pickle: bool) -> str:
    """Return the GGUF to load from ``folder``, or ``""`` for weights in the Hugging Face layout.

    A folder that has both is read in the Hugging Face layout.

    Raises:
        ModelNotFoundError: it has neither, or several GGUF files, or only weights that may not be unpickled, or an
            adapter besides.
    """
    config = (folder / "config.json").is_file()
    names = weight_files(folder) if config else []
    pickled = [name for name in names if name.endswith(".bin")]
    if names and (folder / "adapter_config.json").is_file():
        raise ModelNotFoundError(
            f"the model {source!r} has an adapter in its folder, which transformers would put on it unasked: move "
            f"adapter_config.json and the adapter's weights from {folder} to a folder of their own, to be named as the "
            "adapter (adapter=, llm_adapter, --llm-adapter), or remove them if they are merged into the model."
        )
    if names and (trust_pickle or not pickled):
        return ""
    ggufs = gguf_files(folder)
    if len(ggufs) == 1:
        return ggufs[0]
    if ggufs:
        raise ModelNotFoundError(
            f"the model {source!r} has several GGUF files: choose one as {source}#FILE, of {', '.join(ggufs)}."
        )
    if pickled:
        raise ModelNotFoundError(f"the model {source!r} {_PICKLE.format(pickled[0])}")
    if config:
        raise ModelNotFoundError(
            f"the model {source!r} has a config.json but no weights: {folder} holds no model.safetensors, no shards "
            "of it and no .gguf file."
        )
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ModelNotFoundError(
            f"{source!r} is a LoRA adapter, not a model: name its base ({base!r}) as the model and this folder as the "
            "adapter (adapter=, llm_adapter, --llm-adapter)."
        )
    raise ModelNotFoundError(
        f"the model {source!r} has no config.json and no .gguf file: {folder} was not written by save_pretrained."
        + _offer_checkpoints(folder, "config.json")
    )


def check_adapter(folder: Path, source: str, trust_pickle: bool) -> None:
    """Check that ``folder`` is a PEFT adapter.

    Raises:
        ModelNotFoundError: a file is missing, or only pickled weights are there and may not be loaded.
    """
    if not (folder / "adapter_config.json").is_file():
        raise ModelNotFoundError(
            f"the adapter {source!r} has no adapter_config.json: {folder} was not written by PEFT's save_pretrained."
            + _offer_checkpoints(folder, "adapter_config.json")
        )
    safe, pickled = ((folder / name).is_file() for name in ADAPTER_WEIGHTS)
    if not safe and not pickled:
        raise ModelNotFoundError(f"the adapter {source!r} has no weights: no {ADAPTER_WEIGHTS[0]} is in {folder}.")
    if not safe and not trust_pickle:
        raise ModelNotFoundError(f"the adapter {source!r} {_PICKLE.format(ADAPTER_WEIGHTS[1])}")


def gguf_files(folder: Path) -> list[str]:
    """Return the names of the .gguf files in ``folder``."""
    return sorted(entry.name for entry in folder.glob("*.gguf"))


def offer_ggufs(folder: Path) -> str:
    """Say which .gguf files ``folder`` has, for the end of a message."""
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    return f" The .gguf files in {folder}: {', '.join(gguf_files(folder)) or 'none'}."


def _offer_checkpoints(folder: Path, marker: str) -> str:
    """Point at what lies one level down: naming the folder of all checkpoints is the usual mistake."""
    found = sorted(entry.parent.name for entry in folder.glob(f"*/{marker}"))
    return f" Did you mean a folder inside it: {', '.join(found[-5:])}?" if found else ""
