"""What token classifiers answer: ``tag``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.batching import each_whole
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.local_classify import Encoded, logits
from pytest_llm.engines.prompts import check_length, require_fast, require_text
from pytest_llm.engines.rows import checked
from pytest_llm.errors import InvalidInputError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Tag


class _Window(NamedTuple):
    """A stretch of the text of a ``request``: its tokens, and what the tokenizer says of each of them."""

    request: int
    number: int
    encoded: dict[str, list[Any]]

    @property
    def length(self) -> int:
        return len(self.encoded["input_ids"])

    @property
    def inputs(self) -> Encoded:
        return {name: self.encoded[name] for name in ("input_ids", "token_type_ids") if name in self.encoded}


def tag(engine: LocalEngine, group: list[tuple[int, Tag]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Tag` requests: the outputs for each token, joined by the token-classification pipeline of transformers.

    A text that is too long for one window is an error where no ``stride`` is given.
    """
    requests = dict(group)
    windows = {index: _windows(engine, request, index) for index, request in group}
    found: dict[int, dict[int, Any]] = {index: {} for index in windows}
    pipeline = _pipeline(engine)
    every = [window for some in windows.values() for window in some]

    def compute(batch: list[_Window]) -> Any:
        return logits(engine, [window.inputs for window in batch])

    for window, row in each_whole(engine, every, compute, lambda window: window.length):
        index = window.request
        found[index][window.number] = row[: window.length].cpu()
        if len(found[index]) == len(windows[index]):
            outputs = [output for _, output in sorted(found.pop(index).items())]
            yield index, {"spans": _spans(pipeline, requests[index], windows[index], outputs)}


def _windows(engine: LocalEngine, request: Tag, index: int) -> list[_Window]:
    """Encode a text, in windows as long as the model's context where a stride is given.

    Raises:
        InvalidInputError: an empty text, one that is too long, a stride that leaves a window nothing new, or a
            tokenizer that does not know where its tokens stand.
    """
    require_text(request.text, index)
    tokenizer = engine.tokenizer
    require_fast(tokenizer, request.call)
    cut: dict[str, Any] = {}
    if request.stride and engine.model is not None:  # the weights may know better how long the context is
        longest = min(engine.context_length or tokenizer.model_max_length, tokenizer.model_max_length)
        room = longest - tokenizer.num_special_tokens_to_add()
        if request.stride >= room:
            raise InvalidInputError(
                f"tag(): stride={request.stride} leaves nothing new in a window of {room} tokens; give less than that"
            )
        cut = {"truncation": True, "max_length": longest, "stride": request.stride}
    with quiet():
        encoded = tokenizer(
            [request.text],
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            **cut,
        )
    encoded.pop("overflow_to_sample_mapping", None)
    count = len(encoded["input_ids"])
    windows = [_Window(index, i, {name: column[i] for name, column in encoded.items()}) for i in range(count)]
    for window in windows:
        check_length(engine, window.length, index, hint="give stride=, to read it in windows, or shorten it")
    return windows


def _pipeline(engine: LocalEngine) -> Any:
    from transformers import TokenClassificationPipeline

    with quiet():
        return TokenClassificationPipeline(model=engine.model, tokenizer=engine.tokenizer, device=engine.model.device)


def _spans(pipeline: Any, request: Tag, windows: list[_Window], outputs: list[Any]) -> list[dict[str, Any]]:
    import torch
    from transformers.pipelines.token_classification import AggregationStrategy

    for row in outputs:
        checked(row.sum(-1))
    chunks = [
        {
            "logits": row[None],
            "sentence": request.text,
            **{
                name: torch.tensor([window.encoded[name]])
                for name in ("input_ids", "offset_mapping", "special_tokens_mask")
            },
        }
        for window, row in zip(windows, outputs, strict=True)
    ]
    with quiet():
        entities = pipeline.postprocess(chunks, AggregationStrategy(request.aggregation_strategy))
    return list(filter(None, (_span(request.text, entity) for entity in entities)))


def _span(text: str, entity: dict[str, Any]) -> dict[str, Any]:
    """Return what the pipeline found, less the spaces around it, which some tokenizers count in; ``{}`` of nothing."""
    start, end = entity["start"], entity["end"]
    found = text[start:end].strip()
    if not found:
        return {}
    start += text[start:end].index(found)
    label = entity["entity_group"] if "entity_group" in entity else entity["entity"]
    return {"text": found, "start": start, "end": start + len(found), "label": label, "score": float(entity["score"])}
