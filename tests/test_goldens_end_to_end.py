"""The life of a golden, as a person at a terminal sees it."""

import json
import os
import re
import shutil
import subprocess

import pytest

from pytest_llm.store.key import ENGINE_VERSION
from tests.conftest import COMMAND

SUITE = """
    def test_a(llm_snapshot):
        assert "The capital of France is Paris." == llm_snapshot

    def test_b(llm_snapshot):
        llm_snapshot(name="list").check([1, 2.5, "three"])
"""


@pytest.fixture
def suite(pytester, cache_dir):
    pytester.makepyfile(test_life=SUITE)
    return pytester


def edit(pytester, old, new):
    file = pytester.path / "test_life.py"
    file.write_text(file.read_text().replace(old, new))


def goldens(pytester):
    return sorted(p.relative_to(pytester.path).as_posix() for p in pytester.path.rglob("__llm_snapshots__/**/*.json"))


def test_a_missing_golden_fails_and_says_how_to_make_it(suite):
    result = suite.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*golden '1': there is none yet",
            "E*+ The capital of France is Paris.",
            'E*note: create it: pytest "test_life.py::test_a" --llm-update=new',
            "*= model regression =*",
            "goldens   2 missing",
            "          missing     test_life.py::test_a (1)",
            "          missing     test_life.py::test_b (list)",
            "next      2 goldens or baselines are missing: pytest --llm-update=new writes them",
        ]
    )
    assert goldens(suite) == []


@pytest.mark.parametrize("options", [[], ["--llm-update=new"]], ids=["none", "new"])
def test_an_answer_that_must_differ_from_a_golden_is_refused(pytester, cache_dir, options):
    pytester.makepyfile("""
        import unittest
        import numpy as np

        def test_it(llm_snapshot):
            assert "the wrong answer" != llm_snapshot

        def test_array(llm_snapshot):
            assert np.zeros(2) != llm_snapshot

        def test_method(llm_snapshot):
            unittest.TestCase().assertNotEqual("the wrong answer", llm_snapshot(name="bad"))
    """)
    result = pytester.runpytest(*options)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["E*InvalidInputError: a golden is compared with ==; != would pass where*"])
    assert goldens(pytester) == []


def test_new_creates_then_a_plain_run_passes_and_touches_nothing(suite):
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    assert goldens(suite) == [
        "__llm_snapshots__/test_life/test_a--1.json",
        "__llm_snapshots__/test_life/test_b--list.json",
    ]
    before = {path: (suite.path / path).stat() for path in goldens(suite)}
    for flag in ("none", "new", "all"):
        result = suite.runpytest(f"--llm-update={flag}")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["goldens   2 identical"])
    assert {path: (suite.path / path).stat().st_mtime_ns for path in before} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }


def test_an_answer_inside_a_dict_is_compared_as_an_answer(pytester, cache_dir):
    pytester.makepyfile(
        """
        import os
        from pytest_llm import Generation
        from pytest_llm.results import Origin

        GREEDY = Origin(request={"kind": "generate", "prompt": "Name a city.", "do_sample": False, "num_beams": 1})

        def answer():
            city, end = os.environ.get("CITY", "Paris"), os.environ.get("END", "stop")
            ids = [1, 2] if city == "Paris" else [2, 1]
            return Generation(city, token_ids=ids[:1], tokens=[city], logprobs=[-0.7], runner_ups=ids[1:],
                              margins=[0.01], finish_reason=end, origin=GREEDY)

        def test_dict(llm_snapshot):
            assert {"answer": answer(), "citations": ["d1"]} == llm_snapshot

        def test_list(llm_snapshot):
            assert [{"answer": answer(), "n": 1}] == llm_snapshot
        """
    )

    def run(*arguments, **variables):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            return pytester.runpytest(*arguments)

    run("--llm-update=new").assert_outcomes(passed=2)
    run().stdout.fnmatch_lines(["goldens   2 identical"])
    result = run(CITY="Rome")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["goldens   2 near-tie"])
    result = run(END="content_filter")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*identical *::test_dict (1): *finish_reason stop → content_filter"])
    for file in pytester.path.rglob("__llm_snapshots__/**/*.json"):  # as an older version wrote them
        data = json.loads(file.read_text())
        del data["output"]["answers"]
        file.write_text(json.dumps(data))
    before = {file: file.read_bytes() for file in pytester.path.rglob("__llm_snapshots__/**/*.json")}
    run("--llm-update=all").stdout.fnmatch_lines(["goldens   2 identical"])
    assert before == {file: file.read_bytes() for file in before}
    run(CITY="Rome").assert_outcomes(failed=2)


