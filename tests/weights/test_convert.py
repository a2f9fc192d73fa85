"""Weights are converted once, to what transformers itself would have loaded, and never used half-written."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import stat
import time
from pathlib import Path

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from pytest_llm import environment
from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError
from pytest_llm.weights import cast, convert
from pytest_llm.weights import fingerprint as fingerprints
from pytest_llm.weights.convert import prepare
from pytest_llm.weights.fingerprint import fingerprint
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec, Weights
from tests.weights.conftest import write_gguf

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}


def converted(folder, cache, dtype="float32", **fields):
    weights = Weights("tiny", folder, **fields)
    return prepare(weights, fingerprint(weights, cache), ModelSpec("tiny", dtype=dtype), cache)


def save_as(folder, dtype, **options):
    """Store the tiny model's weights in ``dtype``, as its author might have."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, **options)


def logits(folder, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])
    with torch.no_grad():
        return model(torch.tensor([[3, 1, 4, 1, 5]])).logits


def contents(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_a_cast_gives_what_transformers_gives(tiny, cache, source, target):
    if source != "float32":
        save_as(tiny, source)
    folder = converted(tiny, cache, target)

    assert (folder == tiny) == (source == target)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {DTYPES[target]}
    assert json.loads((folder / "config.json").read_text())["dtype"] == target
    assert torch.equal(logits(folder, target), logits(tiny, target))
    assert (
        transformers.AutoTokenizer.from_pretrained(folder).chat_template
        == "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_converted_weights_stay_mapped_to_the_file(tiny, cache):
    save_as(tiny, "bfloat16")
    folder = converted(tiny, cache)

    assert mapped_file(tiny) != f"{tiny}/model.safetensors"  # a cast at load makes a private copy
    assert mapped_file(folder) == f"{folder}/model.safetensors"


def mapped_file(folder):
    """The file that the embeddings of a float32 model of ``folder`` are mapped to."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pointer = model.model.embed_tokens.weight.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *fields = line.split()
        first, last = (int(part, 16) for part in addresses.split("-"))
        if first <= pointer < last:
            return fields[-1]
    raise AssertionError("the weights are nowhere in memory")


def test_shards_keep_their_names_and_integers_their_values(tiny, cache):
    save_as(tiny, "bfloat16", max_shard_size="10KB")
    shards = sorted(path.name for path in tiny.glob("model-*.safetensors"))
    assert len(shards) > 2
    steps = {"steps": torch.tensor([7, 2**40]), "mask": torch.tensor([True, False, True])}
    state = {name: tensor.clone() for name, tensor in load_file(tiny / shards[0]).items()}  # not mapped: it is replaced
    save_file({**state, **steps}, tiny / shards[0], metadata={"format": "pt"})
    index = json.loads((tiny / "model.safetensors.index.json").read_text())
    index["weight_map"] |= dict.fromkeys(steps, shards[0])
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))

    folder = converted(tiny, cache)

    assert sorted(path.name for path in folder.glob("*.safetensors")) == shards
    assert json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"] == index["weight_map"]
    after = load_file(folder / shards[0])
    assert after.keys() == {*state, *steps}
    for name, tensor in state.items():
        assert torch.equal(after[name], tensor.float())
    for name, tensor in steps.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor)
    assert torch.equal(logits(folder, "float32"), logits(tiny, "float32"))


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_the_config_names(tiny, cache, sharded):
    """``transformers_weights`` in a config goes before the usual names, whatever else is there."""
    save_as(tiny, "bfloat16", max_shard_size="10KB" if sharded else "1GB")
    usual = "model.safetensors.index.json" if sharded else "model.safetensors"
    named = "weights.safetensors.index.json" if sharded else "weights.safetensors"
    (tiny / usual).rename(tiny / named)
    (tiny / "model.safetensors").write_bytes(b"another model")
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    folder = converted(tiny, cache)

    assert torch.equal(logits(folder, "float32"), logits(tiny, "float32"))


@pytest.mark.parametrize("sharded", [False, True])
def test_pickles_become_safetensors(tiny, cache, sharded):
    expected = logits(tiny, "float32")
    state = load_file(tiny / "model.safetensors")
    (tiny / "model.safetensors").unlink()
    if sharded:
        names = sorted(state)
        parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
        for file, part in parts.items():
            torch.save({name: state[name] for name in part}, tiny / file)
        weight_map = {name: file for file, part in parts.items() for name in part}
        (tiny / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    else:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]  # tied, as old checkpoints hold it
        torch.save(state, tiny / "pytorch_model.bin", _use_new_zipfile_serialization=False)

    folder = converted(tiny, cache)

    assert not list(folder.glob("*.bin*"))
    assert torch.equal(logits(folder, "float32"), expected)


def test_modules_kept_in_float32_are_not_narrowed(tmp_path, cache):
    """T5's ``wo`` runs in float32 in a float16 model: rounding it on disk would change answers."""
    config = transformers.T5Config(
        vocab_size=32, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    folder = converted(tmp_path / "t5", cache, "float16")

    before, after = (load_file(path / "model.safetensors") for path in (tmp_path / "t5", folder))
    kept = {name for name, tensor in after.items() if tensor.dtype == torch.float32}
    assert kept == {name for name in before if ".wo." in name}
    assert all(torch.equal(after[name], before[name]) for name in kept)
    models = [
        transformers.T5ForConditionalGeneration.from_pretrained(path, dtype=torch.float16).state_dict()
        for path in (tmp_path / "t5", folder)
    ]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_what_a_cast_would_break_is_left_alone(tiny, cache):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "architectures": ["TheirOwnModel"]}))
    assert converted(tiny, cache, "bfloat16") == tiny  # which of its modules must stay wide is not known
    assert converted(tiny, cache, "float64") != tiny  # widening is exact whatever the architecture

    (tiny / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    assert converted(tiny, cache, "bfloat16") == tiny


@pytest.mark.parametrize("place", ["..", "1_Pooling/../..", "/absolute", 5, ["1_Pooling"]], ids=str)
def test_a_part_of_a_model_that_lies_outside_is_not_copied_over_what_is_there(tiny, tmp_path, cache, place):
    place = str(tmp_path / "models") if place == "/absolute" else place
    (tiny / "1_Pooling").mkdir()
    (tiny / "modules.json").write_text(json.dumps([{"path": ""}, {"path": place}]))
    for folder, text in ((tiny.parent, "of the model's author"), (cache / "converted", "of the user")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.txt").write_text(text)
    with pytest.raises(ModelNotFoundError) as error:
        converted(tiny, cache, "float64")
    assert str(error.value) == f"{tiny}/modules.json names the folder {place!r}, which is none inside the model."
    assert (cache / "converted" / "a.txt").read_text() == "of the user"


def test_weights_are_not_copied_over_those_that_were_cast(tiny, cache):
    (tiny / "modules.json").write_text('[{"path": "."}]')
    folder = converted(tiny, cache, "float64")
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float64}


@pytest.mark.parametrize("name", ["../x.safetensors.index.json", "../x.safetensors", 5, "none.safetensors"])
def test_weights_that_the_config_names_lie_in_the_folder(tiny, cache, name):
    (tiny.parent / "x.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors"}}')
    (tiny.parent / "x.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "transformers_weights": name}))
    with pytest.raises(ModelNotFoundError) as error:
        converted(tiny, cache, "float64")
    assert str(error.value) == f"{tiny}/config.json names the weight file {name!r}, which is not there."


@pytest.mark.parametrize("name", ["../x.txt", "a/../../x.txt", "/x.txt"])
def test_nothing_is_written_outside_of_the_converted_folder(tmp_path, monkeypatch, tiny, cache, name):
    monkeypatch.setattr(cast, "side_files", lambda folder: [name])
    monkeypatch.setattr(cast, "_own", lambda folder, name: tiny / "config.json")
    with pytest.raises(ModelNotFoundError, match=f"names a file '{name}', which would be written outside of"):
        converted(tiny, cache, "float64")
    assert not (cache / "converted" / "x.txt").exists()


def linked(place, to):
    """Put a link at ``place`` to what it was, which now is at ``to``."""
    to.parent.mkdir(parents=True, exist_ok=True)
    place.rename(to)
    place.symlink_to(os.path.relpath(to, place.parent))


def test_a_link_out_of_a_model_is_read_and_not_copied(tiny, tmp_path, cache):
    linked(tiny / "model.safetensors", tmp_path / "disk" / "model.safetensors")
    linked(tiny / "tokenizer_config.json", tiny / "original" / "tokenizer_config.json")
    folder = converted(tiny, cache, "float64")
    assert not [path for path in folder.iterdir() if path.is_symlink()]
    assert torch.equal(logits(folder, "float64"), logits(tiny, "float64"))

    (tmp_path / "secret").write_text("TOKEN=1")
    (tiny / "notes.txt").symlink_to(tmp_path / "secret")
    assert converted(tiny, cache, "float32") == tiny
    for link, target in (("notes.txt", tmp_path / "secret"), ("1_Pooling/secret", tmp_path / "pooling" / "secret")):
        with pytest.raises(ModelNotFoundError) as error:
            converted(tiny, cache, "float64")
        assert str(error.value) == (
            f"{tiny}/{link} leads to {target}, outside of the model: it is not copied into the cache with the "
            "converted weights. Put the file itself in its place, or choose the dtype that the weights have."
        )
        (tiny / "notes.txt").unlink(missing_ok=True)
        (tmp_path / "pooling").mkdir(exist_ok=True)
        (tmp_path / "pooling" / "secret").write_text("TOKEN=1")
        (tiny / "modules.json").write_text('[{"path": "1_Pooling"}]')
        (tiny / "1_Pooling").unlink(missing_ok=True)
        (tiny / "1_Pooling").symlink_to(tmp_path / "pooling")
    assert not [
        path for path in (cache / "converted").rglob("*") if path.is_file() and "TOKEN" in path.read_text("latin-1")
    ]


def test_the_links_of_a_hugging_face_cache_are_files(tiny, tmp_path, cache):
    """A snapshot's lead to the blobs beside it; huggingface_hub once made such links in ``--local-dir``, too."""
    repository = tmp_path / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    tiny.rename(snapshot)
    for number, file in enumerate(sorted(snapshot.iterdir())):
        linked(file, repository / "blobs" / f"{number:040}")
    local = shutil.copytree(snapshot, tmp_path / "local", ignore=lambda folder, names: names)
    for file in snapshot.iterdir():
        (local / file.name).symlink_to(file.resolve())
    folder = converted(snapshot, cache, "float64")
    assert torch.equal(logits(folder, "float64"), logits(snapshot, "float64"))
    shutil.rmtree(folder)
    assert converted(local, cache, "float64") == folder


def test_second_time_writes_nothing(tiny, cache):
    first = converted(tiny, cache, "float64")
    before = contents(first)
    assert converted(tiny, cache, "float64") == first
    assert contents(first) == before

    adapter = tiny.parent / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    save_file({"lora": torch.zeros(2)}, adapter / "adapter_model.safetensors")
    assert converted(tiny, cache, "float64", adapter=adapter) == first  # an adapter needs no base of its own


@pytest.mark.parametrize("umask", [0o022, 0o002])
def test_permissions_follow_the_umask(tiny, cache, umask):
    (tiny / "model.safetensors").chmod(0o600)
    before = os.umask(umask)
    try:
        folder = converted(tiny, cache, "float64")
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~umask}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


