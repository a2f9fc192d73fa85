"""@pytest.mark.llm_repeat: what a person who samples answers sees."""

import shutil

import pytest

from pytest_llm.repeats import Repeat, judge
from pytest_llm.stats.binary import wilson
from pytest_llm.stats.passk import pass_at_k, pass_hat_k

RUN = ("-p", "no:xdist", "--llm-model=gpt2")

SAMPLED = """
    import pytest

    @pytest.mark.llm_repeat(6, min_success=1, stop_early=False)
    def test_a(llm):
        answer = llm.generate("the red", max_new_tokens=8, do_sample=True)
        other = llm.generate(["the blue", "the red"], max_new_tokens=8, do_sample=True)[1]
        assert answer == other
        print("ANSWER", answer)

    @pytest.mark.llm_repeat(3)
    def test_greedy_is_asked_once(llm):
        llm.generate("the red", max_new_tokens=8)
"""


@pytest.fixture
def gpt2(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")


def answers(result):
    return [line.partition("ANSWER")[2] for line in result.stdout.lines if "ANSWER" in line]


def test_each_repeat_has_an_answer_of_its_own_and_keeps_it(pytester, gpt2):
    """The second process answers from the store, the third computes anew: the same answers, whatever the neighbours."""
    pytester.makepyfile(SAMPLED)
    first = pytester.runpytest(*RUN, "-rP")
    first.assert_outcomes(passed=2)
    assert len(set(answers(first))) >= 5
    # 6 repeats ask 2 different prompts, the one of them twice; the greedy one is computed once.
    first.stdout.fnmatch_lines(["model     gpt2 * 21 answers: 8 from the store, 13 computed (10 ahead); *"])
    second = pytester.runpytest(*RUN, "-rP")
    second.stdout.fnmatch_lines(["model     gpt2 * 21 answers: 21 from the store, 0 computed; *"])
    third = pytester.runpytest(*RUN, "-rP", "--llm-cache=off", "--llm-batch-size=1")
    assert answers(first) == answers(second) == answers(third)
    fourth = pytester.runpytest(*RUN, "-rP", "--llm-cache=refresh")
    fourth.stdout.fnmatch_lines(["model     gpt2 * 21 answers: 8 from the store, 13 computed (11 ahead); *"])
    assert answers(fourth) == answers(first)


def test_repeats_of_one_greedy_answer_are_a_warning(pytester, gpt2):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.llm_repeat(3)
        def test_heat(llm): llm.generate("the red", max_new_tokens=2, temperature=0.9)
        @pytest.mark.llm_repeat(3)
        def test_judged(llm): llm.loss(llm.generate("the red", max_new_tokens=2, do_sample=True))
        @pytest.mark.llm_repeat(3)
        def test_others(llm, words=iter("abc")): llm.generate(next(words), max_new_tokens=2)
        @pytest.mark.llm_repeat(1)
        def test_once(llm): llm.generate("the red", max_new_tokens=2)
    """)
    result = pytester.runpytest(*RUN)
    result.assert_outcomes(passed=4)
    assert [line.split()[-2] for line in result.stdout.lines if "success rate" in line] == [
        "warn", "pass", "pass", "pass",
    ]  # fmt: skip
    result.stdout.fnmatch_lines(["*::test_heat", "*none was sampled. do_sample=True*"])


def test_the_first_answer_is_that_of_an_unmarked_test(pytester, gpt2):
    pytester.makepyfile(
        """
        import pytest

        ASKED = []

        @pytest.mark.llm_repeat(2)
        def test_a(llm):
            ASKED.append(llm.generate("the red", max_new_tokens=8, do_sample=True))

        def test_b(llm):
            plain = llm.generate("the red", max_new_tokens=8, do_sample=True)
            assert ASKED[0] == plain != ASKED[1]
        """
    )
    pytester.runpytest(*RUN).assert_outcomes(passed=2)


def suite(pytester, marker, fails, body="assert number not in FAILS"):
    pytester.makepyfile(
        f"""
        import itertools
        import pytest
        from pytest_llm import InvalidInputError

        FAILS = {fails}
        COUNT = itertools.count(1)

        class TestX:
            @pytest.mark.parametrize("word", ["a"])
            @pytest.mark.llm_repeat({marker})
            def test_a(self, word, tmp_path):
                number = next(COUNT)
                print("RUN", number)
                {body}
        """
    )
    return pytester.runpytest("-p", "no:xdist", "-rPf")


def runs(result):
    return sum(line.startswith("RUN") for line in result.stdout.lines)


@pytest.mark.parametrize(
    ("marker", "fails", "passed", "expected"),
    [
        ("5, min_success=3", set(), True, 3),
        ("5, min_success=3", {1, 2}, True, 5),
        ("5, min_success=3", {1, 2, 3}, False, 3),
        ("5, min_success=0.6", {1, 3, 4}, False, 4),
        ("5", {3}, False, 3),
        ("5", set(), True, 5),
        ("n=5, min_success=1, stop_early=False", {2, 3}, True, 5),
        ("5, min_success=5, stop_early=False", {1}, False, 5),
        ("1", set(), True, 1),
    ],
)
def test_it_stops_as_soon_as_the_outcome_is_decided(pytester, marker, fails, passed, expected):
    result = suite(pytester, marker, fails)
    result.assert_outcomes(passed=int(passed), failed=int(not passed))
    assert runs(result) == expected


def test_a_failing_test_shows_rate_interval_and_the_first_failing_assertion(pytester):
    result = suite(pytester, "4, min_success=3", {2, 3})
    result.stdout.fnmatch_lines(
        [
            ">       assert number not in FAILS",
            "E       AssertionError: 1 of 3 repeats succeeded (of 4, at least 3 must)",
            "E         value 0.333333   at_least 0.75   successes 1   failures 2   n 4   interval [[]0.0456, 0.85[]]",
            "E         the first to fail is repeat 2:",
            "E           assert 2 not in {2, 3}",
            "E         note: stopped after 3 of 4 repeats, which decide it; *",
            "*= model regression =*",
            "gates     success rate  0.333333  >= 0.75  fail  *::TestX::test_a[[]a[]]",
            "FAILED *::test_a[[]a[]]*",
        ]
    )


def test_a_passing_test_that_would_flake_is_a_warning(pytester):
    result = suite(pytester, "5, min_success=3", {2})
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "gates     success rate  0.75  >= 0.6  warn  *",
            "*the bound lies within two standard errors of the rate: *",
        ]
    )


@pytest.mark.parametrize(
    ("body", "outcomes", "shown", "ran"),
    [
        ("raise InvalidInputError('no server')", {"errors": 1}, "*InvalidInputError: no server", 1),
        ("assert number < 2 or {}[number]", {"failed": 1}, "*KeyError: 2", 2),
        ("number == 2 and pytest.skip('not here')", {"skipped": 1}, "", 2),
        ("pytest.xfail('known')", {"xfailed": 1}, "", 1),
        ("pytest.fail('bad answer')", {"failed": 1}, "*bad answer", 2),
    ],
)
def test_only_a_failed_assertion_is_a_failure_of_quality(pytester, body, outcomes, shown, ran):
    """Three of four may fail, so a broken server that counted as a failure would be run again."""
    result = suite(pytester, "4, min_success=3", set(), body)
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines([shown])
    assert ("success rate" in result.stdout.str()) == ("bad answer" in body)
    if "KeyError" in shown:
        result.stdout.fnmatch_lines(["repeat 2 of 4 raised KeyError, which ended the test: only a failed assertion*"])
    if ran > 1 and "skip" not in body:
        assert runs(result) == ran


#: What pytest-timeout does to a body that takes too long; its timer is spent then.
TIMEOUT = """
    import pytest
    def pytest_configure(config): config.addinivalue_line("markers", "timeout(s)")
    def timeout_sigalrm(*_): pytest.fail("Timeout (>0.1s) from pytest-timeout.")
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item):
        import signal
        signal.signal(signal.SIGALRM, timeout_sigalrm)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        return (yield)
