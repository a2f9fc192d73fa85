"""Results: what a model answered, with the evidence (logprobs in nats) and where it came from.

A result is also the plain thing a test wants: a `Generation` is a ``str``, a list of scores a ``list``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, SupportsIndex, TypeVar, overload

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import digest_of

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What produced an answer: the request, the model that answered, and the environment it ran in.

    ``request`` is the request's JSON. ``model`` has source, revision, adapter (if any), digest and parts.
    ``environment`` has torch, transformers, device, dtype, attention; peft of an adapter and gguf of a GGUF; and where
    no service answered engine, the number of what this package itself computes (`pytest_llm.store.key.ENGINE_VERSION`).
    """

    request: dict[str, Any] = dataclasses.field(default_factory=dict)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)


def joint_origin(values: Iterable[Any]) -> tuple[str, dict[str, Any]]:
    """Return the digest of the questions behind ``values``, and these with the model and environment that answered.

    ``("", {})`` when any of them does not come from a model (plain text).
    """
    found = [getattr(value, "origin", None) for value in values]
    origins = [origin for origin in found if isinstance(origin, Origin) and origin.request]
    if not origins or len(origins) < len(found):
        return "", {}
    requests = [origin.request for origin in origins]
    about = {"requests": requests, "model": origins[0].model, "environment": origins[0].environment}
    return digest_of(requests), about


class Generation(str):
    r"""A generated text. A ``str`` (prompt and special tokens excluded) that remembers its tokens.

    Attributes:
        token_ids: the generated ids, with the end token when there was one. Length T.
        tokens: the text of each id, its leading space included; bytes that are part of a character stand as ``\xe7``.
            Length T.
        logprobs: natural log of each chosen token's probability under the model's raw distribution (before
            temperature, penalties and truncation). Length T.
        runner_ups: id of the most probable *other* token at each step. Length T.
        margins: ``logprob(chosen) - logprob(runner-up)`` at each step, in nats, both under what greedy
            decoding compares (the distribution after penalties); negative where sampling or beams chose a
            less probable token. Length T.
        finish_reason: ``"stop"`` (end token or stop string), ``"length"``, or what a service says.
        origin: see `Origin`.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    runner_ups: tuple[int, ...]
    margins: tuple[float, ...]
    finish_reason: str
    origin: Origin

    def __new__(
        cls,
        text: str,
        *,
        token_ids: Iterable[int] = (),
        tokens: Iterable[str] = (),
        logprobs: Iterable[float] = (),
        runner_ups: Iterable[int] = (),
        margins: Iterable[float] = (),
        finish_reason: str = "",
        origin: Origin | None = None,
    ) -> Generation:
        """Make a generation; the five sequences must have one entry a token."""
        self = super().__new__(cls, text)
        self.token_ids, self.tokens = tuple(token_ids), tuple(tokens)
        self.logprobs, self.margins = tuple(logprobs), tuple(margins)
        self.runner_ups = tuple(runner_ups)
        self.finish_reason = finish_reason
        self.origin = origin or Origin()
        return self

    @property
    def text(self) -> str:
        """The text as a plain ``str``."""
        return str.__str__(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def to_json(self) -> dict[str, Any]:
        """Return the answer (not its origin) as JSON data."""
        return {
            "text": self.text,
            "token_ids": list(self.token_ids),
            "tokens": list(self.tokens),
            "logprobs": list(self.logprobs),
            "runner_ups": list(self.runner_ups),
            "margins": list(self.margins),
            "finish_reason": self.finish_reason,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: Origin | None = None) -> Generation:
        """Rebuild what `to_json` gave."""
        return cls(data["text"], **{k: v for k, v in data.items() if k != "text"}, origin=origin)


class TokenLoss(float):
    """The mean NLL of one text, in nats a token.

    Attributes:
        nll: summed negative log-likelihood, nats.
        tokens: number of scored tokens.
        token_ids, token_texts, token_logprobs: of every scored token, in order; an answer kept by an older version
            has no texts.
    """

    nll: float
    tokens: int
    token_ids: tuple[int, ...]
    token_texts: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    text: str
    origin: Origin

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: Origin) -> TokenLoss:
        """Rebuild from the engine's answer (``token_ids``, ``token_logprobs``)."""
        logprobs = data["token_logprobs"]
        nll = -sum(logprobs)
        self = cls(nll / len(logprobs) if logprobs else float("nan"))
        self.nll, self.tokens = nll, len(logprobs)
        self.token_ids, self.token_logprobs = tuple(data["token_ids"]), tuple(logprobs)
        self.token_texts = tuple(data.get("tokens", ()))
        self.origin, self.text = origin, origin.request.get("text", "")
        return self


