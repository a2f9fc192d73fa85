"""What a test asks for, and what was found for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as a test names it, with everything around the weights that decides an answer."""

    source: str
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    adapter: str | None = None
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    trust_pickle: bool = False
    exact: bool = False

    @property
    def fixed_shapes(self) -> bool:
        """Whether neighbours in a batch must change nothing at all: on request, and in coarse dtypes always."""
        return self.exact or self.dtype in ("float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights on this disk.

    Attributes:
        source: how to name them in a report or a golden: portable, never an absolute path.
        folder: holds config, tokenizer and weight files.
        revision: the commit of a hub model, else ``""``.
        gguf: file name of the GGUF in ``folder``, else ``""``.
        adapter: folder of the LoRA adapter.
        adapter_source: how to name the adapter, portable as ``source`` is, else ``""``.
    """

    source: str
    folder: Path
    revision: str = ""
    gguf: str = ""
    adapter: Path | None = None
    adapter_source: str = ""
