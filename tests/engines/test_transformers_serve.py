"""A service that others wrote: ``transformers serve``, which knows no logprobs, no n, and leaves stop strings in."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from pytest_llm.engines.openai import OpenAIEngine
from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Embed, Generate, Loss
from tests.engines.conftest import answers, first

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

CHAT = ({"role": "user", "content": "What is the capital of France?"},)


@pytest.fixture(scope="module")
def served(smollm2, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(smollm2), "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu", "--dtype", "float32"]  # fmt: skip
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        engine = OpenAIEngine(str(smollm2), f"http://127.0.0.1:{port}/v1", timeout=600)
        yield engine
        engine.close()
    finally:
        server.terminate()
        server.wait(30)


def test_it_has_the_model_and_answers_as_the_weights_do(served, smol):
    served.check()
    requests = [Generate(CHAT, max_new_tokens=12), Generate("The capital of Italy is", max_new_tokens=8)]
    for theirs, ours in zip(answers(served, requests), answers(smol, requests), strict=True):
        assert first(theirs)["text"] == first(ours)["text"]
        assert first(theirs)["logprobs"] == first(theirs)["margins"] == []


def test_several_answers_are_asked_for_one_by_one(served):
    request = Generate("Once upon a time", max_new_tokens=12, do_sample=True, seed=3, num_return_sequences=3)
    (found,) = answers(served, [request])
    assert [bool(one["text"]) for one in found["sequences"]] == [True] * 3  # greedy ones: it does not sample texts


def test_a_stop_string_ends_the_answer(served):
    (found,) = answers(served, [Generate("1, 2, 3, 4,", max_new_tokens=30, stop=("9",))])
    assert first(found)["text"] == " 5, 6, 7, 8, "
    assert first(found)["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Loss("The capital of France is Paris."), "gives no logprobs of a prompt, which loss"),
        (Embed("x"), "no answer to embed"),
    ],
)
def test_what_it_cannot_is_said(served, request_, what):
    with pytest.raises(InvalidInputError, match=what):
        answers(served, [request_])
