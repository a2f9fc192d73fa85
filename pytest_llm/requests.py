"""Requests: everything that decides an answer, as frozen data with one canonical JSON spelling.

Search parameters (sampling, beams, penalties, lengths) are the test's and are always explicit here: a
model's own ``generation_config`` cannot change what a test asked. Only token-level rules (end, padding and
decoder-start tokens, suppressed tokens) come from the model, and so belong to its weight digest.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from pytest_llm.files import digest_of, key_orders
from pytest_llm.request_rules import EXTRA_OPTIONS, check, check_languages, check_template, need

#: Fields that are in a request's JSON only where they are given: requests were kept before there were such.
_LATER = ("forced_bos_token_id", "src_lang", "tgt_lang", "tool_choice", "response_format")

Prompt = str | tuple[dict[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Request:
    """Base of all requests. ``kind`` names the question."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check(self)

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON data; equal requests give equal data."""
        data: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name not in _LATER:
                data[field.name] = list(value) if isinstance(value, tuple) else value
        return data

    @property
    def digest(self) -> str:
        """The sha256 of the canonical JSON, and of what that does not say (`beside`)."""
        return digest_of({**self.to_json(), **self.beside()})

    @property
    def key_orders(self) -> list[list[str]]:
        """The orders of keys that a chat template can show, as in ``{{ tools | tojson }}``, or an answer have.

        See `files.key_orders`.
        """
        prompt = getattr(self, "prompt", "")
        chat = [list(m.values()) if len(m) == 2 else m for m in prompt] if isinstance(prompt, tuple) else []
        return key_orders([chat, *getattr(self, "template", {}).values(), getattr(self, "response_format", None)])

    def beside(self) -> dict[str, Any]:
        """Return what decides the answer besides the canonical JSON, which has all keys sorted."""
        orders = self.key_orders
        return {"key_orders": orders} if orders else {}

    @property
    def call(self) -> str:
        """The method of a model that asks it, for messages."""
        return self.kind

    @property
    def sampled(self) -> bool:
        """Whether chance decides the answer, so that a repeat is another answer."""
        return False

    def repeated(self, repeat: int) -> Request:
        """Return what to compute for the ``repeat``-th answer; the 0th is the request's own."""
        return self


@dataclasses.dataclass(frozen=True)
class Generate(Request):
    """Continue ``prompt`` (text as it is, or chat messages put through the model's template).

    ``stop`` strings end the answer and are not part of it. ``seed`` decides sampling, independently of
    batch neighbours. ``num_return_sequences`` answers come back for one request. Tools are a variable of ``template``;
    ``tool_choice`` and ``response_format`` are for services. ``src_lang`` and ``tgt_lang`` are the languages of a
    translation model (`engines.languages`).
    """

    kind: ClassVar[str] = "generate"
    prompt: Prompt
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    stop: tuple[str, ...] = ()
    seed: int = 0
    add_special_tokens: bool = True
    template: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None

    @property
    def call(self) -> str:
        """``chat`` where the prompt is one."""
        return "generate" if isinstance(self.prompt, str) else "chat"

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn."""
        return self.do_sample

    def repeated(self, repeat: int) -> Generate:
        """Return the request with the seed of its ``repeat``-th answer."""
        if not repeat or not self.do_sample:
            return self
        return dataclasses.replace(self, seed=self.seed_for(repeat))

    def seed_for(self, *what: Any) -> int:
        """Return another seed, which follows from this request's and ``what``, in the 31 bits every server takes."""
        return int(digest_of([self.seed, *what])[:8], 16) >> 1

    def before_stop(self, text: str) -> str | None:
        """Return ``text`` up to the first stop string, ``None`` when there is none in it."""
        found = [at for at in map(text.find, self.stop) if at >= 0]
        return text[: min(found)] if found else None


