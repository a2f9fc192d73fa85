"""Greedy decoding and sampling of a batch in which every sequence is on its own.

Each sequence chooses its tokens as `choosing` says, has its own end, and leaves the batch when it is done. What it
becomes depends on its request alone. The loop runs as ``model.generate(custom_generate=...)``, so the model's own
preparation of inputs, caches and masks is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import buckets
from pytest_llm.engines.choosing import Draft, Rules, choose
from pytest_llm.engines.head import widen
from pytest_llm.engines.kvcache import cache_argument, expand_cache, make_roomy
from pytest_llm.engines.prompts import pad

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine


def decode(
    engine: LocalEngine,
    sequences: list[Draft],
    finished: Callable[[Draft], bool],
    prefix: Sequence[int] = (),
    cache: Any = None,
    bucket: int = 0,
) -> None:
    """Generate all ``sequences``, each until ``finished`` says so.

    ``cache`` holds the keys and values of ``prefix``, which all prompts begin with; padding goes after it. With
    ``bucket``, dummies fill every pass up to a multiple of that many rows, and no sequence leaves before all are done.
    """
    import torch
    from transformers import GenerationConfig

    model, decoder_only = engine.model, engine.family == "decoder"
    prompts, length = [s.prompt[len(prefix) :] for s in sequences], 0
    if bucket:
        length = buckets.padded_length(max(map(len, prompts)))
        prompts += [[engine.pad_id]] * (-len(prompts) % bucket)
    ids, mask = pad(prompts, engine.pad_id, model.device, left=decoder_only, length=length)
    starts = [s.start(engine) for s in sequences]
    arguments: dict[str, Any] = {}
    if prefix:
        shared = torch.tensor([list(prefix)], device=model.device).expand(len(sequences), -1)
        ids, mask = torch.cat([shared, ids], 1), torch.cat([torch.ones_like(shared), mask], 1)
        arguments[cache_argument(model)] = expand_cache(cache, len(sequences))

    def loop(model: Any, input_ids: Any, *, generation_config: Any, **state: Any) -> Any:
        for name in ("logits_processor", "stopping_criteria"):
            state.pop(name)
        make_roomy(state.get(cache_argument(model)))
        running, places = list(sequences), list(range(len(sequences)))
        rules = [Rules(engine, s, start) for s, start in zip(running, starts, strict=True)]
        unread, first = input_ids.shape[1] - len(prefix), True
        while True:
            inputs = model.prepare_inputs_for_generation(
                input_ids, next_sequence_length=unread, is_first_iteration=first, **state
            )
            outputs = model(**inputs, return_dict=True)
            state = model._update_model_kwargs_for_generation(outputs, state, not decoder_only)
            logits = widen(outputs.logits[:, -1])
            tokens = [engine.pad_id] * len(input_ids)
            if bucket:  # a sum over [1, V] is not rounded as one over [n, V] is
                for place, sequence, rule in zip(places, running, rules, strict=True):
                    (tokens[place],) = choose([sequence], [rule], logits[place : place + 1])
            else:
                tokens = choose(running, rules, logits)
            keep = [i for i, sequence in enumerate(running) if not finished(sequence)]
            if not keep:
                return input_ids
            input_ids = torch.cat([input_ids, torch.tensor(tokens, device=input_ids.device)[:, None]], 1)
            if len(keep) < len(running):
                running, rules = [running[i] for i in keep], [rules[i] for i in keep]
                places = [places[i] for i in keep]
                if not bucket:
                    rows = torch.tensor(places, device=input_ids.device)
                    state = {name: _select(value, rows, len(input_ids)) for name, value in state.items()}
                    input_ids, places = input_ids[rows], list(range(len(running)))
            unread, first = 1, False

    # Lengths and penalties are each sequence's own, in `Rules`; this only prepares the model's inputs.
    longest = max(sequences, key=lambda s: s.request.max_new_tokens).request.max_new_tokens
    config = GenerationConfig(max_new_tokens=longest, do_sample=False, num_beams=1, use_cache=True)
    if not decoder_only:
        config.decoder_start_token_id = [start for (start,) in starts]
    with buckets.attention(engine, bucket):
        model.generate(ids, attention_mask=mask, generation_config=config, custom_generate=loop, **arguments)


def _select(value: Any, rows: Any, count: int) -> Any:
    """Keep ``rows`` of whatever a model carries from step to step."""
    import torch

    if hasattr(value, "reorder_cache"):
        value.reorder_cache(rows)
    elif isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == count:
        return value[rows]
    elif isinstance(value, dict):  # an encoder's output
        return type(value)(**{name: _select(part, rows, count) for name, part in value.items()})
    elif type(value) in (list, tuple):  # the states of RWKV's layers
        return type(value)(_select(part, rows, count) for part in value)
    return value
