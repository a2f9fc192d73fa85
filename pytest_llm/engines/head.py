"""A model's logits at the positions that are asked for, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

#: Positions whose logits exist at one time: [CHUNK, vocabulary] in float32 is the largest array of scoring.
CHUNK = 128
#: Positions and tokens of a vocabulary in one product, where logits need not exist side by side.
TILE = (2048, 1024)


class Head:
    """The output layer of a model.

    A hook on the output layer hands it only the wanted positions, so that the model's own code does all
    that comes after it (soft capping, scaling). Where nothing comes after it, the layer is applied chunk by chunk.
    Which of these holds is found out on the first input, by comparing logits with the plain forward pass, and by what
    becomes of large ones. Until then, an input so short that all its logits are one chunk has them all computed:
    leaving some out would not pay for finding out; but not where answers are to be ``exact``, whatever came first.
    """

    def __init__(self, model: Any, *, exact: bool = False) -> None:
        self._model = model
        self._exact = exact
        self._layer = model.get_output_embeddings()
        self._way: Literal["", "layer", "selected", "all"] = ""

    def logits(self, inputs: Mapping[str, Any], rows: Any, columns: Any, *, apart: bool = False) -> Iterator[Any]:
        """Yield the logits at ``(rows[i], columns[i])`` in order, in chunks [n, vocabulary], float32 or better.

        ``inputs`` are the model's; ``rows`` and ``columns`` are index tensors on its device. To be consumed
        under ``torch.no_grad``. With ``apart`` no chunk spans two rows, where the model allows that (`layerwise`).
        """
        way = self._known_way(inputs)
        if way == "layer":
            hidden, _ = self._run(inputs, rows, columns, feed=1)
            counts = rows.unique_consecutive(return_counts=True)[1].tolist() if apart else [len(hidden)]
            for part in hidden.split(counts):
                for chunk in part.split(CHUNK):
                    yield widen(self._layer(chunk))
            return
        if way == "selected":
            logits = self._run(inputs, rows, columns, feed=len(rows))[1][0]
        else:
            logits = self._model(**inputs).logits[rows, columns]
        for start in range(0, len(logits), CHUNK):
            yield widen(logits[start : start + CHUNK])

    def parts(self, inputs: Mapping[str, Any], rows: Any, columns: Any) -> Iterator[Iterator[Any]] | None:
        """Yield, for each part of the positions in order, its logits [n, v] by parts of the vocabulary.

        ``None`` where logits are more than a product (a bias, soft capping), or rounded more. A product of parts stays
        within the caches of a CPU, where one of `CHUNK` positions with the whole vocabulary does not.
        """
        from pytest_llm.engines.products import plain_product

        if self._known_way(inputs) != "layer":
            return None
        product = plain_product(self._layer)
        if product is None or self._layer.weight.dtype.itemsize < 4:
            return None
        hidden, _ = self._run(inputs, rows, columns, feed=1)
        weights = self._layer.weight.split(TILE[1])
        return ((product(part, weight) for weight in weights) for part in hidden.split(TILE[0]))

    @property
    def layerwise(self) -> bool:
        """Whether nothing comes after the output layer, so that it can be applied to any part of its input."""
        return self._way == "layer"

    def _run(self, inputs: Mapping[str, Any], rows: Any, columns: Any, *, feed: int) -> tuple[Any, Any]:
        """Return the output layer's input at the positions [n, H], and the logits of the first ``feed``."""
        seen: list[Any] = []

        def select(layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            seen.append(args[0][rows, columns])
            return (seen[-1][None, :feed], *args[1:])

        handle = self._layer.register_forward_pre_hook(select)
        try:
            logits = self._model(**inputs).logits
        finally:
            handle.remove()
        return (seen[0] if len(seen) == 1 else None), logits

    def _known_way(self, inputs: Mapping[str, Any]) -> Literal["layer", "selected", "all"]:
        if not self._way and not self._exact and inputs.get("decoder_input_ids", inputs["input_ids"]).numel() <= CHUNK:
            return "all"
        return self._way or self._find_way(inputs)

    def _find_way(self, inputs: Mapping[str, Any]) -> Literal["layer", "selected", "all"]:
        import torch

        if self._layer is None:
            return "all"
        names = [n for n in ("input_ids", "attention_mask", "decoder_input_ids") if inputs.get(n) is not None]
        probe = {name: inputs[name][:1, :16] for name in names}
        length = probe[names[-1]].shape[1]
        plain = self._model(**probe).logits[0].flip(0)
        # Backwards, so that a selection which is not made shows.
        rows = torch.zeros(length, dtype=torch.long, device=plain.device)
        columns = torch.arange(length, device=plain.device).flip(0)
        if length < 2:
            return "all"  # too short to tell; the next input may be longer
        self._way = "all"
        try:
            hidden, logits = self._run(probe, rows, columns, feed=length)
        except (RuntimeError, IndexError, TypeError):  # a layer that is fed another shape than [B, L, H]
            return "all"
        if hidden is None or logits.shape[1] != length or not _same(logits[0], plain):
            return "all"
        alike = _same(self._layer(hidden), plain)
        self._way = "layer" if alike and self._is_last(probe) else "selected"
        return self._way

    def _is_last(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the layer's output comes back bit for bit: numbers so large that a cap or a scale would show."""
        import torch

        put: list[Any] = []

        def replace(layer: Any, args: tuple[Any, ...], output: Any) -> Any:
            put.append(torch.linspace(-1000, 1000, output.shape[-1]).to(output).expand_as(output))
            return put[-1].clone()

        handle = self._layer.register_forward_hook(replace)
        try:
            logits = self._model(**inputs).logits
        finally:
            handle.remove()
        return torch.equal(widen(logits), widen(put[-1]))


def widen(numbers: Any) -> Any:
    """Return a tensor in float32 or wider."""
    return numbers if numbers.element_size() >= 4 else numbers.float()


def _same(a: Any, b: Any) -> bool:
    # 1e-4 in float32; in reduced precision two passes of other shapes differ by more than that.
    tolerance = 1e-4 if a.element_size() >= 4 else 0.05 * float(b.abs().max())
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance).all())
