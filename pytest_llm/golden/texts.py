r"""Texts in a golden file: their lines, and the evidence that comes with a model's answer.

``lines`` is the text split on "\n" only. ``logprobs`` and ``margins`` are nats, rounded to four decimals, null
where infinite. An answer inside a dict, or beside other things in a list, stands there as a text, and its evidence in
``answers``, each with the keys and places that lead ``at`` it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llm.results import Generation

_EVIDENCE = ("token_ids", "tokens", "logprobs", "runner_ups", "margins")
#: Two code points that JSON escapes would join into one character.
_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")


def only_texts(value: Any) -> bool:
    """Whether ``value`` is a text, or a (nested) list of nothing but texts."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(only_texts, value)))


def encode_texts(values: list[Any]) -> list[Any]:
    """Return a (nested) list of texts as a golden file has it."""
    return [encode_text(value) if isinstance(value, str) else encode_texts(value) for value in values]


def encode_text(text: str) -> dict[str, Any]:
    """Return a text as a golden file has it."""
    pieces = [(line, _PAIR.split(line)) for line in str(text).split("\n")]
    return {"lines": [parts if len(parts) > 1 else line for line, parts in pieces], **_evidence(text)}


def _evidence(text: str) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if isinstance(text, Generation) and text.token_ids:
        data["token_ids"], data["tokens"] = list(text.token_ids), list(text.tokens)
        data["runner_ups"] = list(text.runner_ups)
        data["logprobs"], data["margins"] = [_nats(x) for x in text.logprobs], [_nats(x) for x in text.margins]
    if isinstance(text, Generation) and (text.token_ids or text.finish_reason):
        data["finish_reason"] = text.finish_reason
    return data


def _nats(x: float) -> float | None:
    return round(x, 4) + 0.0 if math.isfinite(x) else None  # + 0.0 makes -0.0 plain


def decode_texts(data: Any) -> list[Any]:
    """Read what `encode_texts` gave. Raises as `decode_text`."""
    if not isinstance(data, list):
        raise TypeError("outputs is a list")
    return [decode_texts(item) if isinstance(item, list) else decode_text(item) for item in data]


def decode_text(data: dict[str, Any]) -> Generation:
    """Read what `encode_text` gave.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not that.
    """
    return _answer("\n".join(line if isinstance(line, str) else "".join(line) for line in data["lines"]), data)


def _answer(text: str, data: dict[str, Any]) -> Generation:
    if "token_ids" not in data:
        return Generation(text, finish_reason=data.get("finish_reason", ""))
    if len({len(data[name]) for name in _EVIDENCE if data[name]}) > 1:
        raise ValueError("token_ids, tokens, logprobs, runner_ups and margins differ in length")
    return Generation(
        text,
        token_ids=data["token_ids"],
        tokens=data["tokens"],
        logprobs=[-math.inf if x is None else float(x) for x in data["logprobs"]],
        runner_ups=data["runner_ups"],
        margins=[math.inf if x is None else float(x) for x in data["margins"]],
        finish_reason=data["finish_reason"],
    )


def answers(value: Any, at: Sequence[str | int] = ()) -> Iterator[dict[str, Any]]:
    """Yield the evidence of every answer inside ``value``, a tree of JSON, with its place."""
    if isinstance(value, (dict, list)):
        for place, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from answers(inner, [*at, place])
    elif isinstance(value, str) and (evidence := _evidence(value)):
        yield {"at": list(at), **evidence}


def with_answers(value: Any, found: list[dict[str, Any]]) -> Any:
    """Return ``value`` with the answers at their places in it, as `answers` gave them.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: no text is at such a place, or as `decode_text`.
    """
    for one in found:
        *way, last = one["at"]
        inner = value
        try:
            for place in way:
                inner = inner[place]
            text = inner[last]
        except IndexError:
            text = None
        if not isinstance(text, str):
            raise ValueError(f"answers has one at {one['at']}, where there is no text")
        inner[last] = _answer(text, one)
    return value
