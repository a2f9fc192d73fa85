"""The chat messages of a question: those that ``llm.chat`` takes, and every text in them.

The arguments of a tool's call are JSON in a text: what is in that is looked at, not how it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pytest_llm.argument_rules import as_prompt
from pytest_llm.errors import InvalidInputError

Turn = dict[str, Any]

#: What is kept of a message: all that a question is made of.
_KEPT = ("role", "content", "tool_calls", "function_call", "tool_call_id")


def read(messages: Any) -> tuple[Turn, ...]:
    """Return chat messages as a question has them, of each what is kept.

    Raises:
        ValueError: they are none; the message repeats nothing of what they say.
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError("a question is text or a list of chat messages")
    found = []
    for place, message in enumerate(messages, 1):
        try:
            as_prompt([message])
        except InvalidInputError:
            raise ValueError(f"message {place} lacks a role, or a content or tool_calls: see llm.chat") from None
        if not isinstance(message["role"], str):
            raise ValueError(f"message {place} has a role that is no text")
        of_tool = message["role"] in ("function", "tool")
        found.append({name: message[name] for name in (*_KEPT, *(["name"] if of_tool else [])) if name in message})
    return tuple(found)


def text(turn: Turn) -> str:
    """Return the text of a message: of a list of parts, that of all."""
    content = turn.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part["text"]) for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def question(turn: Turn) -> list[Any]:
    """Return what tells a message from another, apart from its text: without the ids of calls, new in every report."""
    content = turn.get("content")
    rest = {name: turn[name] for name in ("tool_calls", "function_call") if turn.get(name)}
    parts = {} if content is None or isinstance(content, str) else {"content": content}
    return [_without_ids({**parts, **rest})] if parts or rest else []


def texts(value: Any) -> list[str]:
    """Return every text in ``value``."""
    seen: list[str] = []

    def see(one: str) -> str:
        seen.append(one)
        return one

    mapped(value, see)
    return seen


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with every text in it changed; a number that is changed as a text becomes one."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {
            name: _arguments(one, change) if name == "arguments" and isinstance(one, str) else mapped(one, change)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [mapped(one, change) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if change(str(value)) == str(value) else change(str(value))
    return value


def _arguments(given: str, change: Callable[[str], str]) -> str:
    try:
        before = json.loads(given)
    except (ValueError, RecursionError):
        return change(given)
    after = mapped(before, change)
    return given if after == before else json.dumps(after, ensure_ascii=False)


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(one) for name, one in value.items() if name != "id"}
    return [_without_ids(one) for one in value] if isinstance(value, list) else value
