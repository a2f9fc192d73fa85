"""Texts that people can judge: what was asked, what was answered, and the digests a rating is attached to."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.files import digest_of
from pytest_llm.request_json import split_requests
from pytest_llm.results import Generation

if TYPE_CHECKING:
    from pytest_llm.golden.file import Golden


@dataclasses.dataclass(frozen=True)
class Output:
    """One text, as somebody is to judge it.

    Attributes:
        text: the answer, whole.
        where: its place in a value of many (``[3]``), ``""`` for a value of one.
        prompt: what was asked, text or chat messages; ``None`` when unknown.
        model: digest of the weights that answered, ``""`` when unknown.
    """

    text: str
    where: str = ""
    prompt: Any = None
    model: str = ""

    @property
    def digest(self) -> str:
        """The sha256 of the text: a rating of it is of no other text."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def question(self) -> str:
        """The sha256 of the prompt, ``""`` when unknown: the same words can be a good and a bad answer."""
        return "" if self.prompt is None else digest_of(self.prompt)


def of_answer(answer: str, where: str = "") -> Output:
    """Return an answer as a test holds it, with its prompt if it is a `Generation`."""
    if not isinstance(answer, Generation):
        return Output(str(answer), where)
    origin = answer.origin
    return Output(answer.text, where, origin.request.get("prompt"), str(origin.model.get("digest", "")))


def of_golden(golden: Golden) -> list[Output]:
    """Return the texts in a golden, in order. A prompt that is not surely the text's own is left out."""
    texts = list(_texts(golden.value, ""))
    # Only what a model generated has tokens; a text beside it was not asked for.
    asked = [text for _, text in texts if getattr(text, "token_ids", ())] or [text for _, text in texts]
    ordered = not isinstance(golden.value, dict)  # a file sorts the keys that a test had in its own order
    requests = _each(split_requests(golden.request), len(asked), ordered)
    models = _each(split_requests(golden.model), len(asked), ordered)
    found, at = [], 0
    for where, text in texts:
        request, model = {}, {}
        if at < len(asked) and asked[at] is text:
            request, model, at = requests[at], models[at], at + 1
        found.append(Output(str(text), where, request.get("prompt"), str(model.get("digest", ""))))
    return found


def _each(parts: list[dict[str, Any]], n: int, ordered: bool) -> list[dict[str, Any]]:
    if len(parts) == 1:
        return parts * n
    return parts if len(parts) == n and ordered else [{}] * n


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{where}.{key}")
