"""How a sequence's next token is chosen: by its own penalties, its own random stream and its own rules.

The choice is transformers' (its logits processors, in its order), and its evidence is kept beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.loading import TOKEN_RULES
from pytest_llm.engines.prompts import decoder_start
from pytest_llm.engines.rows import checked
from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.files import canonical_json

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.requests import Generate

#: The margin of a token that had no rival, and the least logprob (of a forced token), in nats: JSON has no infinity.
NO_RIVAL = 1e4
#: Scores that `argmax` reduces to one before it looks for the place.
_PART = 256


@dataclasses.dataclass
class Draft:
    """One answer in the making: what it continues, how, and the evidence so far (see `results.Generation`).

    Its tokens are ``forced``, where there are any, instead of chosen.
    """

    request: Generate
    prompt: list[int]
    number: int = 0
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    runner_ups: list[int] = dataclasses.field(default_factory=list)
    margins: list[float] = dataclasses.field(default_factory=list)
    finish_reason: str = ""
    forced: list[int] = dataclasses.field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether it has as many tokens as were asked for."""
        return len(self.token_ids) == self.request.max_new_tokens

    def start(self, engine: LocalEngine) -> list[int]:
        """Return the ids that the answer follows in the decoder."""
        if engine.family == "decoder":
            return self.prompt
        return [decoder_start(engine, self.request.options.get("decoder_start_token_id"))]


class Rules:
    """How one sequence chooses its tokens: transformers' processors for its request and prompt."""

    def __init__(self, engine: LocalEngine, sequence: Draft, start: list[int]) -> None:
        model, request = engine.model, sequence.request
        self._start, self._device = start, model.device
        config = generation_config(model, request)
        config.max_length = len(start) + request.max_new_tokens
        sampled = config.do_sample
        with refusing_options():
            config.do_sample = False
            self.penalties = self._processors(model, config, sequence.prompt)
            config.do_sample = sampled
            # transformers appends what shapes sampling (temperature, top-k, ...) after all the penalties.
            self.warpers = self._processors(model, config, sequence.prompt)[len(self.penalties) :] if sampled else []
        self._noise = _stream(request, sequence.number) if sampled else None

    def _processors(self, model: Any, config: Any, prompt: list[int]) -> list[Any]:
        import torch

        model._prepare_special_tokens(config, True, device=model.device)
        processors: list[Any] = model._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=len(self._start),
            encoder_input_ids=torch.tensor([prompt], device=model.device),
            device=model.device,
        )
        return list(processors)

    def penalise(self, token_ids: list[int], logits: Any) -> Any:
        """Return what greedy decoding compares, [1, V], after ``token_ids`` were generated."""
        return self._apply(self.penalties, token_ids, logits)

    def sample(self, token_ids: list[int], scores: Any) -> Any:
        """Draw a token, from its own stream: Gumbel-max over what the warpers leave of ``scores`` [1, V].

        Adding Gumbel noise and taking the maximum draws from the softmax (Gumbel 1954). With the same
        stream, a small change of the scores seldom changes the token.
        """
        import torch

        scores = self._apply(self.warpers, token_ids, scores)
        # float64: a float32 uniform has too few values below 1 for the tail that decides among 100,000 tokens.
        uniform = torch.rand(scores.shape[-1], generator=self._noise, dtype=torch.float64)
        gumbel = uniform.log_().neg_().log_().neg_()
        return (scores[0] + gumbel.to(scores.dtype).to(scores.device)).argmax()

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn rather than the best one taken."""
        return self._noise is not None

    def _apply(self, processors: list[Any], token_ids: list[int], scores: Any) -> Any:
        import torch

        if processors:
            ids = torch.tensor([self._start + token_ids], device=self._device)
            scores = scores.clone()
            with refusing_options():  # some look at their options only now
                for processor in processors:
                    scores = processor(ids, scores)
        return scores


@contextlib.contextmanager
def refusing_options() -> Iterator[None]:
    """Say that transformers refuses a request's options, where it does."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if isinstance(error, LLMError):
            raise
        raise InvalidInputError(f"generate(): transformers refuses these options: {error}") from error


