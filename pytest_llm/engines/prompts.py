"""From a request's text or messages to token ids, and the checks that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import templates
from pytest_llm.engines.families import vocabulary
from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.reports.text import counted, one_line, shorten

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Prompt


#: Options of `generate` that name a token, and those that name several.
_ONE_TOKEN = ("decoder_start_token_id", "forced_bos_token_id")
_TOKENS = ("bad_words_ids", "begin_suppress_tokens", "forced_eos_token_id", "suppress_tokens")


def encode(tokenizer: Any, text: str, *, special: bool, target: bool = False) -> list[int]:
    """Return the token ids of ``text``, with the tokenizer's own special tokens around it if ``special``.

    A ``target`` is what an encoder-decoder is to answer. Some tokenizers write it in other pieces than a source
    (Marian), some put other tokens around it (mBART).
    """
    arguments: dict[str, Any] = {"add_special_tokens": special, "verbose": False}
    encoded = tokenizer(text_target=text, **arguments) if target else tokenizer(text, **arguments)
    ids: list[int] = list(encoded["input_ids"])
    return ids


def leading_special_ids(tokenizer: Any, *, target: bool = False) -> list[int]:
    """Return the ids (BOS, a language, or none) that the tokenizer puts in front of every text, or ``target``."""
    bare, whole = (encode(tokenizer, "a", special=special, target=target) for special in (False, True))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start]
    return []


def render(engine: LocalEngine, prompt: Prompt, template: Mapping[str, Any], index: int) -> str:
    """Return the prompt as text: chat messages go through the model's chat template.

    Raises:
        InvalidInputError: the model has no chat template, or the template refuses the messages.
    """
    if isinstance(prompt, str):
        return prompt
    tokenizer = engine.tokenizer
    if not tokenizer.chat_template:
        raise InvalidInputError(
            f"request {index} is a chat, but the model's tokenizer has no chat template: "
            "ask with generate() and plain text, or give the model a chat_template.jinja"
        )
    arguments = {"add_generation_prompt": True, **template, "tokenize": False}
    try:
        text: str = tokenizer.apply_chat_template(list(prompt), **arguments)
    except Exception as error:  # a template is a program that comes with the model: it raises what it likes
        raise InvalidInputError(
            f"request {index}: the model's chat template refuses the messages: {one_line(error)}"
        ) from error
    templates.warn(engine, template)
    return text


def prompt_ids(
    engine: LocalEngine, prompt: Prompt, template: Mapping[str, Any], special: bool, index: int
) -> list[int]:
    """Return the ids the model reads for ``prompt``. An empty prompt becomes the BOS token.

    Raises:
        InvalidInputError: an empty prompt and no BOS token, or as `render`.
    """
    text = render(engine, prompt, template, index)
    # A rendered chat spells its own special tokens.
    ids = encode(engine.tokenizer, text, special=special and isinstance(prompt, str))
    if ids:
        return ids
    start = start_token(engine)
    if start is None or engine.family == "encoder-decoder":
        raise InvalidInputError(f"request {index}: the prompt is empty, and this model has no token to start from")
    return [start]


def start_token(engine: LocalEngine) -> int | None:
    """Return the BOS token, which an empty prompt becomes; ``None`` where the model has none."""
    token = engine.tokenizer.bos_token_id
    found: int | None = getattr(engine.config, "bos_token_id", None) if token is None else token
    return found


def check_tokens(engine: LocalEngine, group: Sequence[tuple[int, Any]]) -> None:
    """Check that the model has an embedding for each token of the requests; a tokenizer may have got more tokens.

    Raises:
        LLMError: it has none for a token; the message names it.
    """
    tokenizer = engine.tokenizer
    if len(tokenizer) <= vocabulary(engine.config):
        return
    rows = engine.model.get_input_embeddings().weight.shape[0]  # an adapter may have brought some
    if len(tokenizer) <= rows:
        return
    for index, request in group:
        texts = [getattr(request, name, None) or "" for name in ("text", "pair", "source", "question", "context")]
        texts += [render(engine, getattr(request, "prompt", ""), getattr(request, "template", {}), index)]
        for text in (*texts, *getattr(request, "continuations", ())):
            for token in encode(tokenizer, text, special=True):
                if token >= rows:
                    raise LLMError(
                        f"request {index}: the model has {rows} embeddings, and none for the token "
                        f"{tokenizer.convert_ids_to_tokens(token)!r} (id {token}) of {shorten(text, 80)!r}: its "
                        f"tokenizer knows {len(tokenizer)} tokens. Save the model after resize_token_embeddings, or "
                        "take the tokenizer that it was trained with."
                    )


def decoder_start(engine: LocalEngine, given: int | None = None) -> int:
    """Return the token an encoder-decoder's answers start from: the ``given`` one, or the model's own.

    Where the model names none it is the one that it was trained to start from in the tokenizer's target language
    (mBART), or else BOS.

    Raises:
        InvalidInputError: there is none of these.
    """
    if given is not None:
        return given
    own = (engine.model.generation_config, engine.config)
    named = [getattr(source, "decoder_start_token_id", None) for source in own]
    trained = None
    if not any(isinstance(start, int) for start in named):
        trained = trained_start(engine, encode(engine.tokenizer, "a", special=True, target=True))
    for start in (*named, trained, *(getattr(source, "bos_token_id", None) for source in own)):
        if isinstance(start, int):
            return start
    raise InvalidInputError(
        "the model names no decoder_start_token_id in its generation_config.json: give generate() one"
    )


def decoder_ids(engine: LocalEngine, text: str) -> tuple[int, list[int]]:
    """Return what an encoder-decoder is trained with for the answer ``text``: its start, and its tokens as labels."""
    labels = encode(engine.tokenizer, text, special=True, target=True)
    start = trained_start(engine, labels)
    return decoder_start(engine) if start is None else start, labels


def trained_start(engine: LocalEngine, labels: list[int]) -> int | None:
    """Return the token that the model was trained to start from where it answers ``labels``, if that is known."""
    import torch

    try:
        ids = engine.model.prepare_decoder_input_ids_from_labels(torch.tensor([labels], device=engine.model.device))
    except (AttributeError, TypeError, ValueError):  # no such method, or the configuration names no start
        return None
    return int(ids[0, 0])


def answer_start(engine: LocalEngine, forced_bos: int | None = None, start: int | None = None) -> list[int]:
    """Return the ids that every answer of an encoder-decoder begins with, before its text.

    After its ``start`` that is the token that generation is forced to (``forced_bos``, or the model's own), or what its
    tokenizer puts in front of every target: the language of mBART-50 and NLLB, the BOS of BART.
    """
    start = decoder_start(engine, start)
    forced = engine.model.generation_config.forced_bos_token_id if forced_bos is None else forced_bos
    first = leading_special_ids(engine.tokenizer, target=True) if forced is None else [forced]
    return first if forced is None and first[:1] == [start] else [start, *first]


def check_token_options(engine: LocalEngine, options: Mapping[str, Any], index: int) -> None:
    """Check that every token id in ``options`` (of `request_rules.EXTRA_OPTIONS`) is one of the model's.

    Raises:
        InvalidInputError: one is not, or an option is for encoder-decoders; the message names it.
    """
    if options.get("decoder_start_token_id") is not None and engine.family == "decoder":
        raise InvalidInputError(f"request {index}: decoder_start_token_id is for encoder-decoders")
    named = [name for name in (*_ONE_TOKEN, *_TOKENS) if options.get(name) is not None]
    layer = engine.model.get_output_embeddings() if named else None
    size = vocabulary(engine.config) if layer is None else layer.weight.shape[0]
    for name in named:
        for token in [options[name]] if name in _ONE_TOKEN else _flat(options[name]):
            if type(token) is not int or not 0 <= token < size:
                raise InvalidInputError(
                    f"request {index}: {name} names the token {token!r}, and the model has a vocabulary of {size} "
                    f"tokens, whose ids are 0 to {size - 1}"
                )


def _flat(tokens: Any) -> list[Any]:
    return [one for part in tokens for one in _flat(part)] if isinstance(tokens, (list, tuple)) else [tokens]


def check_length(
    engine: LocalEngine, tokens: int, index: int, *, new: int = 0, source: bool = False, hint: str = "shorten the text"
) -> None:
    """Check that ``tokens`` of input and ``new`` ones after it fit the model's context; a ``source``, its encoder's.

    Raises:
        InvalidInputError: they do not; the message gives both lengths.
    """
    name = "source_length" if source else "context_length"
    limit: int | None = getattr(engine, name)
    if limit is None:
        return
    # RoBERTa's position embeddings lose rows to padding: near the limit the weights, once loaded, know better.
    if engine.family != "decoder" and tokens + new >= limit - engine.pad_id and engine.model is not None:
        limit = getattr(engine, name) or limit
    if tokens + new <= limit:
        return
    asked = counted(tokens, "token") + (f" and max_new_tokens={new} make {tokens + new}" if new else "")
    what = "lower max_new_tokens" if new >= limit else f"{hint}{' or lower max_new_tokens' if new else ''}"
    whose = "model" if engine.family != "encoder-decoder" else "model's encoder" if source else "model's decoder"
    raise InvalidInputError(f"request {index}: {asked}, but the {whose}'s context is {limit} tokens: {what}")


def require_text(text: str, index: int) -> None:
    """Refuse an empty text.

    Raises:
        InvalidInputError: ``text`` is empty.
    """
    if not text:
        raise InvalidInputError(f"request {index}: the text is empty, so there is nothing to measure")


def require_fast(tokenizer: Any, call: str) -> None:
    """Refuse a tokenizer that does not say where its tokens stand in a text, which ``call`` needs.

    Raises:
        InvalidInputError: it is a slow one.
    """
    if not tokenizer.is_fast:
        raise InvalidInputError(
            f"{call}() needs a fast tokenizer, which says where its tokens stand in the text: "
            f"{type(tokenizer).__name__} is a slow one; convert it and save it as tokenizer.json"
        )


def pad(rows: Sequence[list[int]], pad_id: int, device: Any, *, left: bool = False, length: int = 0) -> tuple[Any, Any]:
    """Return ids and mask (1 where there is a token), [rows, longest], padded on one side to ``length`` or more."""
    import torch

    longest = max(length, *map(len, rows))
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, where] = torch.tensor(row, dtype=torch.long)
        mask[i, where] = 1
    return ids.to(device), mask.to(device)
