"""`feedback_cases`: the cases of a file as parameters of a test."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.feedback import casefile
from pytest_llm.feedback.cases import FeedbackCase

__tracebackhide__ = measured

#: Where cases are, from the folder of the test module.
DEFAULT = "feedback_cases.jsonl"


def feedback_cases(
    path: str | Path = DEFAULT,
    *,
    votes: Literal["up", "down", "both"] | None = None,
    tags: str | Collection[str] = (),
    empty: Literal["error", "skip"] = "error",
) -> list[Any]:
    """Return the cases of a file as parameters of a test.

    As ``@pytest.mark.parametrize("case", feedback_cases())``. Each is a `FeedbackCase`, and its id (words of the
    question and a digest) names it in node ids. A case with equal votes and no correction has nothing to hold an
    answer against: it is there, and skipped.

    Args:
        path: what ``pytest-llm feedback import`` wrote; from the folder of the module that calls.
        votes: only cases with a thumbs ``up``, with a thumbs ``down``, or with ``both`` (people disagree).
        tags: only cases with one of these tags.
        empty: what to do while there are no such cases: an ``error`` at collection, or one test that is skipped.

    Raises:
        InvalidInputError: there are no such cases, or an argument is none of these.
        GoldenError: the file holds what is no case.
    """
    if votes not in (None, "up", "down", "both") or empty not in ("error", "skip"):
        raise InvalidInputError("feedback_cases: votes is 'up', 'down' or 'both', and empty is 'error' or 'skip'")
    caller = sys._getframe(1).f_globals.get("__file__")
    file = (Path(caller).parent if caller else Path.cwd()) / path
    wanted = {tags} if isinstance(tags, str) else set(tags)
    known = casefile.read(file)
    cases = [case for case in (known or {}).values() if not case.ignored and _voted(case, votes)]
    cases = [case for case in cases if not wanted or wanted & set(case.tags)]
    if cases:
        return [pytest.param(case, id=case.id, marks=_marks(case)) for case in sorted(cases, key=lambda one: one.id)]
    if known is None:
        why = f"there is no {file}: import reports with 'pytest-llm feedback import REPORTS.jsonl --into={file}'"
    elif known:
        why = f"none of the {len(known)} cases of {file} has these votes and tags, or all are ignored"
    else:
        why = f"{file} holds no cases"
    if empty == "error":
        raise InvalidInputError(f"feedback_cases: {why}. While there are none: feedback_cases(..., empty='skip')")
    return [pytest.param(None, id="no-cases", marks=pytest.mark.skip(reason=f"no feedback cases yet: {why}"))]


def _voted(case: FeedbackCase, votes: str | None) -> bool:
    up, down = (bool(count) for count in case.votes)
    return votes is None or (up and down if votes == "both" else up if votes == "up" else down)


def _marks(case: FeedbackCase) -> tuple[pytest.MarkDecorator, ...]:
    if case.expected or case.rejected:
        return ()
    return (pytest.mark.skip(reason="as many thumbs up as down, and no correction: nothing to hold an answer against"),)