def test_incomplete_folders_are_made_again(tiny, cache):
    folder = converted(tiny, cache, "float64")

    def leave_a_hole():
        with (folder / "model.safetensors").open("rb+") as stream:
            stream.seek(-1000, os.SEEK_END)
            stream.write(b"\0" * 1000)

    for spoil in (
        leave_a_hole,
        lambda: os.truncate(folder / "model.safetensors", 1000),
        lambda: (folder / "tokenizer.json").unlink(),
        lambda: (folder / ".complete.json").unlink(),
    ):
        spoil()
        assert converted(tiny, cache, "float64") == folder
        assert torch.equal(logits(folder, "float64"), logits(tiny, "float64"))


def test_a_converted_folder_is_read_once_to_see_that_it_is_whole_where_it_came_from_elsewhere(tiny, cache, monkeypatch):
    folder = converted(tiny, cache, "float64")
    monkeypatch.setattr(fingerprints, "RACY_SECONDS", -60.0)  # as if the files had been written long ago
    converted(tiny, cache, "float64")  # notes the source's own digest
    read, original = [], fingerprints.sha256_of
    monkeypatch.setattr(fingerprints, "sha256_of", lambda path: read.append(path.parent) or original(path))
    shutil.copytree(folder, cache / "restored")
    for expected in ([], [folder] * len(list(folder.iterdir()))):
        converted(tiny, cache, "float64")
        assert read == expected[:-1]  # but the manifest
        read.clear()
        shutil.rmtree(folder)
        shutil.copytree(cache / "restored", folder)


