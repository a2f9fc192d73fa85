"""What the fields of a request may be."""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.files import SURROGATE
from pytest_llm.reports.text import did_you_mean

if TYPE_CHECKING:
    from pytest_llm.requests import Extract, Generate, Request, Score, Tag

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

#: What a field of these annotations must be, and in words.
_TYPES = {"bool": (bool, "True or False"), "str": (str, "text"), "dict[str, Any]": (dict, "a dict")}


def check(request: Request) -> None:
    """Check every field of a request, and that they go together.

    Raises:
        InvalidInputError: one is of another type, out of range, or does not go with another.
    """
    _check_fields(request)
    if request.kind in _RANGES:
        _RANGES[request.kind](request)


def _check_fields(request: Request) -> None:
    """Check that every field holds what its annotation says, and make it plain data of the request's own.

    Raises:
        InvalidInputError: one does not, or it holds what no request can (no JSON, half a surrogate pair).
    """
    for field in dataclasses.fields(request):
        name, value, kind = field.name, getattr(request, field.name), str(field.type).removesuffix(" | None")
        if value is None and kind != field.type:
            continue
        if kind == "int":
            integer = _is_number(value) and hasattr(value, "__index__")
            need(request, integer, f"{name} must be an integer, not {value!r}")
            value = operator.index(value)
            need(request, value >= 0, f"{name} cannot be negative ({value})")
        elif kind == "float":
            finite = _is_number(value) and math.isfinite(value)
            need(request, finite, f"{name} must be a finite number, not {value!r}")
            value = float(value)
        elif kind == "tuple[str, ...]":
            texts = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
            need(request, texts, f"{name} must be text, or a list of texts, not {value!r}")
        elif kind in _TYPES:
            of, what = _TYPES[kind]
            need(request, isinstance(value, of), f"{name} must be {what}, not {value!r}")
        plain = _plain(request, name, value)
        object.__setattr__(request, name, tuple(plain) if isinstance(value, tuple) else plain)


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number, NumPy's too; those are asked last, as a test makes a dozen and ABCs are slow."""
    return type(value) in (int, float) or (isinstance(value, numbers.Real) and not isinstance(value, bool))


def need(request: Request, ok: bool, what: str) -> None:
    """Refuse ``request`` unless ``ok``.

    Raises:
        InvalidInputError: ``what`` is wrong.
    """
    if not ok:
        raise InvalidInputError(f"{request.call}(): {what}")


def _plain(request: Request, name: str, value: Any) -> Any:
    """Return ``value`` as JSON data of plain types: a chat template writes the member of a text enum as its name, and
    what the caller changes afterwards must not change the request.

    Raises:
        InvalidInputError: there is no such data, or it holds half a surrogate pair.
    """
    if isinstance(value, str):
        if half := SURROGATE.search(value):
            what = f"{name} holds {half[0]!r}, half of a surrogate pair, which is no text: decode the bytes it came"
            need(request, False, what + ' from as UTF-8, with errors="replace" if they are damaged')
        return str.__str__(value)
    if isinstance(value, dict):
        for key in value:
            need(request, isinstance(key, str), f"{name} has the key {key!r}: the keys of a dict are text here")
        return {str.__str__(key): _plain(request, name, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(request, name, one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if hasattr(value, "__index__") and _is_number(value):
        return operator.index(value)
    finite = _is_number(value) and math.isfinite(value)
    need(request, finite, f"{name} holds {value!r}, which is no text, finite number, list or dict of them")
    return float(value)


def check_template(r: Generate | Score) -> None:
    """Check that variables of a chat template come with a chat, which alone reads them.

    Raises:
        InvalidInputError: they come with plain text, where most are arguments of something else, or misspelt.
    """
    if isinstance(r.prompt, str) and r.template:
        names, own = ", ".join(r.template), ("src_lang", "tgt_lang", "forced_bos_token_id") if r.kind == "score" else ()
        hint = next(filter(None, (did_you_mean(name, own) for name in r.template)), "")
        need(r, False, f"a prompt of plain text goes through no chat template, so nothing would read {names}{hint}")


def check_languages(r: Generate | Score, tokens: Iterable[str]) -> None:
    """Check that the ``tokens`` that are given by their ids do not say what ``tgt_lang`` says.

    Raises:
        InvalidInputError: one does.
    """
    twice = [name for name in tokens if name in ("forced_bos_token_id", "decoder_start_token_id")]
    need(r, not twice or r.tgt_lang is None, f"tgt_lang says what {' and '.join(twice)} would say: give one of them")


def _check_generate(r: Generate) -> None:
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
    if r.tool_choice is not None:
        choice = isinstance(r.tool_choice, (str, dict))
        need(r, choice, f"tool_choice must be text, or a dict that names a tool, not {r.tool_choice!r}")
        need(r, bool(r.template.get("tools")), "tool_choice chooses of the tools: give them as tools=[...]")
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


def _check_extract(r: Extract) -> None:
    """Check the texts and the ranges of a question about a text.

    Raises:
        InvalidInputError: a text is empty, or a number out of range.
    """
    need(r, bool(r.question.strip()), "a question is empty")
    need(r, bool(r.context.strip()), "a context is empty, so there is nothing to answer from")
    need(r, r.max_answer_len >= 1, "max_answer_len must be at least 1")
    need(r, r.doc_stride >= 1, "doc_stride must be at least 1")
    need(
        r,
        r.doc_stride < r.max_seq_len,
        f"doc_stride={r.doc_stride}, the tokens that two windows share, must be smaller than max_seq_len="
        f"{r.max_seq_len}, the tokens of a window",
    )


def _check_tag(r: Tag) -> None:
    """Check how tokens are to be joined.

    Raises:
        InvalidInputError: in no way there is, or tokens of several windows that are not joined.
    """
    known = ("none", "simple", "first", "average", "max")
    way = f"aggregation_strategy is one of {', '.join(known)}, not {r.aggregation_strategy!r}"
    need(r, r.aggregation_strategy in known, way)
    need(r, not r.stride or r.aggregation_strategy != "none", "stride needs an aggregation_strategy other than 'none'")


_RANGES: dict[str, Callable[[Any], None]] = {
    "generate": _check_generate,
    "extract": _check_extract,
    "tag": _check_tag,
}
