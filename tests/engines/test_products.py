"""Products with weights by torch's other library: the same to rounding, and only where it is faster."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from pytest_llm.engines import products
from pytest_llm.engines.harmless import harmless_changes
from pytest_llm.engines.products import (
    OneDNNConv1D,
    OneDNNLinear,
    mkl_on_amd,
    onednn_is_faster,
    onednn_works,
    plain_product,
    use_onednn,
    uses_onednn,
)
from pytest_llm.requests import Embed, Generate, Logprobs, Loss, Score
from tests.engines.conftest import answers, engine_for, first

pytestmark = pytest.mark.skipif(not onednn_works(), reason="this torch multiplies with one library")


@pytest.fixture
def cpu(monkeypatch):
    """Let the CPU have another name."""
    mkl_on_amd.cache_clear()
    yield lambda name: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name} if name else {})
    mkl_on_amd.cache_clear()


def close(found, expected):
    # A sum of K products, each rounded: sqrt(K) units in the last place, with room for the worst of many.
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 24), (64, 24), (3, 5, 24), (2, 1, 24), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_torchs_to_rounding(shape, bias):
    own = torch.nn.Linear(24, 40, bias=bias)
    other = copy.deepcopy(own)
    use_onednn(other, True)
    assert type(other) is OneDNNLinear
    x = torch.randn(*shape)
    with torch.no_grad():
        found = other(x)
        assert found.shape == (*shape[:-1], 40)
        close(found, own(x))


@pytest.mark.parametrize("shape", [(1, 24), (3, 5, 24)])
def test_gpt2s_layer_is_transformers_to_rounding(shape):
    own = Conv1D(40, 24)
    torch.nn.init.normal_(own.bias)
    other = copy.deepcopy(own)
    use_onednn(other, True)
    assert type(other) is OneDNNConv1D
    x = torch.randn(*shape)
    with torch.no_grad():
        close(other(x), own(x))


def test_a_slice_that_is_not_contiguous_is_multiplied_as_it_is_read():
    layer = OneDNNLinear(8, 6, bias=False)
    x = torch.randn(4, 3, 16)[:, -1, ::2]
    with torch.no_grad():
        close(layer(x), x.contiguous() @ layer.weight.t())


@pytest.mark.parametrize("layer", [OneDNNLinear(4, 3), OneDNNConv1D(3, 4)])
def test_gradients_are_torchs(layer):
    x = torch.randn(2, 4, requires_grad=True)
    layer(x).sum().backward()
    weight = layer.weight if isinstance(layer, torch.nn.Linear) else layer.weight.t()
    close(x.grad, weight.sum(0).expand(2, -1))
    assert layer.weight.grad is not None


def test_only_plain_float32_layers_change_and_they_change_back():
    class Other(torch.nn.Linear):
        pass

    model = torch.nn.ModuleDict(
        {
            "linear": torch.nn.Linear(4, 4),
            "conv": Conv1D(4, 4),
            "coarse": torch.nn.Linear(4, 4, dtype=torch.bfloat16),
            "other": Other(4, 4),
            "part": torch.nn.Linear(4, 4),
        }
    )
    model["part"].weight = torch.nn.Parameter(torch.randn(4, 8)[:, ::2])
    before = {name: type(layer) for name, layer in model.items()}
    use_onednn(model, True)
    assert {name: type(layer) for name, layer in model.items()} == {
        **before,
        "linear": OneDNNLinear,
        "conv": OneDNNConv1D,
    }
    assert uses_onednn(model)
    use_onednn(model, False)
    assert {name: type(layer) for name, layer in model.items()} == before
    assert not uses_onednn(model)


CPUS = [
    ("AMD EPYC", True),
    ("AMD Ryzen 9 9950X 16-Core", True),
    ("Intel(R) Xeon(R) CPU @ 2.20GHz", False),
    (None, False),
]


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch's own product is not MKL's")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("name", "faster"), CPUS)
def test_the_cpu_alone_decides_which_library_multiplies(cpu, tiny_gpt2, name, faster, exact):
    cpu(name)
    engine = engine_for(tiny_gpt2, exact=exact)
    assert uses_onednn(engine.model) is faster
    assert (plain_product(engine.model.lm_head) is products.onednn_product) is faster


def test_reduced_precision_is_left_to_torch(cpu, tiny_gpt2):
    cpu("AMD EPYC")
    assert not uses_onednn(engine_for(tiny_gpt2, dtype="bfloat16").model)


@pytest.mark.filterwarnings("ignore:TF32")
def test_a_torch_that_may_not_use_it_does_not(cpu, tiny_gpt2):
    cpu("AMD EPYC")
    onednn_works.cache_clear()
    try:
        with torch.backends.mkldnn.flags(enabled=False):
            assert not onednn_is_faster()
            assert not uses_onednn(engine_for(tiny_gpt2).model)
    finally:
        onednn_works.cache_clear()


TEXTS = ["the cat sees the dog.", "the red fox knows the small cow, and the cow sleeps."]
PROMPT = "the red fox"
ASKED = {
    "tiny_gpt2": [Generate(PROMPT, max_new_tokens=6), *map(Loss, TEXTS), Logprobs(TEXTS[0], top_k=3), Embed(TEXTS[1])],
    "tiny_t5": [Generate(PROMPT, max_new_tokens=6), Score(PROMPT, ("the cat", "the dog")), Embed(TEXTS[1])],
    "tiny_bert": [*map(Loss, TEXTS), Embed(TEXTS[0])],
    "smollm2": [Generate("The capital of France is", max_new_tokens=8), *map(Loss, TEXTS)],
}


def figures(value):
    """Yield the floats and strings of an answer, in order."""
    if isinstance(value, dict):
        for part in value.values():
            yield from figures(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from figures(part)
    elif isinstance(value, (float, str)):
        yield value


@pytest.mark.parametrize("name", ASKED)
def test_a_models_answers_are_the_same_to_rounding(name, request):
    engine = engine_for(request.getfixturevalue(name))
    found = []
    for use in (False, True):
        use_onednn(engine.model, use)
        assert uses_onednn(engine.model) is use
        found.append(list(figures(answers(engine, ASKED[name]))))
    for own, other in zip(*found, strict=True):
        assert other == (own if isinstance(own, str) else pytest.approx(own, abs=1e-3, rel=1e-4))
    if name == "smollm2":  # sums as short as a tiny model's can have the same bits
        assert found[0] != found[1], "nothing was multiplied otherwise"


def test_the_other_library_is_a_harmless_change(tiny_gpt2):
    engine = engine_for(tiny_gpt2)
    own = uses_onednn(engine.model)
    with harmless_changes(engine)["library"] as what:
        assert uses_onednn(engine.model) is not own
    assert what == ("oneDNN → BLAS" if own else "BLAS → oneDNN")
    assert uses_onednn(engine.model) is own
    assert "library" not in harmless_changes(engine_for(tiny_gpt2, dtype="bfloat16"))
    assert first(answers(engine, [Generate(PROMPT, max_new_tokens=2)])[0])["text"]
