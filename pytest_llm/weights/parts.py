"""The parts of a model, each with a digest of its own, so that what changed can be said: its chat template, say."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.files import digest_of
from pytest_llm.weights.listing import SIDE_SUFFIXES, read_json
from pytest_llm.weights.spec import Weights

#: Hexadecimal digits of a part's digest. It tells what changed, and keys nothing.
_DIGITS = 12
_TOKENIZER_CONFIG = "tokenizer_config.json"


def digest_of_all(contents: Mapping[str, Mapping[str, str]]) -> str:
    """Return the digest of the `contents` of a model (see `pytest_llm.weights.fingerprint`); ``""`` of a service's."""
    return digest_of(contents) if contents else ""


def parts_of(weights: Weights, contents: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the digests of a model's parts by their names; nothing of a GGUF, which is one file, or of a service.

    An adapter's files are in the parts of its base. ``contents`` is what `pytest_llm.weights.fingerprint` gave.
    """
    if weights.gguf:
        return {}
    found: dict[str, dict[str, str]] = {}
    for place, files in contents.items():
        for name, digest in files.items():
            found.setdefault(_part(name), {})[f"{place}/{name}"] = digest
    for place, folder in (("model", weights.folder), ("adapter", weights.adapter)):
        if folder is not None and _TOKENIZER_CONFIG in contents.get(place, ()):
            with contextlib.suppress(ModelNotFoundError, ValueError):  # it is of the tokenizer as a whole
                config, name = read_json(folder / _TOKENIZER_CONFIG), f"{place}/{_TOKENIZER_CONFIG}"
                if template := config.pop("chat_template", None):
                    found.setdefault("chat template", {})[name] = digest_of(template)
                found["tokenizer"][name] = digest_of(config)
    return {part: digest_of(digests)[:_DIGITS] for part, digests in sorted(found.items())}


def _part(name: str) -> str:
    """Return the part of a model that a file is of, by its name relative to the model's folder."""
    path = PurePosixPath(name)
    if path.suffix == ".py":
        return "model code"
    if path.name.startswith("chat_template.") or path.parts[0] == "additional_chat_templates":
        return "chat template"
    if path.suffix not in SIDE_SUFFIXES or path.name.endswith(".index.json"):
        return "weights"
    words = ("token", "vocab")  # tokenizer.json, special_tokens_map.json, vocab.json
    return "configuration" if path.suffix == ".json" and not any(map(path.name.__contains__, words)) else "tokenizer"
