"""Which runs may say that a golden is obsolete."""

import pytest

from pytest_llm.golden.obsolete import read_obsolete

MODULE = """
    import pytest
    def test_a(llm_snapshot): assert "a" == llm_snapshot
    def test_b(llm_snapshot): assert "b" == llm_snapshot
"""


@pytest.fixture
def suite(pytester, cache_dir):
    """A suite with a golden for each of two tests, the second of which is then removed."""
    path = pytester.makepyfile(test_m=MODULE)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=2)
    path.write_text(path.read_text().partition("def test_b")[0])
    return pytester


def obsolete(suite, cache_dir):
    return [one.path.name for one in read_obsolete(cache_dir, suite.path) or []]


@pytest.mark.parametrize("arguments", [[], ["."], ["-x"], ["-n", "2"]])
def test_a_complete_run_lists_what_it_did_not_use(suite, cache_dir, arguments):
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 golden*obsolete*pytest-llm prune*"])
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert len(list(suite.path.rglob("*--1.json"))) == 2


@pytest.mark.parametrize(
    "arguments", [["-k", "test_a"], ["test_m.py"], ["test_m.py::test_a"], ["--deselect", "test_m.py::test_c"]]
)
def test_a_run_of_some_tests_lists_nothing(suite, cache_dir, arguments):
    with (suite.path / "test_m.py").open("a") as module:
        module.write("\ndef test_c(): pass\n")
    result = suite.runpytest(*arguments)
    assert "obsolete" not in result.stdout.str()
    assert obsolete(suite, cache_dir) == []


@pytest.mark.parametrize(
    "body",
    ["pytest.skip()", "pytest.xfail()", "assert False", "raise RuntimeError"],
    ids=["skip", "xfail", "fail", "error"],
)
def test_a_test_that_did_not_get_to_its_golden_keeps_it(suite, cache_dir, body):
    with (suite.path / "test_m.py").open("a") as module:
        module.write(f"\ndef test_b(llm_snapshot): {body}\n")
    result = suite.runpytest()
    assert "obsolete" not in result.stdout.str()
    assert obsolete(suite, cache_dir) == []


def test_a_run_that_could_not_collect_lists_nothing(suite, cache_dir):
    suite.makepyfile(test_broken="syntax error")
    suite.runpytest("--continue-on-collection-errors")
    suite.runpytest()
    assert obsolete(suite, cache_dir) == []


def test_a_golden_that_is_used_again_leaves_the_list(suite, cache_dir):
    suite.runpytest()
    suite.makepyfile(test_m=MODULE)
    suite.runpytest("test_m.py::test_a")
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    suite.runpytest("test_m.py::test_b")
    assert obsolete(suite, cache_dir) == []
