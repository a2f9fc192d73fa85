"""Memory: weights shared by four processes, and what scoring takes beyond the weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.timing import ROOT, Figure, environment, smollm2

_WORKERS = 4
_HEAD = """
import resource, sys
from pathlib import Path
import torch, transformers
from pytest_llm.engines.local import LocalEngine
from pytest_llm.requests import Generate, Loss
from pytest_llm.weights.spec import ModelSpec

def kilobytes(file, name):
    return next(int(line.split()[1]) for line in open(file) if line.startswith(name))

torch.set_num_threads(1)
engine = LocalEngine(Path(sys.argv[1]), ModelSpec("smollm2", device="cpu"))
"""
#: Two lines from the outside pace it: all have read their baseline, all have computed.
_SHARE = """
# All code is run once on a model of nothing, so that only the weights are left to come.
sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
         "num_key_value_heads": 1, "head_dim": 8}
small = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(sys.argv[1], **sizes))
small.generate(torch.arange(4)[None], max_new_tokens=2), engine.tokenizer
def say(x):
    print(x, flush=True); sys.stdin.readline()
before = kilobytes("/proc/self/smaps_rollup", "Pss:")
say(0)
list(engine.answer([Generate("The capital of France is", max_new_tokens=4)]))
say(1)
print(kilobytes("/proc/self/smaps_rollup", "Pss:") - before, flush=True); sys.stdin.readline()
"""
_SCORE = """
engine.tokenizer
with torch.no_grad():
    engine.model(input_ids=torch.arange(64)[None])
ids = torch.randint(1000, 40000, (64, 512), generator=torch.Generator().manual_seed(0))
before = kilobytes("/proc/self/status", "VmRSS:")
if sys.argv[2] == "plain":
    with torch.no_grad():
        engine.model(input_ids=ids, attention_mask=torch.ones_like(ids))
else:
    from pytest_llm.engines.rows import Row, evaluate
    row = ids.tolist()
    list(evaluate(engine, [Row(i, x, list(enumerate(x[1:]))) for i, x in enumerate(row)]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def run(runs: int) -> Iterator[Figure]:
    """Yield the two ratios; Linux only, as the kernel keeps the accounts."""
    if sys.platform != "linux":
        return
    folder = str(smollm2())
    one, many = _pss(folder, 1), _pss(folder, _WORKERS)
    note = f"{one / 1024:.0f} MiB in one process, {many / 1024:.0f} MiB in {_WORKERS} together"
    yield Figure(
        "memory", f"PSS that a model adds to {_WORKERS} processes, to one", many / one, "x", 1.2, False, 1, note
    )
    ours, plain = (_score(folder, how) for how in ("ours", "plain"))
    note = f"{ours / 1024:.0f} MiB and {plain / 1024:.0f} MiB beyond the weights"
    yield Figure("memory", "scoring 64 x 512 tokens, against model(**batch)", ours / plain, "x", 0.35, False, 1, note)


def _pss(folder: str, count: int) -> int:
    """Return the kilobytes of proportional memory that ``count`` processes take more, together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _HEAD + _SHARE, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
        )
        for _ in range(count)
    ]  # fmt: skip
    said: list[int] = []
    for _ in range(3):
        said = [int(process.stdout.readline()) for process in processes]  # type: ignore[union-attr]
        for process in processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
    for process in processes:
        process.communicate()
    return sum(said)


def _score(folder: str, how: str) -> int:
    command = [sys.executable, "-c", _HEAD + _SCORE, folder, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment()).stdout)
