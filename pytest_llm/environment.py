"""The environment an answer was made in, read without importing torch or transformers."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

#: All of a model's files together.
_FILES = "model files"


@functools.cache
def version(distribution: str) -> str:
    """Return the installed version of ``distribution``; ``""`` when it is not installed."""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return ""
    # `metadata.version` parses the whole file, a package's long description too, as an e-mail.
    said = re.search(r"^Version:[ \t]*(\S+)", found.read_text("METADATA") or "", re.MULTILINE)
    return said[1] if said else found.version


def resolve_device(device: str) -> str:
    """Return the device that ``auto`` stands for here; another name is returned as it is.

    ``auto`` is ``cuda`` when an NVIDIA or AMD device node exists, none of the visibility variables hides it and
    torch is not a CPU build; otherwise ``cpu``. (``mps`` is chosen by name only: it has no float64.)
    """
    if device != "auto":
        return device
    hidden = any(os.environ.get(name) in ("", "-1") for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))
    return "cuda" if not hidden and _gpu() and "+cpu" not in version("torch") else "cpu"


@functools.cache
def _gpu() -> bool:
    # A container that was given the second GPU alone has /dev/nvidia1 alone.
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def device_type(device: str) -> str:
    """Return the device without its index (``cuda:1`` is ``cuda``)."""
    return device.partition(":")[0]


#: Facts of which older files say nothing; ``peft`` and ``gguf`` are said of models that need them.
_ADDED = ("engine", "peft", "gguf")


def changed(name: str, before: Any, now: Any) -> bool:
    """Whether the fact ``name`` of an environment is another one; what one of them does not say is not known to be."""
    return before != now and not (name in _ADDED and None in (before, now))


def another_model(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what makes a model another one, as ``another model`` or ``another chat template``; ``""`` for nothing.

    That is its content, or its name where a service holds it. With other weights it is another model.
    """
    was, other = (model.get("digest") or model.get("source") for model in (before, now))
    if not (was and other and was != other):
        return ""
    parts = [*changed_parts(before, now)]
    if not parts or {"weights", _FILES} & {*parts}:
        return "another model"
    *most, last = parts
    return f"another {', '.join(most)}{' and ' if most else ''}{last}"


def changed_parts(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what of a model's content is another, by name, with the digests that it had and has.

    Older descriptions, and those of a GGUF, do not tell its parts apart: then it is the ``model files`` together.
    """
    was, other = before.get("digest"), now.get("digest")
    if was == other:
        return {}
    old, new = before.get("parts"), now.get("parts")
    if not (isinstance(old, dict) and isinstance(new, dict) and old and new and old != new):
        return {_FILES: (was, other)}
    return {part: (old.get(part), new.get(part)) for part in sorted({*old, *new}) if old.get(part) != new.get(part)}


def engine_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what to say where this package computes otherwise than it did, ``""`` where it does not."""
    was, other = before.get("engine"), now.get("engine")
    return (
        f"pytest_llm's own computation changed (engine {was} -> {other}): an upgrade of it may explain this, see its "
        "CHANGELOG before blaming the model"
        if changed("engine", was, other)
        else ""
    )
