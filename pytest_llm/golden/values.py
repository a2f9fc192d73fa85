"""What a golden can hold: text, numbers, JSON trees, arrays; and where such a value came from."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llm.environment import device_type
from pytest_llm.errors import InvalidInputError
from pytest_llm.results import Generation, Origin

#: Numbers of an array inside another value, which are written as text one by one; bits of an integer, likewise.
_NESTED, _BITS = 10_000, 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class Array:
    """A numpy array, with the name of the dtype it had (numpy has no bfloat16, a tensor has)."""

    data: Any
    dtype: str


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A measurement too large to read: an array, and facts about it. ``kind`` says which comparison it is for."""

    kind: str
    facts: dict[str, Any]
    array: Array


def normalise(value: Any) -> Any:
    """Return ``value`` as text (a `Generation` keeps its evidence), number, bool, None, list, dict or `Array`.

    A `Classification` is its scores: compared as numbers, the two labels of a near tie are no drift. A `Span` is a
    dict of its text, label, place and score. A member of an enum of texts is its value.
    Tuples become lists, dataclasses dicts, numpy and torch scalars numbers, a list of equal-shaped arrays one array,
    arrays beside anything else lists.

    Raises:
        InvalidInputError: nothing a golden can hold, or a dict with keys that are not text.
    """
    try:
        return _normalise(value)
    except RecursionError:
        raise InvalidInputError("a golden holds no value that contains itself, or is nested this deeply") from None


def _normalise(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise InvalidInputError(f"a golden holds no integer of {value.bit_length()} bits")
        return int(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInputError(f"a golden is JSON: its keys are text, not {key!r}")
        return {str.__str__(key): _listed(_normalise(item)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_normalise(item) for item in value]
        arrays = items and all(isinstance(item, Array) for item in items)
        return _stack(items) if arrays else [_listed(item) for item in items]
    if hasattr(value, "__array__"):
        _check_labels(value)
        return _array(value)
    if (fields := _fields(value)) is not None:
        return _normalise(fields)
    raise InvalidInputError(
        f"a golden holds text, numbers, lists, dicts and arrays, not {type(value).__name__}: compare its text or fields"
    )


def _check_labels(value: Any) -> None:
    """Refuse a table of pandas, and a column whose index is more than the numbers of its rows: an array has neither."""
    kind = type(value).__name__
    if hasattr(value, "columns"):
        raise InvalidInputError(
            f"a golden would lose the names of the columns and rows of a {kind}: "
            "compare df.reset_index().to_dict('list')"
        )
    if hasattr(value, "reset_index") and not all(
        isinstance(label, int) and label == row for row, label in enumerate(value.index)
    ):
        raise InvalidInputError(
            f"a golden would lose the index of a {kind}: compare series.reset_index(name='value').to_dict('list'), "
            "or series.to_numpy() if the index says nothing"
        )


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a dataclass's instance, ``None`` of anything else."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return None
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _text(value: str) -> Any:
    if isinstance(value, Generation):
        return value
    if _is("labels", "Classification", value):
        return dict(value.scores)  # type: ignore[attr-defined]
    return value.to_json() if _is("spans", "Span", value) else str.__str__(value)  # type: ignore[attr-defined]


def problem(value: Any, where: str = "") -> str:
    """Say what in a normalised value can never be a golden (a NaN, an infinite number); ``""`` when nothing."""
    if isinstance(value, Generation):
        total = sum(value.logprobs)
        return f"{where or 'the answer'} has NaN logprobs: the model is numerically broken" if total != total else ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where or 'the value'} is {value}, which no golden can confirm"
    if isinstance(value, list):
        return next(filter(None, (problem(item, f"{where}[{i}]") for i, item in enumerate(value))), "")
    if isinstance(value, dict):
        return next(filter(None, (problem(item, f"{where}.{key}") for key, item in value.items())), "")
    if isinstance(value, Array):
        import numpy as np

        count = int(np.isnan(value.data).sum())
        return f"{where or 'the array'} has {count} NaN of {value.data.size} entries" if count else ""
    return ""


def provenance(value: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the request, model and environment behind ``value`` (not normalised), ``{}`` each when unknown.

    What answers of one value do not share stands under ``each``, as in `pytest_llm.request_json.merge_requests`.
    """
    if _is("metrics.score", "Score", value):
        request: dict[str, Any] = {"kind": "metric", "name": value.name, "n": value.n}
        request.update({"signature": value.signature} if value.signature else {})
        request.update({"questions": value.request} if value.request else {})
        model, environment = value.origin.get("model", {}), value.origin.get("environment", {})
        return request, dict(model), _portable(environment)
    found = list(_origins(value))
    if not found:
        return {}, {}, {}
    return (
        _fold([origin.request for origin in found]),
        _fold([origin.model for origin in found]),
        _portable(_fold([origin.environment for origin in found])),
    )


def _is(home: str, name: str, value: Any) -> bool:
    """Whether ``value`` is of a class of ours; where nothing imported its ``home``, which takes long, there is none."""
    module = sys.modules.get(f"pytest_llm.{home}")
    return module is not None and isinstance(value, getattr(module, name))


def _origins(value: Any) -> Iterator[Origin]:
    origin = getattr(value, "origin", None)
    if isinstance(origin, Origin):
        if origin.request:
            yield origin
    elif isinstance(value, str):  # nearly all of it
        return
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _origins(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _origins(item)
    elif (fields := _fields(value)) is not None:
        yield from _origins(fields)


def _fold(parts: list[dict[str, Any]]) -> dict[str, Any]:
    # Several answers to one request (num_return_sequences), or one model for all, say it once.
    first = parts[0]
    if all(part == first for part in parts):
        return dict(first)
    from pytest_llm.request_json import merge_requests

    return merge_requests(parts)


def _portable(environment: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(environment)
    if isinstance(data.get("device"), str):
        data["device"] = device_type(data["device"])
    return data


def _array(value: Any) -> Any:
    import numpy as np

    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if dtype == "bfloat16" else value
    data = np.asarray(value)
    if data.dtype.kind not in "biufc":
        raise InvalidInputError(f"a golden holds arrays of numbers, not of dtype {data.dtype}: compare array.tolist()")
    if data.ndim == 0 and data.dtype.kind != "c":
        return _normalise(data.item())
    return Array(np.ascontiguousarray(data.astype(data.dtype.newbyteorder("="), copy=False)), dtype or str(data.dtype))


def _listed(item: Any) -> Any:
    """Return an array that stands inside another value as lists."""
    if not isinstance(item, Array):
        return item
    if item.data.dtype.kind == "c" or item.data.size > _NESTED:
        raise InvalidInputError(
            f"an array of {item.data.size} numbers ({item.dtype}) inside a dict or list: give it a golden of its own"
        )
    return item.data.tolist()


def _stack(items: list[Array]) -> Array:
    import numpy as np

    shapes = {item.data.shape for item in items}
    if len(shapes) > 1:
        raise InvalidInputError(f"a list of arrays needs one shape to be a golden, not {sorted(shapes)}")
    return Array(np.stack([item.data for item in items]), items[0].dtype)