def _convert_and_die(folder, cache):
    def die(path):
        os.kill(os.getpid(), signal.SIGKILL)

    convert._seal = die
    converted(folder, cache, "float64")


def test_a_killed_process_leaves_nothing_that_is_used(tiny, cache):
    worker = multiprocessing.get_context("spawn").Process(target=_convert_and_die, args=(tiny, cache))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    [half_written] = (cache / "converted").glob(".*.tmp")
    assert (half_written / "model.safetensors").exists()

    folder = converted(tiny, cache, "float64")
    assert torch.equal(logits(folder, "float64"), logits(tiny, "float64"))
    assert [path.name for path in (cache / "converted").iterdir() if not path.name.endswith(".lock")] == [folder.name]


def _convert_and_count(folder, cache, start, results):
    original, made = convert._seal, []

    def slowly(path):
        made.append(path)
        time.sleep(0.5)  # long enough for every other process to arrive at the lock
        return original(path)

    convert._seal = slowly
    start.wait()
    results.put((len(made), str(converted(folder, cache, "float64")), len(made)))


def test_processes_at_once_convert_once(tiny, cache):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_convert_and_count, args=(tiny, cache, start, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()

    assert len({folder for _, folder, _ in answers}) == 1
    assert sorted(made for _, _, made in answers) == [0, 0, 1]


def test_damaged_weights_are_named(tiny, cache):
    path = tiny / "model.safetensors"
    size = path.stat().st_size
    for dtype in ("float32", "float64"):
        os.truncate(path, size - 100)
        with pytest.raises(ModelNotFoundError) as error:
            converted(tiny, cache, dtype)
        assert str(error.value) == (
            f"the weight file {path} is damaged or not in safetensors format: Error while deserializing header: "
            "incomplete metadata, file not fully covered. Copy or download it again."
        )
    for content in (b"", b"\x10", b"\x02" + b"\0" * 7 + b"[]"):
        path.write_bytes(content)
        with pytest.raises(ModelNotFoundError, match="is damaged or not in safetensors format"):
            converted(tiny, cache)
    for entry in (
        '"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}',
        '"x": {"dtype": "BF16", "shape": ["a", -5], "data_offsets": [0, 4]}',
        '"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 4]}',
        '"\\ud800": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}',
    ):
        path.write_bytes((len(entry) + 2).to_bytes(8, "little") + f"{{{entry}}}".encode() + b"\0" * 4)
        with pytest.raises(ModelNotFoundError, match="is damaged or not in safetensors format"):
            converted(tiny, cache)
    path.unlink()
    (tiny / "pytorch_model.bin").write_bytes(b"not a pickle")
    with pytest.raises(ModelNotFoundError, match=r"the weight file .*pytorch_model\.bin cannot be unpickled"):
        converted(tiny, cache)


@pytest.mark.parametrize("keep", [0, 3, 100, 5000, -1], ids=str)
def test_damaged_gguf_is_named(tiny_gguf, tmp_path, cache, keep):
    (tmp_path / "cut.gguf").write_bytes(tiny_gguf.read_bytes()[:keep])
    with pytest.raises(ModelNotFoundError) as error:
        converted(tmp_path, cache, gguf="cut.gguf")

    assert str(error.value).startswith(f"the GGUF file {tmp_path}/cut.gguf cannot be loaded (")
    assert "copy or download it again" in str(error.value)
    assert [path for path in (cache / "converted").iterdir() if path.is_dir()] == []


def test_another_version_of_what_unpacks_or_adapts_is_asked_anew_and_named(
    pytester, cache_dir, tiny_gguf, tmp_path, monkeypatch
):
    base = transformers.AutoModelForCausalLM.from_pretrained(
        converted(tiny_gguf.parent, cache_dir, gguf=tiny_gguf.name)
    )
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    pytester.makepyfile("""
        def test_golden(llm, llm_snapshot):
            assert llm.loss("than") == llm_snapshot

        def test_gate(llm, llm_baseline):
            llm_baseline.check("loss", llm.loss(["at", "hot", "tank", "tan", "hat"]), margin=0.01)
    """)
    model = (f"--llm-model={tiny_gguf}", f"--llm-adapter={tmp_path / 'lora'}")
    pytester.runpytest(*model, "--llm-update=new").assert_outcomes(passed=2)
    real = environment.version
    monkeypatch.setattr(environment, "version", lambda name: "9" if name in ("gguf", "peft") else real(name))
    newer = pytester.runpytest(*model)
    newer.assert_outcomes(passed=2)
    newer.stdout.fnmatch_lines(["model  *  6 answers: 0 from the store, 6 computed*"])
    moved = f"1 gate passed in another environment: gguf {real('gguf')} -> 9, peft {real('peft')} -> 9"
    assert moved in " ".join(newer.stdout.str().split())
    (golden,) = pytester.path.glob("__llm_snapshots__/*/*.json")
    data = json.loads(golden.read_text())
    golden.write_text(json.dumps({**data, "output": {"value": 0.5}}))
    drifted = pytester.runpytest(*model)
    drifted.assert_outcomes(passed=1, failed=1)
    drifted.stdout.fnmatch_lines([f"*in another environment (gguf {real('gguf')} → 9, peft {real('peft')} → 9), *"])

    for file in pytester.path.glob("__llm_*/**/*.json"):  # of an older version, which did not say
        file.write_text(re.sub(r'"(gguf|peft|digest)": "[^"]*",?\s*', "", file.read_text()))
    assert "environment" not in pytester.runpytest(*model).stdout.str()


def test_what_a_gguf_lacks_is_not_made_up(tmp_path, cache):
    """A part of a split one holds all of the configuration: transformers fills in the other tensors at random."""
    write_gguf(tmp_path / "model-00001-of-00002.gguf", without="blk.0.ffn_up")
    with pytest.raises(ModelNotFoundError, match=r"lacks 1 tensor \(model\.layers\.0\.mlp\.up_proj.*gguf-split"):
        converted(tmp_path, cache, gguf="model-00001-of-00002.gguf")


def test_a_part_of_a_gguf_is_not_the_model(tmp_path, cache):
    """Where the other part has the output layer alone, it would be made of the embeddings."""
    write_gguf(tmp_path / "model-00001-of-00002.gguf", facts={"split.no": 0, "split.count": 2})
    with pytest.raises(ModelNotFoundError, match=r"\(ValueError: it is part 1 of 2\).* merge them \(llama-gguf-split"):
        converted(tmp_path, cache, gguf="model-00001-of-00002.gguf")
    write_gguf(tmp_path / "merged.gguf", facts={"split.count": 0})
    assert converted(tmp_path, cache, gguf="merged.gguf")


def test_tensors_that_transformers_would_leave_out_are_refused(tmp_path, cache):
    biases = {f"blk.0.attn_{name}.bias": [3.0] * 32 for name in ("q", "output")}
    write_gguf(tmp_path / "biased.gguf", tensors=biases)
    with pytest.raises(
        ModelNotFoundError, match=r"LlamaForCausalLM has no place for 2 tensors of it \(blk\.0\.attn_out"
    ):
        converted(tmp_path, cache, gguf="biased.gguf")


def test_positions_are_stretched_as_the_gguf_says(tiny_gguf, tmp_path, cache):
    write_gguf(tmp_path / "a.gguf", facts={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0})
    folder = converted(tmp_path, cache, gguf="a.gguf")
    config = transformers.AutoConfig.from_pretrained(converted(tiny_gguf.parent, cache, gguf=tiny_gguf.name))
    config.rope_parameters |= {"rope_type": "linear", "factor": 8.0}
    torch.manual_seed(0)
    own, expected = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, **options) for options in ({}, {"config": config})
    )
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        assert torch.equal(own(ids).logits, expected(ids).logits)
    assert own.config.rope_parameters["factor"] == 8


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        ({"tensors": {"rope_freqs.weight": [1.0, 1.0, 2.0, 8.0]}}, r"rope_freqs\.weight"),
        (
            {"facts": {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}},
            r"llama\.rope\.scaling \(yarn, factor 4\)",
        ),
    ],
)
def test_how_else_positions_are_stretched_is_said_in_every_run(tmp_path, cache, more, unread):
    write_gguf(tmp_path / "a.gguf", **more)
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"does not take {unread} from 'tiny', which stretches positions"):
            converted(tmp_path, cache, gguf="a.gguf")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gguf_is_unpacked_as_transformers_does_and_silently(tiny_gguf, cache, capfd, dtype):
    folder = converted(tiny_gguf.parent, cache, dtype, gguf=tiny_gguf.name)
    assert capfd.readouterr() == ("", "")

    path, options = tiny_gguf.parent, {"gguf_file": tiny_gguf.name}
    direct = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[dtype], **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
    ids = tokenizer("the answer", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = direct(ids).logits
        assert torch.equal(
            transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])(ids).logits, expected
        )
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {DTYPES[dtype]}
    ours = transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.get_vocab() == tokenizer.get_vocab()
    assert ours("the answer")["input_ids"] == ids[0].tolist()
    assert ours.chat_template == tokenizer.chat_template == "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == stat.S_IMODE(
        (folder / "config.json").stat().st_mode
    )


