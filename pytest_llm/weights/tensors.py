"""Reading and writing safetensors files tensor by tensor, so that a cast needs the memory of one tensor.

The format: eight bytes with the header's length, the header as JSON (name -> dtype, shape, offsets), the bytes.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import ModelNotFoundError

if TYPE_CHECKING:
    import torch

#: Bytes an element, of the dtypes that can be written. Those of quantised formats (F8 and below) are left alone.
ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

_CODES = {"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", **FLOATS}


class Tensor(NamedTuple):
    """What a header says of a tensor: its dtype in safetensors' spelling, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def dtype_code(tensor: torch.Tensor) -> str:
    """Return safetensors' name of a tensor's dtype; torch's own where there is none in `ITEM_SIZES`."""
    name = str(tensor.dtype).removeprefix("torch.")
    return _CODES.get(name, name)


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, from its header alone.

    Raises:
        ModelNotFoundError: the file is truncated or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: Tensor(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ModelNotFoundError:
    """Return what is raised of a safetensors file that cannot be read."""
    return ModelNotFoundError(
        f"the weight file {path} is damaged or not in safetensors format: {error}. Copy or download it again."
    )


def write_tensors(path: Path, layout: dict[str, Tensor], tensor: Callable[[str], torch.Tensor]) -> int:
    """Write a safetensors file of ``layout``, asking ``tensor`` for one tensor at a time; return the bytes of data.

    A tensor of another dtype than its layout says is cast.
    """
    import torch

    dtypes = {code: getattr(torch, name) for name, code in _CODES.items()}
    # Wide elements first keeps every tensor aligned to its element size, as safetensors' own writer does.
    names = sorted(layout, key=lambda name: (-ITEM_SIZES[layout[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        code, shape = layout[name]
        start, end = end, end + math.prod(shape) * ITEM_SIZES[code]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name in names:
            data = tensor(name).to(dtypes[layout[name].dtype]).contiguous()
            stream.write(data.reshape(-1).view(torch.uint8).numpy().data)
    return end