def test_a_plugin_that_runs_the_tests_itself(suite):
    suite.makeconftest(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            runtestprotocol(item, nextitem=nextitem)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """
    )
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    assert goldens(suite) == [
        "__llm_snapshots__/test_life/test_a--1.json",
        "__llm_snapshots__/test_life/test_b--list.json",
    ]


def test_drift_is_shown_whole_and_waits_for_review(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "France is Paris.", "France is Lyon, a fine town on the Rhône.")
    result = suite.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*golden '1': drifted",
            "E*- The capital of France is Paris.",
            "E*+ The capital of France is Lyon, a fine town on the Rhône.",
            "*note: accept or reject it without the model: pytest-llm review*",
            "goldens   1 identical, 1 drifted",
            "          drifted     test_life.py::test_a (1)",
            "next      1 candidate waits for you: pytest-llm review",
        ]
    )
    suite.runpytest("--llm-update=new").assert_outcomes(passed=1, failed=1)
    result = suite.runpytest("--llm-update=all")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["goldens   1 identical, 1 updated"])
    assert "Lyon" in (suite.path / "__llm_snapshots__/test_life/test_a--1.json").read_text()


def test_what_an_assertion_has_no_room_for_stands_in_a_section(suite):
    suite.makepyfile(
        test_life="""
        def test_a(llm_snapshot):
            text = "\\n".join(f"line {i}" for i in range(30))
            assert text == llm_snapshot
        """
    )
    suite.runpytest("--llm-update=new")
    edit(suite, "line {i}", "row {i}")
    result = suite.runpytest()
    result.stdout.fnmatch_lines(
        [
            "E*(all of it is below, under 'model regression')",
            "*- model regression -*",
            "golden '1': drifted",
            "  note: golden file: __llm_snapshots__/test_life/test_a--1.json",
        ]
    )
    assert "Full output truncated" not in result.stdout.str()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{ not json", "*test_a--1.json*"),
        ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n", "*merge*conflict*"),
        ('{"schema": 99}', "*schema*99*"),
        ("{}", "*test_a--1.json*"),
    ],
    ids=["corrupt", "conflict", "newer", "empty"],
)
def test_a_golden_that_cannot_be_read_is_an_error_not_a_failure(suite, content, message):
    suite.runpytest("--llm-update=new")
    (suite.path / "__llm_snapshots__/test_life/test_a--1.json").write_text(content)
    result = suite.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at call of test_a*", message, "goldens   1 identical, 1 invalid", "ERROR test_life.py::test_a*"]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_examples_that_hypothesis_chooses_have_no_golden(pytester, cache_dir):
    pytester.makepyfile("""
        from hypothesis import HealthCheck, given, settings, strategies
        ways = settings(suppress_health_check=list(HealthCheck))(given(strategies.integers()))
        class TestX:
            @ways
            def test_golden(self, llm_snapshot, x): assert "a" == llm_snapshot
        @ways
        def test_figure(llm_baseline, x): llm_baseline.check("f1", 0.5, margin=0.1)
        @ways
        def test_plain(llm_loader, x): pass
    """)
    result = pytester.runpytest("--llm-update=new")
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines_random(
        [f"E*llm_{one} cannot be combined with @given*" for one in ("snapshot", "baseline")]
    )
    assert not list(pytester.path.glob("__llm*"))


@pytest.mark.parametrize(
    ("plugin", "conftest"),
    [
        ("pytest-repeat", "def pytest_generate_tests(metafunc):\n"
         "    metafunc.fixturenames.append('__pytest_repeat_step_number')\n"
         "    metafunc.parametrize('__pytest_repeat_step_number', range(2), ids='{}-2'.format)"),
        ("flakefinder", "def pytest_generate_tests(metafunc):\n"
         "    metafunc.fixturenames.append('__flakefinder_test_it')\n"
         "    metafunc.parametrize('__flakefinder_test_it', [0, 1])"),
        ("pytest-run-parallel", "import pytest_run_parallel.plugin\n"
         "def pytest_collection_finish(session):\n"
         "    for item in session.items: item.obj = pytest_run_parallel.plugin.wrap_function_parallel(item.obj)"),
    ],
)  # fmt: skip
def test_a_test_that_a_plugin_repeats_has_no_golden(pytester, cache_dir, plugin, conftest):
    (pytester.mkpydir("pytest_run_parallel") / "plugin.py").write_text("""
import functools
def wrap_function_parallel(fn):
    @functools.wraps(fn)
    def inner(*args, **kwargs): [fn(*args, **kwargs) for _ in range(2)]
    return inner
""")
    pytester.makeconftest(conftest)
    pytester.makepyfile("def test_it(llm_snapshot): assert 'a' == llm_snapshot")
    result = pytester.runpytest("--llm-update=new")
    result.assert_outcomes(errors=1 + (plugin != "pytest-run-parallel"))
    result.stdout.fnmatch_lines([f"E*InvalidInputError: llm_snapshot cannot be combined with {plugin}: *"])
    assert not list(pytester.path.glob("__llm*"))


def test_levels_make_a_difference_of_format_a_warning(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "The capital", "the  capital")
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    result = suite.runpytest("--llm-drift-levels=format-only=warn")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["goldens   1 identical, 1 format-only", "          format-only test_life.py::test_a (1)"]
    )


def test_parameters_classes_and_hostile_names_have_files_of_their_own(pytester, cache_dir):
    pytester.makepyfile(
        test_names="""
        import pytest

        class TestX:
            @pytest.mark.parametrize("value", ["a/b", "a\\\\b", "../../up", "A", "a", "", "x" * 300, "é"])
            def test_y(self, llm_snapshot, value):
                assert value == llm_snapshot
                assert value == llm_snapshot(name="../" + value + "/..")
        """
    )
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=8)
    files = goldens(pytester)
    assert len(files) == 16
    assert len({path.lower() for path in files}) == 16
    assert all(path.startswith("__llm_snapshots__/test_names/TestX.test_y") for path in files)
    pytester.runpytest().assert_outcomes(passed=8)


def test_a_complete_run_reports_obsolete_goldens_and_prune_removes_them(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, 'llm_snapshot(name="list").check([1, 2.5, "three"])', "pass")
    assert "is obsolete" not in suite.runpytest("-k", "test_a").stdout.str()
    assert "is obsolete" not in suite.runpytest("test_life.py::test_a").stdout.str()
    suite.runpytest().stdout.fnmatch_lines(["next      1 golden that no test uses is obsolete: pytest-llm prune"])
    assert len(goldens(suite)) == 2

    result = suite.run(COMMAND, "prune")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["__llm_snapshots__/test_life/test_b--list.json", "1 obsolete golden; 'pytest-llm prune --yes' removes it"]
    )
    assert len(goldens(suite)) == 2
    assert suite.run(COMMAND, "prune", "--yes").ret == 0
    assert goldens(suite) == ["__llm_snapshots__/test_life/test_a--1.json"]
    suite.run(COMMAND, "prune").stdout.fnmatch_lines(["nothing to remove*"])


def test_a_skipped_or_failing_test_keeps_its_goldens(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "def test_b(llm_snapshot):", "def test_b(llm_snapshot):\n        assert 0")
    assert "is obsolete" not in suite.runpytest().stdout.str()


def test_under_xdist_the_controller_sums_up(suite):
    suite.runpytest("-n2", "--llm-update=new").stdout.fnmatch_lines(["goldens   2 created"])
    edit(suite, "Paris", "Lyon")
    result = suite.runpytest("-n2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["goldens   1 identical, 1 drifted", "next      1 candidate waits for you*"])


def test_workers_that_all_run_a_test_leave_one_candidate(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    result = suite.runpytest("-n2", "--dist=each")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["goldens   2 identical, 2 drifted", "next      1 candidate waits for you*"])


def test_a_candidate_in_a_folder_that_is_a_link_waits_where_its_test_stands(suite, tmp_path_factory):
    (suite.path / "__llm_snapshots__").symlink_to(tmp_path_factory.mktemp("goldens"), target_is_directory=True)
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    assert suite.run(COMMAND, "review", "accept", "1").ret == 0
    suite.runpytest().assert_outcomes(passed=2)


def test_candidates_of_another_checkout_are_mentioned(suite, tmp_path_factory, monkeypatch):
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    copy = shutil.copytree(suite.path, tmp_path_factory.mktemp("moved") / "copy")
    monkeypatch.chdir(copy)
    told = "1 waits for the same goldens in {}: review there, or run the tests here"
    for action, status in (("list",), 0), (("accept", "--all"), 0), (("accept", "1"), 2):
        result = suite.run(COMMAND, "review", *action)
        assert (result.outlines, result.ret) == (["no candidates wait here", told.format(suite.path)], status)
    next(copy.rglob("test_a--1.json")).write_text("another golden")
    assert suite.run(COMMAND, "review", "list").outlines == ["no candidates wait here"]


def test_review_accepts_and_rejects_without_the_test(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    edit(suite, "2.5", "3.5")
    suite.runpytest().assert_outcomes(failed=2)

    listing = suite.run(COMMAND, "review")
    assert listing.ret == 1
    listing.stdout.fnmatch_lines(
        ["  1  drifted     test_life.py::test_a (1)", "  2  drifted     test_life.py::test_b (list)"]
    )
    suite.run(COMMAND, "review", "show", "1").stdout.fnmatch_lines(
        ["test_life.py::test_a (1)", "*- The capital of France is Paris.", "*+ The capital of France is Lyon."]
    )
    assert suite.run(COMMAND, "review", "accept").ret == 2
    for unset in ("", " "):  # "$UNSET" in a shell
        refused = suite.run(COMMAND, "review", "accept", unset)
        assert (refused.ret, refused.outlines) == (2, [])
        refused.stderr.fnmatch_lines([f"pytest-llm review: {unset!r} names no candidate: give a number, a part of *"])
    assert suite.run(COMMAND, "review", "accept", "7").ret == 2
    assert suite.run(COMMAND, "review", "accept", "1").ret == 0
    assert suite.run(COMMAND, "review", "reject", "--all").ret == 0
    assert suite.run(COMMAND, "review", "list").ret == 0
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    golden = json.loads((suite.path / "__llm_snapshots__/test_life/test_b--list.json").read_text())
    assert golden["output"]["value"] == [1, 2.5, "three"]


def test_a_number_stays_with_the_candidate_that_was_listed_under_it(suite):
    def say(tests, text):
        tests = [f"def test_{i}(llm_snapshot): assert {text!r} == llm_snapshot" for i in tests]
        suite.makepyfile(test_life="\n".join(tests))
        suite.runpytest("--llm-update=new" if text == "old" else "--llm-update=none")

    def review(*words):
        result = suite.run(COMMAND, "review", *words)
        return result.ret, result.outlines + result.errlines

    def accepted(test):
        return "new" in (suite.path / f"__llm_snapshots__/test_life/test_{test}--1.json").read_text()

    say((1, 2, 3), "old")
    say((1, 2, 3), "new")
    assert review("reject", "1") == (0, ["rejected  test_life.py::test_1 (1): its golden stays"])  # nothing was listed
    assert review("accept", "2")[0] == 0
    assert [accepted(test) for test in (1, 2, 3)] == [False, True, False]
    again = "look at them again: pytest-llm review list"
    gone = "it was accepted or rejected, or its test passed"
    assert review("accept", "2") == (
        2,
        [f"pytest-llm review: candidate 2 is gone since they were listed: {gone}; {again}"],
    )
    assert review("accept", "4") == (
        2,
        [f"pytest-llm review: no candidate 4: there were 3 when they were listed; {again}"],
    )
    say((3,), "newer")
    ran = "candidate 3 is another one since they were listed: test_life.py::test_3 (1) ran again"
    assert review("accept", "3") == (2, [f"pytest-llm review: {ran}; {again}"])
    assert review("list")[1][0] == "  1  drifted     test_life.py::test_3 (1)"
    assert review("accept", "1")[0] == 0
    assert accepted(3)


def test_review_walks_on_a_terminal(suite):
    pexpect = pytest.importorskip("pexpect")
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    edit(suite, "2.5", "3.5")
    suite.runpytest()
    child = pexpect.spawn(COMMAND, ["review"], cwd=str(suite.path), timeout=60, encoding="utf-8")
    child.expect(r"\[1/2\].*Lyon.*\[a\]ccept")
    child.sendline("x")
    child.expect("please answer one of a, r, s, q")
    child.sendline("a")
    child.expect(r"accepted.*\[2/2\].*\[a\]ccept")
    child.sendline("r")
    child.expect("rejected")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    suite.runpytest().assert_outcomes(passed=1, failed=1)


def test_a_golden_belongs_to_its_test_however_the_run_is_spread(pytester, cache_dir):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.xdist_group("model")
        def test_a(llm_snapshot):
            assert "a" == llm_snapshot
        """
    )
    pytester.runpytest("--llm-update=new")
    result = pytester.runpytest("-n2", "--dist=loadgroup")
    result.stdout.fnmatch_lines(["goldens   1 identical"])
    assert "is obsolete" not in result.stdout.str()
    assert len(goldens(pytester)) == 1


