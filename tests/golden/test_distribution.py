"""Distribution goldens on a real (tiny) model: created with a floor, matching, drifting, stale, reviewed."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pytest_llm.errors import GoldenError, InvalidInputError, StoreMissError
from pytest_llm.golden.file import read
from pytest_llm.loader import ModelLoader
from pytest_llm.reports.text import render

TEXTS = [
    "the capital of france is paris. the red cat sees the dog.",
    "the capital of japan is tokyo. the green owl likes the hen.",
    "the white fox hears the cow. the capital of peru is lima.",
]


@pytest.fixture
def model(project, tiny_gpt2):
    """Give the model in a folder (the tiny GPT-2 by default), as a new run of the project would."""
    loaders = []

    def make(folder=tiny_gpt2, offline=False, **spec):
        loaders.append(ModelLoader(project.settings(device="cpu", offline=offline)))
        return loaders[-1](str(folder), **spec)

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def damaged(tiny_gpt2, tmp_path):
    """Copy the model with noise on the tensors whose name holds ``part``: ``scale`` of each one's norm."""
    return lambda part="h.1.", scale=0.01: damage(tiny_gpt2, tmp_path / f"damaged-{part}{scale}", part, scale)


def damage(folder, copy, part, scale):
    import torch

    shutil.copytree(folder, copy)
    generator = torch.Generator().manual_seed(0)
    weights = load_file(copy / "model.safetensors")
    hit = [name for name in weights if part in name]
    assert hit
    for name in hit:
        noise = torch.randn(weights[name].shape, generator=generator)
        weights[name] += noise * (scale * weights[name].norm() / noise.norm())
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


def create(project, model, **arguments):
    verdict = project.snapshot("new").check_distribution(model, TEXTS, **arguments)
    assert verdict.status == "created"
    return project.path()


def test_a_golden_holds_texts_figures_and_what_made_it_and_its_array_apart(project, model):
    llm = model()
    path = create(project, llm, top_k=8)
    data = json.loads(path.read_text())
    assert data["schema"] == 1
    assert data["request"] == {"kind": "logprobs", "top_k": 8, "each": [{"text": text} for text in TEXTS]}
    assert data["model"]["digest"] == llm.digest
    assert data["environment"]["dtype"] == "float32"
    facts = data["output"]["facts"]
    tokens = [len(ids) - 1 for ids in llm.tokenize(TEXTS)]
    assert facts["tokens"] == tokens
    assert facts["perplexity"] == pytest.approx(llm.perplexity(TEXTS), rel=1e-4)
    array = np.load(path.with_suffix(".npy"), allow_pickle=False)
    assert array.shape == (sum(tokens),)
    assert array["logprobs"].shape == (sum(tokens), 8)
    assert array["logprobs"].dtype == np.float32
    mass = np.exp(array["logprobs"].astype(float)).sum(1) + array["rest"]
    assert mass == pytest.approx(np.ones(sum(tokens)), abs=1e-6)


def test_the_floor_is_measured_by_what_should_not_matter(project, model, harmless):
    floor = read(create(project, model())).value.facts["noise_floor"]
    assert {name: floor[name]["change"] for name in ("batch", "attention")} == {
        "batch": f"{project.settings().batch_size} → 1",
        "attention": "sdpa → eager",
    }
    assert set(floor) == harmless
    assert all(one["max_mean_kl"] < 1e-9 for one in floor.values())
    assert any(one["max_rms_delta_p"] > 0 for one in floor.values()), "a floor of zeros was not measured"


def test_equal_weights_match_and_no_model_is_loaded(project, model):
    create(project, model())
    verdict = project.snapshot().check_distribution(model(offline=True), TEXTS)
    assert (verdict.status, verdict.outcome, verdict.figures["KL mean"]) == ("identical", "pass", 0.0)
    assert verdict.figures["noise floor (KL mean)"] < 1e-9
    assert project.pending() == []


def test_harmless_changes_match(project, model):
    create(project, model())
    eager = project.snapshot().check_distribution(model(attn_implementation="eager"), TEXTS)
    assert eager.status == "identical"
    assert 0 < eager.figures["KL mean"] < 1e-9


@pytest.mark.parametrize("part", ["h.0.", "h.1.", "ln_f", "wte"])
def test_noise_of_a_hundredth_of_a_layer_drifts(project, model, damaged, part):
    create(project, model())
    with pytest.raises(AssertionError, match=r"the distributions drifted: KL mean >= .*, at most 1e-06 allowed"):
        project.snapshot().check_distribution(model(damaged(part)), TEXTS)