"""


@pytest.mark.parametrize("body", ["time.sleep(5)", "try: time.sleep(5)\n                finally: assert 0, 'clean-up'"])
def test_a_timeout_ends_the_test(pytester, body):
    pytester.makepyfile(pytest_timeout=TIMEOUT)
    pytester.syspathinsert()
    pytester.makeconftest("pytest_plugins = ['pytest_timeout']")
    result = suite(pytester, "4, min_success=1", set(), f"import time\n                {body}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Failed: Timeout (>0.1s) from pytest-timeout."])
    result.stdout.no_fnmatch_line("*only a failed assertion counts*")
    assert runs(result) == 1


@pytest.mark.parametrize(("needed", "rate"), [(1, "0.5 "), (2, "0.333333")])
def test_what_pytest_check_notes_fails_its_repeat(pytester, needed, rate):
    """A soft assertion is not raised: pytest-check keeps it, and fails the whole test for it in the end."""
    package = pytester.mkpydir("pytest_check")
    (package / "check_log.py").write_text("""
FAILED = []
def any_failures(): return bool(FAILED)
def get_failures(): return FAILED
def clear_failures(): FAILED.clear()
""")
    pytester.makeconftest("""
        import pytest
        from pytest_check import check_log
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if check_log.any_failures(): report.outcome = "failed"
            return report
    """)
    soft = "from pytest_check.check_log import FAILED; FAILED += [f'check {number} == 2'] * (number != 2)"
    result = suite(pytester, f"3, min_success={needed}", set(), soft)
    result.assert_outcomes(passed=int(needed == 1), failed=int(needed == 2))
    result.stdout.fnmatch_lines([f"gates     success rate  {rate}*"])
    if needed == 2:
        result.stdout.fnmatch_lines(["*the first to fail is repeat 1:", "*check 1 == 2"])


def test_a_fixture_that_fails_is_an_error(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def server():
            assert False, "no server"

        @pytest.mark.llm_repeat(5, min_success=1)
        def test_a(server): ...
        """
    )
    pytester.runpytest("-p", "no:xdist").assert_outcomes(errors=1)


