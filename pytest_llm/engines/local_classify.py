"""What classifiers answer: ``classify``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.batching import each_whole
from pytest_llm.engines.head import widen
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.prompts import check_length, pad, require_text
from pytest_llm.engines.rows import checked

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Classify

#: What the tokenizer says of a text: its tokens, and of which of a pair each one is.
Encoded = dict[str, list[int]]


def classify(engine: LocalEngine, group: list[tuple[int, Classify]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Classify` requests: the model's outputs for each text, and what its configuration makes of them.

    Texts are encoded, and outputs read, as in the text-classification pipeline of transformers. A text that is too long
    is an error.
    """
    items: list[tuple[int, Encoded]] = []
    for index, request in group:
        require_text(request.text, index)
        encoded = engine.tokenizer(request.text, request.pair, verbose=False)
        items.append((index, {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}))
        check_length(engine, _length(items[-1]), index)
    config = engine.config
    names = {"labels": [config.id2label[i] for i in range(config.num_labels)], "function": _function(config)}

    def compute(batch: list[tuple[int, Encoded]]) -> Any:
        return logits(engine, [encoded for _, encoded in batch])

    for (index, _), row in each_whole(engine, items, compute, _length, padded=_pad_id(engine) is not None):
        yield index, {**names, "logits": checked(row)}


def logits(engine: LocalEngine, rows: list[Encoded]) -> Any:
    """Return the outputs for encoded texts, [rows, labels], in float32 or wider."""
    return widen(read(engine, rows).logits)


def read(engine: LocalEngine, rows: list[Encoded]) -> Any:
    """Return all that the model says of encoded texts."""
    import torch

    model = engine.model
    ids, mask = pad([row["input_ids"] for row in rows], _pad_id(engine) or 0, model.device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in rows[0]:
        inputs["token_type_ids"], _ = pad(
            [row["token_type_ids"] for row in rows], engine.tokenizer.pad_token_type_id, model.device
        )
    if "use_cache" in inspect.signature(model.forward).parameters:
        inputs["use_cache"] = False
    with torch.no_grad(), quiet():
        return model(**inputs)


def _length(item: tuple[int, Encoded]) -> int:
    return len(item[1]["input_ids"])


def _pad_id(engine: LocalEngine) -> int | None:
    """Return the model's own: a decoder finds the end of a text by it, whatever the mask says. ``None``: no padding."""
    own: int | None = getattr(engine.config.get_text_config(), "pad_token_id", None)
    return own


def _function(config: Any) -> str:
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"
