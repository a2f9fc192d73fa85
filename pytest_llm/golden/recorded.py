"""What distribution and activation goldens share: a question to a model, its recording, and its noise floor."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_llm.errors import GoldenError
from pytest_llm.evidence import Evidence, Series
from pytest_llm.golden import noise
from pytest_llm.golden.drift import Drift, another_question, with_surroundings
from pytest_llm.golden.evidence import side_by_side
from pytest_llm.golden.file import Golden
from pytest_llm.golden.surroundings import renamed
from pytest_llm.golden.values import Recording
from pytest_llm.request_json import merge_requests
from pytest_llm.requests import Request

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.model import LanguageModel


class Recorded(abc.ABC):
    """One check: a model answered ``requests``, and a recording of the answers is compared with a golden's."""

    kind: ClassVar[str]

    def __init__(self, model: LanguageModel, requests: Sequence[Request]) -> None:
        self.model, self.requests = model, list(requests)
        self.answers = model.answers(self.requests)

    @abc.abstractmethod
    def recording(self) -> Recording:
        """Return what is kept of the answers."""

    @abc.abstractmethod
    def moved(self, answers: list[Answer]) -> dict[str, Any]:
        """Return the figures of a noise floor: how far ``answers`` to the first requests are from this check's."""

    @abc.abstractmethod
    def incomparable(self, old: Recording, new: Recording) -> tuple[str, str]:
        """Say what forbids a comparison and why, ``("", "")`` when nothing does.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: ``old`` does not hold what it should.
        """

    @abc.abstractmethod
    def drift(self, old: Recording, new: Recording) -> tuple[Drift, tuple[Series, ...]]:
        """Compare two recordings; what a report can draw comes with it."""

    def golden(self, nodeid: str) -> Golden:
        """Return what a golden of this check holds, without its noise floor."""
        origin = self.model.origin
        request = merge_requests([request.to_json() for request in self.requests])
        return Golden(nodeid, self.recording(), request, dict(origin.model), dict(origin.environment))

    def finish(self, new: Golden, golden: Golden | None) -> Golden:
        """Add the noise floor: that of the golden it was compared with, in another environment one measured now."""
        alike = golden and not self._stale(golden, new) and not renamed(golden.environment, new.environment)
        floor = golden.value.facts.get("noise_floor") if golden and alike else None
        if floor is None:
            floor = noise.measure_floor(self.model, self.requests, self.moved)
        facts = {**new.value.facts, "noise_floor": floor}
        return new._replace(value=dataclasses.replace(new.value, facts=facts))

    def compare(self, golden: Golden, new: Golden) -> Drift:
        """Compare the golden with what `golden` made of the answers.

        Raises:
            GoldenError: the golden is of another kind, or does not hold what it should.
        """
        series: tuple[Series, ...] = ()
        drift = self._stale(golden, new)
        if drift is None:
            drift, series = self.drift(golden.value, new.value)
            drift = drift if drift.status == "identical" else with_surroundings(drift, golden, new)
        return drift._replace(evidence=dataclasses.replace(_around(golden, new), series=series))

    def _stale(self, golden: Golden, new: Golden) -> Drift | None:
        if not isinstance(golden.value, Recording) or golden.value.kind != self.kind:
            raise GoldenError(f"this golden does not hold {self.kind}: give the checks of a test names of their own")
        stale = another_question(golden, new)
        if stale is not None:
            return stale
        try:
            what, note = self.incomparable(golden.value, new.value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GoldenError(f"this golden does not hold what it should of {self.kind}: {error!r}") from error
        return with_surroundings(Drift("stale", f"stale: {what}", notes=(note,)), golden, new) if what else None


def _around(golden: Golden, new: Golden) -> Evidence:
    return side_by_side(golden._replace(value=None), new._replace(value=None))
