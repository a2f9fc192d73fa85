"""``@pytest.mark.llm_repeat``: a test of sampled answers, run several times, judged by how often it succeeds.

The hooks are registered in a session that has such a test, or that calibrates (`lifecycle.collected`).
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Collection
from typing import TYPE_CHECKING

import pytest

from pytest_llm import lifecycle, record
from pytest_llm.errors import InvalidInputError, measured

if TYPE_CHECKING:
    from pytest_llm.record import RunRecord
    from pytest_llm.verdicts import Outcome, Verdict

__tracebackhide__ = measured

#: What says that an answer is not good enough. Any other exception is a broken test, or "could not measure".
FAILURES = (AssertionError, pytest.fail.Exception)

_FILES = ("llm_snapshot", "llm_baseline")
_SHOWN = 12
#: Repeats below which equal answers are no sign of a service that does not sample.
_FEW = 3
_INSIDE = pytest.StashKey[bool]()
#: What `terms` said at a test's set-up.
_TERMS = pytest.StashKey["Repeat | None"]()


@dataclasses.dataclass(frozen=True)
class Repeat:
    """The marker's terms."""

    n: int
    min_success: int | float = 1.0
    stop_early: bool = True

    @property
    def needed(self) -> int:
        """How many of ``n`` must succeed."""
        from pytest_llm.stats.passk import needed

        return needed(self.n, self.min_success)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check a marker before fixtures cost time."""
    item.stash[_TERMS] = terms(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a test several times, where a marker or ``--llm-calibrate`` asks for it."""
    if _INSIDE in pyfuncitem.stash:
        return None
    run, runs = pyfuncitem.config.stash[lifecycle.RECORD], lifecycle.settings(pyfuncitem.config).calibrate
    if runs:
        from pytest_llm.calibration.watch import calibrate

        calibrate(pyfuncitem, run, runs)
        return True
    asked = pyfuncitem.stash.get(_TERMS, None)
    if asked is None:
        return None
    repeat(pyfuncitem, run, asked)
    return True


def terms(item: pytest.Item) -> Repeat | None:
    """Return what the closest ``llm_repeat`` marker asks for; ``None`` without one.

    Raises:
        InvalidInputError: an argument out of range, or a test that cannot be repeated.
    """
    marker = item.get_closest_marker("llm_repeat")
    if marker is None:
        return None
    try:
        asked = Repeat(*marker.args, **marker.kwargs)
    except TypeError as error:
        wrong = str(error).removeprefix("Repeat.__init__() ")
        raise InvalidInputError(f"@pytest.mark.llm_repeat takes n, min_success and stop_early: {wrong}") from None
    if isinstance(asked.n, bool) or not isinstance(asked.n, int) or asked.n < 1:
        raise InvalidInputError(f"@pytest.mark.llm_repeat: n counts repeats, it starts at 1, not {asked.n!r}")
    if not isinstance(asked.min_success, (int, float)):
        raise InvalidInputError(
            f"@pytest.mark.llm_repeat: min_success is a count (int) or a rate (float), not {asked.min_success!r}"
        )
    try:
        asked.needed  # noqa: B018 (for its checks)
    except InvalidInputError as error:
        raise InvalidInputError(f"@pytest.mark.llm_repeat: {error}") from None
    if not isinstance(item, pytest.Function) or hasattr(item, "_testcase"):
        raise InvalidInputError(
            "@pytest.mark.llm_repeat repeats test functions and methods, not unittest.TestCase: make it a plain class"
        )
    if "subtests" in item.fixturenames:
        raise InvalidInputError(
            "@pytest.mark.llm_repeat cannot be combined with subtests: one that fails in one repeat fails the test, "
            "however many repeats succeed. Assert in the body of the test, or parametrise it"
        )
    used = [name for name in _FILES if name in item.fixturenames]
    if used:
        raise InvalidInputError(
            f"@pytest.mark.llm_repeat cannot be combined with {' and '.join(used)}: one file cannot hold the answers "
            "of several repeats, and how many there are depends on the answers. Move that check to a test of its own"
        )
    return asked


def run_body(item: pytest.Function, run: RunRecord, repeat: int, ahead: int = 0) -> BaseException | None:
    """Run the test's body once, as the ``repeat``-th answer, ``ahead`` more to come; return the assertion that failed.

    It goes through pytest's hook again, so that what other plugins put around a test is put around each repeat.
    """
    item.stash[_INSIDE] = True
    run.repeat, run.ahead = repeat, ahead
    try:
        item.ihook.pytest_pyfunc_call(pyfuncitem=item)
    except pytest.xfail.Exception:  # a kind of failure to pytest, but said by the test, not about an answer
        raise
    except FAILURES as failure:
        if _timed_out(failure):  # it ends the test: its timer is spent, and the repeats to come would have none
            raise
        _soft_failure()
        return failure
    finally:
        run.repeat = run.ahead = 0
        del item.stash[_INSIDE]
    return _soft_failure()


def _soft_failure() -> AssertionError | None:
    """Take what pytest-check noted of a repeat in place of raising it, which would fail the test whatever succeeds."""
    log = sys.modules.get("pytest_check.check_log")
    if log is None or not log.any_failures():
        return None
    failures = "\n".join(log.get_failures())
    log.clear_failures()
    return AssertionError(failures)


def _timed_out(failure: BaseException | None) -> bool:
    """Whether pytest-timeout raised this, or what was being cleaned up when this was raised."""
    while failure is not None:
        names = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(failure.__traceback__))
        if "pytest_timeout" in names:
            return True
        failure = failure.__context__
    return False


