"""What passes between a model's layers: ``activations``.

A layer's hidden states, [tokens, width], are too many numbers to keep. What is kept of them is a random projection of
fixed size, from which the relative error of two runs is estimated without either run's states.

Each token's state h is taken as its direction and the logarithm of its length, x = (h / |h|, log |h|). A small change
of h moves x by |dh| / |h|, its relative change, whatever the token's own scale. (Without this, one token would drown
the others: SmolLM2-135M gives its first token a state 150 times as long as the rest.) The projection is
y_j = sum over tokens t and entries d of s_tj r_jd x_td, over sqrt(tokens), with signs s and r that a seed decides. The
expected |y - y'|^2 over its size is the mean squared relative change (Achlioptas 2003, J. Comput. Syst. Sci. 66:671).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.batching import each_whole
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.local_encoding import backbone
from pytest_llm.engines.prompts import check_length, decoder_ids, encode, pad, require_text
from pytest_llm.engines.rows import Row, forward_inputs, padded_length
from pytest_llm.errors import InvalidInputError, LLMError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Activations


def activations(engine: LocalEngine, group: list[tuple[int, Activations]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Activations` requests: one projection for the embedding, and for the output of every layer."""
    rows: list[Row] = []
    for index, request in group:
        require_text(request.text, index)
        row = Row(index, [], [], key=request)
        if engine.family == "encoder-decoder":
            if request.source is None:
                raise InvalidInputError(f"request {index}: an encoder-decoder needs the source of its text (sources=)")
            row.source = encode(engine.tokenizer, request.source, special=True)
            check_length(engine, len(row.source), index, source=True)
            start, labels = decoder_ids(engine, request.text)
            row.ids = [start, *labels]
        elif request.source is not None:
            raise InvalidInputError(f"request {index}: a source is for encoder-decoders")
        else:
            row.ids = encode(engine.tokenizer, request.text, special=True)
        check_length(engine, len(row.ids), index)
        rows.append(row)
    for row, answer in each_whole(engine, rows, lambda batch: _answers(engine, batch), padded_length):
        yield row.owner, answer


def _answers(engine: LocalEngine, batch: list[Row]) -> list[Answer]:
    import torch

    stacks: list[tuple[str, Any, list[list[int]]]] = []  # a stack's prefix, its states by layer, its token ids
    ids = [row.ids for row in batch]
    with torch.no_grad(), quiet():
        if engine.family == "encoder-decoder":
            output = engine.model(**forward_inputs(engine, batch), output_hidden_states=True)
            stacks.append(("encoder ", output.encoder_hidden_states, [row.source or [] for row in batch]))
            stacks.append(("decoder ", output.decoder_hidden_states, ids))
        elif engine.family == "decoder":
            output = engine.model.base_model(**forward_inputs(engine, batch), output_hidden_states=True)
            stacks.append(("", output.hidden_states, ids))
        else:
            padded, mask = pad(ids, engine.pad_id, engine.model.device)
            output = backbone(engine)(input_ids=padded, attention_mask=mask, output_hidden_states=True)
            stacks.append(("", output.hidden_states, ids))
    answers: list[Answer] = [{"token_ids": [], "layers": [], "norms": [], "sketch": []} for _ in batch]
    for prefix, states, tokens in stacks:
        for index, layer in enumerate(states):
            layer = layer.cpu().double().numpy()
            for i, answer in enumerate(answers):
                norm, sketch = project(layer[i, : len(tokens[i])], batch[i].key.size, batch[i].key.seed)
                answer["layers"].append(prefix + (f"layer {index - 1}" if index else "embedding"))
                answer["norms"].append(norm)
                answer["sketch"].append(sketch)
        for i, answer in enumerate(answers):
            answer["token_ids"] += tokens[i]
    return answers


def project(states: Any, size: int, seed: int) -> tuple[float, list[float]]:
    """Return the geometric mean of the tokens' norms, and the projection of ``states`` [tokens, width] to ``size``."""
    import numpy as np

    norms = np.linalg.norm(states, axis=1)
    if not np.isfinite(norms).all():
        raise LLMError("a hidden state is not a number (NaN): the weights are damaged, or their dtype overflows")
    logs = np.log(np.maximum(norms, 1e-30))
    points = np.column_stack([states / np.maximum(norms, 1e-30)[:, None], logs])
    by_token = _signs(f"tokens {seed}", len(points), size)
    by_entry = _signs(f"entries {seed}", points.shape[1], size)
    sketch = (by_token * (points @ by_entry)).sum(0) / np.sqrt(len(points))
    return float(np.exp(logs.mean())), sketch.tolist()


def _signs(what: str, rows: int, size: int) -> Any:
    """Return random signs [rows, size] that no version of any library can change; more rows go on from fewer."""
    import numpy as np

    stream = hashlib.shake_256(what.encode()).digest((rows * size + 7) // 8)
    return np.unpackbits(np.frombuffer(stream, np.uint8), count=rows * size).reshape(rows, size) * 2.0 - 1.0
