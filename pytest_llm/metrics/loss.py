"""Loss, perplexity and bits per byte of texts, from the loss of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pytest_llm.metrics.score import Score
from pytest_llm.results import TokenLoss, joint_origin


def loss_of(losses: Sequence[TokenLoss], ids: Sequence[str]) -> Score:
    """Return the NLL of all texts in nats a token, token-weighted; see `LanguageModel.loss`."""
    tokens = sum(loss.tokens for loss in losses)
    request, origin = joint_origin(losses)
    local = "engine" in origin.get("environment", {})  # a service's ids are made of its own spelling of the tokens
    return Score(
        sum(loss.nll for loss in losses) / tokens if tokens else math.nan,
        name="loss",
        n=len(losses),
        higher_is_better=False,
        unit="nats/token",
        per_example=losses,
        weights=[loss.tokens for loss in losses],
        ids=ids,
        predictions=[loss.text for loss in losses],
        tokens=[loss.token_texts for loss in losses],
        token_logprobs=[loss.token_logprobs for loss in losses],
        token_ids=[loss.token_ids for loss in losses] if local else (),
        request=request,
        origin=origin,
    )


def perplexity_of(loss: Score) -> Score:
    """Return ``exp(loss)``, and that of each text."""
    return Score(
        _exp(loss),
        name="perplexity",
        per_example=[_exp(value) for value in loss.per_example],
        weights=loss.weights,
        **_evidence(loss),
        token_ids=loss.token_ids,
    )


def bits_per_byte_of(loss: Score) -> Score:
    """Return the NLL in bits of all texts by their bytes, and that of each; see `LanguageModel.bits_per_byte`."""
    sizes = [len(text.encode()) for text in loss.predictions]
    bits = [tokens * nats / math.log(2) for tokens, nats in zip(loss.weights, loss.per_example, strict=True)]
    return Score(
        sum(bits) / sum(sizes) if sizes else math.nan,
        name="bits_per_byte",
        unit="bits/byte",
        per_example=[one / size for one, size in zip(bits, sizes, strict=True)],
        weights=sizes,
        **_evidence(loss),
    )


def _evidence(loss: Score) -> dict[str, Any]:
    """Return what a figure made of ``loss`` has in common with it."""
    kept = ("n", "higher_is_better", "ids", "predictions", "tokens", "token_logprobs", "request", "origin")
    return {name: getattr(loss, name) for name in kept}


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
