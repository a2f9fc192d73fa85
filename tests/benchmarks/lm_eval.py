"""500 loglikelihood requests under one 5-shot header, against lm-evaluation-harness in an environment of its own."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import WORK, Figure, environment, made, seconds, side_by_side, smollm2

_REQUESTS = 500
_PEER = """
import json, sys, time
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

lm = HFLM(pretrained=sys.argv[1], device="cpu", dtype="float32", batch_size="auto")
pairs = json.load(open(sys.argv[2]))
requests = [Instance("loglikelihood", {}, tuple(pair), i) for i, pair in enumerate(pairs)]
start = time.perf_counter()
found = lm.loglikelihood(requests, disable_tqdm=True)
json.dump({"seconds": time.perf_counter() - start, "scores": [float(x) for x, _ in found]}, open(sys.argv[3], "w"))
"""


def run(runs: int) -> Iterator[Figure]:
    """Yield the ratio of scoring alone, loading left out on both sides; both must give the same scores."""
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Score
    from pytest_llm.weights.spec import ModelSpec

    folder, python = smollm2(), _peer()
    pairs = _pairs()
    engine = LocalEngine(folder, ModelSpec("smollm2", device="cpu"))
    assert engine.model
    requests = [Score(context, (continuation,)) for context, continuation in pairs]
    (WORK / "lm-eval.json").write_text(json.dumps(pairs))
    scores: dict[str, list[float]] = {}

    def ours() -> float:
        found: dict[int, Any] = {}
        taken = seconds(lambda: found.update(engine.answer(requests)))
        scores["ours"] = [found[i]["scores"][0]["logprob"] for i in range(len(pairs))]
        return taken

    def theirs() -> float:
        output = WORK / "lm-eval-scores.json"
        command = [str(python), "-c", _PEER, str(folder), str(WORK / "lm-eval.json"), str(output)]
        subprocess.run(command, check=True, capture_output=True, env=environment())
        data = json.loads(output.read_text())
        scores["theirs"] = data["scores"]
        return float(data["seconds"])

    mine, other, ratio = side_by_side(ours, theirs, runs)
    apart = max(abs(a - b) for a, b in zip(scores["ours"], scores["theirs"], strict=True))
    if apart > 1e-2:
        raise RuntimeError(f"the two disagree by {apart} nats: they do not compute the same thing")
    note = f"{mine:.1f} s and {other:.1f} s; {_by_tokens(engine, pairs):.0f}x by the tokens; scores within {apart:.1g} nats"
    yield Figure(
        "lm_eval", f"{_REQUESTS} loglikelihoods, against lm-evaluation-harness", ratio, "x faster", 4, True, runs, note
    )


def _pairs() -> list[tuple[str, str]]:
    rng = random.Random(0)
    words = [
        "river",
        "house",
        "green",
        "stone",
        "water",
        "light",
        "garden",
        "winter",
        "paper",
        "music",
        "silver",
        "morning",
        "letter",
        "bridge",
    ]

    def text(least: int, most: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(least, most)))

    header = "".join(f"Question: {text(20, 60)}?\nAnswer: {text(3, 12)}.\n\n" for _ in range(5))
    return [(f"{header}Question: {text(5, 60)}?\nAnswer:", f" {text(1, 12)}.") for _ in range(_REQUESTS)]


def _by_tokens(engine: Any, pairs: list[tuple[str, str]]) -> float:
    """Return how many times fewer tokens there are when the header is read once."""
    count = [len(engine.tokenizer(context + continuation)["input_ids"]) for context, continuation in pairs]
    header = len(engine.tokenizer(pairs[0][0][: pairs[0][0].rindex("Question:")])["input_ids"])
    return sum(count) / (sum(count) - header * (len(pairs) - 1))


def _peer() -> Path:
    """Return the python of the peer's environment; it takes torch and transformers, the same ones, from this one."""
    import torch

    return made("lm-eval", "lm-eval[hf]", beside=Path(torch.__file__).parents[1])
