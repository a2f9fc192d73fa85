"""What changed around an answer, field by field: its question, its model, its environment."""

from __future__ import annotations

from typing import Any

from pytest_llm import jsontext
from pytest_llm.environment import changed, changed_parts
from pytest_llm.errors import InvalidInputError
from pytest_llm.golden.values import Array


def changed_model(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return in what two descriptions of a model differ, its content by parts, with what it was and is."""
    was, now = ({**model, "digest": None, "parts": None} for model in (old, new))
    return {**changed_parts(old, new), **changed_fields(was, now)}


def renamed(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what differs between two environments, as "dtype float32 → bfloat16"."""
    return in_words(changed_fields(old, new) if old and new and old != new else {})


def in_words(found: dict[str, tuple[Any, Any]]) -> str:
    """Return changed fields as "dtype float32 → bfloat16"."""
    return ", ".join(
        f"{name} {brief(was)} → {brief(now)}"
        for name, (was, now) in found.items()
        if changed(name.rpartition(".")[2], was, now)
    )


def changed_fields(old: Any, new: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the fields, by their path, that are not the same in two trees, with what they were and are."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            path: change
            for key in sorted(old.keys() | new.keys())
            for path, change in changed_fields(old.get(key), new.get(key), f"{name}.{key}" if name else key).items()
        }
    if (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and any(isinstance(x, dict) for x in old)
    ):
        return {
            path: change
            for i, (x, y) in enumerate(zip(old, new, strict=True))
            for path, change in changed_fields(x, y, f"{name}[{i}]").items()
        }
    return {} if old == new else {name: (old, new)}


def spelled(request: dict[str, Any]) -> Any:
    """Return the request as it reads from a file, with fields a newer version added at their defaults."""
    from pytest_llm.request_json import request_from_json, split_requests

    request = jsontext.load(jsontext.dump(request))
    try:
        known = [request_from_json(one).to_json() for one in split_requests(request)]
    except (InvalidInputError, TypeError):
        return request
    return known[0] if len(known) == 1 else known


def field_rows(name: str, old: Any, new: Any) -> list[str]:
    """Return the lines that show a field's change: of texts, their difference."""
    if isinstance(old, str) and isinstance(new, str):
        from pytest_llm.golden.diff import line_diff

        return [f"{name}:", *line_diff(old, new)]
    return [f"{name}: {brief(old)} → {brief(new)}"]


def brief(value: Any) -> str:
    """Return a value as a line has room for it."""
    if isinstance(value, Array):
        return f"an array of shape {value.data.shape}"
    text = value if isinstance(value, str) else repr(value)
    # A digest's first dozen characters tell it apart; a text's first sixty do.
    width = 12 if len(text) == 64 and text.isalnum() else 60
    return text if len(text) <= width else text[:width] + "…"
