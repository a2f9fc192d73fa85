"""Goldens of what passes between layers: which layer is the first to answer otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.argument_rules import listed
from pytest_llm.errors import InvalidInputError
from pytest_llm.evidence import Series
from pytest_llm.golden import noise
from pytest_llm.golden.drift import Drift
from pytest_llm.golden.recorded import Recorded
from pytest_llm.golden.values import Array, Recording
from pytest_llm.requests import Activations

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.model import LanguageModel

#: A layer diverges first when its error is this part of the largest. Errors come in with the damaged layer and are
#: carried on; before it there is at most noise (none at all in the same environment).
_PART = 0.02

#: Layers drawn, and the width and the smallest error of their bars.
_ROWS, _WIDTH, _DECADES = 64, 40, 8


class LayerStatesCheck(Recorded):
    """One check: it asks ``model`` for a projection of every layer's states on ``texts``."""

    kind = "activations"

    def __init__(
        self,
        model: LanguageModel,
        texts: str | Sequence[str],
        sources: str | Sequence[str] | None,
        max_error: float,
    ) -> None:
        items = listed(texts, "text")
        given = [None] * len(items) if sources is None else listed(sources, "source")
        if len(given) != len(items):
            raise InvalidInputError(f"check_activations() got {len(items)} texts and {len(given)} sources")
        if isinstance(max_error, bool) or not isinstance(max_error, (int, float)) or not max_error >= 0:
            raise InvalidInputError(f"max_error={max_error!r} is no bound: it is a number of at least 0")
        self.max_error = float(max_error)
        super().__init__(model, [Activations(text, source) for text, source in zip(items, given, strict=True)])

    def recording(self) -> Recording:
        """Return the projections, float32 [texts, layers, size], with the layers' names and norms."""
        columns = zip(*(answer["norms"] for answer in self.answers), strict=True)
        norms = [math.exp(math.fsum(map(math.log, layer)) / len(layer)) for layer in columns]
        facts = {
            "layers": self.answers[0]["layers"],
            "norms": [float(f"{norm:.6g}") for norm in norms],
            "token_ids": [answer["token_ids"] for answer in self.answers],
        }
        return Recording(self.kind, facts, Array(_sketches(self.answers).astype("<f4"), "float32"))

    def moved(self, answers: list[Answer]) -> dict[str, Any]:
        """Return the error of every layer, and the largest."""
        errors = relative_errors(_sketches(self.answers[: len(answers)]), _sketches(answers))
        return {"error": float(f"{max(errors):.3g}"), "by_layer": [float(f"{error:.3g}") for error in errors]}

    def incomparable(self, old: Recording, new: Recording) -> tuple[str, str]:
        """Compare the tokens of the texts, and the layers."""
        if old.facts["token_ids"] != new.facts["token_ids"]:
            return "the texts are made of other tokens", "the tokenizer changed: states of other tokens differ anyhow"
        shapes = [side.array.data.shape for side in (old, new)]
        if old.facts["layers"] != new.facts["layers"] or shapes[0] != shapes[1]:
            counts = [len(side.facts["layers"]) for side in (old, new)]
            return f"{counts[0]} states a text became {counts[1]}", "another architecture has other layers"
        return "", ""

    def drift(self, old: Recording, new: Recording) -> tuple[Drift, tuple[Series, ...]]:
        """Say which layer's states are the first that moved, and how far every layer's did."""
        errors = relative_errors(old.array.data, new.array.data)
        floor = old.facts.get("noise_floor")
        noisy = _by_layer(floor, len(errors))
        limits = [max(self.max_error, noise.FACTOR * error) for error in noisy]
        series = Series("relative error by layer", "layer", "relative error", tuple(errors), max(limits))
        figures: dict[str, Any] = {"texts": len(self.requests), "states": len(errors), "largest error": max(errors)}
        if all(error <= limit for error, limit in zip(errors, limits, strict=True)):
            return Drift("identical", f"the layers match: relative error at most {max(errors):.3g}", figures), (series,)
        first = first_divergent(errors, noisy)
        names = old.facts["layers"]
        figures = {"first": names[first], "its error": errors[first], "allowed": limits[first], **figures}
        figures.update({"noise floor": noisy[first]} if floor else {})
        notes = [f"noise floor: {noise.described(floor)}" if floor else "no noise floor was recorded with this golden"]
        if first == len(errors) - 1:
            notes.append("the last state is taken after what normalises it at the end, which may be to blame as well")
        headline = f"the layers drifted, the first is {names[first]}: relative error {errors[first]:.3g}"
        rows = _bars(names, errors, limits, first)
        rows.append(f"norm of a state after {names[first]}: {_norm(old, first)} → {_norm(new, first)}")
        return Drift("drifted", headline, figures, tuple(notes), tuple(rows)), (series,)


def relative_errors(old: Any, new: Any) -> list[float]:
    """Return the relative error of every layer's states from projections [texts, layers, size], all texts together.

    It estimates the root of the mean squared relative change of a token's state (`engines.local_activations`).
    """
    import numpy as np

    gap = new.astype(np.float64) - old.astype(np.float64)
    errors: list[float] = np.sqrt((gap**2).mean(axis=(0, 2))).tolist()
    return errors


def first_divergent(errors: Sequence[float], floor: Sequence[float]) -> int:
    """Return the first layer whose error is above its noise and not small beside the largest."""
    above = (noise.FACTOR * noisy < error >= _PART * max(errors) for error, noisy in zip(errors, floor, strict=True))
    return next((i for i, found in enumerate(above) if found), max(range(len(errors)), key=errors.__getitem__))


def _sketches(answers: Sequence[Answer]) -> Any:
    import numpy as np

    return np.array([answer["sketch"] for answer in answers])


def _by_layer(recorded: Any, layers: int) -> list[float]:
    """Return every layer's largest error over the changes of a recorded floor; 0 where none was measured."""
    found = [one["by_layer"] for one in recorded.values()] if recorded else []
    return [max(column) for column in zip(*found, strict=True)] if found else [0.0] * layers


def _norm(side: Recording, layer: int) -> str:
    return f"{side.facts['norms'][layer]:.4g}"


def _bars(names: Sequence[str], errors: Sequence[float], limits: Sequence[float], first: int) -> list[str]:
    """Draw the errors on a logarithmic scale up to 1; of a deep model, the layers around the first."""
    start = max(0, min(first - _ROWS // 4, len(names) - _ROWS))
    stop = min(len(names), start + _ROWS)
    rows = [f"relative error (a bar ten times as large is {_WIDTH // _DECADES} longer; * is more than allowed)"]
    rows += [f"… ({start} before)"] if start else []
    width = max(map(len, names))
    for i in range(start, stop):
        length = round(_WIDTH * (1 + math.log10(max(errors[i], 1e-300)) / _DECADES))
        bar = "█" * min(max(length, 0), _WIDTH)
        over = "*" if errors[i] > limits[i] else " "
        rows.append(f"{names[i]:<{width}} {errors[i]:8.1e} {over} {bar}{'  ← first' if i == first else ''}".rstrip())
    return [*rows, *([f"… (+{len(names) - stop})"] if stop < len(names) else [])]
