"""Requests as JSON: what a golden or a request log holds, made requests again; and those of many folded into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llm.argument_rules import as_prompt
from pytest_llm.errors import InvalidInputError
from pytest_llm.files import canonical_json
from pytest_llm.requests import Request

KINDS: dict[str, type[Request]] = {cls.kind: cls for cls in Request.__subclasses__()}


def request_from_json(data: Mapping[str, Any]) -> Request:
    """Rebuild the request that `Request.to_json` gave.

    Raises:
        InvalidInputError: an unknown kind or field (a file written by a newer version).
    """
    cls = KINDS.get(data.get("kind", ""))
    fields = {f.name for f in dataclasses.fields(cls)} if cls else set()
    if cls is None or not set(data) - {"kind"} <= fields:
        raise InvalidInputError(f"not a request this version of pytest_llm knows: {canonical_json(data)[:200]}")
    values = {
        name: tuple(value) if isinstance(value, list) and name in ("stop", "continuations") else value
        for name, value in data.items()
        if name != "kind"
    }
    if "prompt" in values:
        values["prompt"] = as_prompt(values["prompt"])
    return cls(**values)


def merge_requests(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fold the JSON of many requests into one object: what they share, and ``each`` for what differs."""
    if len(requests) == 1:
        return dict(requests[0])
    shared = {
        name: value
        for name, value in requests[0].items()
        if all(name in other and other[name] == value for other in requests)
    }
    each = [{k: v for k, v in request.items() if k not in shared} for request in requests]
    return {**shared, "each": each}


def split_requests(merged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Undo `merge_requests`."""
    shared = {name: value for name, value in merged.items() if name != "each"}
    return [{**shared, **one} for one in merged["each"]] if "each" in merged else [shared]
