"""The languages of a translation model, where its tokenizer writes them: mBART, mBART-50, NLLB, M2M-100."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.prompts import encode, trained_start
from pytest_llm.errors import InvalidInputError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Generate, Loss, Score


@contextlib.contextmanager
def spoken(engine: LocalEngine, request: Generate | Loss | Score, index: int) -> Iterator[dict[str, int]]:
    """Have the tokenizer write a source and a target in the languages of ``request``, where it names any.

    Gives the option that has an answer begin with its ``tgt_lang``: ``forced_bos_token_id``, or of the first mBART,
    which is trained to start from the language, ``decoder_start_token_id``.

    Raises:
        InvalidInputError: the model knows no languages, or not this one.
    """
    given = {name: getattr(request, name) for name in ("src_lang", "tgt_lang") if getattr(request, name) is not None}
    if not given:
        yield {}
        return
    tokenizer = engine.tokenizer
    known = _languages(engine, " and ".join(given), index)
    for name, language in given.items():
        if language not in known:
            raise InvalidInputError(
                f"request {index}: the model knows no {name}={language!r}; {_near(language, known)}"
            )
    before = {name: getattr(tokenizer, name, None) for name in ("tgt_lang", "src_lang")}  # the source's last: it is set
    try:
        for name in before:
            setattr(tokenizer, name, given.get(name, before[name]))
        yield _beginning(engine, known[given["tgt_lang"]]) if "tgt_lang" in given else {}
    finally:
        for name, language in before.items():
            setattr(tokenizer, name, language)


def _languages(engine: LocalEngine, names: str, index: int) -> dict[str, int]:
    """Return the languages that the tokenizer can be set to, and their tokens."""
    tokenizer = engine.tokenizer
    if engine.family != "encoder-decoder":
        raise InvalidInputError(f"request {index}: {names} is for encoder-decoders")
    codes: dict[str, int] = {}
    if hasattr(tokenizer, "set_src_lang_special_tokens"):
        codes = getattr(tokenizer, "lang_code_to_id", None) or {
            name: tokenizer.convert_tokens_to_ids(name)
            for name in tokenizer.all_special_tokens
            if re.fullmatch("[a-z]{2,3}_[A-Z][A-Za-z]+", name)
        }
    if not codes:
        raise InvalidInputError(
            f"request {index}: the model's tokenizer ({type(tokenizer).__name__}) cannot be set to a language, so "
            f"there is no {names}: as T5's and Marian's, it is told in the prompt, if at all"
        )
    return codes


def _near(language: str, known: dict[str, int]) -> str:
    start = language[:2].lower()
    near = [name for name in known if name.lower().startswith(start)] if len(start) == 2 else []
    near += [name for name in difflib.get_close_matches(language, known, n=3, cutoff=0.5) if name not in near]
    return f"near it are {', '.join(near[:5])}" if near else f"it knows {len(known)}, as {', '.join(list(known)[:3])}"


def _beginning(engine: LocalEngine, language: int) -> dict[str, Any]:
    start = trained_start(engine, encode(engine.tokenizer, "a", special=True, target=True))
    return {"decoder_start_token_id" if start == language else "forced_bos_token_id": language}
