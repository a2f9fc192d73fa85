"""What the arguments of a question may be."""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import SURROGATE

if TYPE_CHECKING:
    from pytest_llm.requests import Generate, Prompt, Request, Score, Tag

#: Further fields of transformers' GenerationConfig that decide output, passed through as they are.
EXTRA_OPTIONS = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "decoder_start_token_id",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "epsilon_cutoff",
        "eta_cutoff",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "sequence_bias",
        "suppress_tokens",
        "typical_p",
    }
)

Texts = str | Sequence[str]
#: A text or a conversation; and a list of either.
OnePrompt = str | Sequence[Mapping[str, Any]]
Prompts = Sequence[OnePrompt]

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


def is_one_prompt(value: Any) -> bool:
    """Whether ``value`` is a text or one conversation, not a list of either."""
    return isinstance(value, str) or isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def as_prompt(prompt: Any) -> Prompt:
    """Check one prompt (text or chat messages) and return it in the form requests hold.

    A message of role and content alone has them in this order, whichever it came in.

    Raises:
        InvalidInputError: it is neither, or a message lacks ``role`` or ``content``.
    """
    if isinstance(prompt, str):
        return str(prompt)
    if not isinstance(prompt, (list, tuple)) or not prompt:
        raise InvalidInputError(f"a prompt is text or a non-empty list of chat messages, not {prompt!r}")
    for message in prompt:
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            raise InvalidInputError(f"a chat message is a dict with 'role' and 'content', not {message!r}")
    return tuple(
        dict(message) if len(message) > 2 else {"role": message["role"], "content": message["content"]}
        for message in prompt
    )


def to_continue(prompt: Any) -> list[str]:
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


def check_fields(request: Request) -> None:
    """Check that every field holds what its annotation says, and make its numbers plain ones (NumPy's, and integers
    where floats are declared).

    Raises:
        InvalidInputError: one does not, or it holds what no request can (no JSON, half a surrogate pair).
    """
    for field in dataclasses.fields(request):
        name, value = field.name, getattr(request, field.name)
        if field.type == "int | None" and value is None:
            continue
        if field.type in ("int", "int | None"):
            integer = _is_number(value) and hasattr(value, "__index__")
            need(request, integer, f"{name} must be an integer, not {value!r}")
            value = operator.index(value)
            need(request, value >= 0, f"{name} cannot be negative ({value})")
            object.__setattr__(request, name, value)
        elif field.type == "float":
            finite = _is_number(value) and math.isfinite(value)
            need(request, finite, f"{name} must be a finite number, not {value!r}")
            value = float(value)
            object.__setattr__(request, name, value)
        elif field.type == "bool":
            need(request, isinstance(value, bool), f"{name} must be True or False, not {value!r}")
        elif field.type == "str | None":
            need(request, isinstance(value, str | None), f"{name} must be text, not {value!r}")
        elif field.type == "tuple[str, ...]":
            texts = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
            need(request, texts, f"{name} must be text, or a list of texts, not {value!r}")
        elif field.type == "dict[str, Any]":
            need(request, isinstance(value, dict), f"{name} must be a dict, not {value!r}")
        _check_json(request, name, value)


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number, NumPy's too; those are asked last, as a test makes a dozen and ABCs are slow."""
    return type(value) in (int, float) or (isinstance(value, numbers.Real) and not isinstance(value, bool))


def need(request: Request, ok: bool, what: str) -> None:
    """Refuse ``request`` unless ``ok``.

    Raises:
        InvalidInputError: ``what`` is wrong.
    """
    if not ok:
        raise InvalidInputError(f"{request.kind}(): {what}")


def _check_json(request: Request, name: str, value: Any) -> None:
    if isinstance(value, str):
        half = SURROGATE.search(value)
        need(
            request,
            half is None,
            f"{name} holds {half and half[0]!r}, half of a surrogate pair, which is no text: decode the bytes it came "
            'from as UTF-8, with errors="replace" if they are damaged',
        )
    elif isinstance(value, dict):
        for key, one in value.items():
            need(request, isinstance(key, str), f"{name} has the key {key!r}: the keys of a dict are text here")
            _check_json(request, name, one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _check_json(request, name, one)
    else:
        finite = value is None or isinstance(value, int) or isinstance(value, float) and math.isfinite(value)
        need(request, finite, f"{name} holds {value!r}, which is no text, finite number, list or dict of them")


def check_template(r: Generate | Score) -> None:
    """Check that variables of a chat template come with a chat, which alone reads them.

    Raises:
        InvalidInputError: they come with plain text, where most are arguments of something else, or misspelt.
    """
    if isinstance(r.prompt, str) and r.template:
        names = ", ".join(r.template)
        need(r, False, f"a prompt of plain text goes through no chat template, so nothing would read {names}")


def check_languages(r: Generate | Score, tokens: Iterable[str]) -> None:
    """Check that the ``tokens`` that are given by their ids do not say what ``tgt_lang`` says.

    Raises:
        InvalidInputError: one does.
    """
    twice = [name for name in tokens if name in ("forced_bos_token_id", "decoder_start_token_id")]
    need(r, not twice or r.tgt_lang is None, f"tgt_lang says what {' and '.join(twice)} would say: give one of them")


def check_tag(r: Tag) -> None:
    """Check how tokens are to be joined.

    Raises:
        InvalidInputError: in no way there is, or tokens of several windows that are not joined.
    """
    known = ("none", "simple", "first", "average", "max")
    way = f"aggregation_strategy is one of {', '.join(known)}, not {r.aggregation_strategy!r}"
    need(r, r.aggregation_strategy in known, way)
    need(r, not r.stride or r.aggregation_strategy != "none", "stride needs an aggregation_strategy other than 'none'")


def check_generate(r: Generate) -> None:
    """Check the ranges of a request's arguments, and that they go together.

    Raises:
        InvalidInputError: one is out of range, or two do not go together.
    """
    check_template(r)
    check_languages(r, r.options)
    need(r, r.max_new_tokens > 0, "max_new_tokens must be at least 1")
    need(r, r.min_new_tokens <= r.max_new_tokens, "min_new_tokens is larger than max_new_tokens")
    need(r, r.temperature > 0, "temperature must be above 0; for greedy decoding leave do_sample=False")
    need(r, 0 < r.top_p <= 1, f"top_p must lie in (0, 1], not {r.top_p}")
    need(r, 0 <= r.min_p <= 1, f"min_p must lie in [0, 1], not {r.min_p}")
    need(r, r.repetition_penalty > 0, "repetition_penalty must be above 0")
    need(r, r.num_beams >= 1 and r.num_return_sequences >= 1, "num_beams and num_return_sequences start at 1")
    need(r, all(r.stop), "stop strings must be non-empty text")
    early = isinstance(r.early_stopping, bool) or r.early_stopping == "never"
    need(r, early, f"early_stopping must be True, False or 'never', not {r.early_stopping!r}")
    if r.num_beams > 1:
        need(r, not r.do_sample, "beam sampling is not supported: use num_beams=1 to sample, or do_sample=False")
        need(
            r,
            r.num_return_sequences <= r.num_beams,
            f"num_return_sequences={r.num_return_sequences} needs at least as many num_beams ({r.num_beams})",
        )
    elif not r.do_sample:
        need(
            r,
            r.num_return_sequences == 1,
            f"greedy decoding has one answer: num_return_sequences={r.num_return_sequences} needs "
            "do_sample=True or num_beams",
        )
