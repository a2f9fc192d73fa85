"""Models for the engine's tests: each made once a run, by whichever worker is first."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from pytest_llm.engines.local import LocalEngine
from pytest_llm.weights.convert import prepare
from pytest_llm.weights.fingerprint import fingerprint
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec
from tests.conftest import MINILM, SMOLLM2
from tests.engines.service import Service


def _prepared(source, shared_cache, tmp_path_factory):
    spec = ModelSpec(source)
    weights = resolve(spec, root=tmp_path_factory.getbasetemp())
    return prepare(weights, fingerprint(weights, shared_cache), spec, shared_cache)


@pytest.fixture(scope="session")
def smollm2(shared_cache, tmp_path_factory):
    return _prepared(SMOLLM2, shared_cache, tmp_path_factory)


@pytest.fixture(scope="session")
def minilm(shared_cache, tmp_path_factory):
    return _prepared(MINILM, shared_cache, tmp_path_factory)


def engine_for(folder, **arguments):
    spec = {name: arguments.pop(name) for name in ("dtype", "exact", "adapter", "trust_pickle") if name in arguments}
    adapter = spec.get("adapter")
    if adapter is not None:
        spec["adapter"] = str(adapter)
    return LocalEngine(folder, ModelSpec(folder.name, device="cpu", **spec), adapter=adapter, **arguments)


@pytest.fixture(scope="session")
def gpt2(tiny_gpt2):
    return engine_for(tiny_gpt2)


@pytest.fixture(scope="session")
def t5(tiny_t5):
    return engine_for(tiny_t5)


@pytest.fixture(scope="session")
def bert(tiny_bert):
    return engine_for(tiny_bert)


@pytest.fixture(scope="session")
def smol(smollm2):
    return engine_for(smollm2)


def answers(engine, requests):
    found = dict(engine.answer(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[i] for i in range(len(requests))]


def first(answer):
    return answer["sequences"][0]


@pytest.fixture(scope="session")
def _served(smollm2):
    service = Service(engine_for(smollm2))
    yield service
    service.close()


@pytest.fixture
def service(_served, monkeypatch):
    _served.reset()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return _served


def with_token(folder, token="<|user|>"):
    """The tokenizer in ``folder`` with a token more, as training scripts add them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [token], "pad_token": token})
    return tokenizer
