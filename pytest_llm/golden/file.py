r"""The golden file: its path, its format, reading and writing it.

A golden is one JSON file, and a ``.npy`` of the same stem where it holds a large array::

    {"schema": 1, "nodeid": ..., "request": {...}, "model": {...}, "environment": {...},
     "output": {"lines": [...], "token_ids": [...], ...}}        one text
     "outputs": [{"lines": [...], ...}, ...]                     a (nested) list of texts
     "output": {"value": ...}                                    a number or any JSON
     "output": {"value": ..., "answers": [{"at": [...], ...}]}   JSON with answers of a model among its texts
     "output": {"array": [...] , "shape", "dtype"}               a small array
     "output": {"file": "x.npy", "sha256", "shape", "dtype"}     a large one
     "output": {"kind", "facts": {...}, "file": "x.npy", ...}    a recording: a distribution, activations

``lines`` and the evidence of an answer are as `pytest_llm.golden.texts` has them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError
from pytest_llm.files import contents, leads_out, safe_name, write_atomic
from pytest_llm.golden import FOLDER
from pytest_llm.golden.texts import (
    answers,
    decode_text,
    decode_texts,
    encode_text,
    encode_texts,
    only_texts,
    with_answers,
)
from pytest_llm.golden.values import Array, Recording, normalise, provenance
from pytest_llm.location import Location

SCHEMA = 1

#: Arrays up to this many numbers are written into the JSON, where a reader sees them.
INLINE_NUMBERS = 64


class DamagedGoldenError(GoldenError):
    """The file is broken, and ``--llm-update=all`` may write it anew (a newer schema's file it may not)."""


class Golden(NamedTuple):
    """What a golden file says. ``value`` is as `pytest_llm.golden.values.normalise` returns it."""

    nodeid: str
    value: Any
    request: dict[str, Any]
    model: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def of(cls, value: Any, nodeid: str) -> Golden:
        """Make the golden of a test's ``value``.

        Raises:
            InvalidInputError: nothing a golden can hold.
        """
        plain = normalise(value)
        request, model, environment = provenance(value)
        return cls(nodeid, plain, request, model, environment)


@functools.lru_cache(maxsize=256)
def module_folder(module: Path) -> Path:
    """Return the folder of a test module's goldens."""
    return module.parent / f"{FOLDER}/{safe_name(module.stem if module.suffix == '.py' else module.name)}"


def golden_path(location: Location, name: str) -> Path:
    """Return the file of the golden ``name`` of a test. No two (test, name) pairs share one."""
    if name.startswith("-") or "--" in name:  # the last "--" must be the separator
        name = f"{name.replace('-', '_')}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    folder, whole = module_folder(location.file), f"{location.qualname}--{name}"
    return folder / f"{safe_name(whole)}.json"


def owner(stem: str) -> str:
    """Return the qualified name of a test as the stem of a golden's file has it."""
    return stem.rpartition("--")[0] or stem  # without a name, where it was too long


def encode(golden: Golden, path: Path) -> tuple[str, bytes | None]:
    """Return the JSON text of ``golden`` as written at ``path``, and the bytes of its ``.npy``, if it needs one."""
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "nodeid": golden.nodeid,
        "request": golden.request,
        "model": golden.model,
        "environment": golden.environment,
    }
    sidecar = None
    if isinstance(golden.value, Array):
        data["output"], sidecar = _encode_array(golden.value, path)
    elif isinstance(golden.value, Recording):
        array, sidecar = _encode_array(golden.value.array, path)
        data["output"] = {"kind": golden.value.kind, "facts": golden.value.facts, **array}
    elif isinstance(golden.value, str):
        data["output"] = encode_text(golden.value)
    elif isinstance(golden.value, list) and only_texts(golden.value):
        data["outputs"] = encode_texts(golden.value)
    else:
        found = list(answers(golden.value))
        data["output"] = {"value": golden.value, **({"answers": found} if found else {})}
    return jsontext.dump(data), sidecar


def write(path: Path, text: str, sidecar: bytes | None) -> None:
    """Write an encoded golden. A new array waits beside the old one until the JSON stands: killed before that, the
    old golden is whole; killed after it, `finish` makes the new one whole. The caller holds the golden's lock.

    Raises:
        GoldenError: the file system refused, or a file or its folder is a link that leads out of the goldens.
    """
    beside, waiting = path.with_suffix(".npy"), _waiting(path)
    for one, kind in ((path.parent, "folder"), (path, "file"), (beside, "file"), (waiting, "file")):
        if out := leads_out(one, path.parent.parent):  # which may be a link itself: goldens are kept elsewhere
            raise GoldenError(f"{one}: the golden could not be written: it is a link to {out}; put a {kind} there")
    try:
        another = sidecar is not None and not (beside.exists() and beside.read_bytes() == sidecar)
        if sidecar is not None and another:
            write_atomic(waiting, sidecar)
        write_atomic(path, text)
        if another:
            waiting.replace(os.path.realpath(beside))
        elif sidecar is None:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise GoldenError(f"{path}: the golden could not be written: {error}") from error


