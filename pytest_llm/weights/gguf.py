"""Unpacking a GGUF into the folder that transformers would have loaded from it."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llm.engines.loading import quiet
from pytest_llm.errors import ModelNotFoundError
from pytest_llm.reports.text import counted


def dequantise(gguf: Path, dtype: str, out: Path) -> None:
    """Write the model, tokenizer and chat template of ``gguf`` to the folder ``out``, in ``dtype``.

    Raises:
        ModelNotFoundError: transformers cannot read the file.
    """
    try:
        with _alone(gguf) as folder, quiet(), contextlib.redirect_stderr(io.StringIO()):  # the bar is tqdm's own
            model, tokenizer = _load(folder, gguf.name, dtype)
    except Exception as error:  # numpy, struct, transformers and torch each have their own for a damaged file
        raise ModelNotFoundError(
            f"the GGUF file {gguf} cannot be loaded ({type(error).__name__}: {error}). If it is damaged or cut off, "
            "copy or download it again; if it is one of several parts, merge them (llama-gguf-split --merge); "
            "otherwise transformers may not know its architecture or quantisation."
        ) from error
    with quiet():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


def _load(folder: Path, name: str, dtype: str) -> tuple[Any, Any]:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
    options: dict[str, Any] = {"config": config, "gguf_file": name, "dtype": getattr(torch, dtype)}
    options["output_loading_info"] = True
    if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed where they have a kernel for them
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model, report = _model_class(config).from_pretrained(folder, **options)
    # They would be random. No GGUF holds a pooler, which nothing here reads.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ValueError(f"it lacks {counted(len(missing), 'tensor')} ({missing[0]}, ...)")
    # Dense by now, but still marked as quantised, and then save_pretrained refuses.
    model.hf_quantizer = None
    for holder in (model, model.config):
        if hasattr(holder, "quantization_config"):
            del holder.quantization_config
    model.is_quantized = False
    return model, transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)


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