def test_checks_inside_a_repeat_are_evidence_and_not_verdicts_of_the_run(pytester):
    result = suite(
        pytester,
        "3, min_success=2",
        set(),
        "from pytest_llm import assert_contains; assert_contains(['a' if number != 2 else 'b'], 'a')",
    )
    result.assert_outcomes(passed=1)
    lines = [line for line in result.stdout.lines if line.startswith(("gates", "          "))]
    assert [line.split("  ")[0] for line in lines if line.startswith("gates")] == ["gates"]
    assert not any("contains" in line for line in lines)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("0", "n counts repeats, it starts at 1, not 0"),
        ("True", "n counts repeats, it starts at 1, not True"),
        ("2.0", "n counts repeats, it starts at 1, not 2.0"),
        ("", "takes n, min_success and stop_early: missing 1 required positional argument: 'n'"),
        ("3, at_least=2", "takes n, min_success and stop_early: got an unexpected keyword argument 'at_least'"),
        ("3, min_success=4", "min_success=4 is a count: it must lie between 1 and n=3"),
        ("3, min_success=0", "min_success=0 is a count: it must lie between 1 and n=3"),
        ("3, min_success=1.5", "min_success=1.5 is a rate: it must lie in (0, 1]; use an int for a count"),
        ("3, min_success='2'", "min_success is a count (int) or a rate (float), not '2'"),
    ],
)
def test_a_wrong_marker_is_an_error_that_says_what_is_wrong(pytester, marker, message):
    result = suite(pytester, marker, set())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"E*InvalidInputError: @pytest.mark.llm_repeat*{message.replace('[', '[[]')}"])
    result.stdout.no_fnmatch_line("*entries are hidden*")


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_subtests_are_refused(pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.llm_repeat(4, min_success=0.5)
        def test_a(subtests):
            with subtests.test("x"): assert 0
    """)
    result = pytester.runpytest("-p", "no:xdist")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*InvalidInputError: @pytest.mark.llm_repeat cannot be combined with subtests: *"])


def test_what_cannot_be_repeated_is_refused(pytester):
    pytester.makepyfile(
        """
        import unittest
        import pytest

        class TestOld(unittest.TestCase):
            @pytest.mark.llm_repeat(3)
            def test_a(self): ...

        @pytest.mark.llm_repeat(3)
        def test_golden(llm_snapshot, llm_baseline): ...
        """
    )
    result = pytester.runpytest("-p", "no:xdist")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*repeats test functions and methods, not unittest.TestCase: make it a plain class",
            "*cannot be combined with llm_snapshot and llm_baseline: one file cannot hold*",
        ]
    )


def test_a_hook_of_another_plugin_surrounds_every_repeat(pytester):
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_pyfunc_call(pyfuncitem):
            print("AROUND")
            return (yield)
        """
    )
    result = suite(pytester, "3", set())
    assert sum("AROUND" in line for line in result.stdout.lines) >= 3


def test_workers_send_the_verdicts(pytester, gpt2):
    pytester.makepyfile(SAMPLED)
    result = pytester.runpytest_subprocess("-n2", "--llm-model=gpt2", "--strict-markers")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*success rate  1  >= 0.16*7  pass  *::test_a"])


def test_the_figures_are_those_of_the_statistics():
    results = [True] * 7 + [False] * 3
    figures = judge(results, Repeat(10, 5)).figures
    assert figures["interval"] == pytest.approx(wilson(7, 10), abs=1e-3)
    assert {k: v for k, v in figures.items() if "@" in k or "^" in k} == {
        name: value
        for k in (2, 4, 8)
        for name, value in ((f"pass@{k}", pass_at_k(10, 7, k)), (f"pass^{k}", pass_hat_k(10, 7, k)))
    }


@pytest.mark.parametrize(
    ("n", "successes", "min_success", "outcome"),
    [
        (10, 10, 0.9, "warn"),
        (19, 19, 0.9, "warn"),
        (20, 20, 0.9, "pass"),
        (10, 10, 0.8, "pass"),
        (10, 10, 0.95, "warn"),
        (10, 10, 1.0, "pass"),
        (10, 10, 10, "pass"),
        (10, 7, 5, "warn"),
        (10, 8, 5, "pass"),
    ],
)
def test_a_rate_of_one_may_be_close_to_its_bound(n, successes, min_success, outcome):
    results = [True] * successes + [False] * (n - successes)
    assert judge(results, Repeat(n, min_success, stop_early=False)).outcome == outcome


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_the_interval_of_a_stopped_run_covers_the_rate(rate):
    """Early stopping picks when to look, and Wilson's interval of what was seen then is too narrow; ours is not."""
    import random

    rng, covered, naive, runs = random.Random(7), 0, 0, 2000
    asked = Repeat(10, 8)
    for _ in range(runs):
        results = []
        while sum(results) < 8 and len(results) - sum(results) <= 2:
            results.append(rng.random() < rate)
        low, high = judge(results, asked).figures["interval"]
        covered += low <= rate <= high
        low, high = wilson(sum(results), len(results))
        naive += low <= rate <= high
    # Wilson's own coverage at n = 10 dips below its nominal 95 %.
    assert covered / runs >= 0.92, (covered / runs, naive / runs)
    assert covered >= naive