def test_files_beside_a_gguf_are_not_taken(tiny_gguf, tmp_path, cache):
    """Its digest covers the GGUF alone, and so must what is made of it."""
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("chat_template.jinja", "tokenizer_config.json", "generation_config.json", "config.json"):
        (beside / name).write_text("not even JSON")
    (beside / "renamed.gguf").write_bytes(tiny_gguf.read_bytes())
    folder = converted(beside, cache, gguf="renamed.gguf")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert converted(tiny_gguf.parent, cache, gguf=tiny_gguf.name) == folder
    other = converted(tiny_gguf.parent, tmp_path / "other-cache", gguf=tiny_gguf.name)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before


def test_weights_that_change_under_a_run_are_refused(tiny, cache):
    weights = Weights("models/tiny", tiny)
    digest = fingerprint(weights, cache)
    state = load_file(tiny / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in state.items()}, tiny / "model.safetensors")
    with pytest.raises(ModelNotFoundError) as error:
        prepare(weights, digest, ModelSpec("models/tiny"), cache)

    assert str(error.value) == (
        "the files of 'models/tiny' changed after this run had identified them. Run again, when nothing writes to "
        "them; a test that trains asks llm_loader(...) again after it saved."
    )


def test_a_cache_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LLMError) as error:
        converted(tiny, tmp_path / "file", "float64")

    assert str(error.value).startswith(f"the converted weights cannot be written to {tmp_path}/file/converted/")
    assert "--llm-cache-dir" in str(error.value)


