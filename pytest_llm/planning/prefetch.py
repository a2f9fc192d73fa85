"""Prefetching: the plan computed in batches before the first test runs."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING

from pytest_llm import lifecycle
from pytest_llm.engines.batching import PART
from pytest_llm.errors import LLMError, MissingExtraError, ModelNotFoundError, UnavailableError
from pytest_llm.planning.plan import Plan, make_plan

if TYPE_CHECKING:
    import pytest

    from pytest_llm.model import LanguageModel
    from pytest_llm.requests import Request

#: What no part of the questions is at fault for.
_HOPELESS = (MissingExtraError, ModelNotFoundError, UnavailableError)


def prefetch(session: pytest.Session) -> None:
    """Answer what the selected tests will ask, so that they find it.

    Requests of one model go to the engine together, which groups them by settings and sorts them by length. Several
    workers share them out by claims; none waits for another here.

    A request that cannot be answered (too long), a model that cannot be asked, and a store that cannot be used, are
    left to the tests: they report it.
    """
    batch_size = lifecycle.settings(session.config).batch_size
    workers = int(getattr(session.config, "workerinput", {}).get("workercount", 1))
    plan: Plan = {}
    with contextlib.suppress(LLMError):
        plan = make_plan(session.items, lifecycle.loader(session.config))
    for model, missing in plan.items():
        size = len(missing) if workers == 1 else PART * batch_size
        with contextlib.suppress(*_HOPELESS):
            for part in _parts(missing, size):
                _answer(model, part)


def _answer(model: LanguageModel, part: dict[str, Request]) -> None:
    try:
        model.prefetch(part)
    except _HOPELESS:
        raise
    except Exception:
        # Whatever it is, the test that asks meets it again and reports it; here it must not stop the others.
        half = len(part) // 2
        if half:
            _answer(model, dict(islice(part.items(), half)))
            _answer(model, dict(islice(part.items(), half, None)))


def _parts(missing: dict[str, Request], size: int) -> list[dict[str, Request]]:
    rest = iter(missing.items())
    return list(iter(lambda: dict(islice(rest, size)), {}))