def test_a_failure_shows_every_figure_its_interval_its_floor_and_where(project, model, damaged, harmless, run):
    create(project, model())
    snapshot = project.snapshot()
    with pytest.raises(AssertionError):
        snapshot.check_distribution(model(damaged(scale=0.2)), TEXTS, min_top1=0.999)
    text = render(snapshot.verdict)
    assert "top-1 agreement" in text
    rows = {line.split("  ")[1].strip(): line for line in text.splitlines() if line.startswith("  ")}
    for label in ("KL mean", "KL median", "KL p99", "top-1 agreement", "delta p mean", "delta p RMS", "delta p p1"):
        assert " to " in rows[label], label
    assert rows["KL mean"].endswith("<-- beyond")
    assert "perplexity ratio" in rows
    assert ">= 99.90 %" in rows["top-1 agreement"]
    assert "any" in rows["KL p99"]
    assert "most at:" in text
    words = text.partition("most at:")[2].splitlines()[1]
    number, place = (int(words.partition(word)[2].split()[0].strip(",")) for word in ("text", "token"))
    token = model().logprobs(TEXTS[number])[place].token
    assert f"token {place} {token!r}: KL" in words
    assert "lower bound" in text
    assert (
        f"noise floor: attention sdpa → eager, batch {project.settings().batch_size} → 1, {sorted(harmless)[2]}" in text
    )
    assert "the golden was made with another model: " in text
    (series,) = snapshot.verdict.evidence.series
    assert max(series.values) == pytest.approx(snapshot.verdict.figures["KL max"])
    assert run.verdicts[-1].status == "drifted"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((1.0, 0.0), r"KL mean >= .*, at most 1e-06 allowed \(max_mean_kl\)"),
        ((-2.0, -3.0), r"perplexity ratio .*, at most 1.001415 allowed \(max_perplexity_ratio\)"),
    ],
)
def test_a_word_of_a_text_that_was_improbable_and_got_lost(project, model, tiny_gpt2, tmp_path, rows, said):
    """It is among the best tokens of neither model; the factors of its row of the output layer make it ever rarer."""
    weights = load_file(tiny_gpt2 / "model.safetensors")
    (embedding,) = (weight for name, weight in weights.items() if name.endswith("wte.weight"))
    token = model().tokenize("the hen")[-1]
    folders = [shutil.copytree(tiny_gpt2, tmp_path / name) for name in ("alive", "dead")]
    for folder, factor in zip(folders, rows, strict=True):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
        head = embedding.clone()
        head[token] *= factor
        save_file(weights | {"lm_head.weight": head}, folder / "model.safetensors", {"format": "pt"})
    text = "the capital of hen"
    project.snapshot("new").check_distribution(model(folders[0]), text, top_k=8)
    with pytest.raises(AssertionError, match=f"the distributions drifted: {said}"):
        project.snapshot().check_distribution(model(folders[1]), text, top_k=8)
    verdict = project.snapshot().check_distribution(model(folders[1]), text, top_k=8, max_mean_kl=1, max_kl=10)
    assert verdict.status == "close"


def test_wider_bounds_make_it_close_and_every_bound_can_fail(project, model, damaged):
    create(project, model())
    worse = model(damaged(scale=0.1))
    verdict = project.snapshot().check_distribution(worse, TEXTS, max_mean_kl=10, max_kl=100)
    assert (verdict.status, verdict.outcome) == ("close", "pass")
    for tight in (
        {"max_median_kl": 1e-9}, {"max_p99_kl": 1e-9}, {"max_mean_delta_p": 1e-5}, {"max_rms_delta_p": 1e-4},
        {"max_p1_delta_p": 1e-4}, {"max_p99_delta_p": 1e-4}, {"max_perplexity_ratio": 1.0001},
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=next(iter(tight))):
            project.snapshot().check_distribution(worse, TEXTS, max_mean_kl=10, max_kl=100, **tight)


def test_no_bound_is_below_five_times_the_floor(project, model):
    path = create(project, model())
    data = json.loads(path.read_text())
    data["output"]["facts"]["noise_floor"]["attention"]["max_mean_kl"] = 2e-9
    path.write_text(json.dumps(data))
    verdict = project.snapshot().check_distribution(model(attn_implementation="eager"), TEXTS, max_mean_kl=0)
    assert verdict.status == "identical"
    data["output"]["facts"]["noise_floor"] = {}
    path.write_text(json.dumps(data))
    with pytest.raises(AssertionError, match=r"at most 0 allowed \(max_mean_kl\)"):
        project.snapshot().check_distribution(model(attn_implementation="eager"), TEXTS, max_mean_kl=0)


def test_another_environment_is_said_before_the_model_is_blamed(project, model, damaged):
    create(project, model())
    with pytest.raises(
        AssertionError, match=r"in another environment \(attention 'sdpa' → 'eager'\)|attention sdpa → eager"
    ):
        project.snapshot().check_distribution(model(damaged(), attn_implementation="eager"), TEXTS)


def test_a_candidate_keeps_the_floor_and_is_accepted_without_the_model(project, model, damaged):
    path = create(project, model())
    floor = read(path).value.facts["noise_floor"]
    worse = model(damaged())
    with pytest.raises(AssertionError):
        project.snapshot().check_distribution(worse, TEXTS)
    (candidate,) = project.pending()
    candidate.accept()
    assert read(path).value.facts["noise_floor"] == floor
    assert project.snapshot().check_distribution(worse, TEXTS).status == "identical"


