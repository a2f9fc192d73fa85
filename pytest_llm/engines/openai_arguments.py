"""A request in the words of OpenAI's API."""

from __future__ import annotations

from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Generate

#: What a service may be asked for beyond OpenAI's own arguments; vLLM and SGLang have these names.
_FURTHER = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty",
            "min_new_tokens": "min_tokens", "template": "chat_template_kwargs"}  # fmt: skip
#: What no service has an argument for.
_LOCAL = ("no_repeat_ngram_size", "num_beams", "length_penalty", "early_stopping", "add_special_tokens", "options")


def arguments_of(request: Generate, service: str) -> dict[str, Any]:
    """Return the arguments of a completion, or of a chat, without its prompt; ``service`` is for messages.

    Tools, which are a variable of the chat template to a model in this process, have an argument of their own here.

    Raises:
        InvalidInputError: the API has none for something that ``request`` sets.
    """
    default = Generate("")
    own = [name for name in _LOCAL if getattr(request, name) != getattr(default, name)]
    if own:
        raise InvalidInputError(f"{service}: OpenAI's API has no {own[0]}: leave it out, or ask a local model")
    further = {
        theirs: getattr(request, ours)
        for ours, theirs in _FURTHER.items()
        if getattr(request, ours) != getattr(default, ours)
    }
    arguments: dict[str, Any] = {"max_tokens": request.max_new_tokens, "temperature": 0.0}
    if request.do_sample:
        arguments.update(temperature=request.temperature, top_p=request.top_p, seed=request.seed)
        arguments["n"] = request.num_return_sequences
    if request.stop:
        arguments["stop"] = list(request.stop)
    for name in ("tool_choice", "response_format"):
        if name in request.template:
            raise InvalidInputError(f"{service}: template= is for the chat template: give chat() {name}= by itself")
        if getattr(request, name) is not None:
            arguments[name] = getattr(request, name)
    if offered(request):
        variables = dict(further.pop("chat_template_kwargs"))
        arguments["tools"] = variables.pop("tools")
        further.update({"chat_template_kwargs": variables} if variables else {})
    return {**arguments, "extra_body": further} if further else arguments


def offered(request: Generate) -> bool:
    """Whether the service is told of tools."""
    return request.call == "chat" and bool(request.template.get("tools"))
