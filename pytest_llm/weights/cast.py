"""Casting a model folder to another dtype, or from pickles to safetensors, without knowing its architecture."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.weights.listing import index_file, read_json, side_files, weight_files
from pytest_llm.weights.tensors import FLOATS, ITEM_SIZES, Tensor, damaged, dtype_code, read_header, write_tensors

if TYPE_CHECKING:
    import torch


def plan_cast(folder: Path, dtype: str) -> Callable[[Path], None] | None:
    """Return what writes ``folder`` in ``dtype`` to another folder; ``None`` when it should be loaded as it is.

    Loaded as it is: weights in that dtype already, quantised ones, and those that narrowing would change in another
    way than transformers does (see `_kept_wide`).

    Raises:
        ModelNotFoundError: a weight file is damaged.
    """
    names = weight_files(folder)
    pickled = any(name.endswith(".bin") for name in names)
    layouts = {name: (_pickle_layout if pickled else read_header)(folder / name) for name in names}
    tensors = [tensor for layout in layouts.values() for tensor in layout.values()]
    config = read_json(folder / "config.json")
    if config.get("quantization_config") or any(tensor.dtype not in ITEM_SIZES for tensor in tensors):
        return None
    code = FLOATS[dtype]
    floats = {tensor.dtype for tensor in tensors} & set(FLOATS.values())
    keep: Callable[[str], object] | None = _none_kept
    if dtype in ("bfloat16", "float16") and not all(_exact(source, code) for source in floats):
        keep = _kept_wide(folder, config, dtype)
    if keep is None:
        return None
    wanted = {
        file: {
            name: tensor._replace(dtype=code) if tensor.dtype in floats and not keep(name) else tensor
            for name, tensor in layout.items()
        }
        for file, layout in layouts.items()
    }
    if wanted == layouts and not pickled:
        return None

    def write(out: Path) -> None:
        sides = {name: _own(folder, name) for name in side_files(folder) if not name.endswith(".index.json")}
        total = 0
        for file, layout in wanted.items():
            with _opened(folder / file) as tensor:
                total += write_tensors(_inside(out, _safe_name(file)), layout, tensor)
        for name, source in sides.items():
            shutil.copyfile(source, _inside(out, name))
        _write_config(folder, out, dtype, total)

    return write


def _exact(source: str, target: str) -> bool:
    """Whether every value of the float dtype ``source`` is one of ``target``."""
    # Of one size there are bfloat16 and float16, and neither holds the other.
    return source == target or ITEM_SIZES[target] > ITEM_SIZES[source]


def _none_kept(name: str) -> bool:
    return False


def _kept_wide(folder: Path, config: dict[str, Any], dtype: str) -> Callable[[str], object] | None:
    """Return what tells the tensors that are not to be narrowed; ``None`` if the architecture is unknown.

    transformers keeps some modules in float32 when a model runs in a reduced dtype (T5's ``wo``, many norms and
    routers). Narrowed on disk they would be read back rounded, and the answers would not be transformers' own.
    """
    import torch
    import transformers

    try:
        model_class = getattr(transformers, config["architectures"][0])
        if not issubclass(model_class, transformers.PreTrainedModel):
            return None
        with torch.device("meta"):  # an instance, since models gather the names from their parts
            model = model_class(transformers.AutoConfig.from_pretrained(folder))
    except Exception:  # not a class of transformers, or a config it does not take: the loader reports it
        return None
    names = {*(getattr(model, "_keep_in_fp32_modules_strict", None) or ())}
    if dtype == "float16":
        names |= {*(getattr(model, "_keep_in_fp32_modules", None) or ())}
    if not names:
        return _none_kept
    pattern = re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in sorted(names)))
    return pattern.search


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], torch.Tensor]]:
    if path.suffix == ".bin":
        yield _unpickle(path).__getitem__
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file.get_tensor
    except SafetensorError as error:
        raise damaged(path, error) from error


def _pickle_layout(path: Path) -> dict[str, Tensor]:
    return {name: Tensor(dtype_code(tensor), tuple(tensor.shape)) for name, tensor in _unpickle(path).items()}


def _unpickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        # Mapped where the format allows it (a zip, since torch 1.6), so that only one tensor at a time is in memory.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    except Exception as error:
        raise ModelNotFoundError(
            f"the weight file {path} cannot be unpickled: {error}. Copy or download it again."
        ) from error


def _safe_name(name: str) -> str:
    """Return what transformers looks for in place of a pickled weight file; a safetensors name stays."""
    if not name.endswith((".bin", ".bin.index.json")):
        return name
    return name.replace("pytorch_model", "model", 1).replace(".bin", ".safetensors", 1)


def _own(folder: Path, name: str) -> Path:
    """Return the file that ``name`` in ``folder`` is, to be copied.

    A link out of the folder would bring any file of this machine into the cache; those of a Hugging Face cache lead to
    the blobs of a model.

    Raises:
        ModelNotFoundError: it is such a link.
    """
    file, home = (Path(os.path.realpath(path)) for path in (folder / name, folder))
    blob = file.parent.name == "blobs" and file.parents[1].name.startswith("models--")
    if not blob and not file.is_relative_to(home):
        raise ModelNotFoundError(
            f"{folder / name} leads to {file}, outside of the model: it is not copied into the cache with the "
            "converted weights. Put the file itself in its place, or choose the dtype that the weights have."
        )
    return file


def _inside(out: Path, name: str) -> Path:
    """Return ``name`` in ``out``, with the folder it goes to.

    Raises:
        ModelNotFoundError: it leads out.
    """
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        raise ModelNotFoundError(f"the model names a file {name!r}, which would be written outside of {out}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_config(folder: Path, out: Path, dtype: str, total: int) -> None:
    """Write the config and the shard index in agreement with the new weights."""
    index = index_file(folder)
    config = read_json(folder / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in ("dtype", "torch_dtype"):
            if part.get(key) in [*FLOATS]:  # compared, not hashed: it may be anything
                part[key] = dtype
    _write_json(_inside(out, "config.json"), config)
    if index:
        content = read_json(folder / index)
        content["weight_map"] = {name: _safe_name(file) for name, file in content["weight_map"].items()}
        content["metadata"] = {"total_size": total}
        _write_json(_inside(out, _safe_name(index)), content)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
