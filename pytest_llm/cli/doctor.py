"""``pytest-llm doctor``: versions, device, cache, and whether the configured model can be found and read."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

from pytest_llm import environment
from pytest_llm.cli.common import project_settings
from pytest_llm.errors import LLMError, ModelNotFoundError
from pytest_llm.loader import ModelLoader
from pytest_llm.reports.text import one_line, visible
from pytest_llm.settings import Settings
from pytest_llm.weights.listing import adapter_files, weight_files
from pytest_llm.weights.spec import ModelSpec, Weights
from pytest_llm.weights.tensors import read_header

_DISTRIBUTIONS = (
    "pytest-llm-regression", "pytest", "pytest-xdist", "torch", "transformers", "evaluate", "numpy", "gguf",
    "accelerate", "sacrebleu", "rouge-score", "scipy", "peft", "ray",
)  # fmt: skip


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="check versions, device, cache folder and the configured model")
    parser.add_argument("--model", help="check this model in place of the configured one")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = project_settings()
    _say("python", f"{platform.python_version()} ({sys.executable})")
    for name in _DISTRIBUTIONS:
        _say(name, environment.version(name) or "not installed")
    device = environment.resolve_device(settings.device)
    _say("device", f"{device} ({settings.dtype}, {settings.attn_implementation}), {os.cpu_count()} cores")
    _say("root", f"{settings.root}")
    healthy = _cache(settings.cache_dir)
    return 0 if _model(settings, arguments.model) and healthy else 1


def _say(label: str, text: str) -> None:
    print(f"{label:<24}{text}")


def _cache(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    wrong = "" if existing.is_dir() else f"NO FOLDER: {existing} is a file"
    if not wrong and not os.access(existing, os.W_OK):
        wrong = "NOT WRITABLE"
    _say("cache", f"{folder}" + (f"  {wrong}: choose another with --llm-cache-dir" if wrong else ""))
    return not wrong


def _model(settings: Settings, given: str | None) -> bool:
    name = given or settings.model
    if not name:
        _say("model", "none configured ('llm_model' in pytest.ini or pyproject.toml)")
        return True
    adapter = f" + {visible(settings.adapter)}" if settings.adapter and not given else ""
    loader = ModelLoader(settings)
    try:
        model = loader(given)  # the configured one with its adapter
        _say("model", f"{visible(model.weights.source)}{adapter}")
        if model.spec.base_url is not None:
            from pytest_llm.engines.openai import OpenAIEngine
            from pytest_llm.engines.openai_key import Key

            engine = OpenAIEngine(
                model.weights.service, model.spec.base_url, timeout=settings.timeout, key=Key(model.spec.api_key_env)
            )
            with contextlib.closing(engine):
                found = "has it" if engine.check() else "answers to it, and does not list it"
            _say("", f"at {visible(model.spec.base_url)}, which {found}")
        else:
            _say("", f"in {visible(str(model.weights.folder))} {model.weights.gguf}".rstrip())
            if model.weights.revision and model.weights.revision != model.spec.revision:
                branch = f"{model.spec.revision or 'main'} as it was when cached: 'hf download' fetches a newer one"
                _say("", f"{model.weights.revision}, {visible(branch)}")
            _say("", f"sha256 {model.digest}")
            _check_files(model.weights, model.spec)
        _say("", f"{answers(loader, model.identity)} answers in the store")
    except LLMError as error:
        _say("model", f"{visible(name)}{adapter}: NOT USABLE: {one_line(error, 2_000)}")
        return False
    finally:
        loader.close()
    return True


def _check_files(weights: Weights, spec: ModelSpec) -> None:
    """Check that weights are whole and that there is a tokenizer, which a GGUF holds.

    Raises:
        ModelNotFoundError: they are not, or there is none.
    """
    if weights.gguf:
        from gguf import GGUFReader

        try:
            GGUFReader(weights.folder / weights.gguf)  # lays out every tensor
        except Exception as error:  # numpy's, for a file that is cut off
            raise ModelNotFoundError(
                f"the GGUF file cannot be read ({type(error).__name__}: {error}): if it was cut off, download it again"
            ) from None
        return
    from pytest_llm.engines.loading import load_tokenizer

    files = [weights.folder / name for name in weight_files(weights.folder)]
    files += [weights.adapter / name for name in adapter_files(weights.adapter)] if weights.adapter else []
    for path in files:
        if path.suffix == ".safetensors":
            read_header(path)
    load_tokenizer(weights.folder, spec, weights.adapter)


def answers(loader: ModelLoader, identity: dict[str, Any]) -> int:
    """Return how many answers of one identity the store holds."""
    if not loader.store.path.exists():
        return 0
    return sum(row["answers"] for row in loader.store.contents() if identity.items() <= row.items())
