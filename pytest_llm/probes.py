"""Does an answer depend on what it should not? Answers computed again, and their measured deviation.

Both probes leave the store alone: they measure the engine, which memory would hide.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm import record
from pytest_llm.argument_rules import as_prompt, generate_request, listed
from pytest_llm.errors import InvalidInputError, StoreMissError, measured
from pytest_llm.golden.ties import parting
from pytest_llm.reports.text import counted, shorten
from pytest_llm.requests import Generate, Prompt
from pytest_llm.results import Generation, Origin
from pytest_llm.verdicts import Verdict

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Engine
    from pytest_llm.model import LanguageModel

__tracebackhide__ = measured

#: Nats by which a logprob may move with the batch. With 8 in a batch, logprobs of SmolLM2-135M move by 2e-5 in float32
#: and by 0.14 in bfloat16.
ATOL = 1e-3
_SHOWN = 5


def assert_deterministic(llm: LanguageModel, prompts: Any, *, times: int = 2, **arguments: Any) -> Verdict:
    """Assert that the same prompts, computed ``times`` times in this process, give the same answers bit by bit.

    Of answers without logprobs, as some services give, the texts are compared.

    Args:
        llm: the model.
        prompts: a list of prompts, each a text or a list of chat messages; or one text.
        times: how often to compute them, at least 2.
        arguments: those of ``llm.generate``.

    Returns:
        The verdict; ``figures["value"]`` is the largest difference of a token's logprob, in nats.

    Raises:
        AssertionError: a token, a logprob or a text differs.
        InvalidInputError: no prompts, ``times`` below 2, a model that cannot generate, or empty answers only.
        StoreMissError: under ``--llm-offline``, as nothing may be computed.
    """
    _check_count("assert_deterministic: times", times)
    requests = _requests("assert_deterministic", prompts, arguments)
    with _engine(llm, len(requests) * times) as (engine, advance):
        runs = [_answers(engine, requests, advance) for _ in range(times)]
    labels = [f"run {number}" for number in range(2, times + 1)]
    found = [_compare(label, runs[0], run, 0.0) for label, run in zip(labels, runs[1:], strict=True)]
    return record.settle(_verdict("deterministic", f"computed {times} times", found, 0.0, len(requests)))


def assert_batch_invariant(
    llm: LanguageModel, prompts: Any, *, batch_size: int | None = None, atol: float = ATOL, **arguments: Any
) -> Verdict:
    """Assert that an answer does not depend on the batch it was computed in.

    Each prompt is computed alone, then with all the others in batches, then padded to a longer neighbour. Against
    the answer alone, no logprob may move by more than ``atol``, and no token may change, except at a tie: the two
    tokens are each other's runner-up, and lie so close that two logprobs which each moved by ``atol`` can swap them
    (half of what the two runs' margins come to is within ``atol``). After a tie the texts are different ones, and are
    not compared further. Sampled answers and beams have no ties: there every change of a token counts.

    Args:
        llm: the model.
        prompts: a list of at least two prompts, each a text or a list of chat messages.
        batch_size: prompts in one forward pass; by default as the run has it. In float16, bfloat16 and under
            ``--llm-exact`` those are batches of one fixed shape; another size shows what that shape is good for.
        atol: nats by which a logprob may move; 0 where batches have one fixed shape must hold too.
        arguments: those of ``llm.generate``.

    Returns:
        The verdict; ``figures["value"]`` is the largest difference of a token's logprob, in nats.

    Raises:
        AssertionError: an answer depends on its batch.
        InvalidInputError: fewer than two prompts, an argument out of range, or a model that cannot generate.
        StoreMissError: under ``--llm-offline``, as nothing may be computed.
    """
    requests = _requests("assert_batch_invariant", prompts, arguments)
    if len(requests) < 2:
        raise InvalidInputError("assert_batch_invariant needs at least two prompts, to put beside each other")
    if not (isinstance(atol, (int, float)) and math.isfinite(atol) and atol >= 0):
        raise InvalidInputError(f"assert_batch_invariant: atol is a distance in nats, not {atol!r}")
    if batch_size is not None:
        _check_count("assert_batch_invariant: batch_size", batch_size)
    with _engine(llm, 3 * len(requests)) as (engine, advance), _batches_of(engine, batch_size) as size:
        alone = [_answers(engine, [request], advance)[0] for request in requests]
        found = [_compare("batched", alone, _answers(engine, requests, advance), 2 * atol)]
        padded = _padded(engine, requests, size, advance) if size > 1 else None
        if padded is not None:
            found.append(_compare("padded", alone, padded, 2 * atol))
    how = f"in batches of {size}" if size > 1 else "one at a time, which is how this engine computes them,"
    verdict = _verdict("batch invariant", how, found, float(atol), len(requests))
    if size > 1 and len(found) == 1:
        note = "no longer neighbour fits the model's context: the prompts were not padded to one"
        verdict = dataclasses.replace(verdict, notes=(note,))
    return record.settle(verdict)


def _check_count(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise InvalidInputError(f"{what} must be an integer of at least 2, not {value!r}")


@dataclasses.dataclass
class _Deviation:
    """How answers moved against the reference: ``shift`` is the largest difference of a logprob, in nats.

    Where greedy answers part, the gap between the two tokens moved by both margins together at least, and so one of
    their logprobs by half of that. ``texts`` counts answers without tokens, as of a service that gives no logprobs: of
    them the texts are compared.
    """

    shift: float = 0.0
    tokens: int = 0
    texts: int = 0
    differing: int = 0
    ties: int = 0
    parted: int = 0
    lines: list[str] = dataclasses.field(default_factory=list)


def _compare(label: str, old: Sequence[list[Generation]], new: Sequence[list[Generation]], bound: float) -> _Deviation:
    found = _Deviation()
    for number, (was, now) in enumerate(zip(old, new, strict=True)):
        for a, b in zip(was, now, strict=True):
            one = parting(a, b, bound)
            same = one.position if one else min(len(a.token_ids), len(b.token_ids))
            shifts = [abs(x - y) for x, y in zip(a.logprobs[:same], b.logprobs[:same], strict=True)]
            found.shift = max([found.shift, *shifts])
            found.tokens += max(len(a.token_ids), len(b.token_ids))
            if not (a.token_ids and b.token_ids):
                found.texts += bool(a or b)
                if a != b:
                    found.parted += 1
                    found.lines.append(f"prompt {number}, {label}: {shorten(repr(a.text))} → {shorten(repr(b.text))}")
            if one:
                longest = max(len(a.token_ids), len(b.token_ids))
                found.differing += sum(a.token_ids[i : i + 1] != b.token_ids[i : i + 1] for i in range(same, longest))
                found.ties += one.tie
                found.parted += not one.tie
                beside = [side.margins[same] for side in (a, b) if same < len(side.margins)]
                if len(beside) == 2 and min(beside) >= 0:
                    found.shift = max(found.shift, sum(beside) / 2)
                margins = " and ".join(f"{margin:.3g}" for margin in beside)
                why = "a tie" if one.tie else f"no tie within {bound:g}"
                found.lines.append(f"prompt {number}, {label}: {one.words}, margins {margins} nats: {why}")
    return found


def _verdict(name: str, how: str, found: Sequence[_Deviation], atol: float, n: int) -> Verdict:
    shift = max(one.shift for one in found)
    parted, ties = sum(one.parted + one.ties for one in found), sum(one.ties for one in found)
    ok = shift <= atol and parted == ties
    lines = [line for one in found for line in one.lines]
    tokens, texts = sum(one.tokens for one in found), sum(one.texts for one in found)
    if not tokens and not texts:
        raise InvalidInputError(f"{n} prompts {how}: every answer is empty, so nothing was compared")
    words = f"logprobs moved by up to {shift:.3g} nats" if shift else "their logprobs are equal bit by bit"
    if texts:
        words = f"{f'{words}, but ' if tokens else ''}of {texts} answers there are no logprobs, only texts"
        words += "" if parted else ", which are equal"
    words += f", and {counted(parted, 'answer')} parted ({ties} at a tie)" if parted else ""
    return Verdict(
        kind="threshold",
        name=name,
        status="pass" if ok else "fail",
        outcome="pass" if ok else "fail",
        headline=f"{n} prompts {how} are {'' if ok else 'not '}{name}: {words}",
        figures={
            "value": shift,
            "at_most": atol,
            "n": n,
            "tokens that differ": f"{sum(one.differing for one in found)} of {tokens}",
            "answers that part": parted,
            "ties": ties,
        },
        diff=tuple(lines[:_SHOWN] + ([f"… (+{len(lines) - _SHOWN} answers)"] if len(lines) > _SHOWN else [])),
    )


def _requests(name: str, prompts: Any, arguments: Mapping[str, Any]) -> list[Generate]:
    items = listed(prompts, "prompt")
    if isinstance(items[0], Mapping):
        raise InvalidInputError(f"{name} takes a list of prompts: put the conversation into a list")
    return [generate_request(as_prompt(prompt), arguments) for prompt in items]


@contextlib.contextmanager
def _engine(llm: LanguageModel, total: int) -> Iterator[tuple[Engine, Any]]:
    from pytest_llm.model import LanguageModel

    if not isinstance(llm, LanguageModel):
        raise InvalidInputError(f"a probe takes a model, as the fixture llm gives it, not {llm!r:.80}")
    if llm._loader.settings.offline:
        raise StoreMissError("--llm-offline: a probe computes answers anew, whatever the store has")
    with llm._loader.engine(llm, total) as (engine, advance), llm.noting_load(engine):
        yield engine, advance
        use = llm._use()
        use.asked += total
        use.computed += total


@contextlib.contextmanager
def _batches_of(engine: Any, size: int | None) -> Iterator[int]:
    """Let ``engine`` compute in batches of ``size``, whatever its dtype; give the size it has."""
    own = getattr(engine, "batch_size", None)
    if own is None:
        raise InvalidInputError("assert_batch_invariant needs an engine in this process, whose batches it can choose")
    engine.batch_size = own if size is None else size
    try:
        yield getattr(engine, "bucket", 0) or getattr(engine, "free_size", engine.batch_size)
    finally:
        engine.batch_size = own


def _answers(engine: Engine, requests: Sequence[Generate], advance: Any) -> list[list[Generation]]:
    found: dict[int, list[Generation]] = {}
    for index, answer in engine.answer(requests):
        origin = Origin(request=requests[index].to_json())
        found[index] = [Generation.from_json(sequence, origin) for sequence in answer["sequences"]]
        advance()
    return [found[index] for index in range(len(requests))]


def _padded(engine: Engine, requests: Sequence[Generate], size: int, advance: Any) -> list[list[Generation]] | None:
    """Return the answers computed beside a neighbour that is longer than any of them; ``None`` where none fits."""
    longest = max(requests, key=lambda request: len(str(request.prompt)))
    for times in (2, 1):
        neighbour = dataclasses.replace(longest, prompt=longer(longest.prompt, times))
        found: list[list[Generation]] = []
        try:
            for start in range(0, len(requests), size - 1):  # fewer prompts, to have room for the neighbour
                found += _answers(engine, [*requests[start : start + size - 1], neighbour], advance)[:-1]
        except InvalidInputError:  # nothing was computed: the others are known to fit the context
            continue
        return found
    return None


def longer(prompt: Prompt, times: int = 2) -> Prompt:
    """Return a prompt that is longer than ``prompt``, to be put beside it."""
    # It begins differently: a beginning shared with a prompt would be computed apart from the batch.
    if isinstance(prompt, str):
        return " ".join(["Neighbour:", *[prompt] * times])
    *head, last = prompt
    return (*head, {**last, "content": longer(last.get("content") or "", times)})