def test_two_parameters_that_differ_have_goldens_of_their_own(pytester, cache_dir):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("p", ["std::vec", "std.vec"])
        def test_it(llm_snapshot, p): assert p == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=2)
    assert len(goldens(pytester)) == 2
    pytester.runpytest().assert_outcomes(passed=2)


def test_pytest_explains_a_list_without_asking_a_golden_again(pytester, cache_dir):
    pytester.makepyfile("def test_it(llm_snapshot): assert [1] == [llm_snapshot]")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    pytester.makepyfile("""
        def test_it(llm_snapshot):
            assert [5, 2] == [llm_snapshot, llm_snapshot]

        def test_named(llm_snapshot):
            assert {"a": 5, "b": 2} == {"a": llm_snapshot(name="a"), "b": llm_snapshot(name="b")}
    """)
    result = pytester.runpytest("--llm-update=new")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["E*At index 0 diff: 5 != <llm_snapshot*", "*model regression*", "golden '1': drifted from 1 to 5"]
    )
    result.stdout.fnmatch_lines(["goldens   1 drifted, 2 created"])
    assert [name.rpartition("/")[2] for name in goldens(pytester)] == [
        "test_it--1.json", "test_named--a.json", "test_named--b.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    ["assert all([5 == llm_snapshot])", "same = 5 == llm_snapshot\n    assert same", "assert 5 == llm_snapshot"],
    ids=["all", "a name", "plain"],
)
def test_a_drift_is_shown_however_it_is_asserted(pytester, cache_dir, body):
    plain = ["--assert=plain"] if body == "assert 5 == llm_snapshot" else []
    module = pytester.makepyfile(f"def test_it(llm_snapshot):\n    {body.replace('5', '1')}")
    pytester.runpytest("--llm-update=new", *plain).assert_outcomes(passed=1)
    module.write_text(module.read_text().replace("1 ==", "5 =="))
    result = pytester.runpytest_subprocess(*plain)
    result.stdout.fnmatch_lines(["*model regression*", "golden '1': drifted from 1 to 5"])
    assert result.stdout.str().count("drifted from 1 to 5") == 1


