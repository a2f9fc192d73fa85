"""Running a test again and again, and keeping what its checks measured in place of judging it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pytest_llm import repeats
from pytest_llm.calibration import plan
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.golden.file import Golden
from pytest_llm.golden.values import problem
from pytest_llm.verdicts import Verdict

if TYPE_CHECKING:
    import pytest

    from pytest_llm.engines.protocol import Engine
    from pytest_llm.golden.drift import Rules
    from pytest_llm.metrics.score import Score
    from pytest_llm.record import RunRecord

__tracebackhide__ = measured


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one check measured in one run (run 0 changes nothing).

    ``kind`` is ``baseline`` or ``threshold`` (``value`` is the figure), ``golden`` (``value`` is the change from run
    0, ``name`` ends with the tolerance it needs), or ``repeats`` and ``test`` (1 where the body succeeded).
    ``current`` is the margin, bound, tolerance or count that the test has now, if any; ``n`` the repeats it asks for.
    """

    nodeid: str
    kind: Literal["baseline", "threshold", "golden", "repeats", "test"]
    name: str
    run: int
    value: float
    current: float | None
    higher_is_better: bool = True
    n: int = 1


class Watch:
    """Takes what the checks of one test measure; `pytest_llm.record.watching` gives it to them."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.number = 0
        self.observations: list[Observation] = []
        self._first: dict[str, Any] = {}
        self._names: Counter[str] = Counter()

    def begin(self, number: int) -> None:
        """Begin run ``number``."""
        self.number = number
        self._names.clear()

    def perturbed(self, engine: Engine) -> contextlib.AbstractContextManager[Engine]:
        """Return the engine as this run has it."""
        return plan.perturbed(engine, self.number)

    def baseline(self, metric: str, score: Score, margin: float | None) -> Verdict:
        """Take a score that is to be compared with a baseline."""
        self._note("baseline", metric, float(score), margin, score.higher_is_better)
        return self._passed("baseline", metric)

    def threshold(self, verdict: Verdict) -> Verdict:
        """Take a figure that was held against a bound."""
        upward = "at_least" in verdict.figures
        bound = verdict.figures["at_least" if upward else "at_most"]
        self._note("threshold", self._numbered(verdict.name), float(verdict.figures["value"]), bound, upward)
        return verdict

    def golden(self, name: str | None, value: Any, rules: Rules) -> Verdict:
        """Take a value that is to be compared with a golden, and compare it with that of run 0."""
        from pytest_llm.calibration.noise import changes

        name = name or self._numbered("")
        new = Golden.of(value, self.nodeid).value
        wrong = problem(new)
        if wrong:
            raise InvalidInputError(f"golden {name!r}: {wrong}")
        old = self._first.setdefault(name, new)
        current = {"logprob_margin": rules.logprob_margin, "atol": rules.atol, "text": 0.0}
        for tolerance, change in changes(old, new, rules).items():
            self._note("golden", f"{name} {tolerance}", change, current[tolerance], False)
        return self._passed("golden", name)

    def skipped(self, name: str | None) -> Verdict:
        """Pass a check that measures a noise floor of its own."""
        return self._passed("golden", name or self._numbered(""))

    def result(self, asked: repeats.Repeat | None, failed: bool) -> None:
        """Take how a run of the body came out."""
        if asked is not None:
            self._note("repeats", "success rate", float(not failed), float(asked.needed), n=asked.n)
        else:
            self._note("test", "assertions", float(not failed), None)

    def _note(self, kind: Any, name: str, value: float, current: float | None, higher: bool = True, n: int = 1) -> None:
        self.observations.append(Observation(self.nodeid, kind, name, self.number, value, current, higher, n))

    def _numbered(self, name: str) -> str:
        """Tell the checks of one name in a test apart by their order."""
        self._names[name] += 1
        count = self._names[name]
        return f"{name} {count}" if name and count > 1 else name or str(count)

    def _passed(self, kind: Any, name: str) -> Verdict:
        return Verdict(kind, name, "pass", "pass", f"{name}: measured to calibrate, compared with nothing")


def calibrate(item: pytest.Function, run: RunRecord, runs: int) -> None:
    """Run a test once as it is and ``runs`` times changed; a test that asks no model runs once.

    Raises:
        AssertionError: an assertion of the test's own fails with nothing changed: that is no noise.
        Exception: whatever else the test raises.
    """
    asked = repeats.terms(item)
    watch = run.watch = Watch(run.nodeid)
    before = len(run.asked)
    try:
        for number in range(runs + 1):
            watch.begin(number)
            failure = repeats.run_body(item, run, number)
            if failure is not None and number == 0 and asked is None:
                raise failure
            if len(run.asked) == before:
                return
            watch.result(asked, failure is not None)
        run.observations += [dataclasses.asdict(one) for one in watch.observations]
    finally:
        run.watch = None
