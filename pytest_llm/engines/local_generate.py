"""Answers to `Generate` requests: prompts in, texts with their evidence out."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.batching import grouped, in_batches, out_of_memory
from pytest_llm.engines.choosing import Draft, Rules, evidence, generation_config, refusing_options
from pytest_llm.engines.decoding import decode
from pytest_llm.engines.languages import spoken
from pytest_llm.engines.loading import quiet
from pytest_llm.engines.neighbours import alike, may_share
from pytest_llm.engines.prompts import check_length, check_token_options, decoder_start, pad, prompt_ids
from pytest_llm.engines.rows import Row, forward_inputs
from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.files import canonical_json
from pytest_llm.results import Generation

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Generate


@dataclasses.dataclass
class _Job:
    index: int
    request: Generate
    prompt: list[int]


def generate(engine: LocalEngine, group: list[tuple[int, Generate]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Generate` requests, whatever their settings, in shared batches; beams batch with their like.

    Raises:
        InvalidInputError: a prompt and its ``max_new_tokens`` exceed the context; options transformers refuses, or
            that only services have.
    """
    for index, request in group:
        asked = [name for name in ("tool_choice", "response_format") if getattr(request, name) is not None]
        if asked:
            raise InvalidInputError(
                f"request {index}: {asked[0]} is for a service, which holds its model to it; one in this process "
                "writes what it likes: leave it out, and check the answer, as assert_json does"
            )
    jobs = []
    for index, request in group:
        with spoken(engine, request, index) as options:
            ids = prompt_ids(engine, request.prompt, request.template, request.add_special_tokens, index)
        if options:
            request = dataclasses.replace(request, tgt_lang=None, options={**request.options, **options})
        jobs.append(_Job(index, request, ids))
    for job in jobs:
        if engine.family == "decoder":
            check_length(engine, len(job.prompt), job.index, new=job.request.max_new_tokens)
        else:
            check_length(engine, len(job.prompt), job.index, source=True)
            check_length(engine, 1, job.index, new=job.request.max_new_tokens)
        check_token_options(engine, job.request.options, job.index)
        generation_config(engine.model, job.request)  # refuse bad options before anything is computed
    yield from _plain(engine, [job for job in jobs if job.request.num_beams == 1])
    yield from _beams(engine, [job for job in jobs if job.request.num_beams > 1])


def _plain(engine: LocalEngine, jobs: list[_Job]) -> Iterator[tuple[int, Answer]]:
    groups = grouped(
        engine,
        jobs,
        start=lambda job: job.prompt,
        length=lambda job: len(job.prompt),
        new=lambda job: job.request.max_new_tokens,
    )
    for members, prefix, cache, size, bucket in groups:
        compute = functools.partial(_decoded, engine, prefix=prefix, cache=cache, bucket=bucket)

        def length(job: _Job, bucket: int = bucket) -> int:
            # In a bucket all wait for the last, and their prompts are of one length as it is.
            return job.request.max_new_tokens + (0 if bucket else len(job.prompt))

        for batch, made in in_batches(
            members,
            compute,
            size=size,
            length=length,
            weight=lambda job: job.request.num_return_sequences,
            tokens=None if bucket else engine.tokens_per_pass(scoring=False),
        ):
            for job, sequences in zip(batch, made, strict=True):
                yield job.index, _answer(engine, sequences)


def _decoded(engine: LocalEngine, batch: list[_Job], prefix: list[int], cache: Any, bucket: int) -> list[list[Draft]]:
    """Return the sequences of each job, decoded together; without the shared start, or alone, where it changes them."""
    import torch

    if len(batch) > 1 and engine.one_by_one and not bucket:
        return [made for job in batch for made in _decoded(engine, [job], [], None, 0)]
    if prefix and not engine.shares_starts:
        prefix, cache = [], None
    made = [
        [Draft(job.request, job.prompt, number) for number in range(job.request.num_return_sequences)] for job in batch
    ]
    sequences = [sequence for one in made for sequence in one]
    with torch.no_grad(), quiet():
        try:
            decode(engine, sequences, lambda s: _finished(engine, s), prefix, cache, bucket)
            same = bool(bucket) or engine.family != "decoder" or alike(engine, sequences, prefix)
        except LLMError:
            raise
        except Exception as error:  # the model takes no batch, or no start that was computed apart
            if bucket or out_of_memory(error) or (len(batch) == 1 and not prefix):
                raise
            same = False
    if same:
        return made
    if prefix:
        engine.shares_starts = False
    else:
        engine.one_by_one = True
    return _decoded(engine, batch, [], None, 0)


def _finished(engine: LocalEngine, sequence: Draft) -> bool:
    """Say whether the last token ended the sequence, and note why."""
    tokens = sequence.token_ids
    if tokens[-1] in _end_tokens(engine) or _stop_at(engine, tokens, sequence.request) is not None:
        sequence.finish_reason = "stop"
    elif sequence.whole:
        sequence.finish_reason = "length"
    return bool(sequence.finish_reason)


def _end_tokens(engine: LocalEngine) -> tuple[int, ...]:
    end = engine.model.generation_config.eos_token_id
    return tuple(end) if isinstance(end, (list, tuple)) else () if end is None else (end,)


