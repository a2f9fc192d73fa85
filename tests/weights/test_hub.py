"""Hub ids: the local cache first and without the network, else a download of what is needed, else a clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.weights.hub_server import COMMIT, HubServer

PROGRAM = """
import dataclasses, json, sys
from pathlib import Path
from pytest_llm.errors import ModelNotFoundError
from pytest_llm.weights.resolve import resolve
from pytest_llm.weights.spec import ModelSpec

fields = json.loads(sys.argv[1])
offline = fields.pop("offline", False)
try:
    found = dataclasses.asdict(resolve(ModelSpec(**fields), root=Path.cwd(), offline=offline))
    found["files"] = sorted(path.name for path in found["folder"].iterdir())
except ModelNotFoundError as error:
    found = {"error": str(error)}
assert not {"torch", "transformers", "numpy", "safetensors"} & set(sys.modules)
print(json.dumps(found, default=str))
"""


@pytest.fixture
def find(tmp_path):
    """``find(source, **fields)``: resolve in a process of its own, whose Hugging Face cache is ``<tmp_path>/hf``."""

    def run(source, *, endpoint="http://127.0.0.1:9", hub_offline="0", **fields):
        environ = {
            **os.environ,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_OFFLINE": hub_offline,
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        argument = json.dumps({"source": source, **fields})
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, argument], env=environ, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def hub(tmp_path):
    """A hub with org/safe, org/pickled, org/quantised (GGUF) and org/adapter."""
    contents = {
        "safe": [
            "config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "pytorch_model.bin",
            "consolidated.safetensors", "model.fp16.safetensors", "tf_model.h5", "README.md",
        ],
        "pickled": ["config.json", "pytorch_model.bin"],
        "quantised": ["a-q4.gguf", "a-q8.gguf"],
        "adapter": ["adapter_config.json", "adapter_model.safetensors", "optimizer.pt"],
        "code": ["modeling_own.py"],
    }  # fmt: skip
    for name, files in contents.items():
        folder = tmp_path / "repositories" / "org" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("{}" if file.endswith(".json") else file)
    with HubServer(tmp_path / "repositories") as server:
        yield server


def test_downloads_what_is_needed_and_then_asks_no_more(find, hub, tmp_path):
    found = find("org/safe", endpoint=hub.url)
    assert found["files"] == ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]
    assert (found["source"], found["revision"], found["gguf"]) == ("org/safe", COMMIT, "")
    assert hub.requested

    hub.requested.clear()
    assert find("org/safe", endpoint=hub.url) == found
    assert find("org/safe", endpoint=hub.url, revision=COMMIT) == found
    assert hub.requested == []
    assert find("org/safe", hub_offline="1") == found
    assert find("org/safe", offline=True) == found


def test_gguf_and_adapter_of_the_hub(find, hub):
    found = find("org/quantised#a-q8.gguf", adapter="org/adapter", endpoint=hub.url)

    assert found["files"] == ["a-q8.gguf"]
    assert (found["source"], found["gguf"]) == ("org/quantised#a-q8.gguf", "a-q8.gguf")
    assert found["adapter_source"] == "org/adapter"
    assert found["adapter"].endswith(f"models--org--adapter/snapshots/{COMMIT}")
    assert find("org/quantised#a-q8.gguf", adapter="org/adapter") == found


def test_code_that_a_model_names_in_another_repository(find, hub, tmp_path):
    folder = tmp_path / "tuned"
    folder.mkdir()
    classes = {"AutoModel": "org/code--modeling_own.Own", "AutoTokenizer": ["org/code--tokenization_own.Own", None]}
    (folder / "config.json").write_text(json.dumps({"auto_map": classes}))
    (folder / "model.safetensors").write_bytes(b"")
    assert find("tuned")["code"] == []
    refused = find("tuned", trust_remote_code=True)["error"]
    assert refused.startswith(
        "the model 'tuned' runs code of 'org/code' (modeling_own.py, tokenization_own.py), as its auto_map says, and "
        "that is no folder, and not in the Hugging Face cache. Download it once: hf download org/code."
    )

    find("org/code", endpoint=hub.url)  # no model, but its code is in the cache from here on
    (code,) = find("tuned", trust_remote_code=True)["code"]
    assert code.endswith(f"models--org--code/snapshots/{COMMIT}")


def test_pickles_come_only_when_trusted(find, hub):
    refused = find("org/pickled", endpoint=hub.url)
    assert refused["error"].startswith("the model 'org/pickled' has a config.json but no weights")
    assert not any(request.endswith(".bin") for request in hub.requested)

    assert find("org/pickled", endpoint=hub.url, trust_pickle=True)["files"] == ["config.json", "pytorch_model.bin"]

    cached = find("org/pickled", hub_offline="1")
    assert "has pickled weights only (pytorch_model.bin)" in cached["error"]
    assert "--llm-trust-pickle" in cached["error"]


def test_an_interrupted_download_is_taken_up_again(find, hub, tmp_path):
    folder = find("org/safe", endpoint=hub.url)["folder"]
    Path(folder, "model.safetensors").unlink()

    offline = find("org/safe", hub_offline="1")["error"]
    assert offline.startswith(
        "the model 'org/safe' is not complete in the Hugging Face cache (the model 'org/safe' has"
    )
    assert "model.safetensors" in find("org/safe", endpoint=hub.url)["files"]


@pytest.mark.parametrize(
    ("source", "fields", "message"),
    [
        (
            "org/nothing",
            {},
            "the model 'org/nothing' is unknown to the hub, or private. Check the spelling, set HF_TOKEN, or name a "
            "folder that holds it. There is no folder 'org/nothing' in {root}.",
        ),
        (
            "org/safe",
            {"revision": "v9"},
            "the model 'org/safe@v9' is unknown: the hub's org/safe has no revision 'v9'. Name one that it has, or "
            "name a folder that holds it. There is no folder 'org/safe' in {root}.",
        ),
        (
            "gated/model",
            {},
            "the model 'gated/model' is gated. Accept its terms at https://huggingface.co/gated/model and set "
            "HF_TOKEN, or name a folder that holds it. There is no folder 'gated/model' in {root}.",
        ),
        (
            "org/quantised#a-q5.gguf",
            {},
            "the model 'org/quantised' is not in the Hugging Face cache ({root}/hf/hub), and the hub cannot give it "
            "(FileNotFoundError: org/quantised has no file 'a-q5.gguf'). Run once with a connection, or name a folder "
            "that holds it. There is no folder 'org/quantised' in {root}.",
        ),
    ],
)
def test_what_the_hub_does_not_have(find, hub, tmp_path, source, fields, message):
    assert find(source, endpoint=hub.url, **fields) == {"error": message.format(root=tmp_path)}


@pytest.mark.parametrize(
    ("fields", "switch"), [({"hub_offline": "1"}, "HF_HUB_OFFLINE"), ({"offline": True}, "--llm-offline")]
)
def test_offline_says_what_to_do(find, hub, tmp_path, fields, switch):
    (tmp_path / "models" / "tiny").mkdir(parents=True)

    assert find("models/tinny", revision="v1", endpoint=hub.url, **fields) == {
        "error": f"the model 'models/tinny@v1' is not in the Hugging Face cache ({tmp_path}/hf/hub), and {switch} "
        "forbids a download. Run once without it, or name a folder that holds it. There is no folder 'models/tinny' "
        f"in {tmp_path}; did you mean 'tiny'?"
    }
    assert hub.requested == []


def test_no_connection(find):
    error = find("org/safe")["error"]

    assert error.startswith("the model 'org/safe' is not in the Hugging Face cache (")
    assert "Run once with a connection, or name a folder that holds it." in error
