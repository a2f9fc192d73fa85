"""A GGUF model the second time, against transformers' own ``gguf_file=``."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.timing import ROOT, SMOLLM2, WORK, Figure, seconds, side_by_side, smollm2


def run(runs: int) -> Iterator[Figure]:
    """Yield the ratio of loading model and tokenizer, libraries imported before on both sides."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pytest_llm.engines.loading import quiet
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.weights.convert import prepare
    from pytest_llm.weights.fingerprint import fingerprint
    from pytest_llm.weights.resolve import resolve
    from pytest_llm.weights.spec import ModelSpec

    smollm2()  # the first use
    spec = ModelSpec(SMOLLM2, device="cpu")

    def ours() -> None:
        weights = resolve(spec, root=ROOT)
        digest = fingerprint(weights, WORK / "cache")
        engine = LocalEngine(prepare(weights, digest, spec, WORK / "cache"), spec)
        assert engine.model
        assert engine.tokenizer

    def theirs() -> None:
        weights = resolve(spec, root=ROOT)
        with quiet():
            AutoModelForCausalLM.from_pretrained(weights.folder, gguf_file=weights.gguf)
            AutoTokenizer.from_pretrained(weights.folder, gguf_file=weights.gguf)

    ours()
    mine, other, ratio = side_by_side(lambda: seconds(ours), lambda: seconds(theirs), runs)
    note = f"{mine:.2f} s and {other:.1f} s, model and tokenizer"
    yield Figure("gguf", "second use of a GGUF, against gguf_file=", ratio, "x faster", 40, True, runs, note)
