"""Goldens of next-token distributions: what is kept of them, and what is said when they move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.argument_rules import listed
from pytest_llm.errors import InvalidInputError
from pytest_llm.evidence import Series
from pytest_llm.golden import noise
from pytest_llm.golden.bounds import BOUNDS, Bound, beyond, check, limits, table
from pytest_llm.golden.divergence import dtype, figures, positions
from pytest_llm.golden.drift import Drift
from pytest_llm.golden.recorded import Recorded
from pytest_llm.golden.values import Array, Recording
from pytest_llm.requests import Logprobs

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.model import LanguageModel

#: Positions listed as the worst, and drawn in a report.
_WORST, _DRAWN = 3, 500


class Distribution(Recorded):
    """One check: it asks ``model`` for the ``top_k`` best tokens at every position of ``texts``."""

    kind = "distribution"

    def __init__(
        self, model: LanguageModel, texts: str | Sequence[str], top_k: int, bounds: Mapping[str, float]
    ) -> None:
        check(bounds)
        self.bounds = bounds
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise InvalidInputError(f"top_k is a number of tokens, at least 1, not {top_k!r}")
        super().__init__(model, [Logprobs(text, top_k=top_k) for text in listed(texts, "text")])
        self._parts = [positions(answer) for answer in self.answers]
        if not sum(map(len, self._parts)):
            raise InvalidInputError("check_distribution(): every text is one token, which nothing before it predicts")

    def recording(self) -> Recording:
        """Return all positions, and how many are each text's."""
        import numpy as np

        array = np.concatenate(self._parts)
        nll = -math.fsum(array["logprob"].tolist()) / len(array)
        facts = {"tokens": [len(part) for part in self._parts], "perplexity": _rounded(math.exp(min(nll, 700.0)), 6)}
        return Recording(self.kind, facts, Array(array, "position"))

    def moved(self, answers: list[Answer]) -> dict[str, Any]:
        """Return the distance of every figure, by the name of its bound."""
        import numpy as np

        parts = [positions(answer) for answer in answers]
        old = np.concatenate(self._parts[: len(parts)])
        found, _ = figures(old, np.concatenate(parts), _numbers([len(part) for part in parts]))
        return {name: _rounded(bound.distance(found[bound.figure].value), 3) for name, bound in BOUNDS.items()}

    def incomparable(self, old: Recording, new: Recording) -> tuple[str, str]:
        """Compare the tokens of the texts."""
        names, counts = old.array.data.dtype.names, old.facts["tokens"]
        if names != dtype(1).names or sum(counts) != len(old.array.data):
            raise ValueError("the array has other fields, or another length than its texts")
        now = new.facts["tokens"]
        wrong = [i for i, (x, y) in enumerate(zip(counts, now, strict=True)) if x != y]
        if not wrong:
            differ = old.array.data["token"] != new.array.data["token"]
            wrong = [_numbers(now)[int(differ.argmax())]] if differ.any() else []
        if not wrong:
            return "", ""
        what = f"text {wrong[0]} is made of other tokens ({counts[wrong[0]]} were predicted, now {now[wrong[0]]})"
        return what, "the tokenizer changed: distributions over other tokens cannot be compared"

    def drift(self, old: Recording, new: Recording) -> tuple[Drift, tuple[Series, ...]]:
        """Say how far the distributions are apart, and where most."""
        golden, now, texts = old.array.data, new.array.data, _numbers(new.facts["tokens"])
        found, divergence = figures(golden, now, texts)
        floor = old.facts.get("noise_floor")
        allowed = limits(self.bounds, floor)
        over, unusual = beyond(found, allowed), beyond(found, limits({}, floor))
        status = "drifted" if over else "close" if unusual else "identical"
        lead = (over or unusual or [BOUNDS["max_mean_kl"]])[0]
        said = f"{lead.label} {lead.sign}{lead.shown(found[lead.figure].value)}"
        headline = {
            "identical": f"the distributions match: {said}",
            "close": f"the distributions are close: {said}, within the bounds of this check",
            "drifted": f"the distributions drifted: {said}, {self._allowed(lead, allowed[lead.name], floor)}",
        }[status]
        shown: dict[str, Any] = {"texts": len(self.requests), "positions": len(golden)}
        for name in ("max_mean_kl", "max_kl", "min_top1", "max_perplexity_ratio"):
            shown[BOUNDS[name].label] = found[BOUNDS[name].figure].value
        if floor:
            shown["noise floor (KL mean)"] = noise.floor_of(floor, "max_mean_kl")
        k = golden["ids"].shape[1]
        notes = (
            f"KL(golden || new) is a lower bound, in nats: the {k} best tokens, the text's own and the mass of the "
            "rest are known",
            f"noise floor: {noise.described(floor)}" if floor else "no noise floor was recorded with this golden",
        )
        rows = table(found, allowed, floor) + self._worst(golden, now, divergence, texts)
        drift = Drift(status, headline, shown, notes, tuple(rows))
        return drift, (self._series(divergence, texts, allowed["max_kl"]),)

    def _allowed(self, bound: Bound, limit: float, floor: Any) -> str:
        moved = noise.floor_of(floor, bound.name)
        why = f"{noise.FACTOR:g} times the noise floor" if moved and limit == noise.FACTOR * moved else bound.name
        word = "at least" if bound.unit == "agreement" else "at most"
        return f"{word} {bound.shown(bound.value(limit))} allowed ({why})"

    def _worst(self, golden: Any, now: Any, divergence: Any, texts: list[int]) -> list[str]:
        words: dict[int, str] = {}
        for answer in self.answers:
            for one in answer["positions"]:
                words.update((token, word) for token, word, _ in one["top"])
                words[one["token_id"]] = one["token"]

        def best(position: Any) -> str:
            token = int(position["ids"][0])
            return f"{words.get(token, f'id {token}')!r} {math.exp(position['logprobs'][0]):.4f}"

        rows = ["most at:"]
        for at in divergence.argsort()[::-1][:_WORST].tolist():
            number = texts[at]
            # Counted from the text's end: its first token is predicted only where a start token stands before it.
            place = len(self.answers[number]["positions"]) - (len(texts) - texts[::-1].index(number) - at)
            word = words[int(now[at]["token"])]
            move = f"{best(golden[at])} → {best(now[at])}"
            rows.append(f"  text {number}, token {place} {word!r}: KL {divergence[at]:.3g}, best {move}")
        return rows

    def _series(self, divergence: Any, texts: list[int], limit: float) -> Series:
        number = texts[int(divergence.argmax())]
        values = [float(value) for value, text in zip(divergence, texts, strict=True) if text == number]
        title = f"KL at every token of text {number}"
        return Series(title, "token", "nats", tuple(values[:_DRAWN]), limit if math.isfinite(limit) else None)


def _numbers(counts: Sequence[int]) -> list[int]:
    """Return the number of its text for every position."""
    return [number for number, count in enumerate(counts) for _ in range(count)]


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
