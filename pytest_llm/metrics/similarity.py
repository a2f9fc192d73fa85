"""Similarity of meaning: the cosine of two embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import configured, mean, read, read_ids
from pytest_llm.metrics.score import Score
from pytest_llm.results import Origin, joint_origin

__tracebackhide__ = measured

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]


class Encoder(Protocol):
    """Turns n texts into an array-like of n vectors; a `pytest_llm.model.LanguageModel` is one."""

    def embed(self, texts: list[str], /) -> Any:
        """Return the vectors, shape [n, d]."""


def check_encoder(encoder: Any) -> None:
    """Refuse what embeds nothing.

    Raises:
        InvalidInputError: it has no ``embed``, as the name of a model has none.
    """
    if not callable(getattr(encoder, "embed", None)):
        hint = f": encoder=llm_loader({encoder!r})" if isinstance(encoder, str) else ""
        raise InvalidInputError(f"encoder= is a model, or what else has embed(texts), not {encoder!r}{hint}")


def similarity(
    predictions: Any, references: Any, *, encoder: Encoder | None = None, ids: Iterable[Any] | None = None
) -> Score:
    """Return the mean cosine of each prediction and its reference (the nearest of several), in [-1, 1].

    Args:
        predictions: texts, or an array of vectors [n, d] (one vector [d] is one example).
        references: the same; texts may have several references an example.
        encoder: embeds the texts, all in one call; not for arrays. One that judges another model is part of the score's
            signature, so that with another judge a baseline is stale: by its weights, or where it is an object of your
            own by its ``signature``, a text, or its class.
        ids: unique names of the examples.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), texts without an encoder, an encoder
            without ``embed``, vectors of other shapes. A vector of length 0 has no direction: its cosine is NaN.
    """
    if encoder is None:
        return _of_vectors(predictions, references, ids)
    check_encoder(encoder)
    examples = read("similarity", predictions, references, ids)
    owner = [i for i, some in enumerate(examples.references) for _ in some]
    flat = [reference for some in examples.references for reference in some]
    embedded = encoder.embed([*examples.predictions, *flat])
    vectors = _matrix("the encoder's answer", embedded)
    n = len(examples.predictions)
    if len(vectors) != n + len(flat):
        raise InvalidInputError(f"similarity: the encoder gave {len(vectors)} vectors for {n + len(flat)} texts")
    cosines = _cosine(vectors[owner], vectors[n:])
    nearest: list[list[float]] = [[] for _ in range(n)]
    for i, cosine in zip(owner, cosines.tolist(), strict=True):
        nearest[i].append(cosine)
    judge = _judge(encoder, embedded, examples.origin.get("model", {}))
    return examples.score(
        name="similarity",
        per_example=[_nearest(some) for some in nearest],
        signature=configured("similarity", {"encoder": judge} if judge else {}),
    )


def _judge(encoder: Encoder, embedded: Any, answered: dict[str, Any]) -> str:
    """Return what tells one encoder from another, ``""`` where it is the very model that is tested.

    Of plain texts it may be that, though the test names it: then its weights may change, and its source may not.
    """
    origin = getattr(embedded, "origin", None)
    if not isinstance(origin, Origin):
        return str(getattr(encoder, "signature", type(encoder).__qualname__))
    if getattr(encoder, "under_test", False) or origin.model == answered:
        return ""
    digest = origin.model.get("digest", "") if answered else ""
    return str(digest[:12] or origin.model.get("source", ""))


def _of_vectors(predictions: Any, references: Any, ids: Iterable[Any] | None) -> Score:
    ours, theirs = _matrix("predictions", predictions), _matrix("references", references)
    if ours.shape != theirs.shape:
        raise InvalidInputError(
            f"similarity: predictions have shape {list(ours.shape)} and references {list(theirs.shape)}; "
            "both must be [n, d]"
        )
    cosines = _cosine(ours, theirs).tolist()
    # Vectors that are kept in a file have no origin: only as references they may be
    known = [*_rows(predictions), *(row for row in _rows(references) if hasattr(row, "origin"))]
    request, origin = joint_origin(known)
    return Score(mean(cosines), name="similarity", n=len(cosines), per_example=cosines, request=request, origin=origin,
                 ids=read_ids("similarity", len(cosines), ids))  # fmt: skip


def _rows(vectors: Any) -> list[Any]:
    return list(vectors) if isinstance(vectors, (list, tuple)) else [vectors]


def _matrix(what: str, values: Any) -> Array:
    import numpy as np

    if hasattr(values, "detach"):  # a torch tensor; numpy has no bfloat16
        values = values.detach().cpu().double()
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OSU" and any(isinstance(x, (str, bytes)) for x in array.flat):
            raise TypeError("texts of digits are no numbers")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"similarity: {what} must be vectors, an array of numbers of shape [n, d]; to compare texts give "
            "encoder=, an object with embed(texts), such as a model"
        ) from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise InvalidInputError(f"similarity: {what} must have shape [n, d], not {list(array.shape)}")
    return array


def _nearest(cosines: list[float]) -> float:
    # max() alone keeps or drops a NaN by its place in the list
    return math.nan if any(map(math.isnan, cosines)) else max(cosines)


def _cosine(a: Array, b: Array) -> Array:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        # Scaled first: squares of very large or very small entries leave the range of float64.
        a, b = (x / np.abs(x).max(axis=1, keepdims=True) for x in (a, b))
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return np.asarray(np.clip((a * b).sum(axis=1), -1.0, 1.0))
