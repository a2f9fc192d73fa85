"""The local engine: transformers in this process."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import buckets, families, loading, memory, prompts, ropes, threads
from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Request, Tokenize

if TYPE_CHECKING:
    from pytest_llm.engines.head import Head
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.engines.token_texts import TokenTexts
    from pytest_llm.weights.spec import ModelSpec

#: Tokens that fill a CPU: more are no faster (SmolLM2: 2,048 to 8,192 lose 1 % to 12 %), and take more memory.
CPU_TOKENS = 2048


class LocalEngine:
    """Answers requests with a model in this process.

    ``folder`` holds config, tokenizer and safetensors; ``adapter`` a PEFT folder put on the model, whose
    own tokenizer and chat template, if any, go before the model's. Each of configuration, tokenizer and weights is read
    when something first needs it.

    With ``spec.exact``, and in float16 and bfloat16, where a neighbour in the batch can change an answer, decoders
    compute in `buckets` and all else runs alone. So does, always, what padding changes by more than rounding.
    """

    def __init__(self, folder: Path, spec: ModelSpec, *, adapter: Path | None = None, batch_size: int = 64) -> None:
        self.folder, self.spec, self.adapter = folder, spec, adapter
        self.batch_size = buckets.ROWS if self.exact else batch_size
        self.load_seconds = 0.0
        #: See `buckets.attention`.
        self.plain_attention = False
        #: What `neighbours` saw of a decoder: whether a batch changes its answers, so that it is asked one by one;
        #: whether a start that prompts share may be computed once; and the longest prompt for which padding changed
        #: nothing, by whether it stood behind a shared start.
        self.one_by_one, self.shares_starts = False, True
        self.harmless: dict[bool, int] = {}
        #: What of the chat template has been warned of; see `templates.warn`.
        self.told: set[str] = set()

    @functools.cached_property
    def config(self) -> Any:
        """The model's configuration."""
        return loading.load_config(self.folder, self.spec, self.adapter)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return loading.load_tokenizer(self.folder, self.spec, self.adapter)

    @functools.cached_property
    def token_texts(self) -> TokenTexts:
        """The text of each token."""
        from pytest_llm.engines.token_texts import TokenTexts

        return TokenTexts(self.tokenizer)

    @functools.cached_property
    def model(self) -> Any:
        """The model, in evaluation mode, on its device."""
        start = time.perf_counter()
        config = self.config
        model = loading.load_model(self.folder, self.spec, self.adapter, config)
        self.load_seconds = time.perf_counter() - start
        for name in ("context_length", "source_length"):  # the weights may know better
            vars(self).pop(name, None)
        if not self.exact:  # another number of threads rounds otherwise: exact answers keep torch's own
            threads.share_cores()
        if model.device.type == "cpu":
            from pytest_llm.engines import products

            memory.keep_freed()
            products.use_onednn(model, products.onednn_is_faster())
        return model

    @functools.cached_property
    def head(self) -> Head:
        """The model's output layer."""
        from pytest_llm.engines.head import Head

        return Head(self.model, exact=self.exact)

    @functools.cached_property
    def family(self) -> families.Family:
        """What kind of model this is."""
        return families.family_of(self.config)

    @functools.cached_property
    def pad_id(self) -> int:
        """A token to pad with. It is always masked, so any that has an embedding serves where the model names none."""
        for source in (self.tokenizer, self.config):
            for name in ("pad_token_id", "eos_token_id"):
                value = getattr(source, name, None)
                value = value[0] if isinstance(value, list) and value else value
                if isinstance(value, int) and 0 <= value < families.vocabulary(self.config):
                    return value
        return 0

    @functools.cached_property
    def source_length(self) -> int | None:
        """How many tokens an encoder-decoder's encoder can attend to; ``None`` for no limit."""
        return families.context_length(self.config, vars(self).get("model"), encoder=True)

    @functools.cached_property
    def context_length(self) -> int | None:
        """How many tokens the model can attend to; ``None`` for no limit."""
        return families.context_length(self.config, vars(self).get("model"))

    def alone(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens, new ones included, would change its neighbours; see `ropes`."""
        return self._trained_length is not None and tokens > self._trained_length

    @functools.cached_property
    def _trained_length(self) -> int | None:
        return ropes.trained_length(self.config)

    @property
    def exact(self) -> bool:
        """Whether a neighbour in the batch must change nothing at all, not even by rounding."""
        return self.spec.fixed_shapes

    @property
    def bucket(self) -> int:
        """Rows that every pass of a decoder is filled up to; 0 where its shape is free, or no bucket helps.

        Free too is a batch size that was set on an exact engine: to see what it changes.
        """
        wanted = self.exact and self.batch_size == buckets.ROWS and self.family == "decoder"
        return buckets.ROWS if wanted and self._buckets_hold else 0

    @functools.cached_property
    def _buckets_hold(self) -> bool:
        return buckets.hold(self)

    def tokens_per_pass(self, *, scoring: bool) -> int:
        """Padded tokens in one forward pass: what memory takes and, for scoring on a CPU, what its caches like."""
        fits = memory.tokens_in_memory(self.model)
        return min(fits, CPU_TOKENS) if scoring and self.model.device.type == "cpu" else fits

    @property
    def free_size(self) -> int:
        """Sequences in a forward pass whose shape follows what is in it."""
        alone = self.one_by_one or (self.exact and self.batch_size == buckets.ROWS)
        return 1 if alone or self._padding_leaks else self.batch_size

    @functools.cached_property
    def _padding_leaks(self) -> bool:
        from pytest_llm.engines.local_encoding import padding_leaks

        return self.family != "decoder" and padding_leaks(self)

    @property
    def nbytes(self) -> int:
        """Bytes the weights take, mapped from their file or not; before they are loaded, the size of their files."""
        model = vars(self).get("model")
        if model is None:
            folders = [self.folder, *([self.adapter] if self.adapter else [])]
            return sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors"))
        # Keyed by address: tied weights are one memory.
        sizes = {tensor.data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
        return sum(sizes.values())

    def close(self) -> None:
        """Let go of weights and tokenizer; a later request loads them again."""
        loaded = "model" in vars(self)
        on_gpu = loaded and self.model.device.type == "cuda"
        if loaded and not self.exact:
            threads.give_back()
        for name in ("model", "head", "tokenizer", "token_texts", "context_length", "source_length"):
            vars(self).pop(name, None)
        if loaded:
            memory.give_back()
        if on_gpu:
            import torch

            torch.cuda.empty_cache()

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield ``(index, answer)`` as batches finish; see `pytest_llm.engines.protocol.Engine`.

        Every request of a kind is checked before any of that kind is computed.
        """
        kinds: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for index, request in enumerate(requests):
            kinds[request.kind].append((index, request))
        for kind, group in kinds.items():
            able = families.able(self.config)
            if kind not in able:
                name = (getattr(self.config, "architectures", None) or [self.config.model_type])[0]
                raise InvalidInputError(
                    f"{self.spec.source!r} ({name}) cannot answer {group[0][1].call!r}"
                    f"{families.why_not(kind, self.config)}: "
                    f"this {self.family} model answers {', '.join(sorted(map(families.method, able)))}"
                )
            if kind != "tokenize":
                prompts.check_tokens(self, group)
            yield from self._answer_kind(kind, group)

    def _answer_kind(self, kind: str, group: list[tuple[int, Any]]) -> Iterator[tuple[int, Answer]]:
        if kind == "tokenize":
            return self._tokenize(group)
        from pytest_llm.engines.local_activations import activations
        from pytest_llm.engines.local_classify import classify
        from pytest_llm.engines.local_encoding import embed, fill_mask
        from pytest_llm.engines.local_extract import extract
        from pytest_llm.engines.local_generate import generate
        from pytest_llm.engines.local_scoring import logprobs, loss, score
        from pytest_llm.engines.local_tag import tag

        answerers: dict[str, Callable[..., Iterator[tuple[int, Answer]]]] = {
            "generate": generate,
            "loss": loss,
            "logprobs": logprobs,
            "score": score,
            "fill_mask": fill_mask,
            "classify": classify,
            "tag": tag,
            "extract": extract,
            "embed": embed,
            "activations": activations,
        }
        return answerers[kind](self, group)

    def _tokenize(self, group: list[tuple[int, Tokenize]]) -> Iterator[tuple[int, Answer]]:
        for index, request in group:
            yield index, {"token_ids": prompts.encode(self.tokenizer, request.text, special=request.add_special_tokens)}