def _stop_at(engine: LocalEngine, tokens: list[int], request: Generate) -> str | None:
    """Return the text before the first stop string, ``None`` when there is none in ``tokens``."""
    if not request.stop:
        return None
    for skip in (True, False):  # a stop string may be a special token's name
        text = request.before_stop(engine.tokenizer.decode(tokens, skip_special_tokens=skip))
        if text is not None:
            for name in () if skip else engine.tokenizer.all_special_tokens:
                text = text.replace(name, "")
            return text
    return None


def _answer(engine: LocalEngine, sequences: list[Draft]) -> Answer:
    tokenizer, answers = engine.tokenizer, []
    for s in sequences:
        text = _stop_at(engine, s.token_ids, s.request)
        answers.append(
            Generation(
                tokenizer.decode(s.token_ids, skip_special_tokens=True) if text is None else text,
                token_ids=s.token_ids,
                tokens=[engine.token_texts.legible(token) for token in s.token_ids],
                logprobs=s.logprobs,
                runner_ups=s.runner_ups,
                margins=s.margins,
                finish_reason=s.finish_reason,
            ).to_json()
        )
    return {"sequences": answers}


# beams ----------------------------------------------------------------------------------------------------------


def _beams(engine: LocalEngine, jobs: list[_Job]) -> Iterator[tuple[int, Answer]]:
    """Search by ``model.generate``, then read the evidence off one forward pass over what it found."""
    groups: dict[str, list[_Job]] = defaultdict(list)
    for job in jobs:
        settings = {**job.request.to_json(), "prompt": None, "seed": None}
        # Some processors read the prompt, and would read the padding too: prompts of one length need none.
        reads_prompt = job.request.no_repeat_ngram_size or job.request.repetition_penalty != 1 or job.request.options
        groups[canonical_json([settings, len(job.prompt) if reads_prompt else 0])].append(job)
    for members in groups.values():
        for batch, found in in_batches(
            members,
            lambda batch: _search(engine, batch),
            size=engine.free_size,
            length=lambda job: len(job.prompt),
            weight=lambda job: job.request.num_beams,
            alone=lambda job: engine.alone(len(job.prompt) + job.request.max_new_tokens),
        ):
            for job, sequences in zip(batch, found, strict=True):
                for sequence in sequences:
                    _read_evidence(engine, sequence)
                yield job.index, _answer(engine, sequences)


def _search(engine: LocalEngine, batch: list[_Job]) -> list[list[Draft]]:
    import torch

    model, request = engine.model, batch[0].request
    decoder_only = engine.family == "decoder"
    with torch.no_grad(), quiet():
        shared = not decoder_only or may_share(engine, [job.prompt for job in batch])
    if not shared:
        engine.one_by_one = True
        return [found for job in batch for found in _search(engine, [job])]
    ids, mask = pad([job.prompt for job in batch], engine.pad_id, model.device, left=decoder_only)
    start = ids.shape[1] if decoder_only else 1

    def stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
        ends = [_stop_at(engine, row, request) is not None for row in input_ids[:, start:].tolist()]
        return torch.tensor(ends, device=input_ids.device)

    config = generation_config(model, request)
    if not decoder_only:
        config.decoder_start_token_id = decoder_start(engine, config.decoder_start_token_id)
    with torch.no_grad(), quiet(), refusing_options():
        output = model.generate(
            ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=[stopped] if request.stop else [],
        )
    found = iter(output[:, start:].tolist())
    return [
        [_cut(engine, Draft(request, job.prompt, n, next(found))) for n in range(request.num_return_sequences)]
        for job in batch
    ]


def _cut(engine: LocalEngine, padded: Draft) -> Draft:
    """Drop the padding that beam search leaves after a sequence's end."""
    sequence = dataclasses.replace(padded, token_ids=[])
    for token in padded.token_ids:
        sequence.token_ids.append(token)
        if _finished(engine, sequence):
            break
    return sequence


def _read_evidence(engine: LocalEngine, sequence: Draft) -> None:
    import torch

    decoder_only = engine.family == "decoder"
    start = sequence.start(engine)
    tokens = sequence.token_ids
    if decoder_only and engine.alone(len(start) + len(tokens)):  # one pass would not turn all as the search did
        again = dataclasses.replace(sequence, token_ids=[], forced=tokens)
        with torch.no_grad(), quiet():
            decode(engine, [again], lambda s: len(s.token_ids) == len(tokens))
        sequence.logprobs, sequence.runner_ups, sequence.margins = again.logprobs, again.runner_ups, again.margins
        return
    row = Row(0, [*start, *tokens[:-1]], [], None if decoder_only else sequence.prompt)
    with torch.no_grad(), quiet():
        inputs = forward_inputs(engine, [row])
        columns = torch.arange(len(start) - 1, len(row.ids), device=engine.model.device)
        rules = Rules(engine, sequence, start)
        for logits in engine.head.logits(inputs, torch.zeros_like(columns), columns):
            first = len(sequence.logprobs)
            scores = torch.cat([rules.penalise(tokens[: first + i], logits[i : i + 1]) for i in range(len(logits))])
            chosen = torch.tensor(tokens[first : first + len(logits)], device=logits.device)
            logprobs, runner_ups, margins = evidence(logits, scores, chosen)
            sequence.logprobs += logprobs
            sequence.runner_ups += runner_ups
            sequence.margins += margins
