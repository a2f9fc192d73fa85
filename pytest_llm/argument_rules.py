"""What the methods of a model take: one input or many, prompts and conversations, the vocabulary of ``generate``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.reports.text import did_you_mean
from pytest_llm.request_rules import EXTRA_OPTIONS
from pytest_llm.requests import Generate, Prompt, generate_arguments

#: Arguments that only a chat has.
CHAT_ONLY = frozenset({"tools", "tool_choice", "response_format"})

Texts = str | Sequence[str]
#: A text or a conversation; and a list of either.
OnePrompt = str | Sequence[Mapping[str, Any]]
Prompts = Sequence[OnePrompt]

#: What a chat message says, by one of these: a template may write a content that is None as that word.
_SAID = ("content", "tool_calls", "function_call")
#: What need not be text, in messages of `listed`.
_WIDER = ("prompt", "conversation", "list of continuations")


def listed(value: Any, what: str) -> list[Any]:
    """Return one input, or many, as a list. Each has to be text, unless ``what`` is more than text (`_WIDER`).

    Raises:
        InvalidInputError: there is none, it is no text where it must be, or many of them have no order.
    """
    if isinstance(value, str):
        return [value]
    table = hasattr(value, "columns")  # whose iteration gives their names
    if table or isinstance(value, (Mapping, set, frozenset, bytes, bytearray)):
        hint = ": put one message in a list" if isinstance(value, Mapping) and "role" in value else ""
        hint = ": give one of its columns" if table else ": decode them" if isinstance(value, bytes) else hint
        raise InvalidInputError(f"a {what} or a list of them is needed, not a {type(value).__name__}{hint}")
    if not isinstance(value, Iterable):
        raise InvalidInputError(f"a {what} or a list of them is needed, not {value!r}")
    items = list(value)
    if not items:
        raise InvalidInputError(f"the list of {what}s is empty: there is nothing to ask")
    for index, item in enumerate(items):
        if what not in _WIDER and not isinstance(item, str):
            raise InvalidInputError(f"{what} {index} is not a string but {type(item).__name__}: {item!r:.80}")
    return items


def beside(method: str, what: str, texts: Texts, others: Texts | None) -> tuple[list[Any], list[Any]]:
    """Return the texts of ``method`` as a list, and what is given beside each: ``None`` where nothing is.

    Raises:
        InvalidInputError: one has nothing beside it, or as `listed`.
    """
    one = "question" if what == "context" else "text"
    items = listed(texts, one)
    given = [None] * len(items) if others is None and one == "text" else listed(others, what)
    if len(given) != len(items):
        raise InvalidInputError(f"{method}() needs one {what} a {one}: it got {len(given)} for {len(items)}")
    return items, given


def is_one_prompt(value: Any) -> bool:
    """Whether ``value`` is a text or one conversation, not a list of either."""
    return isinstance(value, str) or isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def as_prompt(prompt: Any) -> Prompt:
    """Check one prompt (text or chat messages) and return it in the form requests hold.

    A message of role and content alone has them in this order, whichever it came in. One that calls tools needs no
    content, as in OpenAI's API.

    Raises:
        InvalidInputError: it is neither, or a message lacks ``role``, or says nothing.
    """
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, (list, tuple)) or not prompt:
        raise InvalidInputError(f"a prompt is text or a non-empty list of chat messages, not {prompt!r}")
    for message in prompt:
        said = isinstance(message, Mapping) and any(message.get(name) is not None for name in _SAID)
        if not said or "role" not in message:
            raise InvalidInputError(f"a chat message is a dict with 'role' and 'content', not {message!r}")
    return tuple(dict(message) if len(message) > 2 else {"role": message["role"], **message} for message in prompt)


def with_tools(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``chat()`` with ``tools`` as what they are: a variable of the chat template.

    Raises:
        InvalidInputError: they are no list of dicts, or are given twice.
    """
    rest = {name: value for name, value in arguments.items() if name != "tools"}
    tools, template = arguments.get("tools"), rest.get("template", {})
    if tools is None or not isinstance(template, dict):
        return rest
    if not isinstance(tools, (list, tuple)) or not tools or not all(isinstance(one, dict) for one in tools):
        raise InvalidInputError(
            f"chat(): tools must be a list of dicts, each as OpenAI's API has them, not {tools!r:.80} "
            "(transformers.utils.get_json_schema makes one of a Python function)"
        )
    if "tools" in template:
        raise InvalidInputError("chat(): tools are given twice, the other time in template=")
    return {**rest, "template": {**template, "tools": list(tools)}}


def to_continue(prompt: Any) -> list[Prompt]:
    """Return the prompts of ``generate()`` as a list.

    Raises:
        InvalidInputError: they are chat messages, or as `listed`.
    """
    items = [] if _is_chat(prompt) else listed(prompt, "prompt")
    if not items or any(map(_is_chat, items)):
        raise InvalidInputError("generate(): these are chat messages: ask with llm.chat(...)")
    return listed(items, "text")


def _is_chat(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and _is_chat(value[0])
    return isinstance(value, Mapping) and "role" in value


def with_continuations(prompt: Any, continuations: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """Return each prompt of ``score()`` with the continuations after it.

    Raises:
        InvalidInputError: there is no list of continuations for each, or as `listed`.
    """
    single = is_one_prompt(prompt)
    prompts = [prompt] if single else listed(prompt, "prompt")
    lists = [continuations] if single else listed(continuations, "list of continuations")
    if any(isinstance(one, str) for one in lists):
        raise InvalidInputError(f"score() needs a list of continuations{' for each prompt' * (not single)}")
    if len(lists) != len(prompts):
        raise InvalidInputError(
            f"score() needs a list of continuations for each prompt: it got {len(lists)} for {len(prompts)}"
        )
    return [(one, tuple(listed(texts, "continuation"))) for one, texts in zip(prompts, lists, strict=True)]


def generate_request(prompt: Prompt, arguments: Mapping[str, Any]) -> Generate:
    """Make a `Generate` from keyword arguments, in the vocabulary of ``model.generate``; of a chat, also OpenAI's.

    ``temperature``, ``top_k``, ``top_p`` or ``min_p`` alone do not switch sampling on: ``do_sample`` does.

    Raises:
        InvalidInputError: an unknown argument, or one out of range.
    """
    call, chat_only = ("generate", CHAT_ONLY) if isinstance(prompt, str) else ("chat", frozenset[str]())
    arguments = arguments if chat_only else with_tools(arguments)
    known = generate_arguments() - chat_only
    values: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in EXTRA_OPTIONS:
            options[name] = value
        elif name in known:
            values[name] = value
        else:
            hint = did_you_mean(name, sorted((known | CHAT_ONLY) - chat_only))
            if name in chat_only:
                hint = ", which is for a conversation: ask with llm.chat(...)"
            elif name == "eos_token_id":  # forced_eos_token_id, which is near, does something else
                hint = ": the model's own ends an answer; stop= names texts that end it too"
            elif name in ("max_length", "min_length"):
                hint = f": {name[:3]}_new_tokens= counts the tokens of the answer, without those of the prompt"
            raise InvalidInputError(f"{call}() does not know the argument {name!r}{hint}")
    stop = values.get("stop")
    values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop or ()) if isinstance(stop, list | None) else stop
    return Generate(prompt=prompt, options=options, **values)
