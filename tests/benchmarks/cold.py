"""64 tests of one prompt each and nothing in the store, against the same tests with ``model.generate``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.timing import WORK, Figure, parameters, peak_gflops, pytest_run, side_by_side, smollm2

_TESTS, _TOKENS = 64, 32
_WORDS = [
    "a",
    "the",
    "dog",
    "robot",
    "house",
    "river",
    "walked",
    "slept",
    "under",
    "over",
    "quickly",
    "and",
    "because",
    "green",
    "blue",
    "old",
    "young",
]
_OURS = """
import pytest
from prompts import PROMPTS

@pytest.mark.parametrize("i", range(len(PROMPTS)))
def test_story(llm, llm_snapshot, i):
    answer = llm.generate(PROMPTS[i], max_new_tokens={tokens})
    llm_snapshot.check(answer, levels={{"drifted": "warn"}})
"""
_PLAIN = """
import pytest, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from prompts import PROMPTS

@pytest.fixture(scope="session")
def model():
    return AutoModelForCausalLM.from_pretrained({folder!r}, dtype=torch.float32)

@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained({folder!r})

@pytest.mark.parametrize("i", range(len(PROMPTS)))
def test_story(model, tokenizer, i):
    inputs = tokenizer(PROMPTS[i], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)
    assert output.shape[1] > inputs["input_ids"].shape[1]
"""


def run(runs: int) -> Iterator[Figure]:
    """Yield the ratio of whole pytest runs, and how far the batch is from the arithmetic of the machine."""
    folder = smollm2()
    ours, plain = _suite("ours", _OURS, folder), _suite("plain", _PLAIN, folder)
    cache = WORK / "cold-cache"
    model = f"--llm-model={folder}"
    pytest_run(ours, model, "--llm-update=all", PYTEST_LLM_CACHE_DIR=str(cache))

    def cold() -> float:
        for file in cache.glob("answers.*"):
            file.unlink()
        return pytest_run(ours, model, PYTEST_LLM_CACHE_DIR=str(cache))

    mine, other, ratio = side_by_side(cold, lambda: pytest_run(plain, "-p", "no:pytest_llm"), runs)
    shutil.rmtree(cache)
    note = f"{mine:.1f} s and {other:.1f} s, whole pytest runs with imports and loading"
    yield Figure(
        "cold",
        f"{_TESTS} tests x {_TOKENS} tokens, against model.generate in each",
        ratio,
        "x faster",
        10,
        True,
        runs,
        note,
    )
    yield _arithmetic(folder)


def _arithmetic(folder: Path) -> Figure:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Generate
    from pytest_llm.weights.spec import ModelSpec
    from tests.benchmarks.timing import seconds

    engine = LocalEngine(folder, ModelSpec("smollm2", device="cpu"))
    requests = [Generate(prompt, max_new_tokens=_TOKENS) for prompt in _prompts(_TESTS)]
    peak = max(peak_gflops().values()) * 1e9
    work = 2 * parameters(engine.model)
    tokens = sum(len(engine.tokenizer(r.prompt)["input_ids"]) for r in requests) + _TESTS * (_TOKENS - 1)
    taken = seconds(lambda: list(engine.answer(requests)))
    note = f"{tokens / taken:.0f} tokens/s read and written; {peak / work:.0f} at {peak / 1e9:.0f} GFLOP/s"
    return Figure(
        "cold",
        "the same 64 in one process, of the arithmetic limit",
        100 * tokens * work / taken / peak,
        "%",
        note=note,
    )


def _prompts(count: int) -> list[str]:
    rng = random.Random(0)
    return [f"Story {i}: {' '.join(rng.choices(_WORDS, k=rng.randint(4, 14)))}" for i in range(count)]


def _suite(name: str, text: str, folder: Path) -> Path:
    suite = WORK / f"cold-{name}"
    suite.mkdir(parents=True, exist_ok=True)
    (suite / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (suite / "prompts.py").write_text(f"PROMPTS = {_prompts(_TESTS)!r}\n")
    (suite / "test_cold.py").write_text(text.format(tokens=_TOKENS, folder=str(folder)))
    return suite