def test_a_drift_that_is_explained_is_not_shown_twice(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "[1, 2.5", "[1, 3.5")
    shown = suite.runpytest("-rN").stdout.str()
    assert shown.count("golden 'list': [1]: drifted from 2.5 to 3.5") == 1


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_a_subtest_that_broke_lets_no_later_check_take_its_golden(pytester, cache_dir, monkeypatch):
    pytester.makepyfile("""
        import os

        def test_a(subtests, llm_snapshot):
            for case in "one", "two":
                with subtests.test(case):
                    if case == os.environ.get("BREAK"): raise RuntimeError
                    assert case.upper() == llm_snapshot(name=case)
                    assert case == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new").stdout.fnmatch_lines(["goldens   4 created"])
    before = {path: path.read_text() for path in pytester.path.rglob("*.json")}
    monkeypatch.setenv("BREAK", "one")
    for update in ("none", "all"):
        result = pytester.runpytest(f"--llm-update={update}")
        result.stdout.fnmatch_lines(
            ["E*InvalidInputError: which golden this is, is not known: a subtest of *broke*", "goldens   1 identical"]
        )
        assert {path: path.read_text() for path in before} == before
    assert not list(cache_dir.glob("pending/*"))


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_a_subtest_that_drifted_keeps_no_later_one_from_its_golden(pytester, cache_dir):
    module = pytester.makepyfile("""
        def test_a(subtests, llm_snapshot):
            for case in "one", "two", "three":
                with subtests.test(case):
                    assert case == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new")
    module.write_text(module.read_text().replace('"one", "two"', '"won", "too"'))
    pytester.runpytest().stdout.fnmatch_lines(["goldens   1 identical, 2 drifted*"])


def test_a_change_of_type_is_told_apart(pytester, cache_dir):
    module = pytester.makepyfile('def test_it(llm_snapshot): assert "1" == llm_snapshot')
    pytester.runpytest("--llm-update=new")
    module.write_text(module.read_text().replace('"1"', "1"))
    pytester.runpytest().stdout.fnmatch_lines(["E*drifted from '1' to 1"])


#: As pytest-rerunfailures runs a test again.
RERUN = """
    from _pytest.runner import runtestprotocol
    def pytest_runtest_protocol(item, nextitem):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if any(report.failed for report in reports):
            item._initrequest()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        return True
"""


def test_what_an_attempt_measured_that_a_plugin_repeats_is_forgotten(pytester, cache_dir):
    pytester.makeconftest(RERUN)
    pytester.makepyfile("""
        from pytest_llm import assert_contains
        attempts = []
        def test_flaky(llm_snapshot):
            attempts.append(1)
            assert_contains(["no" if len(attempts) == 1 else "yes"], ["yes"], at_least=1)
            assert "x" == llm_snapshot
    """)
    result = pytester.runpytest("--llm-update=new", "--junitxml=j.xml")
    result.assert_outcomes(passed=1)
    gates = [line for line in result.stdout.lines if "contains " in line]
    assert len(gates) == 1
    assert "pass" in gates[0]
    assert "fail" not in (pytester.path / "j.xml").read_text().replace("failures=", "")


def test_what_an_attempt_wrote_that_a_plugin_repeats_is_not_compared(pytester, cache_dir):
    pytester.makeconftest(RERUN)
    pytester.makepyfile("""
        attempts = []
        def test_flaky(llm_snapshot, llm_baseline):
            attempts.append(1)
            assert "x" == llm_snapshot
            llm_baseline.check("m", 1.0, margin=0.1, higher_is_better=True)
            assert len(attempts) > 1
    """)
    result = pytester.runpytest("--llm-update=new", "--llm-markdown=run.md", "--junitxml=j.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["goldens   1 created", "gates     m  1 * created *"])
    head = (pytester.path / "run.md").read_text("utf-8").splitlines()[0]
    assert head.endswith("1 passed; 2 goldens or baselines were written, not compared")
    assert (pytester.path / "j.xml").read_text().count('name="llm.golden.1"') == 1


@pytest.mark.parametrize("update", ["new", "all"])
def test_what_a_failed_attempt_created_is_written_anew_by_the_next(pytester, cache_dir, update):
    pytester.makeconftest(RERUN)
    module = pytester.makepyfile("""
        from pytest_llm.metrics import exact_match
        attempts = []
        def test_flaky(llm_snapshot, llm_baseline):
            attempts.append(1)
            good = len(attempts) > 1
            assert ("good" if good else "bad") == llm_snapshot
            llm_baseline.check("m", 0.9 if good else 0.3, margin=0.05, higher_is_better=True)
            llm_baseline.check("em", exact_match(["y" if good else "n", "n"], ["y", "y"]), margin=0.5)  # warns: 0 passes too
            assert good
    """)
    result = pytester.runpytest(f"--llm-update={update}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["goldens   1 created", "gates     em  0.5  created *", "* m * 0.9 * created *"])
    assert sum(" created" in line for line in result.stdout.lines) == 3
    module.write_text(module.read_text().replace("good = len(attempts) > 1", "good = True"))
    pytester.runpytest().stdout.fnmatch_lines(["goldens   1 identical", "gates     em  0.5  baseline 0.5*"])
    module.write_text(module.read_text().replace("good = True", "good = False"))
    files = sorted(path for path in pytester.path.glob("__llm_*/**/*") if path.is_file())
    before = [path.read_bytes() for path in files]
    pytester.runpytest("--llm-update=new").assert_outcomes(failed=1)
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_what_could_not_be_measured_is_an_error_though_a_failure_was_expected(pytester, cache_dir, workers):
    pytester.makepyfile("""
        import pytest
        @pytest.fixture
        def of_nothing(llm): pass
        @pytest.mark.xfail(strict=True)
        def test_call(llm_snapshot): assert float("nan") == llm_snapshot
        @pytest.mark.xfail
        def test_setup(of_nothing): pass
        @pytest.mark.xfail(raises=ValueError)  # as an InvalidInputError is
        def test_raises(llm): pass
        @pytest.mark.xfail
        def test_missing(llm_snapshot): assert "a" == llm_snapshot
        @pytest.mark.xfail(run=False)
        def test_not_run(llm): pass
        def test_called(llm_snapshot): pytest.xfail("known")
    """)
    result = pytester.runpytest(*workers, "--junitxml=j.xml")
    result.assert_outcomes(xfailed=4, errors=2)
    result.stdout.fnmatch_lines_random(["ERROR *::test_call*", "ERROR *::test_setup*"])
    assert 'errors="2" failures="0" skipped="4"' in (pytester.path / "j.xml").read_text()


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_a_unittest_testcase_tells_what_could_not_be_measured_from_a_failure(pytester, cache_dir, workers):
    pytester.makepyfile("""
        import unittest, pytest
        from pytest_llm import InvalidInputError, assert_contains
        class Test(unittest.TestCase):
            def test_call(self): raise InvalidInputError("no server")
            @unittest.expectedFailure
            def test_unmeasured(self): raise InvalidInputError("no server")
            @unittest.expectedFailure
            def test_known(self): assert_contains(["a"], ["b"], at_least=1)
            def test_sub(self):
                with self.subTest("a"): raise InvalidInputError("no server")
    """)
    result = pytester.runpytest(*workers, "--junitxml=j.xml", "--llm-markdown=run.md")
    assert result.ret == 1
    result.stdout.fnmatch_lines_random(["ERROR *::test_call*", "ERROR *::test_unmeasured*"])
    result.stdout.no_fnmatch_line("FAILED *::test_[cu]*")
    assert 'errors="3" failures="0" skipped="1"' in (pytester.path / "j.xml").read_text()
    head = (pytester.path / "run.md").read_text("utf-8").splitlines()[0]
    assert "3 could not be measured, 1 skipped" in head


def test_an_error_is_one_without_a_terminal(pytester, cache_dir):
    pytester.makepyfile("def test_it(llm): pass")
    result = pytester.runpytest("-p", "no:terminal", "--junitxml=j.xml")
    assert result.ret == 1
    assert "no model is chosen" in (pytester.path / "j.xml").read_text()
    assert "AttributeError" not in (pytester.path / "j.xml").read_text()


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "xdist"])
def test_an_expected_failure_is_said_to_be_one_and_waits_for_nobody(pytester, cache_dir, monkeypatch, workers):
    pytester.makepyfile(
        test_known="""
        import os, pytest
        from pytest_llm import assert_exact_match
        @pytest.mark.xfail
        def test_gate(): assert_exact_match(["a"], ["b"], at_least=1)
        @pytest.mark.xfail
        def test_golden(llm_snapshot): assert os.environ.get("ANSWER", "Paris") == llm_snapshot
    """
    )
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("ANSWER", "Lyon")
    pytester.runpytest("--runxfail").stdout.fnmatch_lines(["next      1 candidate waits for you: pytest-llm review"])
    assert pytester.run(COMMAND, "review", "list").ret == 1
    result = pytester.runpytest(*workers, "--llm-markdown=r.md")
    result.stdout.fnmatch_lines([
        "          drifted     test_known.py::test_golden (1) (expected)",
        "gates     exact_match  0  >= 1  fail (expected)  test_known.py::test_gate",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("next *")
    assert "| fail (expected) |" in (pytester.path / "r.md").read_text("utf-8")
    assert pytester.run(COMMAND, "review", "list").ret == 0


def test_a_candidate_of_a_golden_that_no_test_uses_any_more_waits_until_that_is_removed(pytester, cache_dir):
    kept = "def test_kept(llm_snapshot): assert 'a' == llm_snapshot"
    for value, flags in (("b", ["--llm-update=new"]), ("c", [])):
        pytester.makepyfile(test_a=f"{kept}\ndef test_gone(llm_snapshot): assert {value!r} == llm_snapshot")
        pytester.runpytest(*flags)
    pytester.makepyfile(test_a=kept)
    pytester.runpytest("test_a.py")
    assert pytester.run(COMMAND, "review", "list").ret == 1
    pytester.runpytest().stdout.fnmatch_lines(["next *1 golden that no test uses is obsolete*"])
    assert pytester.run(COMMAND, "review", "list").ret == 1
    pytester.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 1 file and 1 candidate"])
    assert pytester.run(COMMAND, "review", "list").ret == 0


def test_a_drift_that_only_warns_waits_for_review_too(suite):
    suite.runpytest("--llm-update=new")
    edit(suite, "is Paris", "is Lyon")
    result = suite.runpytest("--llm-drift-levels=drifted=warn")
    result.stdout.fnmatch_lines(["next      1 candidate waits for you: pytest-llm review"])


def test_ctrl_c_at_the_prompt_of_review_ends_it_as_the_end_of_input_does(suite):
    import pexpect

    suite.runpytest()
    child = pexpect.spawn(COMMAND, ["review"], cwd=str(suite.path), encoding="utf-8", timeout=30)
    child.expect(r"\[q\]uit")
    for _ in range(5):  # readline drops what is typed while it takes the terminal over
        child.sendintr()
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10) == 0:
            break
    said = child.before
    child.wait()  # close() would kill what has not come to its end yet
    child.close()
    assert "Traceback" not in said
    assert child.exitstatus == 1


def test_a_candidate_shows_its_figures_in_the_order_of_the_run_and_says_where_the_rest_is(pytester, cache_dir):
    module = pytester.makepyfile("def test_it(llm_snapshot): assert [1.5, 2.5, 3.5, 4.5, 5.5] == llm_snapshot")
    pytester.runpytest("--llm-update=new")
    module.write_text(module.read_text().replace(".5", ".75"))
    shown = pytester.runpytest().stdout.str()
    said = pytester.run(COMMAND, "review", "show", "1").stdout.str()
    figures = "parts that differ 5   golden 1.5   new 1.75"
    assert figures in shown
    assert figures in said
    assert said.rstrip().endswith("all of it: pytest-llm review --web")


LISTS = """
    import os
    import pytest

    COUNTRY = os.environ.get("COUNTRY", "peru")
    mask = pytest.mark.llm(model="bert")

    def test_score(llm, llm_snapshot):
        assert llm.score(f"the capital of {COUNTRY} is", [" lima", " rome"]) == llm_snapshot

    def test_logprobs(llm, llm_snapshot):
        assert llm.logprobs(f"the capital of {COUNTRY} is")[1:] == llm_snapshot

    def test_tokenize(llm, llm_snapshot):
        assert llm.tokenize([f"the capital of {COUNTRY} is", "the red cat"]) == llm_snapshot

    @mask
    def test_fill_mask(llm, llm_snapshot):
        assert llm.fill_mask(f"the [MASK] of {COUNTRY} is [MASK].") == llm_snapshot
"""


@pytest.fixture
def lists(pytester, cache_dir, tiny_gpt2, tiny_bert):
    (pytester.path / "gpt2").symlink_to(tiny_gpt2)
    (pytester.path / "bert").symlink_to(tiny_bert)
    pytester.makeini("[pytest]\nllm_model = gpt2\n")
    pytester.makepyfile(test_lists=LISTS)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=4)
    return pytester


def test_an_answer_that_is_a_list_has_its_question_model_and_environment_in_its_golden(lists, monkeypatch):
    paths = {path.name.partition("-")[0]: path for path in lists.path.rglob("__llm_snapshots__/**/*.json")}
    golden = {name: json.loads(path.read_text()) for name, path in paths.items()}
    assert {name: one["request"]["kind"] for name, one in golden.items()} == {
        "test_score": "score", "test_logprobs": "logprobs", "test_tokenize": "tokenize", "test_fill_mask": "fill_mask",
    }  # fmt: skip
    assert golden["test_logprobs"]["request"]["text"] == "the capital of peru is"
    texts = [one["text"] for one in golden["test_tokenize"]["request"]["each"]]
    assert texts == ["the capital of peru is", "the red cat"]
    assert golden["test_score"]["environment"]["dtype"] == "float32"
    assert golden["test_score"]["model"]["source"] == "gpt2"
    assert golden["test_fill_mask"]["model"]["source"] == "bert"

    lists.runpytest("--llm-dtype=bfloat16").stdout.fnmatch_lines_random(
        [f"E*in another environment (dtype float32 → bfloat16), *{place}*" for place in ("logprob", "probability")]
    )
    monkeypatch.setenv("COUNTRY", "cuba")
    result = lists.runpytest()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["goldens   4 stale"])


