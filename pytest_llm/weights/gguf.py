"""Unpacking a GGUF into the folder that transformers would have loaded from it.

transformers passes over what it does not know in silence. What decides answers is looked for here.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llm.engines.loading import quiet
from pytest_llm.errors import ModelNotFoundError
from pytest_llm.reports.text import counted

#: In a converted folder, what of its GGUF transformers did not take, one a line: it has no place for it.
UNREAD = "unread.txt"
#: Tensors that stretch positions beyond what a model was first trained on, as those of Llama 3 and Phi 3.
_ROPE = re.compile(r"rope_(freqs|factors_long|factors_short)\.weight")


def dequantise(gguf: Path, dtype: str, out: Path) -> None:
    """Write the model, tokenizer and chat template of ``gguf`` to the folder ``out``, in ``dtype``.

    Raises:
        ModelNotFoundError: transformers cannot read the file, or would leave out what decides answers.
    """
    try:
        with _alone(gguf) as folder, quiet(), contextlib.redirect_stderr(io.StringIO()):  # the bar is tqdm's own
            model, tokenizer, unread = _load(folder, gguf.name, dtype)
    except Exception as error:  # numpy, struct, transformers and torch each have their own for a damaged file
        raise ModelNotFoundError(
            f"the GGUF file {gguf} cannot be loaded ({type(error).__name__}: {error}). If it is damaged or cut off, "
            "copy or download it again; if it is one of several parts, merge them (llama-gguf-split --merge); "
            "otherwise transformers may not know its architecture or quantisation."
        ) from error
    with quiet():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    if unread:
        (out / UNREAD).write_text("\n".join(unread), "utf-8")


def _load(folder: Path, name: str, dtype: str) -> tuple[Any, Any, list[str]]:
    """Return model, tokenizer, and the names of what stretches positions and is left out."""
    import gguf
    import torch
    import transformers

    reader = gguf.GGUFReader(folder / name)
    facts = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.")}
    parts = facts.get("split.count", 0)
    if parts > 1:
        raise ValueError(f"it is part {facts.get('split.no', 0) + 1} of {parts}")
    config = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
    unread = _stretched(config, facts, reader.tensors)
    options: dict[str, Any] = {"config": config, "gguf_file": name, "dtype": getattr(torch, dtype)}
    options["output_loading_info"] = True
    if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed where they have a kernel for them
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model, report = _model_class(config).from_pretrained(folder, **options)
    # They would be random. No GGUF holds a pooler, which nothing here reads.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ValueError(f"it lacks {counted(len(missing), 'tensor')} ({missing[0]}, ...)")
    _check_tensors(reader.tensors, facts, model)
    # Dense by now, but still marked as quantised, and then save_pretrained refuses.
    model.hf_quantizer = None
    for holder in (model, model.config):
        if hasattr(holder, "quantization_config"):
            del holder.quantization_config
    model.is_quantized = False
    return model, transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name), unread


def _stretched(config: Any, facts: Mapping[str, Any], tensors: list[Any]) -> list[str]:
    """Stretch positions in ``config`` as a GGUF says; return what of that it says otherwise than linearly."""
    if _stretches(config.to_dict()):  # gpt-oss, whose metadata transformers reads, and what always does
        return []
    arch = facts["general.architecture"]
    unread = [one.name for one in tensors if _ROPE.fullmatch(one.name)]
    factor = facts.get(f"{arch}.rope.scaling.factor") or facts.get(f"{arch}.rope.scale_linear") or 1.0
    kind = facts.get(f"{arch}.rope.scaling.type", "linear")
    rope = getattr(config, "rope_parameters", None)
    if kind == "linear" and rope:
        # Gemma 3 stretches those of its global layers only.
        rope.get("full_attention", rope).update({"rope_type": "linear", "factor": factor} if factor != 1 else {})
    elif kind not in ("none", "linear"):
        unread.append(f"{arch}.rope.scaling ({kind}, factor {factor:g})")
    return unread


def _stretches(config: Any) -> bool:
    """Whether the ``rope_type`` anywhere in a configuration is another than the default."""
    if not isinstance(config, dict):
        return False
    return config.get("rope_type", "default") != "default" or any(map(_stretches, config.values()))


def _check_tensors(tensors: list[Any], facts: Mapping[str, Any], model: Any) -> None:
    """Raise ValueError where ``model`` has no place for a tensor, and so transformers left it out."""
    import gguf

    arch = facts["general.architecture"]
    blocks = facts.get(f"{arch}.block_count", 0)
    drafts = tuple(f"blk.{blocks - 1 - i}." for i in range(facts.get(f"{arch}.nextn_predict_layers", 0)))
    needed = [one for one in tensors if not _ROPE.fullmatch(one.name) and not one.name.startswith(drafts)]
    # The experts of a mixture have no names in common with transformers: that none is lost, their number tells.
    held = {value.data_ptr(): value.numel() for value in model.state_dict().values()}
    known = next((key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch), None)
    if known is None or sum(int(one.n_elements) for one in needed) <= sum(held.values()):
        return
    names = gguf.get_tensor_name_map(known, blocks)
    keys = [key for part in (model, *model.children()) for key in part.state_dict()]
    read = {names.get_name(key, (".weight", ".bias")) for key in keys}
    if unread := sorted(one.name for one in needed if one.name not in read):
        raise ValueError(
            f"{type(model).__name__} has no place for {counted(len(unread), 'tensor')} of it ({unread[0]}, ...), and "
            "would answer without"
        )


def _model_class(config: Any) -> Any:
    """Return the auto class with the head that this kind of model answers with."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    if type(config) in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForSeq2SeqLM
    if type(config) in auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


@contextlib.contextmanager
def _alone(gguf: Path) -> Iterator[Path]:
    """Give a folder with nothing but the GGUF in it.

    transformers would take a tokenizer or template that stands beside the file, and its digest covers the file only.
    """
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, gguf.name)
        try:
            link.symlink_to(gguf.absolute())
        except OSError:  # Windows without the privilege
            shutil.copyfile(gguf, link)
        yield Path(folder)
