"""What a chat's message says, as one text: the text itself, or the tools that it calls as JSON."""

from __future__ import annotations

from typing import Any

from pytest_llm.files import canonical_json, strict_json

#: How an answer ends that calls a tool, by its service: some have no reason of their own for that (OpenAI where
#: ``tool_choice`` names the tool, older vLLM where it requires one).
_CALLS = ("tool_calls", "function_call")
_STOPPED = (*_CALLS, "stop", None)


def said(choice: Any, *, evidence: bool, tools: bool) -> tuple[str, str | None, bool]:
    """Return what a choice says, how it ended, and whether it calls tools.

    ``evidence`` is whether it has tokens; ``tools`` whether it was offered any. Calls are canonical JSON, in which the
    ids and types of OpenAI's messages are left out: ``{"content": "Let me look.", "tool_calls": [{"arguments":
    {"city": "Rome"}, "name": "get_weather"}]}``, without ``content`` where there is no text. Arguments that are no JSON
    are the text that came.

    Raises:
        ValueError: something else came in place of a text, or the text did not begin, or a tool is called and none was
            offered, or a call does not say which.
    """
    message, reason = choice.message, choice.finish_reason
    if message is None and reason != "content_filter":
        raise ValueError(f"an answer without a message (finish_reason {reason})")
    calls = _calls(message)
    if calls and tools:
        text = _text(message)
        whole = {"content": text, "tool_calls": calls} if text else {"tool_calls": calls}
        return canonical_json(whole), "tool_calls" if reason in _STOPPED else reason, True
    if calls or reason in _CALLS:
        what = "it calls a tool, and none was offered" if calls or not tools else "no tool is called in its message"
        raise ValueError(f"no text alone (finish_reason {reason}): {what}")
    text = _text(message)
    if text:
        return text, reason, False
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    if reason == "content_filter":
        raise ValueError("no text (finish_reason content_filter): the service holds it back")
    if reason == "length" and (reasoning or not evidence):
        raise ValueError("no text (finish_reason length): it was cut while the model reasoned; raise max_new_tokens")
    if reasoning:
        raise ValueError(f"no text (finish_reason {reason}), only reasoning")
    return text, reason, False


def _text(message: Any) -> str:
    """Return the text of a message, whose content some services give as a list of parts; a refusal is one too."""
    content = getattr(message, "content", None)
    if isinstance(content, list):
        texts = [str(part["text"]) for part in content if part.get("type") == "text"]
        if not texts:
            raise ValueError("no text in any part of its message")
        content = "".join(texts)
    return content or getattr(message, "refusal", None) or ""


def _calls(message: Any) -> list[dict[str, Any]]:
    given = [dict(call) for call in getattr(message, "tool_calls", None) or ()]
    alone = getattr(message, "function_call", None)  # before there were several
    functions = []
    for call in given:
        if not (function := call.get("function") or call.get("custom")):
            raise ValueError(f"a call of a tool that says no function: {call}")
        functions.append(function)
    functions += [alone] if alone else []
    found = []
    for fields in map(dict, functions):
        call = {name: fields[name] for name in ("name", "arguments", "input") if name in fields}
        found.append({**call, "arguments": _parsed(call["arguments"])} if "arguments" in call else call)
    return found


def _parsed(arguments: Any) -> Any:
    """Return the arguments of a call, which are JSON in a text, as what that says; the text where it says nothing."""
    try:
        parsed = strict_json(arguments) if isinstance(arguments, str) else arguments
        canonical_json(parsed)
    except (ValueError, RecursionError):  # the model's doing, and to be seen: cut short, a NaN, a key twice
        return str(arguments)
    return parsed
