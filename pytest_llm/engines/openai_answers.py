"""What services answer in OpenAI's API, as the answers of `pytest_llm.engines.protocol`.

A service names tokens by their text, not by an id. The ids here are digests of that text: two tokens have one id where
they have one text, which is what comparing answers needs.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.openai_arguments import offered
from pytest_llm.engines.openai_messages import said

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Generate

#: The largest number of float32, in which embeddings are compared.
_LARGEST = 3.4028234663852886e38
#: How a path begins that is one machine's.
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


class Token(NamedTuple):
    """One token: its text, its id, its logprob in nats (``None`` for the first of a text), the best by logprob."""

    text: str
    id: int
    logprob: float | None
    top: Sequence[tuple[int, str, float]]


class Echo(NamedTuple):
    """A text that a service read: its tokens, and the character each ends before."""

    tokens: Sequence[Token]
    ends: Sequence[int]


def completion(response: Any, name: str, request: Generate) -> Answer:
    """Return the answer to ``request`` in a response of ``/completions``, which the model ``name`` was asked for."""
    found = [_sequence(one.text, _tokens(one.logprobs), one.finish_reason, request) for one in _choices(response)]
    return _answer(response, name, found)


def chat(response: Any, name: str, request: Generate) -> Answer:
    """Return the answer in a response of ``/chat/completions``, as `completion` does; see `openai_messages.said`.

    Raises:
        ValueError: as there.
    """
    found = []
    for choice in _choices(response):
        tokens = _tokens(choice.logprobs)
        text, reason, calls = said(choice, evidence=bool(tokens), tools=offered(request))
        found.append(_sequence(text, tokens, reason, None if calls else request))
    return _answer(response, name, found)


def echo(response: Any, text: str) -> Echo | None:
    """Return ``text`` as the service read it; ``None`` where it did not say its prompt again with logprobs."""
    choice = _one(response, "choices")
    tokens, offsets = _tokens(choice.logprobs), getattr(choice.logprobs, "text_offset", None) or []
    starts = [0, *itertools.accumulate(len(token.text) for token in tokens)]
    # The last token is the one that was asked for: the text is without it if it is an end token or half a character.
    for count in (len(tokens) - 1, len(tokens)):
        whole = "".join(token.text for token in tokens[:count])
        if whole.endswith(choice.text):
            before = len(whole) - len(choice.text)  # special tokens, which are no part of the text
            ends = [start - before for start in starts[1 : count + 1]]
            break
    else:  # half a character is a token without a text of its own; offsets that add up such texts say nothing more
        ends = offsets[1:] if len(offsets) == len(tokens) and offsets != starts[:-1] else []
    kept = [i for i, end in enumerate(ends) if 0 < end <= len(text)]
    if not choice.text.startswith(text) or not kept or ends[kept[-1]] != len(text):
        return None
    if any(tokens[i].logprob is None for i in kept if i):
        return None
    return Echo([tokens[i] for i in kept], [ends[i] for i in kept])


def loss(text: Echo) -> Answer:
    """Return the scored tokens of a text."""
    scored = [token for token in text.tokens if token.logprob is not None]
    return {
        "token_ids": [token.id for token in scored],
        "tokens": [token.text for token in scored],
        "token_logprobs": [token.logprob for token in scored],
    }


def logprobs(text: Echo, top_k: int) -> Answer:
    """Return every token of a text with its ``top_k`` best alternatives."""
    return {
        "positions": [
            {
                "token_id": token.id,
                "token": token.text,
                "logprob": token.logprob,
                "top": [list(one) for one in token.top[:top_k]],
            }
            for token in text.tokens
        ]
    }


def continuation(text: Echo, start: int) -> dict[str, Any] | None:
    """Return the score of what follows character ``start``; a token that lies on both sides is part of it.

    ``None`` where there is no token, or one that nothing before it predicts.
    """
    scored = [token for token, end in zip(text.tokens, text.ends, strict=True) if end > start]
    logprobs = [token.logprob for token in scored if token.logprob is not None]
    if not scored or len(logprobs) < len(scored):
        return None
    return {
        "logprob": math.fsum(logprobs),
        "tokens": len(scored),
        "is_greedy": all(token.top and token.top[0][0] == token.id for token in scored),
    }


def embedding(response: Any, *, normalize: bool) -> Answer:
    """Return the one vector of a response, divided by its Euclidean norm where asked.

    Raises:
        ValueError: there is not one, or it holds what is no number of float32.
    """
    given = _one(response, "data").embedding
    if isinstance(given, str):  # whatever was asked for: base64 of little-endian float32
        raw = base64.b64decode(given, validate=True)
        if len(raw) % 4:
            raise ValueError("an embedding in base64 that is no row of float32")
        given = struct.unpack(f"<{len(raw) // 4}f", raw)
    if not given:
        raise ValueError("an embedding without numbers")
    vector = [float(x) for x in given]
    for place, number in enumerate(vector):
        if not abs(number) <= _LARGEST:
            raise ValueError(f"an embedding with {number} at place {place}, which is no number of float32")
    norm = math.sqrt(math.fsum(x * x for x in vector)) if normalize else 1.0
    return {"vector": [x / (norm or 1.0) for x in vector]}


def _choices(response: Any) -> list[Any]:
    # One answer needs no index; the order is the list's own where there is none.
    return sorted(_listed(response, "choices"), key=lambda choice: int(choice.index or 0))


def _one(response: Any, name: str) -> Any:
    found = _listed(response, name)
    if len(found) != 1:
        what = "vectors" if name == "data" else name
        raise ValueError(f"{len(found)} {what} in answer to one text")
    return found[0]


def _listed(response: Any, name: str) -> list[Any]:
    """Return a list of the response.

    Raises:
        ValueError: it has none; the message has what came in its place.
    """
    found = getattr(response, name, None)
    if isinstance(found, list):
        return found
    raise ValueError(f"no {name}, but {response!s}")


def _answer(response: Any, name: str, sequences: list[dict[str, Any]]) -> Answer:
    facts = {}
    backend, model = getattr(response, "system_fingerprint", None), getattr(response, "model", None)
    if backend:  # OpenAI: "the backend configuration that the model runs with"
        facts["system_fingerprint"] = str(backend)
    if model and str(model) != name:  # what an alias stands for; some servers give a path of theirs
        facts["served_model"] = re.split(r"[/\\]", str(model))[-1] if _ABSOLUTE.match(str(model)) else str(model)
    return {"sequences": sequences, **({"environment": facts} if facts else {})}


def _sequence(
    text: str, tokens: Sequence[Token], finish_reason: str | None, cut: Generate | None = None
) -> dict[str, Any]:
    """Return one answer, ``cut`` at the stop strings of a request, which some services leave in."""
    if not all(isinstance(token.logprob, (int, float)) and not math.isinf(token.logprob) for token in tokens):
        tokens = []  # no evidence, as from a service without logprobs; a NaN is evidence, of a broken model
    others = [next((one for one in token.top if one[0] != token.id), None) for token in tokens]
    known = [(token, other) for token, other in zip(tokens, others, strict=True) if other is not None]
    if not isinstance(text, str):
        raise TypeError("an answer without a text")
    before = cut.before_stop(text) if cut else None
    whole = len(known) == len(tokens)  # without a runner-up everywhere nothing can be said of a tie
    return {
        "text": text if before is None else before,
        "token_ids": [token.id for token in tokens],
        "tokens": [token.text for token in tokens],
        "logprobs": [token.logprob for token in tokens],
        "runner_ups": [other[0] for _, other in known] if whole else [],
        "margins": [token.logprob - other[2] for token, other in known if token.logprob is not None] if whole else [],
        "finish_reason": (finish_reason or "") if before is None else "stop",
    }


def _tokens(given: Any) -> list[Token]:
    """Return the tokens of ``logprobs``, in the form of ``/completions`` or of chats (llama.cpp has that in both)."""
    content = getattr(given, "content", None)
    if content:
        return [
            Token(token, number, logprob, _best(map(_named, one.get("top_logprobs") or ())))
            for one in map(dict, content)
            for number, token, logprob in [_named(one)]
        ]
    if not getattr(given, "tokens", None):
        return []
    tops: Sequence[Mapping[str, float] | None] = given.top_logprobs or [None] * len(given.tokens)
    return [
        Token(text, _id(text), logprob, _best((_id(other), other, value) for other, value in (top or {}).items()))
        for text, logprob, top in zip(given.tokens, given.token_logprobs, tops, strict=True)
    ]


def _named(token: Any) -> tuple[int, str, float]:
    fields = dict(token)  # a model of the client's, or what it does not know
    return _id(fields["token"], fields.get("bytes")), fields["token"], fields["logprob"]


def _best(candidates: Iterable[tuple[int, str, float]]) -> list[tuple[int, str, float]]:
    return sorted((one for one in candidates if one[2] is not None), key=lambda one: -one[2])


def _id(text: str, raw: Sequence[int] | None = None) -> int:
    # The bytes where there are any: half a character has no text of its own.
    data = bytes(list(raw)) if raw else text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") >> 1