@pytest.mark.parametrize("damage", [{"architectures": 5}, {"dtype": ["float32"]}, {"notes": "\ud800"}], ids=str)
def test_a_strange_config_is_left_to_the_loader(tiny, cache, damage):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, **damage}))
    assert converted(tiny, cache, "float64") != tiny
    converted(tiny, cache, "bfloat16")


def test_unknown_dtype(tiny, cache):
    with pytest.raises(InvalidInputError) as error:
        converted(tiny, cache, "int4")

    assert str(error.value) == "unknown dtype 'int4': choose one of float64, float32, float16, bfloat16"


def test_smollm2_is_unpacked_as_transformers_does(smollm2):
    """The whole way on real weights: equal bit for bit to a direct load, tokenizer and chat template included."""
    weights, digest, folder = smollm2
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    answers = []
    for options in ({"gguf_file": weights.gguf, "path": weights.folder}, {"path": folder}):
        path = options.pop("path")
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options)
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            answers.append((ids.tolist(), tokenizer.get_vocab(), tokenizer.special_tokens_map, model(ids).logits))
        del model
    (*direct, direct_logits), (*ours, our_logits) = answers
    assert ours == direct
    assert torch.equal(our_logits, direct_logits)


def test_smollm2_is_unpacked_once(smollm2, shared_cache, capfd):
    weights, digest, folder = smollm2
    before = contents(folder)

    assert prepare(weights, digest, ModelSpec(weights.source), shared_cache) == folder
    assert contents(folder) == before
    assert resolve(ModelSpec(str(folder)), root=shared_cache).folder == folder
    assert capfd.readouterr() == ("", "")