def repeat(item: pytest.Function, run: RunRecord, asked: Repeat) -> None:
    """Run the test until its outcome is decided, record the verdict, and raise when it is a failure.

    Raises:
        AssertionError: too few repeats succeeded; it has the traceback of the first that did not.
        Exception: whatever else a repeat raised, as it is: it says nothing about an answer.
    """
    seen, before, run.sampled, run.draws = (len(run.verdicts), len(run.details)), len(run.asked), False, {}
    questions: set[str] = set()
    results: list[BaseException | None] = []
    while len(results) < asked.n:
        # What is asserted inside one repeat is evidence for the verdict on all of them, not a verdict of the run.
        del run.verdicts[seen[0] :], run.details[seen[1] :]
        done, successes = len(results), sum(result is None for result in results)
        left = asked.needed - successes if asked.stop_early else asked.n - done
        try:
            results.append(run_body(item, run, done, left - 1))
        except Exception as error:
            if not isinstance(error, FAILURES):
                run.details.append(
                    f"repeat {done + 1} of {asked.n} raised {type(error).__name__}, which ended the test: only a "
                    "failed assertion counts as an answer that is not good enough"
                )
            raise
        questions = questions or _questions(run, before)
        failures = sum(result is not None for result in results)
        if asked.stop_early and (len(results) - failures >= asked.needed or failures > asked.n - asked.needed):
            break
    del run.verdicts[seen[0] :], run.details[seen[1] :]
    same = len(results) > 1 and bool(questions) and questions == _questions(run, before) and not run.sampled
    alike = _alike(run.draws.values())
    verdict = record.note(judge([result is None for result in results], asked, _first(results), same=same, alike=alike))
    if not verdict.ok:
        from pytest_llm.reports.text import render

        first = next(result for result in results if result is not None)
        # With the traceback of an answer that failed, the report shows the user's own line and values.
        raise AssertionError(render(verdict)).with_traceback(first.__traceback__) from None


def judge(
    results: list[bool], asked: Repeat, evidence: tuple[str, ...] = (), *, same: bool = False, alike: int = 0
) -> Verdict:
    """Return the verdict on repeats that succeeded or not, in order; ``evidence`` shows the first that did not.

    ``same`` says that chance decided no answer, so that all repeats had the same ones; ``alike`` how many had the same
    answers though a service was to sample them.

    The interval is Wilson's at 95 %. Where the repeats stopped early it is wider: it covers the interval that all
    ``n`` would have given, whatever the missing ones were, since a count that decided when to stop is biased.
    """
    from pytest_llm.stats.binary import rate_error, wilson
    from pytest_llm.stats.passk import pass_at_k, pass_hat_k
    from pytest_llm.verdicts import Verdict

    ran, successes = len(results), sum(results)
    left = asked.n - ran
    rate, bound = successes / ran, asked.needed / asked.n
    passed = successes >= asked.needed
    interval = [wilson(successes, asked.n)[0], wilson(successes + left, asked.n)[1]]
    figures = {
        "value": rate, "at_least": bound, "successes": successes, "failures": ran - successes, "n": asked.n,
        "interval": [float(f"{end:.3g}") for end in interval],
    }  # fmt: skip
    for k in (2**i for i in range(1, asked.n.bit_length()) if not left):
        figures[f"pass@{k}"] = pass_at_k(ran, successes, k)
        figures[f"pass^{k}"] = pass_hat_k(ran, successes, k)
    notes = []
    if left:
        notes.append(
            f"stopped after {ran} of {asked.n} repeats, which decide it; stop_early=False runs all of them, for a "
            "narrower interval, pass@k and pass^k"
        )
    # A rate below 1 that so few repeats round up to all of them was not asked to be all.
    flaky = passed and min(bound, asked.min_success) < 1 and rate - bound <= 2 * rate_error(successes, ran)
    if flaky:
        notes.append(
            "the bound lies within two standard errors of the rate: other seeds, or another build of the same model, "
            "will fail it now and then. Use more repeats or a lower min_success"
        )
    if same:
        notes.append(
            "each repeat had the same answers: none was sampled. do_sample=True samples; a temperature alone does not"
        )
    if alike:
        notes.append(
            f"the service gave 1 distinct answer of {alike}, each to another seed: it may not sample, or know no "
            "seeds, and then this is one draw and the interval means nothing. (A short answer may be that certain)"
        )
    outcome: Outcome = "fail" if not passed else "warn" if flaky or same or alike else "pass"
    return Verdict(
        kind="threshold",
        name="success rate",
        status="pass" if passed else "fail",
        outcome=outcome,
        headline=f"{successes} of {ran} repeats succeeded (of {asked.n}, at least {asked.needed} must)",
        figures=figures,
        notes=tuple(notes),
        diff=evidence,
    )


def _alike(draws: Collection[dict[int, list[str]]]) -> int:
    """Return how many repeats had the same texts of every request that was sampled; 0 where any differs, or few say."""
    most = max(map(len, draws), default=0)
    different = any(texts != next(iter(drawn.values())) for drawn in draws for texts in drawn.values())
    return 0 if different or most < _FEW else most


def _questions(run: RunRecord, start: int) -> set[str]:
    """Return the digests of what was asked from the ``start``-th call on."""
    return {digest for one in run.asked[start:] for digest in one.digests}


def _first(results: list[BaseException | None]) -> tuple[str, ...]:
    """Return the message of the first failure, as lines."""
    for number, failure in enumerate(results):
        if failure is not None:
            lines = (str(failure) or type(failure).__name__).splitlines()
            rest = [f"… (+{len(lines) - _SHOWN} lines)"] if len(lines) > _SHOWN else []
            return (f"the first to fail is repeat {number + 1}:", *(f"  {line}" for line in lines[:_SHOWN] + rest))
    return ()
