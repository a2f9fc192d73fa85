"""Activation goldens: the first layer that diverges is the one that was damaged, in every kind of model."""

import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from pytest_llm.engines.local import LocalEngine
from pytest_llm.engines.local_activations import project as sketch_of
from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.golden.activations import first_divergent, relative_errors
from pytest_llm.golden.file import read
from pytest_llm.reports.text import render
from pytest_llm.requests import Activations
from pytest_llm.weights.spec import ModelSpec
from tests.tiny_models import make_mbart

from .test_distribution import TEXTS, damage
from .test_distribution import model as model  # the fixture

FRENCH = ["le chat noir voit le chien", "le coq vert aime le renard"]
ENGLISH = ["the black cat sees the dog", "the green hen likes the fox"]


def states(*shape, seed=0, scale=30.0):
    return np.random.default_rng(seed).normal(0, scale, shape)


@pytest.mark.parametrize("error", [1e-6, 1e-3, 0.1])
def test_the_projection_estimates_the_relative_error(error):
    texts = [states(40, 300, seed=i) for i in range(8)]
    for text in texts:
        text[0] *= 1000  # one token far longer than the rest, as real models have
    moved = [text * (1 + error * states(40, 300, seed=99 + i, scale=1.0)) for i, text in enumerate(texts)]
    pairs = [(x[:, None], y[:, None]) for x, y in zip(texts, moved, strict=True)]
    true = np.sqrt(np.mean([((x - y) ** 2).sum(-1) / (x**2).sum(-1) for x, y in pairs]))
    old, new = (np.array([[sketch_of(x, 64, 0)[1]] for x in side]) for side in (texts, moved))
    assert relative_errors(old, new)[0] == pytest.approx(true, rel=0.15)
    assert relative_errors(old, old) == [0.0]


def test_a_change_of_length_alone_is_an_error_too():
    x = states(20, 50)
    old, new = (np.array([[sketch_of(y, 256, 0)[1]]]) for y in (x, x * 1.01))
    assert relative_errors(old, new)[0] == pytest.approx(0.01, rel=0.2)
    assert sketch_of(x, 4, 0)[0] == pytest.approx(np.exp(np.log(np.linalg.norm(x, axis=1)).mean()))