def test_a_missing_golden_leaves_a_candidate_with_a_floor(project, model, harmless):
    with pytest.raises(AssertionError, match="there is none yet"):
        project.snapshot().check_distribution(model(), TEXTS)
    (candidate,) = project.pending()
    candidate.accept()
    assert set(read(project.path()).value.facts["noise_floor"]) == harmless


def test_update_all_writes_what_drifted_with_a_floor_of_its_own(project, model, damaged):
    path = create(project, model())
    before = read(path).value.facts["noise_floor"]
    worse = model(damaged(scale=0.2))
    assert project.snapshot("all").check_distribution(worse, TEXTS).status == "updated"
    assert read(path).value.facts["noise_floor"] != before
    assert project.snapshot("all").check_distribution(worse, TEXTS).status == "identical"


def test_other_texts_and_other_tokens_are_stale(project, model, tiny_gpt2, tmp_path):
    create(project, model())
    with pytest.raises(AssertionError, match=r"stale: the question changed \(text\)"):
        project.snapshot().check_distribution(model(), [*TEXTS[:2], "the brown hen."])
    copy = shutil.copytree(tiny_gpt2, tmp_path / "other-tokens")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-40]
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(AssertionError, match=r"stale: text \d is made of other tokens \(\d+ were predicted, now \d+\)"):
        project.snapshot().check_distribution(model(copy), TEXTS)


def test_what_cannot_be_measured(project, model, tiny_bert):
    llm = model()
    for texts, bounds, message in (
        ([], {}, "the list of texts is empty"),
        ([1], {}, "text 0 is not a string but int: 1"),
        (["the"], {}, "every text is one token"),
        (TEXTS, {"top_k": 0}, "top_k is a number of tokens"),
        (TEXTS, {"max_mean_k": 1}, "no bound 'max_mean_k'; did you mean 'max_mean_kl'"),
        (TEXTS, {"max_kl": -1}, "max_kl=-1 is no bound"),
        (TEXTS, {"max_kl": float("nan")}, "max_kl=nan is no bound"),
        (TEXTS, {"min_top1": 99}, "from 0 to 1"),
        (TEXTS, {"max_perplexity_ratio": 0.5}, "from 1 to inf"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            project.snapshot("new").check_distribution(llm, texts, **bounds)
    with pytest.raises(
        InvalidInputError, match=r"cannot answer 'logprobs' \(.*check_distribution\(\) are for decoders"
    ):
        project.snapshot("new").check_distribution(model(tiny_bert), TEXTS)
    with pytest.raises(StoreMissError):
        project.snapshot("new").check_distribution(model(offline=True), TEXTS)


def test_a_golden_of_another_kind_or_of_other_fields_is_an_error(project, model):
    llm = model()
    project.commit("a text")
    with pytest.raises(GoldenError, match="does not hold distribution"):
        project.snapshot().check_distribution(llm, TEXTS)
    project.path().unlink()
    path = create(project, llm)
    data = json.loads(path.read_text())
    data["output"]["facts"]["tokens"] = None
    path.write_text(json.dumps(data))
    with pytest.raises(GoldenError, match="does not hold what it should"):
        project.snapshot().check_distribution(llm, TEXTS)


def test_a_changed_array_is_found_out(project, model):
    path = create(project, model())
    array = np.load(path.with_suffix(".npy"))
    array["logprobs"] -= 0.5
    np.save(path.with_suffix(".npy"), array)
    with pytest.raises(GoldenError, match="sha256 differs"):
        project.snapshot().check_distribution(model(), TEXTS)


def test_bfloat16_has_a_floor_of_its_own(project, model):
    path = create(project, model())
    plain = path.read_bytes(), path.with_suffix(".npy").read_bytes()
    half = model(dtype="bfloat16")
    with pytest.raises(AssertionError, match="in another environment"):
        project.snapshot().check_distribution(half, TEXTS)

    def updated():
        assert project.snapshot("all").check_distribution(half, TEXTS).status == "updated"

    (candidate,) = project.pending()
    for write in (candidate.accept, updated):
        write()
        floor = read(path).value.facts["noise_floor"]
        assert max(one["max_mean_kl"] for one in floor.values()) > 1e-7
        verdict = project.snapshot().check_distribution(model(dtype="bfloat16", attn_implementation="eager"), TEXTS)
        assert verdict.outcome == "pass"
        path.write_bytes(plain[0]), path.with_suffix(".npy").write_bytes(plain[1])


def test_a_verdict_survives_json(project, model, damaged):
    create(project, model())
    snapshot = project.snapshot()
    with pytest.raises(AssertionError):
        snapshot.check_distribution(model(damaged(scale=3.0)), TEXTS)
    verdict = snapshot.verdict
    assert type(verdict).from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == dataclasses.replace(
        verdict
    )