def test_an_upgrade_of_this_package_is_named_before_the_model_is_blamed(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile("""
        def test_golden(llm, llm_snapshot):
            assert llm.generate("the red", max_new_tokens=3) == llm_snapshot

        def test_gate(llm, llm_baseline):
            llm_baseline.check("loss", llm.loss([f"the red {one}" for one in "cat dog fox hen owl".split()]), margin=0.01)
    """)
    model = f"--llm-model={tiny_gpt2}"
    pytester.runpytest(model, "--llm-update=new").assert_outcomes(passed=2)
    golden = pytester.path / goldens(pytester)[0]
    (baseline,) = pytester.path.glob("__llm_baselines__/*.json")
    digest = re.compile(r'"digest": "[0-9a-f]{16}",\s*')  # that shows an edit of the baseline
    written = {file: digest.sub("", file.read_text()) for file in (golden, baseline)}
    moved = f"engine 1 -> {ENGINE_VERSION}"
    engine = re.compile(rf'"engine": {ENGINE_VERSION},\s*')
    assert all(len(engine.findall(text)) == 1 for text in written.values())

    for then in ('"engine": 1, ', ""):  # of an older version, and of one that did not say
        for file, text in written.items():
            file.write_text(engine.sub(then, text))
        result = pytester.runpytest(model)
        result.assert_outcomes(passed=2)
        assert (f"1 gate passed in another environment: {moved}" in result.stdout.str()) == bool(then)

        data = json.loads(golden.read_text())
        data["output"]["lines"], data["output"]["token_ids"][0] = ["another"], 0
        golden.write_text(json.dumps(data))
        data = json.loads(baseline.read_text())
        entry = data["tests"]["test_gate"]["loss"]
        entry["per_example"] = [x - 1 for x in entry["per_example"]]
        entry["value"] -= 1
        baseline.write_text(json.dumps(data))
        result = pytester.runpytest(model)
        result.assert_outcomes(failed=2)
        said = " ".join(result.stdout.str().split())
        assert said.count(f"pytest_llm's own computation changed ({moved})") == (2 if then else 0)
        assert (f"in another environment (engine 1 → {ENGINE_VERSION}), drifted" in said) == bool(then)
        assert "environment" in said if then else "environment" not in said


def test_a_golden_that_names_no_question_or_model_still_passes(lists):
    for path in lists.path.rglob("__llm_snapshots__/**/*.json"):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "request": {}, "model": {}, "environment": {}}))
    result = lists.runpytest()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["goldens   4 identical"])