def finish(path: Path) -> None:
    """Do what is left of a write that was killed between its JSON and its array. The caller holds the golden's lock."""
    waiting = _waiting(path)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # nothing is left
        raw = waiting.read_bytes()
        if jsontext.load(path.read_text("utf-8-sig"))["output"]["sha256"] == hashlib.sha256(raw).hexdigest():
            waiting.replace(os.path.realpath(path.with_suffix(".npy")))


def _waiting(path: Path) -> Path:
    return path.with_name(f".{path.stem}.npy")


def read(path: Path) -> Golden | None:
    """Read a golden; ``None`` when there is no such file.

    Raises:
        DamagedGoldenError: it is corrupt, merge-conflicted, incomplete, or its ``.npy`` is missing or another one.
        GoldenError: it cannot be opened, git-lfs did not fetch its ``.npy``, or a newer pytest_llm wrote it.
    """
    try:
        raw = contents(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise GoldenError(
            f"{path}: the golden cannot be read: {error}; put a file that may be read there, as from version control"
        ) from error
    return decode(raw, path)


def decode(raw: bytes, path: Path) -> Golden:
    """Read the bytes of a golden file; ``path`` is for messages and for the ``.npy`` beside it. Raises as `read`."""
    try:
        data = jsontext.load(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _damaged(path, f"not UTF-8: {error.reason}", raw.count(b"\n", 0, error.start) + 1) from None
    except jsontext.JSONTextError as error:
        raise _damaged(path, str(error), error.line) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise _damaged(path, "no golden: it has no schema number")
    if schema > SCHEMA:
        raise GoldenError(
            f"{path}: a newer pytest_llm wrote this golden (schema {schema}, this one reads up to {SCHEMA}): "
            "upgrade pytest-llm-regression"
        )
    try:
        value = decode_texts(data["outputs"]) if "outputs" in data else _decode_output(data["output"], path)
        parts = [data["request"], data["model"], data["environment"]]
        if not all(isinstance(part, dict) for part in parts) or not isinstance(data["nodeid"], str):
            raise TypeError("request, model and environment are objects, and nodeid is text")
        return Golden(data["nodeid"], value, *parts)
    except KeyError as error:
        raise _damaged(path, f"the field {error} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(path, f"a field does not hold what it should: {error}") from None


def _damaged(path: Path, what: str, line: int = 0) -> DamagedGoldenError:
    cure = "resolve the conflict" if "conflict" in what else "restore it from version control"
    return DamagedGoldenError(
        f"{path}{f':{line}' if line else ''}: the golden cannot be read: {what}; {cure}, "
        "or run its test with --llm-update=all to write it anew"
    )


def _decode_output(data: dict[str, Any], path: Path) -> Any:
    if "lines" in data:
        return decode_text(data)
    if "array" not in data and "file" not in data:
        return with_answers(data["value"], data.get("answers", []))
    array = _decode_array(data, path)
    if "kind" not in data:
        return array
    if not isinstance(data["facts"], dict):
        raise TypeError("facts is an object")
    return Recording(data["kind"], data["facts"], array)


def _decode_array(data: dict[str, Any], path: Path) -> Array:
    import numpy as np

    shape, dtype = tuple(data["shape"]), data["dtype"]
    if "array" in data:
        return Array(_numbers(np.array(data["array"]).reshape(shape)), dtype)
    beside = path.with_suffix(".npy")
    try:
        raw = beside.read_bytes()
    except OSError as error:
        raise _damaged(path, f"its array {beside.name} cannot be read ({error.strerror})") from None
    if raw.startswith(b"version https://git-lfs"):  # it is whole elsewhere, and must not be written anew
        raise GoldenError(f"{beside} is a pointer of git-lfs, not the array itself: run 'git lfs pull' there")
    if hashlib.sha256(raw).hexdigest() != data["sha256"]:
        raise _damaged(path, f"its array {beside.name} is not the one it was written with (sha256 differs)")
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # a header that claims more than there is memory for is one of many
        raise _damaged(path, f"its array {beside.name} cannot be read ({error})") from None
    if array.shape != shape:
        raise _damaged(path, f"its array {beside.name} has shape {array.shape}, not {shape}")
    return Array(_numbers(array), dtype)


def _numbers(array: Any) -> Any:
    if array.dtype.kind in "OUSMm":  # recordings are records of numbers
        raise ValueError(f"an array of {array.dtype} is none of numbers")
    return array


def _encode_array(value: Array, path: Path) -> tuple[dict[str, Any], bytes | None]:
    import numpy as np

    data: dict[str, Any] = {"shape": list(value.data.shape), "dtype": value.dtype}
    if value.data.size <= INLINE_NUMBERS and value.data.dtype.kind in "biuf" and bool(np.isfinite(value.data).all()):
        return {**data, "array": value.data.tolist()}, None
    stream = io.BytesIO()
    np.save(stream, value.data, allow_pickle=False)
    raw = stream.getvalue()
    return {**data, "file": path.with_suffix(".npy").name, "sha256": hashlib.sha256(raw).hexdigest()}, raw
