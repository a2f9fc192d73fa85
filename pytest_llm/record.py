"""The record of a run: verdicts, models used, answers found or computed. Every report reads this."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import GoldenError, InvalidInputError, measured

if TYPE_CHECKING:
    from pytest_llm.calibration.watch import Watch
    from pytest_llm.variants import Choice
    from pytest_llm.verdicts import Verdict

__tracebackhide__ = measured

#: What stopped a run of which nobody knows more.
UNFINISHED = "before its last test"


@dataclasses.dataclass
class ModelUse:
    """How one model was used in a run: answers tests ``asked`` for, answers ``computed``, and how many ``ahead``.

    ``service`` is the host (and port) of the service that answered for it, ``parts`` has the digests of the model's
    parts (`pytest_llm.weights.parts`).
    """

    source: str
    digest: str
    dtype: str
    device: str
    adapter: str = ""
    asked: int = 0
    computed: int = 0
    ahead: int = 0
    load_seconds: float = 0.0
    revision: str = ""
    service: str = ""
    parts: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def from_store(self) -> int:
        """Answers that were there and had not to be computed."""
        return max(0, self.asked - self.computed)

    @property
    def loaded(self) -> bool:
        """Whether its weights were read into memory."""
        return self.load_seconds > 0


@dataclasses.dataclass
class Asked:
    """One call that asked a model: the digests of its requests, and which of them had to be computed.

    ``model`` is the key of the model in `RunRecord.models`. Both keys together are an answer's place in the store.
    """

    nodeid: str
    model: str
    kind: str
    digests: list[str]
    computed: list[str]


#: The outcome of a test whose body has not ended.
INTERRUPTED = "interrupted"


@dataclasses.dataclass
class TestResult:
    """How a test came out, and where: ``passed``, ``failed``, ``unmeasured`` (this plugin could not
    measure), ``error`` (in set-up or tear-down), ``skipped``, ``xfailed``, ``xpassed``, or ``interrupted`` (its body
    did not end: Ctrl-C, ``pytest.exit``). ``seconds`` are of all phases, ``message`` is what it raised.
    """

    __test__ = False  # not a class of tests
    outcome: str
    seconds: float
    file: str
    line: int
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ``seconds`` to the microsecond."""
        return {**vars(self), "seconds": round(self.seconds, 6)}


