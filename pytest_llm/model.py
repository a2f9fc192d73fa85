"""`LanguageModel`: what a test holds."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from pytest_llm.argument_rules import (
    OnePrompt,
    Prompts,
    Texts,
    as_prompt,
    beside,
    generate_request,
    is_one_prompt,
    listed,
    to_continue,
    with_continuations,
)
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.heads import Heads
from pytest_llm.metrics.inputs import read_ids
from pytest_llm.metrics.loss import bits_per_byte_of, loss_of, perplexity_of
from pytest_llm.metrics.score import Score
from pytest_llm.requests import (
    Activations,
    Embed,
    FillMask,
    Logprobs,
    Loss,
    Prompt,
    Tokenize,
)
from pytest_llm.requests import Score as ScoreRequest
from pytest_llm.results import (
    ContinuationScore,
    Generation,
    LayerStates,
    Origin,
    Parts,
    Scores,
    TokenLogprob,
    TokenLoss,
    mask_fills,
    token_logprobs,
)

if TYPE_CHECKING:
    import numpy as np

    from pytest_llm.engines.protocol import Answer

__tracebackhide__ = measured


class LanguageModel(Heads):
    """A model under test, made by the fixtures ``llm`` and ``llm_loader``.

    Nothing is loaded until an answer is not in the store. Every method takes one input, and gives one
    result, or a list, and gives a list in the same order; a list is answered in batches. (`loss`, `perplexity` and
    `bits_per_byte` give one `Score` of all, `activations` always a list.)

    Errors of every method: `InvalidInputError` for input this model cannot answer, `ModelNotFoundError` when
    its weights cannot be found or read, `StoreMissError` under ``--llm-offline``.
    """

    def __repr__(self) -> str:
        return f"<LanguageModel {self.spec.source} {self.spec.dtype}>"

    # One answer a prompt, or a list of them: the number says which. An int may be 1, and so may that of **options.
    @overload
    def generate(self, prompt: Texts, *, num_return_sequences: int, **arguments: Any) -> Any: ...
    @overload
    def generate(self, prompt: str, **arguments: Any) -> Generation: ...
    @overload
    def generate(self, prompt: Sequence[str], **arguments: Any) -> list[Generation]: ...
    def generate(self, prompt: Any, **arguments: Any) -> Any:
        """Continue a prompt, or each of a list of prompts.

        Args:
            prompt: text as it is, or a list of texts. (Chat messages go to `chat`.)
            arguments: the vocabulary of ``model.generate``: ``max_new_tokens`` (64), ``min_new_tokens``,
                ``do_sample``, ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``repetition_penalty``,
                ``no_repeat_ngram_size``, ``num_beams``, ``length_penalty``, ``early_stopping``,
                ``num_return_sequences``, ``stop``, ``seed`` (0: to ask the same again gives the same, also of sampled
                answers), ... The default is greedy decoding. ``src_lang`` and ``tgt_lang`` are the languages of
                mBART, NLLB and M2M-100, by the names their tokenizers have for them (``"fr_XX"``, ``"fra_Latn"``,
                ``"fr"``); by default the tokenizer's own.

        Returns:
            A `Generation` a prompt; a list of them a prompt when ``num_return_sequences`` is above 1.
        """
        return self._generate(to_continue(prompt), isinstance(prompt, str), arguments)

    @overload
    def chat(self, messages: Any, *, system: str | None = None, num_return_sequences: int, **arguments: Any) -> Any: ...
    @overload
    def chat(self, messages: OnePrompt, *, system: str | None = None, **arguments: Any) -> Generation: ...
    @overload
    def chat(self, messages: Prompts, *, system: str | None = None, **arguments: Any) -> list[Generation]: ...
    def chat(self, messages: Any, *, system: str | None = None, **arguments: Any) -> Any:
        """Answer a conversation through the model's chat template.

        Args:
            messages: a user's text; one conversation as a list of ``{"role": ..., "content": ...}``; or a list
                of either.
            system: a system message put before each conversation.
            arguments: as for `generate`, and ``tools``: what the model may call, a list of dicts as in OpenAI's API;
                ``template``: further variables of the chat template; of a service also ``tool_choice`` and
                ``response_format``, as they are in that API. A service's answer that calls tools is the JSON
                ``{"tool_calls": [{"arguments": {...}, "name": ...}]}``, with a ``content`` where there is a text too.
        """
        single = is_one_prompt(messages)
        if system is not None and not isinstance(system, str):
            raise InvalidInputError(f"chat(): system must be text, not {system!r}")
        head = [{"role": "system", "content": system}] if system is not None else []
        prompts: list[Prompt] = []
        for one in [messages] if single else listed(messages, "conversation"):
            turns = as_prompt([{"role": "user", "content": one}] if isinstance(one, str) else one)
            prompts.append((*head, *turns))
        return self._generate(prompts, single, arguments)

    def loss(
        self,
        texts: Texts,
        *,
        sources: Texts | None = None,
        window: int = 0,
        stride: int = 0,
        ids: Iterable[Any] | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> Score:
        """Return the NLL of texts in nats a token, token-weighted over all of them.

        A decoder scores each token given those before it (the first one only if the tokenizer adds BOS), long texts by
        a sliding window as in the Hugging Face perplexity guide (whose loop weighs a window by one token less than it
        scores); an encoder-decoder scores ``texts`` given ``sources``; a masked LM gives the pseudo-log-likelihood
        (Salazar et al. 2020).

        Args:
            texts: one text or several.
            sources: for encoder-decoders, what each text is to be produced from.
            window: tokens the model sees at once; 0 is its context length.
            stride: tokens the window moves; 0 is half of it.
            ids: unique names of the examples, for baselines and reports; by default their position.
            src_lang: the language of ``sources``, as for `generate`.
            tgt_lang: that of ``texts``.

        Returns:
            A `Score` "loss"; ``per_example`` has each text's own mean, ``weights`` its number of scored tokens.
        """
        items, given = beside("loss", "source", texts, sources)
        names = read_ids("loss", len(items), ids)
        arguments: dict[str, Any] = {"window": window, "stride": stride, "src_lang": src_lang, "tgt_lang": tgt_lang}
        losses = self._ask(
            [Loss(text=t, source=s, **arguments) for t, s in zip(items, given, strict=True)], TokenLoss.from_json
        )
        return loss_of(losses, names)

    def perplexity(self, texts: Texts, **arguments: Any) -> Score:
        """Return ``exp(loss)``; the arguments are those of `loss`. ``per_example`` has each text's own perplexity."""
        return perplexity_of(self.loss(texts, **arguments))

    def bits_per_byte(self, texts: Texts, **arguments: Any) -> Score:
        """Return the `loss` in bits a byte of UTF-8, as models with other tokenizers can be compared (Gao et al. 2020).

        The arguments and answers are those of `loss`; ``weights`` has each text's bytes. A first token that a loss
        leaves out adds no bits, but its bytes count.
        """
        return bits_per_byte_of(self.loss(texts, **arguments))

    @overload
    def logprobs(self, text: str, *, top_k: int = 5) -> list[TokenLogprob]: ...  # type: ignore[overload-overlap]
    @overload
    def logprobs(self, text: Sequence[str], *, top_k: int = 5) -> list[list[TokenLogprob]]: ...
    def logprobs(self, text: Any, *, top_k: int = 5) -> Any:
        """Return each token of a text with its logprob in nats and the ``top_k`` best alternatives."""
        return self._each(text, lambda t: Logprobs(t, top_k=top_k), token_logprobs)

    @overload
    def score(self, prompt: OnePrompt, continuations: Sequence[str], **template: Any) -> Scores: ...
    @overload
    def score(self, prompt: Prompts, continuations: Sequence[Sequence[str]], **template: Any) -> list[Scores]: ...
    def score(
        self,
        prompt: Any,
        continuations: Sequence[Any],
        *,
        forced_bos_token_id: int | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        **template: Any,
    ) -> Any:
        """Return the logprob of each continuation after ``prompt`` (text, or chat messages); ``pick()`` is the best.

        A list of prompts takes a list of continuations for each, and gives a list of results. ``template`` are further
        variables of the chat template.

        Spaces that end a decoder's text count as the continuation's, as in lm-evaluation-harness; after chat messages a
        continuation begins where an answer would, behind all that the template writes; an encoder-decoder's behind
        its ``tgt_lang`` (see `generate`) or ``forced_bos_token_id``, by default the model's or its tokenizer's own.
        """
        asked = with_continuations(prompt, continuations)
        given = (template, forced_bos_token_id, src_lang, tgt_lang)
        requests = [ScoreRequest(as_prompt(one), texts, *given) for one, texts in asked]

        def result(answer: Answer, origin: Origin) -> Scores:
            found = zip(origin.request["continuations"], answer["scores"], strict=True)
            return Scores((ContinuationScore(text=text, **one) for text, one in found), origin)

        results = self._ask(requests, result)
        return results[0] if is_one_prompt(prompt) else results

    @overload
    def fill_mask(self, text: str, *, top_k: int = 5) -> list[Any]: ...
    @overload
    def fill_mask(self, text: Sequence[str], *, top_k: int = 5) -> list[list[Any]]: ...
    def fill_mask(self, text: Any, *, top_k: int = 5) -> Any:
        """Return the ``top_k`` candidates for the mask in a text, best first; a list a mask when there are several."""
        return self._each(text, lambda t: FillMask(t, top_k=top_k), mask_fills)

    def embed(self, texts: Texts, *, pooling: str | None = None, normalize: bool = True) -> np.ndarray[Any, Any]:
        """Return one vector a text: shape [d] for one text, [n, d] for a list; float32, L2-normalised by default.

        Args:
            texts: one text or several.
            pooling: ``mean`` over the text's tokens, the ``cls`` (first) or the ``last`` token. By default a
                sentence-transformers model's own, by its ``modules.json``, and ``mean`` for any other.
            normalize: divide each vector by its Euclidean norm.

        Raises:
            InvalidInputError: no such pooling, or none is given and the model's own is none of these; a text is
                longer than the model's context, or a sentence-transformers model's ``max_seq_length``; or a service
                gave vectors of several lengths.
        """
        import numpy as np

        from pytest_llm.vectors import Vectors

        if pooling is None:
            pooling = self._own_pooling
        if pooling not in ("mean", "cls", "last"):
            raise InvalidInputError(f"embed(): pooling is 'mean', 'cls' or 'last', not {pooling!r}")
        origins: list[Origin] = []
        lengths: list[int] = []

        def result(answer: Answer, origin: Origin) -> Any:
            origins.append(origin)
            lengths.append(len(answer["vector"]))
            return answer["vector"]

        vectors = self._each(texts, lambda t: Embed(t, pooling=pooling, normalize=normalize), result)
        if len(set(lengths)) > 1:
            other = next(place for place, length in enumerate(lengths) if length != lengths[0])
            raise InvalidInputError(
                f"embed(): text 0 has a vector of {lengths[0]} numbers, and text {other} one of {lengths[other]}: "
                f"{self.spec.source} cannot be one model; --llm-cache=refresh asks it again"
            )
        return Vectors.of(np.asarray(vectors, dtype=np.float32), origins)

    @functools.cached_property
    def _own_pooling(self) -> str:
        from pytest_llm.weights.listing import own_pooling

        return "mean" if self.weights.service else own_pooling(self.weights.folder)

    def activations(self, texts: Texts, *, sources: Texts | None = None) -> list[LayerStates]:
        """Return a small projection of the hidden states after every layer, one `LayerStates` a text.

        An encoder-decoder reads ``sources`` and is fed ``texts``.
        """
        items, given = beside("activations", "source", texts, sources)
        requests = [Activations(text, source) for text, source in zip(items, given, strict=True)]
        return self._ask(requests, LayerStates.from_json)

    @overload
    def tokenize(self, texts: str, *, add_special_tokens: bool = True) -> list[int]: ...  # type: ignore[overload-overlap]
    @overload
    def tokenize(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]: ...
    def tokenize(self, texts: Any, *, add_special_tokens: bool = True) -> Any:
        """Return the token ids of a text, or of each of a list. Reads the tokenizer, not the weights."""
        return self._each(
            texts,
            lambda t: Tokenize(t, add_special_tokens=add_special_tokens),
            lambda answer, origin: Parts(answer["token_ids"], origin),
        )

    def _generate(self, prompts: list[Prompt], single: bool, arguments: Mapping[str, Any]) -> Any:
        requests = [generate_request(prompt, arguments) for prompt in prompts]

        def result(answer: Answer, origin: Origin) -> Any:
            outputs = [Generation.from_json(sequence, origin) for sequence in answer["sequences"]]
            return outputs[0] if len(outputs) == 1 else outputs

        results = self._ask(requests, result)
        return results[0] if single else results
