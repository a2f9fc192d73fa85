"""Memory: weights shared by four processes, and what scoring takes beyond the weights."""

from __future__ import annotations

import gc
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.timing import ROOT, WORK, Figure, environment, pytest_run, smollm2

_WORKERS = 4
_HEAD = """
import sys
from pathlib import Path
import torch
from pytest_llm.engines.local import LocalEngine
from pytest_llm.weights.spec import ModelSpec

def kilobytes(file, name):
    return next(int(line.split()[1]) for line in open(file) if line.startswith(name))

torch.set_num_threads(1)
engine = LocalEngine(Path(sys.argv[1]), ModelSpec("smollm2", device="cpu"))
"""
#: A suite that every worker runs with a prompt of its own, so that each needs the weights, and holds until all have them.
_SHARE = """
import os, time
from pathlib import Path

def test_weights(llm, llm_loader):
    llm.generate(f"Worker {os.getpid()} says", max_new_tokens=4)
    here, count = Path(__file__).parent, int(os.environ["BENCH_WORKERS"])
    (here / f"{os.getpid()}.ready").touch()
    while len(list(here.glob("*.ready"))) < count:
        time.sleep(0.05)
    (engine, _), = llm_loader.pool._models.values()
    (here / f"{os.getpid()}.kilobytes").write_text(str(kilobytes(engine.model)))
    while len(list(here.glob("*.kilobytes"))) < count:
        time.sleep(0.05)

def kilobytes(model):
    # What the kernel charges this process for the mapped file, and all parameters that lie elsewhere, in full.
    mapped, total, ours = [], 0, False
    for line in open("/proc/self/smaps"):
        head = line.split()
        if "-" in head[0]:
            ours = line.rstrip().endswith(".safetensors")
            if ours:
                mapped.append([int(end, 16) for end in head[0].split("-")])
        elif ours and head[0] == "Pss:":
            total += int(head[1])
    elsewhere = {p.data_ptr(): p.nbytes for p in (*model.parameters(), *model.buffers())
                 if not any(a <= p.data_ptr() < b for a, b in mapped)}
    return total + sum(elsewhere.values()) // 1024
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
# Not ru_maxrss, which begins with what the process that started this one had.
print(kilobytes("/proc/self/status", "VmHWM:") - before)
"""


def run(runs: int) -> Iterator[Figure]:
    """Yield the two ratios; Linux only, as the kernel keeps the accounts."""
    if sys.platform != "linux":
        return
    folder = str(smollm2())
    gc.collect()  # a model of another part that is still mapped here would share the memory that is counted
    one, many = (
        statistics.median(column)
        for column in zip(*((_pss(folder, 1), _pss(folder, _WORKERS)) for _ in range(runs)), strict=True)
    )
    note = f"{one / 1024:.0f} MiB in one process, {many / 1024:.0f} MiB in {_WORKERS} workers together"
    yield Figure(
        "memory", f"PSS of the weights under -n {_WORKERS}, to one process", many / one, "x", 1.2, False, runs, note
    )
    ours, plain = (statistics.median(_score(folder, how) for _ in range(runs)) for how in ("ours", "plain"))
    note = f"{ours / 1024:.0f} MiB and {plain / 1024:.0f} MiB beyond the weights"
    yield Figure(
        "memory", "scoring 64 x 512 tokens, against model(**batch)", ours / plain, "x", 0.35, False, runs, note
    )


def _pss(folder: str, count: int) -> int:
    """Return the kilobytes of proportional memory of the weights in ``pytest -n count``; 1 is pytest without it."""
    suite = WORK / "memory"
    shutil.rmtree(suite, ignore_errors=True)
    suite.mkdir(parents=True)
    (suite / "pytest.ini").write_text("[pytest]\n")
    (suite / "test_memory.py").write_text(_SHARE)
    workers = ["-n", str(count), "--dist", "each"] if count > 1 else []
    cache = {"PYTEST_LLM_CACHE_DIR": str(suite / "cache"), "BENCH_WORKERS": str(count)}
    pytest_run(suite, f"--llm-model={folder}", *workers, **cache)
    return sum(int(path.read_text()) for path in suite.glob("*.kilobytes"))


def _score(folder: str, how: str) -> int:
    command = [sys.executable, "-c", _HEAD + _SCORE, folder, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment()).stdout)