def test_commands_work_where_pytest_was_started(pytester, cache_dir):
    project = pytester.mkdir("b")
    (project / "pytest.ini").write_text("[pytest]\n")
    module = project / "test_b.py"
    module.write_text(
        "def test_golden(llm_snapshot): assert 'b' == llm_snapshot\n"
        "def test_gate(llm_baseline): llm_baseline.check('m', 1.0, margin=0.1, higher_is_better=True)\n"
    )
    pytester.runpytest_subprocess("b", "--llm-update=new").assert_outcomes(passed=2)
    module.write_text(module.read_text().replace("def test_", "def test_new_"))
    pytester.runpytest_subprocess("b").stdout.fnmatch_lines_random([
        'E*create it: pytest "b/test_b.py::test_new_golden" --llm-update=new',
        'E*pytest "b/test_b.py::test_new_gate" --llm-update=new*',
    ])  # fmt: skip
    result = pytester.runpytest_subprocess("b", "--llm-update=new")
    result.stdout.fnmatch_lines(["next*golden that no test uses is obsolete: cd b && pytest-llm prune"])


@pytest.mark.parametrize(("start", "folder"), [(".", ""), ("pkgs", ""), ("ci", "cd ../pkgs && ")])
def test_candidates_are_found_where_the_configuration_lies_beside_the_tests(pytester, cache_dir, start, folder):
    for name in ("pkgs/a", "pkgs/b", "ci"):
        (pytester.path / name).mkdir(parents=True)
    (pytester.path / "ci" / "pytest.ini").write_text("[pytest]\n")
    os.chdir(start)
    for value, flags in (("drifted", ["--llm-update=new"]), ("b", [])):
        for name in ("a", "b"):
            module = pytester.path / "pkgs" / name / f"test_{name}.py"
            module.write_text(f"def test_golden(llm_snapshot): assert {value!r} == llm_snapshot\n")
        result = pytester.runpytest_subprocess(
            pytester.path / "pkgs", "-c", pytester.path / "ci" / "pytest.ini", *flags
        )
    result.stdout.fnmatch_lines([f"next      2 candidates wait for you: {folder}pytest-llm review"])
    os.chdir(folder[3:-4] or ".")
    assert len(pytester.run(COMMAND, "review", "list").outlines) == 3