def generation_config(model: Any, request: Generate) -> Any:
    """Return the request as transformers' GenerationConfig; token rules come from the model, the rest from here."""
    from transformers import GenerationConfig

    fields: dict[str, Any] = {name: getattr(model.generation_config, name, None) for name in TOKEN_RULES}
    fields.update(
        max_new_tokens=request.max_new_tokens,
        min_new_tokens=request.min_new_tokens or None,
        do_sample=request.do_sample,
        num_beams=request.num_beams,
        num_return_sequences=request.num_return_sequences,
        repetition_penalty=request.repetition_penalty,
        no_repeat_ngram_size=request.no_repeat_ngram_size,
        use_cache=True,
    )
    if request.do_sample:
        fields.update(temperature=request.temperature, top_k=request.top_k, top_p=request.top_p)
        fields["min_p"] = request.min_p or None
    if request.num_beams > 1:
        fields.update(length_penalty=request.length_penalty, early_stopping=request.early_stopping)
    fields.update(request.options)
    with refusing_options():
        return GenerationConfig(**fields)


def _stream(request: Generate, number: int) -> Any:
    """Return the random stream of one sequence: from seed, sequence number and prompt, so that none is shared."""
    import torch

    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    name = canonical_json([request.seed, number, prompt])
    # torch's CPU generator reads 32 bits of its seed: hash, or seeds 2**32 apart would be one.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def argmax(scores: Any) -> Any:
    """Return where each row of ``scores`` [n, V] is highest, the first place of several, as `torch.argmax` does.

    On a CPU torch's own reads number by number; the maxima of parts of a row take it an eighth of the time.
    """
    import torch

    if short := -scores.shape[1] % _PART:
        scores = torch.nn.functional.pad(scores, (0, short), value=-torch.inf)
    parts = scores.unflatten(1, (-1, _PART))
    part = parts.amax(-1).argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    return part * _PART + parts[rows, part].argmax(-1)


def evidence(logits: Any, scores: Any, chosen: Any) -> tuple[list[float], list[int], list[float]]:
    """Return logprobs, runner-ups and margins of ``chosen`` [n] from raw ``logits`` and penalised ``scores`` [n, V].

    ``scores`` is overwritten.
    """
    chosen = chosen[:, None]
    logprobs = checked((logits.gather(1, chosen)[:, 0] - logits.logsumexp(-1)).clamp(min=-NO_RIVAL))
    best = scores.gather(1, chosen)[:, 0]
    scores.scatter_(1, chosen, -float("inf"))
    runner_ups = argmax(scores)
    margins = (best - scores.gather(1, runner_ups[:, None])[:, 0]).clamp(-NO_RIVAL, NO_RIVAL)
    return logprobs, runner_ups.tolist(), margins.tolist()


def choose(sequences: Sequence[Draft], rules: Sequence[Rules], logits: Any) -> list[int]:
    """Append one token, and its evidence, to every sequence; ``logits`` [n, V]. Return the tokens."""
    scores = logits.clone()
    for i, (sequence, rule) in enumerate(zip(sequences, rules, strict=True)):
        if rule.penalties:
            scores[i] = rule.penalise(sequence.token_ids, logits[i : i + 1])[0]
    chosen = argmax(scores)
    for i, (sequence, rule) in enumerate(zip(sequences, rules, strict=True)):
        if rule.samples:
            chosen[i] = rule.sample(sequence.token_ids, scores[i : i + 1])
        if sequence.forced:
            chosen[i] = sequence.forced[len(sequence.token_ids)]
    tokens: list[int] = chosen.tolist()
    steps = zip(tokens, *evidence(logits, scores, chosen), strict=True)
    for sequence, (token, logprob, runner_up, margin) in zip(sequences, steps, strict=True):
        sequence.token_ids.append(token)
        sequence.logprobs.append(logprob)
        sequence.runner_ups.append(runner_up)
        sequence.margins.append(margin)
    return tokens
