"""Bits per byte: the loss by which models with different tokenizers can be compared."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_llm.errors import InvalidInputError
from pytest_llm.loader import ModelLoader
from pytest_llm.options import settings_from
from tests.tiny_models import retrain, sentences, train_gpt2

#: The last is as many tokens to any of the tokenizers: a byte each.
SENTENCES = [*sentences()[1200::25], "qxqxqxqx"]
TEXTS = [*SENTENCES[::5], "la poule voit le bœuf", "红色的猫 sees 🦊", "x" * 40]

SUITE = """
    import pytest
    from pytest_llm import assert_bits_per_byte

    TEXTS = {texts!r}

    def test_loss(llm, llm_baseline):
        llm_baseline.check("loss", llm.loss(TEXTS), margin=0.05)

    @pytest.mark.parametrize("margin", [0.05, 0.9])
    def test_bits(llm, llm_baseline, margin):
        bits = assert_bits_per_byte(llm.bits_per_byte(TEXTS), at_most=20)
        llm_baseline.check("bits_per_byte", bits, margin=margin)
"""


@pytest.fixture(scope="module")
def coarser(tmp_path_factory):
    """A GPT-2 whose tokenizer has less than half of the merges of ``tiny_gpt2``'s."""
    return train_gpt2(tmp_path_factory.mktemp("models") / "coarser", vocabulary=280, steps=150)


@pytest.fixture
def ask(tmp_path):
    loader = ModelLoader(settings_from({}, {}, {}, root=tmp_path).replace(device="cpu", cache_dir=tmp_path / "cache"))
    yield lambda folder: loader(str(folder))
    loader.close()


@pytest.fixture
def suite(pytester, cache_dir, tiny_gpt2, coarser):
    """A suite whose baselines were made by the model in ``gpt2``; ``coarser`` is another."""
    for name, folder in (("gpt2", tiny_gpt2), ("coarser", coarser)):
        shutil.copytree(folder, pytester.path / name)
    pytester.makepyfile(test_suite=SUITE.format(texts=SENTENCES))
    made = pytester.runpytest("--llm-model=gpt2", "--llm-update=new")
    made.assert_outcomes(passed=3)
    answers, new = 3 * len(SENTENCES), len(SENTENCES)
    made.stdout.fnmatch_lines([f"*{answers} answers: {answers - new} from the store, {new} computed*"])
    return pytester