def test_a_candidate_that_could_not_be_kept_does_not_wait(suite, cache_dir):
    suite.runpytest("--llm-update=new")
    edit(suite, "Paris", "Lyon")
    suite.runpytest().stdout.fnmatch_lines(["next      1 candidate waits for you: pytest-llm review"])
    (suite.path / "file").write_text("")
    result = suite.runpytest("--llm-cache-dir=file/cache")
    result.stdout.fnmatch_lines(["*note: this answer is not kept for pytest-llm review:*"])
    result.stdout.no_fnmatch_line("*candidate waits*")


ASKED = """
    from pytest_llm.results import Generation, Origin

    def ask(question, answer):
        return Generation(answer, origin=Origin({"kind": "generate", "prompt": question}, {"source": "m"}, {}))

    def test_cap(llm_snapshot):
        assert ask("the capital", "Paris") == llm_snapshot

    def test_river(llm_snapshot):
        assert ask("the river", "Seine") == llm_snapshot
"""


@pytest.fixture
def asked(pytester, cache_dir):
    """A project of two answers with goldens, under git."""
    pytester.makepyfile(test_life=ASKED)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=2)
    subprocess.run("git init -q && git add .", shell=True, check=True, cwd=pytester.path)
    return pytester


def move(result):
    """Do what notes say of tests that were renamed; return the commands."""
    found = [match[1] for line in result.stdout.lines if (match := re.search("keep that golden: (.*)", line))]
    commands = list(dict.fromkeys(found))
    for command in commands:
        subprocess.run(command, shell=True, check=True)
    return commands


