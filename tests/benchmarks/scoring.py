"""Scoring throughput, against the peak of a float32 matrix product in the same run, by the faster of two libraries."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

from tests.benchmarks.timing import Figure, parameters, peak_gflops, seconds, smollm2


def run(runs: int) -> Iterator[Figure]:
    """Yield the part of the peak at two lengths. Only products with weights count as work, attention does not.

    The note counts attention too, as Kaplan et al. 2020, table 1 (https://arxiv.org/abs/2001.08361): a causal pass over
    a text takes ``2 * layers * length * hidden size`` more for each token.
    """
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.rows import Row, evaluate
    from pytest_llm.weights.spec import ModelSpec

    engine = LocalEngine(smollm2(), ModelSpec("smollm2", device="cpu"))
    work = 2 * parameters(engine.model)
    config = engine.model.config
    rng = random.Random(0)
    for length, count in ((128, 32), (512, 8)):
        texts = [[rng.randrange(49000) for _ in range(length + 1)] for _ in range(count)]
        rows = [Row(i, ids[:-1], list(enumerate(ids[1:]))) for i, ids in enumerate(texts)]
        shares = []
        for _ in range(runs):
            before = peak_gflops()
            rate = work * length * count / seconds(lambda rows=rows: list(evaluate(engine, rows))) / 1e9
            peaks = {name: (before[name] + after) / 2 for name, after in peak_gflops().items()}
            shares.append((100 * rate / max(peaks.values()), 100 * rate / peaks["torch"], rate))
        share, own, rate = (statistics.median(column) for column in zip(*shares, strict=True))
        whole = share * (1 + 2 * config.num_hidden_layers * length * config.hidden_size / work)
        note = f"{rate:.0f} GFLOP/s, {rate * 1e9 / work:.0f} tokens/s; {whole:.0f} % with attention's own products"
        if own > share:
            note += f"; {own:.0f} % of a @ b, of which the best is another library's"
        yield Figure("scoring", f"scoring {count} x {length} tokens, of peak", share, "%", 75, True, runs, note)