@dataclasses.dataclass(frozen=True)
class Loss(Request):
    """NLL of ``text`` (of ``text`` given ``source`` for encoder-decoders), by sliding window.

    ``window`` and ``stride`` count tokens; 0 takes the model's context length, and half of it.
    """

    kind: ClassVar[str] = "loss"
    text: str
    source: str | None = None
    window: int = 0
    stride: int = 0
    src_lang: str | None = None
    tgt_lang: str | None = None


@dataclasses.dataclass(frozen=True)
class Logprobs(Request):
    """Logprob of every token of ``text`` after the first, with the ``top_k`` best alternatives."""

    kind: ClassVar[str] = "logprobs"
    text: str
    top_k: int = 5


@dataclasses.dataclass(frozen=True)
class Score(Request):
    """Logprob of each continuation after ``prompt``; an encoder-decoder's begins with ``forced_bos_token_id``."""

    kind: ClassVar[str] = "score"
    prompt: Prompt
    continuations: tuple[str, ...]
    template: dict[str, Any] = dataclasses.field(default_factory=dict)
    forced_bos_token_id: int | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self)
        check_languages(self, ["forced_bos_token_id"] if self.forced_bos_token_id is not None else ())
        wrong = ", ".join(sorted(set(self.template) & (generate_arguments() - {"template"}))) if self.template else ""
        need(self, not wrong, f"{wrong} is for generate(); a further argument here is a variable of the chat template")

    def beside(self) -> dict[str, Any]:
        """Return also what is not scored, as it once was: a chat's last line break, white space that ends a source."""
        if not isinstance(self.prompt, str):
            return {**super().beside(), "boundary": "as rendered"}
        return {"boundary": "by family"} if self.prompt[-1:].isspace() else {}


@dataclasses.dataclass(frozen=True)
class FillMask(Request):
    """The ``top_k`` best tokens for every mask in ``text``."""

    kind: ClassVar[str] = "fill_mask"
    text: str
    top_k: int = 5


@dataclasses.dataclass(frozen=True)
class Classify(Request):
    """What a classifier says of ``text``, or of ``text`` and its ``pair`` (a premise and its hypothesis)."""

    kind: ClassVar[str] = "classify"
    text: str
    pair: str | None = None


@dataclasses.dataclass(frozen=True)
class Tag(Request):
    """The spans that a token classifier finds in ``text``, in windows that share ``stride`` tokens; 0: one window."""

    kind: ClassVar[str] = "tag"
    text: str
    aggregation_strategy: str = "simple"
    stride: int = 0


@dataclasses.dataclass(frozen=True)
class Extract(Request):
    """The stretch of ``context`` that answers ``question`` (`engines.local_extract`); its numbers count tokens."""

    kind: ClassVar[str] = "extract"
    question: str
    context: str
    max_answer_len: int = 15
    handle_impossible_answer: bool = False
    max_seq_len: int = 384
    doc_stride: int = 128
    align_to_words: bool = True

    @property
    def call(self) -> str:
        """The name of the method, which is not that of the kind."""
        return "answer"


@dataclasses.dataclass(frozen=True)
class Embed(Request):
    """One vector for ``text``: ``mean`` over tokens, ``cls`` or ``last`` token; L2-normalised or not."""

    kind: ClassVar[str] = "embed"
    text: str
    pooling: str = "mean"
    normalize: bool = True


@dataclasses.dataclass(frozen=True)
class Activations(Request):
    """A projection to ``size`` numbers of the hidden states after every layer (`engines.local_activations`).

    An encoder-decoder reads ``source`` and is fed ``text``.
    """

    kind: ClassVar[str] = "activations"
    text: str
    source: str | None = None
    size: int = 64
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Tokenize(Request):
    """The token ids of ``text``."""

    kind: ClassVar[str] = "tokenize"
    text: str
    add_special_tokens: bool = True


def generate_arguments() -> set[str]:
    """Return the names of the arguments of ``generate()``."""
    return {f.name for f in dataclasses.fields(Generate)} - {"prompt", "options"} | EXTRA_OPTIONS