@pytest.mark.parametrize("update", ["none", "new"])
def test_the_golden_of_a_test_that_was_renamed_is_named_and_can_be_moved(asked, update):
    edit(asked, "test_cap(", "test_capital(")
    edit(asked, "Paris", "London")
    result = asked.runpytest(f"--llm-update={update}", *(["test_life.py::test_capital"] if update == "new" else []))
    old, new = (f"__llm_snapshots__/test_life/{name}--1.json" for name in ("test_cap", "test_capital"))
    if update == "none":
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(
            [
                "E*golden '1': there is none yet",
                "E*note: a test that is gone asked this very question, and against it this answer is drifted:",
                f"E* {old}",
                f"E*note: if the test was renamed, keep that golden: git mv -f {old} {new}",
            ]
        )
    else:
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [
                "goldens   1 created",
                "next      1 new golden or baseline has the question of a test that is gone, 1 with another answer: *",
                f"          test_life.py::test_capital (1): *drifted: {old}; * git mv -f {old} {new}",
            ]
        )
    move(result)
    moved = asked.runpytest()
    moved.assert_outcomes(passed=1, failed=1)
    moved.stdout.fnmatch_lines(["goldens   1 identical, 1 drifted"])
    edit(asked, "def test_capital", "@__import__('pytest').mark.skip\ndef test_capital")
    skipped = asked.runpytest()
    skipped.assert_outcomes(passed=1, skipped=1)
    assert "obsolete" not in skipped.stdout.str()


def test_the_goldens_of_a_module_that_was_renamed_are_moved_at_once(asked):
    (asked.path / "test_life.py").rename(asked.path / "test_living.py")
    result = asked.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*: git mv __llm_snapshots__/test_life __llm_snapshots__/test_living",
            "next      2 new goldens or baselines have the question of a test that is gone, 0 with another answer: *",
        ]
    )
    assert len(move(result)) == 1
    asked.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("renamed", ["cap", "river"])
def test_a_module_and_one_of_its_tests_are_renamed_together(asked, renamed):
    edit(asked, f"test_{renamed}", "test_renamed")
    (asked.path / "test_life.py").rename(asked.path / "test_living.py")
    assert len(move(asked.runpytest())) == 2
    moved = asked.runpytest()
    moved.assert_outcomes(passed=2)
    assert "obsolete" not in moved.stdout.str()


def test_the_goldens_of_a_module_that_was_moved_to_another_folder_are_moved_at_once(asked):
    edit(asked, "the river", "the capital")  # the same question twice, and still each has its own
    asked.runpytest("--llm-update=all").assert_outcomes(passed=2)
    (asked.path / "test_life.py").rename(asked.mkdir("unit") / "test_life.py")
    assert "is gone" not in asked.runpytest("unit/test_life.py").stdout.str()  # it knows nothing of other folders
    result = asked.runpytest()
    result.assert_outcomes(failed=2)
    assert move(result) == [
        "mkdir -p unit/__llm_snapshots__ && git mv __llm_snapshots__/test_life unit/__llm_snapshots__/test_life"
    ]
    asked.runpytest().assert_outcomes(passed=2)


def test_the_golden_of_a_test_that_is_there_belongs_to_no_other(asked):
    edit(
        asked,
        "def test_river",
        'def test_new(llm_snapshot):\n    assert ask("the river", "Aube") == llm_snapshot\n\ndef test_river',
    )
    for chosen in ((), ("-k", "test_new"), ("test_life.py::test_new",)):
        result = asked.runpytest(*chosen)
        result.stdout.fnmatch_lines(["*golden '1': there is none yet"])
        result.stdout.no_fnmatch_line("*is gone*")


def test_a_golden_that_was_moved_for_parameters_with_two_dashes_belongs_to_no_other(asked):
    question = (
        '\n\n@__import__("pytest").mark.parametrize("a", ["Nile"], ids=["a--b"])\ndef test_old(a, llm_snapshot):\n'
    )
    question += '    assert ask("the longest river", a) == llm_snapshot\n'
    module = asked.path / "test_life.py"
    module.write_text(module.read_text() + question)
    asked.runpytest("--llm-update=new").assert_outcomes(passed=3)
    folder = asked.path / "__llm_snapshots__/test_life"
    (folder / "test_old[a--b]--1.json").rename(folder / "test_new[a--b]--1.json")
    edit(asked, "test_old", "test_new")
    module.write_text(module.read_text() + question.replace("a--b", "c").replace("test_old", "test_other"))
    result = asked.runpytest()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.no_fnmatch_line("*is gone*")
