"""What a score asks, as digests: answers to other questions are not compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llm.files import digest_of
from pytest_llm.metrics.score import Score


def asked(score: Score, order: Sequence[str]) -> str:
    """Return the digest of the requests behind ``score``, its examples in the ``order`` of these ids; "" for none."""
    requests = score.origin.get("requests", [])
    if not requests or tuple(order) == score.ids:
        return score.request
    if any("each" in request for request in requests):  # arrays of vectors, one request of all their rows
        moved = [
            {**one, "each": _moved(one["each"], score, order)} if len(one.get("each", ())) == score.n else one
            for one in requests
        ]
    else:
        moved = _moved(requests, score, order) if len(requests) == score.n else requests
    return digest_of(moved)


def held_to(score: Score, order: Sequence[str]) -> str:
    """Return the digest of the references, in ``order``; "" for none."""
    references = score.gold or [str(text) for text in score.references]
    return digest_of(_moved(references, score, order)) if references else ""


def read_as(score: Score, order: Sequence[str]) -> str:
    """Return the digest of the tokens that the texts of a loss were read as, in ``order``; "" for none."""
    return digest_of(_moved(score.token_ids, score, order))[:16] if score.token_ids else ""


def _moved(rows: Sequence[Any], score: Score, order: Sequence[str]) -> list[Any]:
    place = {id: i for i, id in enumerate(score.ids)}
    return [rows[place[id]] for id in order]
