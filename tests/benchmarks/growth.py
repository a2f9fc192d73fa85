"""How cost grows: tests when all is known, prompts when nothing is, entries of the store."""

from __future__ import annotations

import random
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.timing import WORK, Figure, pytest_run, seconds, smollm2

_TESTS, _PROMPTS, _ENTRIES = (10, 100, 1_000, 10_000), (16, 64, 256, 1_024), (1_000, 10_000, 100_000, 1_000_000)
_SUITE = """
import pytest

@pytest.mark.parametrize("i", range({count}))
def test_known(llm, i):
    assert llm.tokenize(f"text {{i}}")
"""


def run(runs: int) -> Iterator[Figure]:
    """Yield milliseconds a test, tokens a second, and microseconds a lookup, at each size."""
    yield from _warm_tests()
    yield from _cold_prompts()
    yield from _store(WORK / "growth-store")


def _warm_tests() -> Iterator[Figure]:
    folder, cache = WORK / "growth", {"PYTEST_LLM_CACHE_DIR": str(WORK / "growth-cache")}
    folder.mkdir(parents=True, exist_ok=True)
    model = f"--llm-model={smollm2()}"
    (folder / "pytest.ini").write_text("[pytest]\n")
    for count in _TESTS:
        (folder / "test_known.py").write_text(_SUITE.format(count=count))
        pytest_run(folder, model, **cache)
        taken = pytest_run(folder, model, **cache)
        yield Figure("growth", f"{count:,} warm tests", 1e3 * taken / count, "ms/test", note=f"{taken:.2f} s")


def _cold_prompts() -> Iterator[Figure]:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Generate
    from pytest_llm.weights.spec import ModelSpec

    engine = LocalEngine(smollm2(), ModelSpec("smollm2", device="cpu"))
    assert engine.model
    for count in _PROMPTS:
        requests = [Generate(f"Number {i} of the list is", max_new_tokens=8) for i in range(count)]
        taken = seconds(lambda requests=requests: list(engine.answer(requests)))
        yield Figure(
            "growth", f"{count:,} cold prompts x 8 tokens", 8 * count / taken, "tokens/s", note=f"{taken:.1f} s"
        )


def _store(folder: Path) -> Iterator[Figure]:
    from pytest_llm.store.database import OutputStore

    shutil.rmtree(folder, ignore_errors=True)
    store, facts, rng, filled = OutputStore(folder), {"weights": "0" * 64}, random.Random(0), 0
    for count in _ENTRIES:
        for start in range(filled, count, 100_000):
            numbers = range(start, min(start + 100_000, count))
            store.put(facts, "made up", [(f"{i:064x}", {"token_ids": [i] * 32}) for i in numbers])
        filled = count
        asked = [f"{rng.randrange(count):064x}" for _ in range(1000)]
        one = statistics.median(seconds(lambda digest=digest: store.get(facts, [digest])) for digest in asked)
        many = seconds(lambda asked=asked: store.get(facts, asked)) / len(asked)
        note = f"one by one; {many * 1e6:.1f} us each, 1,000 at once"
        yield Figure("growth", f"lookup among {count:,} entries", one * 1e6, "us", note=note, runs=len(asked))
    store.close()
    shutil.rmtree(folder)