@dataclasses.dataclass(eq=False)
class RunRecord:
    """What one process (a pytest-xdist worker, or the whole run), whose id is ``pid``, saw.

    ``goldens`` maps a golden's path to the node id of the test that used it. ``passed`` holds the node ids of tests
    that passed, whole: those that ran ``partly`` skipped a subtest. ``collected`` holds the modules of those that were
    selected, by node id; ``filtered`` says that others were not, or that it was ``stopped`` (by what, empty where
    nothing did), or files or tests were named or left out.
    ``asked`` holds what models were asked, ``tests`` how each test came out, ``users`` those of them that would use
    this plugin. ``collection_errors`` are what files raised that could not be collected, by node id. ``obsolete`` are
    goldens that a complete run did not use, ``obsolete_baselines`` counts entries of baselines. ``nodeid`` is the test
    that runs now, ``before`` the number of verdicts before it, ``failures`` the number of its subtests that failed,
    ``details`` what its failing assertion had no room for; the verdicts from ``told`` on are in no report yet, and
    pytest is ``explaining`` a failed assertion. ``repeat`` counts the runs of that test's body from 0, of which
    ``ahead`` more come if all goes well; ``sampled`` says that chance decided an answer to it; ``draws`` are the texts
    that a service gave to each sampled request of it, by digest and repeat. ``watch`` takes what its checks measure
    while it is being calibrated; ``observations`` are what it took, as data.
    """

    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    models: dict[str, ModelUse] = dataclasses.field(default_factory=dict)
    goldens: dict[str, str] = dataclasses.field(default_factory=dict)
    passed: set[str] = dataclasses.field(default_factory=set)
    partly: set[str] = dataclasses.field(default_factory=set)
    collected: dict[str, str] = dataclasses.field(default_factory=dict)
    filtered: bool = False
    stopped: str = ""
    asked: list[Asked] = dataclasses.field(default_factory=list)
    tests: dict[str, TestResult] = dataclasses.field(default_factory=dict)
    users: set[str] = dataclasses.field(default_factory=set)
    collection_errors: dict[str, str] = dataclasses.field(default_factory=dict)
    obsolete: list[str] = dataclasses.field(default_factory=list)
    obsolete_baselines: int = 0
    nodeid: str = ""
    before: int = 0
    failures: int = 0
    repeat: int = 0
    ahead: int = 0
    sampled: bool = False
    draws: dict[str, dict[int, list[str]]] = dataclasses.field(default_factory=dict)
    watch: Watch | None = None
    observations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    details: list[str] = dataclasses.field(default_factory=list)
    told: int = 0
    pid: int = dataclasses.field(default_factory=os.getpid)
    explaining: bool = False

    @property
    def used(self) -> bool:
        """Whether any test used this plugin."""
        return bool(self.verdicts or self.models or self.goldens)

    @property
    def concerned(self) -> dict[str, TestResult]:
        """The tests that used this plugin, or ended before they came to it."""
        used = {verdict.nodeid for verdict in self.verdicts} | {one.nodeid for one in self.asked}
        used.update(self.users, self.goldens.values())
        return {nodeid: test for nodeid, test in self.tests.items() if nodeid in used or test.outcome == "unmeasured"}

    @property
    def ours(self) -> bool:
        """Whether there is anything to report: a test used this plugin, or ended, or was lost, before it could."""
        return self.used or bool(self.concerned or self.collection_errors)

    @property
    def expected(self) -> set[str]:
        """The tests that failed as they were expected to."""
        return {nodeid for nodeid, test in self.tests.items() if test.outcome == "xfailed"}

    @property
    def broken(self) -> bool:
        """Whether a subtest of the test that runs now failed by something else than a check: some may not have run."""
        return self.failures > sum(not verdict.ok for verdict in self.verdicts[self.before :])

    def created(self, kind: str, name: str, place: Choice) -> bool:
        """Whether an earlier attempt of the test that runs now created a golden or baseline: it is written anew then.

        What was there before the run is ``updated``, or only compared.
        """
        return any(
            one.name + one.figures.get("variant", "") == name + place.label.strip()
            for one in self.verdicts[self.before : self.told]
            if one.kind == kind and one.status == "created"
        )

    def of_test(self) -> RunRecord:
        """Return what is known of the test that runs now, as a record of its own; not what it asked.

        Of one that ran ``partly`` nobody knows what else it uses: that is a filtered one.
        """
        own = self.nodeid
        return RunRecord(
            verdicts=self.verdicts[self.before :],
            goldens=dict(itertools.takewhile(lambda golden: golden[1] == own, reversed(self.goldens.items()))),
            passed=self.passed & {own},
            collected={own: self.collected[own]},
            filtered=own in self.partly,
            tests={own: self.tests[own]} if own in self.tests else {},
            users=self.users & {own},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON data."""
        return {
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "models": {key: dataclasses.asdict(use) for key, use in self.models.items()},
            "goldens": dict(self.goldens),
            "passed": sorted(self.passed),
            "collected": dict(self.collected),
            "filtered": self.filtered,
            "collection_errors": dict(self.collection_errors),
            "observations": list(self.observations),
            "asked": [vars(one) for one in self.asked],
            "tests": {nodeid: test.to_json() for nodeid, test in self.concerned.items()},
        }

    def merge(self, data: dict[str, Any]) -> None:
        """Add a worker's record to this one."""
        from pytest_llm.verdicts import Verdict

        self.verdicts += [Verdict.from_json(verdict) for verdict in data["verdicts"]]
        self.goldens.update(data["goldens"])
        self.passed.update(data["passed"])
        self.collected.update(data["collected"])
        self.filtered = self.filtered or data["filtered"]
        self.collection_errors.update(data["collection_errors"])
        self.observations += data["observations"]
        self.asked += [Asked(**one) for one in data["asked"]]
        self.tests.update({nodeid: TestResult(**test) for nodeid, test in data["tests"].items()})
        self.users.update(data["tests"])
        for key, fields in data["models"].items():
            other = ModelUse(**fields)
            mine = self.models.setdefault(
                key, dataclasses.replace(other, asked=0, computed=0, ahead=0, load_seconds=0.0)
            )
            mine.asked += other.asked
            mine.computed += other.computed
            mine.ahead += other.ahead
            mine.load_seconds = max(mine.load_seconds, other.load_seconds)


def begin(*, filtered: bool = False) -> RunRecord:
    """Start recording a session."""
    from pytest_llm import lifecycle

    lifecycle.records.append(RunRecord(filtered=filtered))
    return lifecycle.records[-1]


def end(record: RunRecord) -> None:
    """Stop recording ``record``."""
    from pytest_llm import lifecycle

    if record in lifecycle.records:
        lifecycle.records.remove(record)


def current() -> RunRecord | None:
    """Return the record of the session under way; ``None`` outside pytest, or where nothing of ours was used yet."""
    lifecycle = sys.modules.get("pytest_llm.lifecycle")  # outside pytest nothing loads it
    return lifecycle.records[-1] if lifecycle is not None and lifecycle.records else None


def watching() -> Watch | None:
    """Return what takes the figures of the test that runs, while it is being calibrated."""
    record = current()
    return record.watch if record is not None else None


def note(verdict: Verdict) -> Verdict:
    """Record ``verdict`` under the test that is running, and return it with that test's node id."""
    record = current()
    if record is None and "pytest_llm.lifecycle" in sys.modules:
        from pytest_llm import lifecycle

        lifecycle.touched()
        record = current()
    if record is not None:
        if not verdict.nodeid:
            verdict = dataclasses.replace(verdict, nodeid=record.nodeid)
        record.verdicts.append(verdict)
    return verdict


def settle(verdict: Verdict) -> Verdict:
    """`note` the verdict and let it act: return it, or raise with its rendering.

    Raises:
        AssertionError: the outcome is ``fail``: a regression was measured.
        LLMError: the outcome is ``error``: nothing could be measured.
    """
    watch = watching()
    if watch is not None and verdict.kind == "threshold" and verdict.outcome != "error":
        return watch.threshold(verdict)
    verdict = note(verdict)
    if verdict.ok:
        return verdict
    from pytest_llm.reports.text import render

    if verdict.outcome == "fail":
        raise AssertionError(render(verdict))
    raise (GoldenError if verdict.kind == "golden" else InvalidInputError)(render(verdict))