def loglikelihoods(folder):
    """The logprob of each text's tokens but the first, by torch alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            scored = model(ids).logits[0, :-1].double().log_softmax(-1)
        yield scored.gather(1, ids[0, 1:, None]).sum().item()


def test_it_is_the_harness_figure(ask, tiny_gpt2, coarser):
    for folder in (tiny_gpt2, coarser):
        expected = list(loglikelihoods(folder))
        sizes = [len(text.encode("utf-8")) for text in TEXTS]
        found = ask(folder).bits_per_byte(TEXTS)
        # lm_eval/api/metrics.py: bits_per_byte is -weighted_mean(items) / math.log(2)
        assert found == pytest.approx(-sum(expected) / sum(sizes) / math.log(2), rel=1e-5)
        assert found.weights == tuple(sizes)
        assert found.per_example == pytest.approx(
            [-one / size / math.log(2) for one, size in zip(expected, sizes, strict=True)], rel=1e-5
        )
        assert repr(found) == f"bits_per_byte {float(found):.6g} bits/byte (n={len(TEXTS)})"


def test_with_bos_before_a_text_it_is_the_rolling_loglikelihood(ask, tiny_gpt2, tmp_path):
    folder = Path(shutil.copytree(tiny_gpt2, tmp_path / "bos"))
    file, bos = folder / "tokenizer.json", "<|endoftext|>"
    tokenizer = json.loads(file.read_text())
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {bos: {"id": bos, "ids": [0], "tokens": [bos]}},
    }  # fmt: skip
    file.write_text(json.dumps(tokenizer))
    llm = ask(folder)
    rolling = sum(scores[0].logprob for scores in llm.score([""] * len(TEXTS), [[text] for text in TEXTS]))
    bits = llm.bits_per_byte(TEXTS)
    words = sum(len(re.split(r"\s+", text)) for text in TEXTS)
    assert 2**bits == pytest.approx(math.exp(-rolling / sum(bits.weights)), rel=1e-5), "byte_perplexity"
    assert 2 ** (bits * sum(bits.weights) / words) == pytest.approx(math.exp(-rolling / words), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "texts", "arguments"),
    [
        (
            "tiny_gpt2",
            ["the red cat sees the dog. " * 30, "été"],
            {"window": 16, "stride": 4, "ids": ["long", "short"]},
        ),
        ("tiny_t5", "the red cat sees the dog", {"sources": "le chat rouge voit le chien"}),
        ("tiny_bert", ["the red cat sees the dog.", "the owl likes the hen."], {}),
    ],
)
def test_it_takes_what_a_loss_takes(ask, request, name, texts, arguments):
    llm = ask(request.getfixturevalue(name))
    loss, bits = llm.loss(texts, **arguments), llm.bits_per_byte(texts, **arguments)
    nats = sum(mean * tokens for mean, tokens in zip(loss.per_example, loss.weights, strict=True))
    assert bits == pytest.approx(nats / math.log(2) / sum(len(text.encode()) for text in loss.predictions))
    assert (bits.ids, bits.request, bits.origin) == (loss.ids, loss.request, loss.origin)


def test_what_a_loss_refuses(ask, tiny_gpt2):
    with pytest.raises(InvalidInputError, match="'a' is a single token, which nothing before it predicts"):
        ask(tiny_gpt2).bits_per_byte(["the red cat", "a"])


def test_the_same_model_passes_and_a_damaged_one_names_documents_and_tokens(suite):
    suite.runpytest("--llm-model=gpt2").assert_outcomes(passed=3)
    retrain(suite.path / "gpt2", lambda weights: weights["transformer.h.1.mlp.c_fc.weight"].mul_(-1))
    result = suite.runpytest("--llm-model=gpt2", "-k", "bits and 05")
    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "E*bits_per_byte * is worse than its baseline * by * bits/byte (margin 0.05)",
            f"E * documents that worsened most, of {len(SENTENCES)}:",
            "E * -> * bits/byte over * bytes, *% of the rise *",
            "E*tokens that worsened most, in nats:",
            "E*»*«*",
            "E*note: the baseline was made by gpt2 (*), this score by gpt2 (*)",
        ]
    )


def test_another_tokenizer_is_judged_by_bytes_and_not_by_tokens(suite, tiny_gpt2, coarser):
    result = suite.runpytest("--llm-model=coarser")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    said = result.stdout.str()
    assert "compare bits per byte: llm.bits_per_byte(texts)" in said
    result.stdout.fnmatch_lines(
        [
            "E*bits_per_byte * is worse than its baseline * by * bits/byte (margin 0.05)",
            f"E * documents that worsened most, of {len(SENTENCES)}:",
            "E * -> * bits/byte over * bytes, *% of the rise *",
            "E*note: the baseline was made by gpt2 (*), this score by coarser (*)",
        ]
    )
    assert "tokens that worsened" not in said, "they are others"
    result.stdout.fnmatch_lines(["*bits_per_byte *margin 0.9 * pass * test_suite.py::test_bits[[]0.9[]]"])


def test_other_texts_are_another_question(suite):
    file = Path(suite.path / "test_suite.py")
    file.write_text(file.read_text().replace(SENTENCES[0], "Une poule"))
    result = suite.runpytest("--llm-model=gpt2", "-k", "bits")
    result.assert_outcomes(failed=2, deselected=1)
    result.stdout.fnmatch_lines(["E*bits_per_byte: the question changed since the baseline was made"])
