"""Weights in a form that loads fast: safetensors in the dtype they run in, which stay mapped to the file.

A cast at load would give every process its own copy, and a GGUF takes seconds to unpack; both are done once, on disk.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from pytest_llm.environment import version
from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError
from pytest_llm.files import locked
from pytest_llm.weights.fingerprint import check_unchanged, file_digests, fingerprint, remember, sha256_of, sync
from pytest_llm.weights.spec import ModelSpec, Weights
from pytest_llm.weights.tensors import FLOATS

#: Goes up when what this module writes changes, so that folders of an older version are not used.
_FORMAT = 2
_MANIFEST = ".complete.json"
#: Seconds to wait for another process that converts the same weights: those of a large model take minutes.
_PATIENCE = 3600.0


def prepare(weights: Weights, digest: str, spec: ModelSpec, cache_dir: Path) -> Path:
    """Return a folder that transformers loads in ``spec.dtype``, memory-mapped, without private copies.

    That is the folder itself when its weights are safetensors in that dtype already, or in a form that a cast would
    break (quantised, float8); else a folder in ``cache_dir``, converted by the first process to need it. ``digest`` is
    what `fingerprint` gave for ``weights``. The adapter is left to the engine.

    Raises:
        ModelNotFoundError: the weights are damaged, of an architecture transformers does not read, or no longer those
            of ``digest``.
        InvalidInputError: an unknown dtype.
    """
    if spec.dtype not in FLOATS:
        raise InvalidInputError(f"unknown dtype {spec.dtype!r}: choose one of {', '.join(FLOATS)}")
    check_unchanged(weights, digest, cache_dir)
    base = dataclasses.replace(weights, adapter=None, code=())
    own = fingerprint(base, cache_dir)
    target = cache_dir / "converted" / _name(own, spec.dtype, bool(weights.gguf))
    if _complete(target, cache_dir):
        return _told(target, weights)
    make: Callable[[Path], None] | None
    if weights.gguf:
        from pytest_llm.weights.gguf import dequantise

        make = functools.partial(dequantise, weights.folder / weights.gguf, spec.dtype)
    else:
        from pytest_llm.weights.cast import plan_cast

        make = plan_cast(weights.folder, spec.dtype)
    if make is not None:
        _make_once(target, cache_dir, make, lambda: check_unchanged(base, own, cache_dir))
    return weights.folder if make is None else _told(target, weights)


def _told(folder: Path, weights: Weights) -> Path:
    """Return the converted ``folder``, with a warning where transformers left out something of a GGUF."""
    from pytest_llm.weights.gguf import UNREAD

    unread = folder / UNREAD
    if weights.gguf and unread.is_file():
        warnings.warn(
            f"pytest_llm: transformers does not take {', '.join(unread.read_text('utf-8').splitlines())} from "
            f"{weights.source!r}, which stretches positions: answers are not quite llama.cpp's, least of all to long "
            "texts, and two files that differ only there answer alike. The model's safetensors have it in config.json",
            stacklevel=2,
        )
    return folder


def _name(digest: str, dtype: str, gguf: bool) -> str:
    """Return the name of a converted folder: what went in, what came out, and the software that has a say in it.

    transformers unpacks a GGUF and its tokenizer, and says which modules stay wide in a reduced dtype.
    """
    name = f"{digest[:20]}-{dtype}-v{_FORMAT}"
    if gguf or dtype in ("bfloat16", "float16"):
        name += f"-transformers{version('transformers')}"
    return name + (f"-gguf{version('gguf')}" if gguf else "")


def _make_once(target: Path, cache_dir: Path, make: Callable[[Path], None], check: Callable[[], None]) -> None:
    """Fill ``target`` by ``make`` unless another process does; ``check`` raises if the result must not be used."""
    try:
        # The lock lies beside what it guards, and so is shared by whoever shares that.
        with locked(target.with_name(f".{target.name}.lock"), _PATIENCE):
            if _complete(target, cache_dir):
                return
            # We hold the lock: what lies here half-written or damaged is from a process that is gone.
            for leftover in (target, *target.parent.glob(f".{target.name}.*.tmp")):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            temporary.mkdir()
            try:
                make(temporary)
                check()  # a training run may have written while we read
                sealed = _seal(temporary)
                temporary.replace(target)
                sync(target.parent)
                remember(target, sealed, cache_dir)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:  # filelock.Timeout is one, too
        raise LLMError(
            f"the converted weights cannot be written to {target}: {error}. Make room or wait for the other process, "
            "or choose another folder with --llm-cache-dir."
        ) from error


def _seal(folder: Path) -> dict[str, str]:
    """Put all of ``folder`` on disk, readable by whom the umask says; return its digests, a manifest written last."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    manifest = folder / _MANIFEST
    sealed = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    manifest.write_text(json.dumps(sealed))
    for path in (*files, manifest):
        # safetensors writes 0600, which locks colleagues out of a shared cache; the manifest got what the umask gives.
        path.chmod(manifest.stat().st_mode)
        sync(path)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(path)
    return sealed


def _complete(folder: Path, cache_dir: Path) -> bool:
    """Whether ``folder`` holds every file it was sealed with, as it was then.

    The rename is atomic, but a cache may also be restored in part or with holes, or pruned by a system's cleaner.
    """
    try:
        sealed = json.loads((folder / _MANIFEST).read_text())
        return bool(file_digests(folder, sealed, cache_dir) == sealed)
    except (OSError, ValueError, TypeError, ModelNotFoundError):
        return False