def test_the_projection_is_the_same_for_ever():
    """A golden is read by other versions of Python and numpy: its signs are bits of SHAKE-256, and nothing else."""
    x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

    def sign(what, row, column, size=4):
        bit = row * size + column
        return 1 if hashlib.shake_256(what).digest(64)[bit // 8] >> (7 - bit % 8) & 1 else -1

    lengths = [math.hypot(*row) for row in x]
    points = [[*(value / length for value in row), math.log(length)] for row, length in zip(x, lengths, strict=True)]
    expected = [
        sum(
            sign(b"tokens 7", t, j) * sign(b"entries 7", d, j) * points[t][d] for t in range(2) for d in range(4)
        ) / math.sqrt(2)
        for j in range(4)
    ]  # fmt: skip
    norm, found = sketch_of(np.array(x), 4, seed=7)
    assert norm == pytest.approx(math.sqrt(lengths[0] * lengths[1]))
    assert found == pytest.approx(expected)
    assert sketch_of(np.array(x), 4, seed=8)[1] != found


def test_the_engine_projects_what_the_model_says_of_its_layers(tiny_gpt2, tiny_bert, tiny_t5):
    for folder, source in ((tiny_gpt2, None), (tiny_bert, None), (tiny_t5, FRENCH[0])):
        engine = LocalEngine(folder, ModelSpec("tiny", device="cpu"))
        text = ENGLISH[0]
        batch = [Activations(text, source), Activations(ENGLISH[1] + " " + text, source)]
        answer = dict(engine.answer(batch))[0]
        inputs = engine.tokenizer(source or text, return_tensors="pt")
        if source:
            ids = engine.tokenizer(text, return_tensors="pt")["input_ids"]
            start = torch.tensor([[engine.config.decoder_start_token_id]])
            inputs["decoder_input_ids"] = torch.cat([start, ids], 1)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            output = engine.model(**inputs, output_hidden_states=True)
        layers = [*output.encoder_hidden_states, *output.decoder_hidden_states] if source else [*output.hidden_states]
        names = ["embedding", "layer 0", "layer 1"]
        assert answer["layers"] == (
            [f"encoder {n}" for n in names] + [f"decoder {n}" for n in names] if source else names
        )
        for layer, norm, found in zip(layers, answer["norms"], answer["sketch"], strict=True):
            expected = sketch_of(layer[0].double().numpy(), 64, 0)
            assert (norm, found) == (pytest.approx(expected[0], rel=1e-5), pytest.approx(expected[1], abs=1e-4))


CASES = [
    ("tiny_gpt2", None, "wte", "embedding"),
    ("tiny_gpt2", None, "h.0.", "layer 0"),
    ("tiny_gpt2", None, "h.1.mlp", "layer 1"),
    ("tiny_gpt2", None, "ln_f", "layer 1"),
    ("tiny_bert", None, "embeddings.LayerNorm", "embedding"),
    ("tiny_bert", None, "layer.0.attention", "layer 0"),
    ("tiny_bert", None, "layer.1.", "layer 1"),
    ("tiny_t5", FRENCH, "encoder.block.0", "encoder layer 0"),
    ("tiny_t5", FRENCH, "encoder.block.1", "encoder layer 1"),
    ("tiny_t5", FRENCH, "decoder.block.0", "decoder layer 0"),
    ("tiny_t5", FRENCH, "decoder.block.1", "decoder layer 1"),
]


@pytest.mark.parametrize(("name", "sources", "part", "layer"), CASES)
def test_the_damaged_layer_is_named_first(project, model, request, tmp_path, name, sources, part, layer):
    folder = request.getfixturevalue(name)
    texts = ENGLISH if sources else TEXTS
    assert project.snapshot("new").check_activations(model(folder), texts, sources=sources).status == "created"
    worse = model(damage(folder, tmp_path / "damaged", part, 0.01))
    snapshot = project.snapshot()
    with pytest.raises(AssertionError, match=f"the layers drifted, the first is {layer}: relative error "):
        snapshot.check_activations(worse, texts, sources=sources)
    rows = [line for line in render(snapshot.verdict).splitlines() if "layer " in line or "embedding" in line]
    (marked,) = [row for row in rows if "← first" in row]
    assert marked.strip().startswith(layer)
    assert "█" in marked
    assert (snapshot.verdict.evidence.series[0].values[0] > 0) == (layer == "embedding")


def test_a_target_is_read_as_the_model_was_trained_to_write_it(project, model, tmp_path):
    folder = make_mbart(tmp_path / "mbart")
    arguments = {"texts": ["red cat"], "sources": ["blue dog"]}
    assert project.snapshot("new").check_activations(model(folder), **arguments).status == "created"
    assert project.snapshot().check_activations(model(folder), **arguments).status == "identical"
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    language = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("de_DE")
    weights["model.shared.weight"][language] = 0  # of all the texts only a target has it
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(AssertionError, match="the first is decoder embedding"):
        project.snapshot().check_activations(model(damaged), **arguments)


@pytest.mark.parametrize("damaged", [0, 1, 14, 28, 29])
@pytest.mark.parametrize("scale", [0.001, 0.1])
def test_smollm2_early_middle_and_late(smollm2_engine, damaged, scale):
    engine, before = smollm2_engine
    layer = engine.model.model.layers[damaged]
    kept = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    generator = torch.Generator().manual_seed(damaged)
    with torch.no_grad():
        for tensor in layer.parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.add_(noise * (scale * tensor.norm() / noise.norm()))
    after = answered(engine)
    layer.load_state_dict(kept)
    errors = relative_errors(before, after)
    assert first_divergent(errors, [1e-6] * len(errors)) == damaged + 1
    assert errors[: damaged + 1] == [0.0] * (damaged + 1)


def answered(engine):
    return np.array([a["sketch"] for _, a in sorted(engine.answer([Activations(text) for text in ENGLISH]))])


@pytest.fixture(scope="module")
def smollm2_engine(shared_cache, tmp_path_factory):
    from pytest_llm.weights.convert import prepare
    from pytest_llm.weights.fingerprint import fingerprint
    from pytest_llm.weights.resolve import resolve
    from tests.conftest import SMOLLM2

    spec = ModelSpec(SMOLLM2, device="cpu")
    weights = resolve(spec, root=tmp_path_factory.getbasetemp())
    engine = LocalEngine(prepare(weights, fingerprint(weights, shared_cache), spec, shared_cache), spec)
    return engine, answered(engine)


def test_noise_before_the_damage_is_not_taken_for_it():
    floor = [1e-7, 2e-7, 2e-7, 3e-7]
    assert first_divergent([0.0, 8e-7, 1e-3, 5e-3], floor) == 2, "a few times the floor, next to nothing of the damage"
    assert first_divergent([0.0, 0.0, 1e-3, 2e-2], floor) == 2, "errors may grow after it"
    assert first_divergent([6e-7, 9e-7, 9e-7, 1e-6], floor) == 0
    assert first_divergent([1e-2, 2e-2, 3e-2, 4e-2], [1e-2] * 4) == 3, "all within noise: the largest"


def test_harmless_changes_match_and_the_floor_is_by_layer(project, model, tiny_gpt2, harmless):
    project.snapshot("new").check_activations(model(), TEXTS)
    floor = read(project.path()).value.facts["noise_floor"]
    assert set(floor) == harmless
    assert [len(one["by_layer"]) for one in floor.values()] == [3] * len(harmless)
    assert 0 < floor["attention"]["error"] < 1e-5
    verdict = project.snapshot().check_activations(model(attn_implementation="eager"), TEXTS)
    assert (verdict.status, verdict.outcome) == ("identical", "pass")
    assert 0 < verdict.figures["largest error"] < 1e-5
    assert project.snapshot().check_activations(model(offline=True), TEXTS).figures["largest error"] == 0.0


def test_the_bound_is_settable_and_never_below_five_times_the_floor(project, model):
    project.snapshot("new").check_activations(model(), TEXTS)
    path = project.path()
    eager = model(attn_implementation="eager")
    assert project.snapshot().check_activations(eager, TEXTS, max_error=0).status == "identical"
    data = json.loads(path.read_text())
    data["output"]["facts"]["noise_floor"] = {}
    path.write_text(json.dumps(data))
    with pytest.raises(AssertionError, match="the layers drifted"):
        project.snapshot().check_activations(eager, TEXTS, max_error=0)


def test_a_small_golden(project, model):
    project.snapshot("new").check_activations(model(), TEXTS)
    array = np.load(project.path().with_suffix(".npy"), allow_pickle=False)
    assert (array.shape, array.dtype) == ((len(TEXTS), 3, 64), np.float32)
    assert project.path().stat().st_size < 4000


def test_other_questions_tokens_and_layers_are_stale(project, model, tiny_gpt2, tmp_path):
    project.snapshot("new").check_activations(model(), TEXTS)
    with pytest.raises(AssertionError, match=r"stale: the question changed"):
        project.snapshot().check_activations(model(), TEXTS[:2])
    data = json.loads(project.path().read_text())
    for field, value, message in (
        ("token_ids", [[1]] * 3, "stale: the texts are made of other tokens"),
        ("layers", ["embedding", "layer 0"], "stale: 2 states a text became 3"),
    ):
        changed = json.loads(json.dumps(data))
        changed["output"]["facts"][field] = value
        project.path().write_text(json.dumps(changed))
        with pytest.raises(AssertionError, match=message):
            project.snapshot().check_activations(model(), TEXTS)
    del data["output"]["facts"]["layers"]
    project.path().write_text(json.dumps(data))
    with pytest.raises(GoldenError, match="does not hold what it should of activations: KeyError"):
        project.snapshot().check_activations(model(), TEXTS)


def test_what_cannot_be_measured(project, model, tiny_t5):
    for folder, texts, arguments, message in (
        (None, [], {}, "the list of texts is empty"),
        (None, TEXTS, {"max_error": -1}, "max_error=-1 is no bound"),
        (None, TEXTS, {"sources": FRENCH}, "3 texts and 2 sources"),
        (None, TEXTS[:1], {"sources": FRENCH[:1]}, "a source is for encoder-decoders"),
        (None, [""], {}, "the text is empty"),
        (tiny_t5, ENGLISH, {}, r"needs the source of its text \(sources=\)"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            project.snapshot("new").check_activations(model(folder) if folder else model(), texts, **arguments)


def test_the_model_method(model):
    llm = model()
    (one,) = llm.activations("the red cat")
    assert one.layers == ("embedding", "layer 0", "layer 1")
    assert one.token_ids == tuple(llm.tokenize("the red cat"))
    assert (len(one.sketch), len(one.sketch[0]), len(one.norms)) == (3, 64, 3)
    assert one.origin.request["kind"] == "activations"