class Parts(list[T]):
    """An answer that is a list, with its ``origin``. A slice has it too; what else is made of it is a plain list."""

    origin: Origin

    def __init__(self, parts: Iterable[T], origin: Origin) -> None:
        super().__init__(parts)
        self.origin = origin

    @overload
    def __getitem__(self, place: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Parts[T]: ...
    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return Parts(found, self.origin) if isinstance(place, slice) else found


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
    """One position of a text: its token, its logprob in nats and the best alternatives ``(id, token, logprob)``.

    ``logprob`` is ``None`` for a first token that nothing predicts.
    """

    token_id: int
    token: str
    logprob: float | None
    top: tuple[tuple[int, str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class ContinuationScore:
    """One continuation: summed logprob in nats, token count, and whether greedy decoding would give it."""

    text: str
    logprob: float
    tokens: int
    is_greedy: bool

    @property
    def mean_logprob(self) -> float:
        """Nats a token."""
        return self.logprob / self.tokens


class Pick(int):
    """The place of the continuation that a model picked, with the ``origin`` of the scores it was picked by."""

    origin: Origin


class Scores(Parts[ContinuationScore]):
    """The scores of a prompt's continuations, in their order: a list that can say which one the model picks."""

    def pick(self, normalise: Literal["characters", "tokens"] | None = None) -> Pick:
        """Return the place of the most probable continuation, the first of several.

        Args:
            normalise: compare the logprobs as they are (lm-evaluation-harness: ``acc``), or divided by the
                continuation's ``"characters"`` without its leading space (``acc_norm``), or by its ``"tokens"``.

        Raises:
            InvalidInputError: there is no such way, or a logprob is NaN.
        """
        if normalise not in (None, "characters", "tokens"):
            raise InvalidInputError(f"pick(): normalise is 'characters', 'tokens' or None, not {normalise!r}")
        values = [
            one.mean_logprob
            if normalise == "tokens"
            else one.logprob / (len(one.text.removeprefix(" ")) or 1 if normalise else 1)
            for one in self
        ]
        if any(value != value for value in values):
            raise InvalidInputError("pick(): a logprob is NaN: the model is numerically broken")
        picked = Pick(max(range(len(values)), key=values.__getitem__))
        picked.origin = self.origin
        return picked


@dataclasses.dataclass(frozen=True)
class MaskFill:
    """One candidate for a mask: token, probability in [0, 1], and the text with it in place."""

    token_id: int
    token: str
    probability: float
    text: str


@dataclasses.dataclass(frozen=True)
class LayerStates:
    """What passed between a model's layers for one text, as `pytest_llm.engines.local_activations` keeps it.

    Attributes:
        token_ids: of the text (an encoder-decoder's source, then its target).
        layers: "embedding", then "layer 0", ...; the last one's state includes what normalises it at the end.
        norms: geometric mean of the tokens' norms, one a layer.
        sketch: a projection of the states, one row of numbers a layer.
        origin: see `Origin`.
    """

    token_ids: tuple[int, ...]
    layers: tuple[str, ...]
    norms: tuple[float, ...]
    sketch: tuple[tuple[float, ...], ...]
    origin: Origin

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: Origin) -> LayerStates:
        """Rebuild from the engine's answer."""
        sketch = tuple(map(tuple, data["sketch"]))
        return cls(tuple(data["token_ids"]), tuple(data["layers"]), tuple(data["norms"]), sketch, origin)


def token_logprobs(answer: dict[str, Any], origin: Origin) -> list[TokenLogprob]:
    """Rebuild the positions of a text from the engine's answer."""
    tokens = (
        TokenLogprob(one["token_id"], one["token"], one["logprob"], tuple((i, t, p) for i, t, p in one["top"]))
        for one in answer["positions"]
    )
    return Parts(tokens, origin)


def mask_fills(answer: dict[str, Any], origin: Origin) -> Any:
    """Rebuild the candidates for a text's mask, a list a mask when there are several, from the engine's answer."""
    masks = [Parts((MaskFill(**candidate) for candidate in mask), origin) for mask in answer["masks"]]
    return masks[0] if len(masks) == 1 else Parts(masks, origin)
