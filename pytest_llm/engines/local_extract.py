"""What extractive question-answering models answer: ``extract``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.batching import each_whole
from pytest_llm.engines.head import widen
from pytest_llm.engines.local_classify import Encoded, read
from pytest_llm.engines.prompts import require_fast
from pytest_llm.engines.rows import checked
from pytest_llm.errors import InvalidInputError

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.requests import Extract


class Passage(NamedTuple):
    """A question and its context as tokens; the context's are ``start`` to ``end`` of them.

    ``sequence`` says which of the two texts the context is, ``empty`` at which token the empty answer stands.
    """

    encoding: Any
    encoded: Encoded
    start: int
    end: int
    sequence: int
    empty: int | None


class Window(NamedTuple):
    """What is read at once: the context's tokens from ``start`` to ``end``, between all that is not context."""

    owner: int
    encoded: Encoded
    start: int
    end: int


class Found(NamedTuple):
    """The best span of a window, as tokens of the passage; logs of its and the empty answer's probability."""

    logprob: float
    first: int
    last: int
    empty: float


def extract(engine: LocalEngine, group: list[tuple[int, Extract]]) -> Iterator[tuple[int, Answer]]:
    """Answer `Extract` requests as the question-answering pipeline of transformers 4 does.

    Of a window of the context that is the span of the most probable start and end, of all windows the most probable
    one; the empty answer is as probable as in the window where it is least so. (The pipeline's last versions add up the
    scores of spans of equal text, over windows too, which may come to more than 1.)
    """
    requests = dict(group)
    passages = {index: _passage(engine, request, index) for index, request in group}
    windows = [one for index, passage in passages.items() for one in _windows(engine, requests[index], passage, index)]
    waiting = Counter(window.owner for window in windows)
    found: dict[int, dict[int, Found]] = {index: {} for index in requests}
    scored = each_whole(
        engine, windows, lambda batch: _logits(engine, batch), lambda one: len(one.encoded["input_ids"])
    )
    for window, logits in scored:
        owner = window.owner
        passage, request, spans = passages[owner], requests[owner], found[owner]
        spans[window.start] = _best_span(logits, window, passage, request.max_answer_len)
        if len(spans) == waiting[owner]:
            yield owner, {"spans": [_answer(request, passage, [spans[start] for start in sorted(spans)])]}


def _passage(engine: LocalEngine, request: Extract, index: int) -> Passage:
    """Return the tokens of a question and its context, the question first; an XLNet is trained to read it last."""
    tokenizer = engine.tokenizer
    require_fast(tokenizer, request.call)
    sequence = 0 if engine.config.model_type == "xlnet" else 1
    texts = (request.question, request.context) if sequence else (request.context, request.question)
    encoded = tokenizer(*texts, padding=False, truncation=False, verbose=False)
    ids, owners = encoded["input_ids"], encoded.sequence_ids(0)
    places = [place for place, owner in enumerate(owners) if owner == sequence]
    if not places:
        raise InvalidInputError(f"request {index}: the tokenizer finds nothing to read in the context")
    cls = tokenizer.cls_token_id
    empty = next((i for i, owner in enumerate(owners) if owner is None and ids[i] == cls), None)
    if request.handle_impossible_answer and empty is None:
        raise InvalidInputError(
            f"request {index}: handle_impossible_answer needs a CLS token, whose score is that of no answer, and the "
            "model's tokenizer puts none beside question and context"
        )
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    return Passage(
        encoded.encodings[0], {name: encoded[name] for name in names}, places[0], places[-1] + 1, sequence, empty
    )


def _windows(engine: LocalEngine, request: Extract, passage: Passage, index: int) -> Iterator[Window]:
    """Cut the context so that each part fits beside the question.

    Raises:
        InvalidInputError: none does, or two parts are to share as much as fits.
    """
    length, shared = request.max_seq_len, request.doc_stride
    limit = engine.context_length if engine.model is not None else None  # the weights, once loaded, know better
    if limit is not None and limit < length:
        length, shared = limit, min(shared, limit // 2)
    _, encoded, start, end, *_ = passage
    beside = len(encoded["input_ids"]) - (end - start)
    room = length - beside
    if room < 1:
        raise InvalidInputError(
            f"request {index}: the question, with special tokens, takes {beside} tokens, and a window has {length}: no "
            "context fits beside it. Shorten it" + (", or raise max_seq_len" if length == request.max_seq_len else "")
        )
    if shared >= room < end - start:
        raise InvalidInputError(
            f"request {index}: a window has room for {room} tokens of the context beside the question, and is to share "
            f"doc_stride={shared} of them with the next: give a doc_stride below {room}"
        )
    for at in range(start, max(end - shared, start + 1), max(room - shared, 1)):
        stop = min(at + room, end)
        yield Window(index, {name: ids[:start] + ids[at:stop] + ids[end:] for name, ids in encoded.items()}, at, stop)


def _logits(engine: LocalEngine, batch: list[Window]) -> Any:
    """Return the outputs for start and end of windows, [windows, 2, longest], in float32 or wider, on the CPU."""
    import torch

    output = read(engine, [window.encoded for window in batch])
    return widen(torch.stack([output.start_logits, output.end_logits], dim=1).cpu())


def _best_span(logits: Any, window: Window, passage: Passage, longest: int) -> Found:
    """Return the best span of at most ``longest`` tokens by a window's outputs, [2, tokens]."""
    import torch

    count = window.end - window.start
    places = list(range(passage.start, passage.start + count))
    if passage.empty is not None:
        after = passage.empty >= passage.end
        places.append(passage.empty - (passage.end - passage.start - count) * after)
    start, end = logits[:, places].double().log_softmax(-1)
    empty = float(start[-1] + end[-1]) if passage.empty is not None else -math.inf
    longest = min(longest, count)
    # Row by row, the ends that each start may have.
    ends = torch.nn.functional.pad(end[:count], (0, longest - 1), value=-math.inf).unfold(0, longest, 1)
    scores = (start[:count, None] + ends).flatten()
    first, more = divmod(int(scores.argmax()), longest)
    (logprob,) = checked(scores.max()[None])
    return Found(logprob, window.start + first, window.start + first + more, empty)


def _answer(request: Extract, passage: Passage, spans: list[Found]) -> dict[str, Any]:
    best = max(spans, key=lambda span: span.logprob)
    empty = min(span.empty for span in spans)
    if request.handle_impossible_answer and empty > best.logprob:
        return {"text": "", "start": 0, "end": 0, "score": math.exp(empty)}
    start, end = _characters(request, passage, best)
    return {"text": request.context[start:end], "start": start, "end": end, "score": math.exp(best.logprob)}


def _characters(request: Extract, passage: Passage, span: Found) -> tuple[int, int]:
    """Return where a span stands in the context: whole words, where the tokenizer knows of which its tokens are."""
    encoding = passage.encoding
    words = [encoding.token_to_word(token) for token in (span.first, span.last, passage.start, passage.end - 1)]
    # Llama's tokenizer takes every text for one word.
    one = words[2] == words[3] and len(request.context.split()) > 1
    if request.align_to_words and None not in words[:2] and not one:
        first, last = (encoding.word_to_chars(word, passage.sequence) for word in words[:2])
        return first[0], last[1]
    return encoding.offsets[span.first][0], encoding.offsets[span.last][1]
