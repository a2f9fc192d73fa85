"""One spelling of any value, in this run and the next: by it a baseline knows what a metric was given."""

from __future__ import annotations

import contextlib
import datetime
import enum
import functools
import hashlib
import numbers
import re
import warnings
from collections.abc import Iterable, Mapping, Set
from typing import Any

from pytest_llm.files import canonical_json, digest_of
from pytest_llm.results import Origin

#: Where an object without a text of its own lies in memory, as Python shows it.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def option(value: Any) -> str:
    """Return a metric's option as its signature has it: as it is, the start of a digest, or the name of an object."""
    if isinstance(value, (str, numbers.Number)) or value is None:
        return str(value)
    try:
        return digest_of(value)[:12]
    except (TypeError, ValueError):
        found = _data(value)
        return found if isinstance(found, str) else digest_of(found)[:12]


def text(value: Any) -> str:
    """Return ``value`` as text: ``str()`` of it, but with sets in order, and objects without their address."""
    if isinstance(value, str):
        return str(value)
    return _ADDRESS.sub("", _shown(value) if isinstance(value, (set, frozenset, dict, list, tuple)) else str(value))


def told(value: Any, model: Any) -> Any:
    """Return a reference as JSON: its text, what an array holds, or what was asked for an answer of ``model``.

    Where ``model`` is ``None``, for an answer of any.
    """
    origin = getattr(value, "origin", None)
    if isinstance(origin, Origin) and origin.request and model in (None, origin.model):
        return {"asked": origin.request}
    return _data(value) if getattr(value, "shape", ()) else text(value)  # the text of a long array leaves some out


def _shown(value: Any) -> str:
    """Return ``repr(value)`` with sets in order."""
    if type(value) in (set, frozenset) and value:
        inside = f"{{{', '.join(sorted(map(_shown, value)))}}}"
        return inside if type(value) is set else f"frozenset({inside})"
    if type(value) is dict:
        return f"{{{', '.join(f'{_shown(key)}: {_shown(one)}' for key, one in value.items())}}}"
    if type(value) is list:
        return f"[{', '.join(map(_shown, value))}]"
    if type(value) is tuple:
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    return repr(value)


def _data(value: Any) -> Any:
    """Return ``value`` as JSON: a model's answer by what was asked, an object that is no data by name, `_signature`."""
    origin = getattr(value, "origin", None)
    if isinstance(origin, Origin) and origin.request:
        return {"asked": origin.request}
    if isinstance(value, str):
        return {"text": str(value)}
    if value is None or isinstance(value, (numbers.Number, enum.Enum, datetime.date, datetime.time)):
        return str(value)
    if isinstance(value, Mapping):
        return {"items": _sorted([_data(key), _data(one)] for key, one in value.items())}
    if isinstance(value, Set):
        return {"set": _sorted(map(_data, value))}
    if isinstance(value, (list, tuple)):
        return list(map(_data, value))
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if hasattr(value, "columns"):  # a data frame
        return {"columns": [[_data(name), _data(value[name])] for name in value.columns]}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        with contextlib.suppress(Exception):  # whatever its library raises
            return _array(value)
        warnings.warn(
            f"a {type(value).__name__} cannot be read as an array, and is no part of the metric's configuration: with "
            "another one a baseline is not stale; give a numpy array or a list",
            stacklevel=2,
        )
    if isinstance(value, functools.partial):
        return {"partial": [_data(value.func), _data(value.args), _data(value.keywords)]}
    name = str(getattr(value, "__qualname__", type(value).__qualname__))
    own = _signature(getattr(value, "__self__", value))  # of a method, that of its object
    return f"{name}:{own}" if own else name


def _signature(value: Any) -> str:
    """Return what tells an object from another of its class: a model's weights, else its ``signature``; "" for nothing.

    Nothing tells the model under test from another, which answers in its place.
    """
    origin, said = getattr(value, "origin", None), getattr(value, "signature", "")
    if isinstance(origin, Origin) and not getattr(value, "under_test", False):
        return str(origin.model.get("digest", "")[:12] or origin.model.get("source", ""))
    return said if isinstance(said, str) else ""


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=canonical_json)


def _array(value: Any) -> Any:
    import numpy as np

    about = {"dtype": str(value.dtype), "shape": list(value.shape)}
    if not callable(getattr(value, "index", print)):  # a column of a data frame
        about["index"] = _data(list(value.index))
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if about["dtype"] == "torch.bfloat16" else value
    plain = np.asarray(value)
    if list(plain.shape) != about["shape"]:  # numpy takes for one object what it cannot read
        raise TypeError("it is no dense array")
    if plain.dtype.hasobject:
        return about | {"values": _data(plain.tolist())}
    return about | {"bytes": hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()}
