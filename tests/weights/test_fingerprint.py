"""The digest follows what weights contain, and nothing else; unchanged files are hashed once."""

from __future__ import annotations

import base64
import dataclasses
import json
import mmap
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from pytest_llm.environment import another_model, changed_parts
from pytest_llm.errors import InvalidInputError, ModelNotFoundError
from pytest_llm.weights import fingerprint as module
from pytest_llm.weights.fingerprint import fingerprint
from pytest_llm.weights.listing import own_pooling
from pytest_llm.weights.parts import parts_of
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec, Weights


def later():
    """A clock by which every file of the test was written long ago."""
    return time.time() + 60


def weights_of(folder, **kwargs):
    return Weights("any", folder, **kwargs)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files whose bytes were read, as they are read."""
    names = []
    original = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: names.append(path.name) or original(path))
    return names


def retrain(folder, keep_times=False):
    path = folder / "model.safetensors"
    before = path.stat()
    state = {name: tensor + 1 for name, tensor in load_file(path).items()}
    path.write_bytes(save(state, metadata={"format": "pt"}))  # in place: save_file would make another inode
    assert (path.stat().st_size, path.stat().st_ino) == (before.st_size, before.st_ino)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "retrained in place": retrain,
    "retrained, size and modification time put back": lambda folder: retrain(folder, keep_times=True),
    "another chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "a chat template by name": lambda folder: (
        (folder / "additional_chat_templates").mkdir(),
        (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}"),
    ),
    "a token added": lambda folder: (folder / "added_tokens.json").write_text('{"<x>": 31}'),
    "another vocabulary file": lambda folder: (folder / "spiece.model").write_bytes(b"\1"),
    "a vocabulary of ProphetNet": lambda folder: (folder / "prophetnet.tokenizer").write_text("the"),
    "another end token": lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": 5}'),
    "another config": lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
    "another model code": lambda folder: (folder / "modeling_tiny.py").write_text("x = 1"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_an_answer_changes_the_digest(tiny, cache, change):
    before = fingerprint(weights_of(tiny), cache, clock=later)
    assert fingerprint(weights_of(tiny), cache, clock=later) == before
    change(tiny)

    assert fingerprint(weights_of(tiny), cache, clock=later) != before


def test_what_changed_is_known_by_its_part(tiny, tmp_path, cache):
    def parts():
        return parts_of(weights, module.contents(weights, cache, clock=later))

    config = tiny / "tokenizer_config.json"
    retokenised = {**json.loads(config.read_text()), "padding_side": "left"}
    templated = {**retokenised, "chat_template": "{{ messages }}"}  # as older versions of transformers save it
    (tiny / "1_Pooling").mkdir()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    save_file({"lora": torch.zeros(2)}, adapter / "adapter_model.safetensors")
    weights = weights_of(tiny, adapter=adapter)
    first = before = parts()
    changes = [
        *zip(CHANGES.values(), ["weights"] * 2 + ["chat template"] * 2 + ["tokenizer"] * 3, strict=False),
        (CHANGES["another end token"], "configuration"),
        (CHANGES["another model code"], "model code"),
        (lambda _: config.write_text(json.dumps(retokenised)), "tokenizer"),
        (lambda _: config.write_text(json.dumps(templated)), "chat template"),
        (lambda _: config.write_text(json.dumps({**templated, "chat_template": "{{ 1 }}"})), "chat template"),
        (lambda _: (tiny / "modules.json").write_text('[{"path": "1_Pooling"}]'), "configuration"),
        (lambda _: (tiny / "1_Pooling" / "config.json").write_text("{}"), "configuration"),
        (lambda _: save_file({"lora": torch.ones(2)}, adapter / "adapter_model.safetensors"), "weights"),
        (lambda _: (adapter / "adapter_config.json").write_text('{"r": 4}'), "configuration"),
        (lambda _: (adapter / "chat_template.jinja").write_text("{{ 2 }}"), "chat template"),
        (lambda _: (adapter / "tokenizer_config.json").write_text("{}"), "tokenizer"),
    ]
    for change, part in changes:
        change(tiny)
        after = parts()
        assert [*changed_parts({"digest": "a", "parts": before}, {"digest": "b", "parts": after})] == [part]
        before = after
    assert another_model({"digest": "a", "parts": first}, {"digest": "b", "parts": before}) == "another model"
    first["weights"] = before["weights"]
    assert another_model({"digest": "a", "parts": first}, {"digest": "b", "parts": before}) == (
        "another chat template, configuration, model code and tokenizer"
    )


def test_a_damaged_configuration_of_a_tokenizer_is_of_the_tokenizer(tiny, cache):
    (tiny / "tokenizer_config.json").write_text("{")
    found = parts_of(weights_of(tiny), module.contents(weights_of(tiny), cache))
    assert sorted(found) == ["chat template", "configuration", "tokenizer", "weights"]


def test_name_place_times_and_bystanders_do_not(tiny, tmp_path, cache):
    before = fingerprint(weights_of(tiny), cache)

    (tiny / "README.md").write_text("# about")
    (tiny / "trainer_state.json").write_text("{}")
    (tiny / "optimizer.pt").write_bytes(b"1")
    (tiny / "pytorch_model.bin").write_bytes(b"not loaded: there is a safetensors file")
    (tiny / "consolidated.safetensors").write_bytes(b"not loaded")
    os.utime(tiny / "model.safetensors", (1, 1))
    assert fingerprint(weights_of(tiny), cache) == before

    renamed = tiny.rename(tmp_path / "renamed")
    assert fingerprint(weights_of(renamed), cache) == before
    assert fingerprint(dataclasses.replace(weights_of(renamed), source="other"), tmp_path / "other-cache") == before


def test_adapter_enters_the_digest(tiny, tmp_path, cache):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    save_file({"lora": torch.zeros(2)}, adapter / "adapter_model.safetensors")
    plain, adapted = weights_of(tiny), weights_of(tiny, adapter=adapter)
    first = fingerprint(adapted, cache, clock=later)
    assert first != fingerprint(plain, cache, clock=later)

    save_file({"lora": torch.ones(2)}, adapter / "adapter_model.safetensors")
    second = fingerprint(adapted, cache, clock=later)
    (adapter / "adapter_config.json").write_text('{"r": 4}')

    third = fingerprint(adapted, cache, clock=later)
    (adapter / "README.md").write_text("---")
    assert fingerprint(adapted, cache, clock=later) == third
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    fourth = fingerprint(adapted, cache, clock=later)
    (adapter / "tokenizer_config.json").write_text("{}")
    (adapter / "tokenizer.json").write_text("{}")
    fifth = fingerprint(adapted, cache, clock=later)
    (adapter / "tokenizer.json").write_text('{"version": 2}')

    assert len({first, second, third, fourth, fifth, fingerprint(adapted, cache, clock=later)}) == 6


def test_sentence_transformers_parts_enter_the_digest(tiny, cache):
    (tiny / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "1_Pooling"}]))
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    before = fingerprint(weights_of(tiny), cache)
    (tiny / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')

    assert fingerprint(weights_of(tiny), cache) != before


MEAN, CLS, LAST = ({f"pooling_mode_{way}": True} for way in ("mean_tokens", "cls_token", "lasttoken"))


@pytest.mark.parametrize(
    ("pooling", "own"),
    [
        (MEAN | {"pooling_mode_cls_token": False}, "mean"),
        (CLS | {"include_prompt": True}, "cls"),
        (LAST, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        (MEAN | CLS, None),
        ({"pooling_mode_max_tokens": True}, None),
        ({}, None),
    ],
)
def test_a_sentence_encoder_says_how_it_pools(tiny, pooling, own):
    assert own_pooling(tiny) == "mean"
    parts = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling"),
             ("2_Normalize", "sentence_transformers.models.Normalize")]  # fmt: skip
    (tiny / "modules.json").write_text(json.dumps([{"path": path, "type": kind} for path, kind in parts]))
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if own:
        assert own_pooling(tiny) == own
        prompts = '{"default_prompt_name": "query", "prompts": {"query": "q: "}}'
        (tiny / "config_sentence_transformers.json").write_text(prompts)
        assert own_pooling(tiny) == own
        (tiny / "1_Pooling" / "config.json").write_text(json.dumps({**pooling, "include_prompt": False}))
        with pytest.raises(InvalidInputError, match="'Pooling' in a way that embed"):  # a prompt is no part of the mean
            own_pooling(tiny)
    else:
        with pytest.raises(InvalidInputError, match="'Pooling' in a way that embed"):
            own_pooling(tiny)
    parts.append(("3_Dense", "sentence_transformers.models.Dense"))
    (tiny / "modules.json").write_text(json.dumps([{"path": path, "type": kind} for path, kind in parts]))
    with pytest.raises(InvalidInputError, match="choose pooling="):
        own_pooling(tiny)


def test_shards_are_those_of_the_index(tiny, cache):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tiny / "model.safetensors").rename(tiny / "model-00001-of-00002.safetensors")
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError) as error:
        fingerprint(weights_of(tiny), cache)
    assert str(error.value) == (
        f"{tiny}/model.safetensors.index.json names the weight file 'model-00002-of-00002.safetensors', "
        "which is not there."
    )

    (tiny / "model-00002-of-00002.safetensors").write_bytes(b"1")
    before = fingerprint(weights_of(tiny), cache)
    (tiny / "model-00003-of-00003.safetensors").write_bytes(b"of another save")
    assert fingerprint(weights_of(tiny), cache) == before
    (tiny / "model-00002-of-00002.safetensors").write_bytes(b"2")
    assert fingerprint(weights_of(tiny), cache) != before


def test_gguf_counts_alone_and_by_content(tmp_path, cache):
    (tmp_path / "a.gguf").write_bytes(b"GGUF 1")
    (tmp_path / "b.gguf").write_bytes(b"GGUF 1")
    (tmp_path / "c.gguf").write_bytes(b"GGUF 2")
    a, b, c = (fingerprint(weights_of(tmp_path, gguf=f"{name}.gguf"), cache) for name in "abc")
    assert a == b != c

    (tmp_path / "tokenizer_config.json").write_text("{}")  # the converter does not look at it either
    assert fingerprint(weights_of(tmp_path, gguf="a.gguf"), cache) == a


def test_warm_run_reads_no_unchanged_file(tiny, cache, hashed):
    first = fingerprint(weights_of(tiny), cache, clock=later)
    assert sorted(hashed) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    hashed.clear()
    assert fingerprint(weights_of(tiny), cache, clock=later) == first
    assert hashed == []

    os.utime(tiny / "config.json", (1, 1))
    assert fingerprint(weights_of(tiny), cache, clock=later) == first
    assert hashed == ["config.json"]


def test_a_file_written_just_now_is_hashed_again(tiny, cache, hashed):
    now = max(path.stat().st_ctime for path in tiny.iterdir())
    fingerprint(weights_of(tiny), cache, clock=lambda: now + 1)
    hashed.clear()
    fingerprint(weights_of(tiny), cache, clock=lambda: now + 1)
    assert "model.safetensors" in hashed

    fingerprint(weights_of(tiny), cache, clock=lambda: now + 3)
    hashed.clear()
    fingerprint(weights_of(tiny), cache, clock=lambda: now + 3)
    assert hashed == []


#: A squashfs of one file, config.json, which holds ``{"v": 1}``: `mksquashfs FOLDER IMAGE -nopad -no-xattrs -all-root`.
IMAGE = base64.b85decode(
    "XmfFM0ssI200000000620RR910RRyIzybjP1ONa4AOHXW00000?*IS*00000=Kufz00000|NsC0|NsC0XaE2J00000kN^Mx00000!2kdN00000"
    "*#H0l00000dm?rsIv_E9CIEQaV`5ms$N&N#gHs_41mFN-MuxX=c_yehh*kn(W*`Ot#;gS!9RPURV_<*)Mkvk1z{QZ9pO==Iu9sDup9cUM_XKPZ"
    "fM5Us0000000;m80RR910IvW50000001g0n+GAjV00k%w009sHA;|y$0000000e*l0002t000000000"
)


def test_an_image_mounted_where_another_was(tmp_path, cache):
    """A squashfs keeps no change time: two images can have the same stamps."""
    digests = []
    for image in (IMAGE, IMAGE, IMAGE.replace(b'{"v": 1}', b'{"v": 2}')):
        (tmp_path / "image").write_bytes(image.ljust(4096, b"\0"))
        (tmp_path / "mounted").mkdir(exist_ok=True)
        mounting = ["mount", "-t", "squashfs", "-o", "loop,ro", "image", "mounted"]
        if not shutil.which("mount") or subprocess.run(mounting, cwd=tmp_path, capture_output=True).returncode:
            pytest.skip("needs the right to mount a squashfs")
        try:
            digests.append(fingerprint(weights_of(tmp_path / "mounted"), cache))
        finally:
            subprocess.run(["umount", "mounted"], cwd=tmp_path, check=True)

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("place", ["disk", "/dev/shm"])
def test_a_file_patched_through_a_memory_map_is_hashed_again(tmp_path, cache, place):
    """Such a store moves no times on tmpfs, and elsewhere only those of a file whose page is on disk."""
    if place == "/dev/shm" and not module._in_memory(Path(place)):
        pytest.skip("needs a tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=tmp_path if place == "disk" else place) as folder:
        (Path(folder) / "a.gguf").write_bytes(b"\0" * 10_000)
        weights = weights_of(Path(folder), gguf="a.gguf")
        with (Path(folder) / "a.gguf").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            digests = []
            for value in (1, 2, 3):
                mapped[5000] = value
                digests.append(fingerprint(weights, cache, clock=later))
                time.sleep(0.02)  # file times may be as coarse
    assert len(set(digests)) == 3


def test_a_file_that_grows_while_it_is_read_is_not_remembered(tiny, cache, monkeypatch):
    original = module.sha256_of

    def read_while_it_is_written(path):
        digest = original(path)
        if path.name == "chat_template.jinja":
            path.write_text(path.read_text() + "!")
        return digest

    monkeypatch.setattr(module, "sha256_of", read_while_it_is_written)
    fingerprint(weights_of(tiny), cache, clock=later)
    [memo] = (cache / "digests").iterdir()

    assert sorted(json.loads(memo.read_text())) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"config.json": 3}', '{"config.json": [1, 2, 3, 4]}', "{\udcff"])
def test_a_damaged_memo_is_made_anew(tiny, cache, hashed, content):
    before = fingerprint(weights_of(tiny), cache, clock=later)
    [memo] = (cache / "digests").iterdir()
    memo.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert fingerprint(weights_of(tiny), cache, clock=later) == before
    hashed.clear()
    assert fingerprint(weights_of(tiny), cache, clock=later) == before
    assert hashed == []


def test_an_unwritable_cache_costs_time_only(tiny, tmp_path):
    (tmp_path / "file").write_text("not a folder")

    assert fingerprint(weights_of(tiny), tmp_path / "file") == fingerprint(weights_of(tiny), tmp_path / "cache")


def _digest_in_a_process(folder, cache, results):
    results.put({fingerprint(weights_of(folder), cache, clock=later) for _ in range(20)})


def test_workers_share_a_memo(tiny, cache, hashed):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_digest_in_a_process, args=(tiny, cache, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()

    assert answers == [{fingerprint(weights_of(tiny), cache, clock=later)}] * 4
    assert hashed == []
    assert [path.suffix for path in (cache / "digests").iterdir()] == [".json"]


def test_a_file_that_cannot_be_read_is_named(tiny, cache):
    with pytest.raises(ModelNotFoundError) as error:
        fingerprint(weights_of(tiny, gguf="gone.gguf"), cache)

    assert str(error.value) == f"{tiny}/gone.gguf cannot be read: No such file or directory."


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_what_git_lfs_did_not_fetch_is_no_file(tiny, cache, name):
    (tiny / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'2' * 64}\nsize 535112\n")
    with pytest.raises(ModelNotFoundError) as error:
        fingerprint(resolve(ModelSpec(str(tiny)), root=tiny), cache)

    assert str(error.value) == f"{tiny}/{name} is a pointer of git-lfs, not the file itself: run 'git lfs pull' there."
