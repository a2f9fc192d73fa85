"""What an engine is: requests in, answers out.

An answer is JSON data, exactly what the store keeps; `pytest_llm.results` makes results of it. By kind:

=========== =============================================================================================
generate    ``{"sequences": [Generation.to_json(), ...]}``, ``num_return_sequences`` of them
loss        ``{"token_ids": [...], "tokens": [...], "token_logprobs": [...]}``, the scored tokens in order; each of
            ``tokens`` is the text of one, and the field may be missing
logprobs    ``{"positions": [{"token_id", "token", "logprob", "top": [[id, token, logprob], ...]}, ...]}``
score       ``{"scores": [{"logprob", "tokens", "is_greedy"}, ...]}``, one a continuation
fill_mask   ``{"masks": [[{"token_id", "token", "probability", "text"}, ...], ...]}``, one list a mask
classify    ``{"labels": [...], "logits": [...], "function": "softmax", "sigmoid" or "none"}``, in the model's order
tag         ``{"spans": [{"text", "start", "end", "label", "score"}, ...]}``, in the order of the text
extract     ``{"spans": [{"text", "start", "end", "score"}]}``, the best one, in characters of the context
embed       ``{"vector": [...]}``
activations ``{"token_ids", "layers": [name, ...], "norms": [...], "sketch": [[...], ...]}``, one entry a layer
tokenize    ``{"token_ids": [...]}``
=========== =============================================================================================

Logprobs are natural logarithms, in nats. An answer may also have an ``environment``: what a service says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pytest_llm.requests import Generate, Request

Answer = dict[str, Any]

#: The list that an answer of each kind has.
_LISTS = {"generate": "sequences", "loss": "token_logprobs", "logprobs": "positions", "score": "scores",
          "fill_mask": "masks", "classify": "logits", "tag": "spans", "extract": "spans", "embed": "vector",
          "activations": "sketch", "tokenize": "token_ids"}  # fmt: skip


def is_answer(answer: Answer, request: Request) -> bool:
    """Whether ``answer``, from the store, is one to ``request``: of its kind, and with all that was asked for."""
    found = answer.get(_LISTS[request.kind])
    if isinstance(request, Generate):
        texts = [one["text"] for one in found or () if isinstance(one, dict) and isinstance(one.get("text"), str)]
        return len(texts) == request.num_return_sequences
    return isinstance(found, list)


class Engine(Protocol):
    """Answers requests. Batching, sorting by length and memory are its own business."""

    #: What loading the weights took; 0 while they are not loaded, and where that is not known.
    load_seconds: float

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield ``(index, answer)`` for every request, in any order, as soon as its batch is done.

        The caller keeps each answer as it comes, so an interrupted run loses one batch at most.

        Raises:
            InvalidInputError: a request this model cannot answer (too long, no mask token, no decoder, ...).
            ModelNotFoundError: the weights cannot be loaded.
        """
