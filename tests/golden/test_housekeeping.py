"""Which runs may say that a golden is obsolete."""

import json
import os
import sys
import time
from textwrap import dedent, indent

import pytest

from pytest_llm.baselines.obsolete import ObsoleteEntry
from pytest_llm.golden.listing import read_list
from pytest_llm.golden.obsolete import Obsolete
from pytest_llm.golden.pending import list_pending
from tests.conftest import COMMAND

MODULE = """
    import pytest
    def test_a(llm_snapshot): assert "a" == llm_snapshot
    def test_b(llm_snapshot): assert "b" == llm_snapshot
"""

ARRAY = "\nimport numpy\ndef test_array(llm_snapshot): assert numpy.arange(100.0) == llm_snapshot\n"
#: As pytest-rerunfailures logs the phases of each test, which it may yet run again; subtests are logged at once.
LATE = """
    from _pytest.runner import runtestprotocol
    def pytest_runtest_protocol(item, nextitem):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            item.ihook.pytest_runtest_logreport(report=report)
        return True
"""
BASELINE = """
def test_base(llm_baseline): llm_baseline.check("score", 0.5, margin=0.1, higher_is_better=True)
"""


@pytest.fixture
def suite(pytester, cache_dir):
    """A suite with a golden for each of two tests, the second of which is then removed."""
    path = pytester.makepyfile(test_m=MODULE)
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=2)
    path.write_text(path.read_text().partition("def test_b")[0])
    return pytester


def obsolete(suite, cache_dir):
    return [one.path.name for one in read_list(cache_dir, suite.path, "goldens", Obsolete) or []]


def baselines(suite, cache_dir):
    return read_list(cache_dir, suite.path, "baselines", ObsoleteEntry)


@pytest.mark.parametrize("arguments", [[], ["."], ["-x"], ["-n", "2"], ["-p", "no:cacheprovider"]])
def test_a_complete_run_lists_what_it_did_not_use(suite, cache_dir, arguments):
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 golden*obsolete*pytest-llm prune*"])
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert len(list(suite.path.rglob("*--1.json"))) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["-k", "test_a"],
        ["test_m.py"],
        ["test_m.py::test_a"],
        ["--deselect", "test_m.py::test_c"],
        ["-o", "python_functions=test_a"],
        ["-o", "collect_imported_tests=false"],
        ["--override-ini=python_functions=test_a"],
        ["-p", "no:unittest"],
    ],
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
@pytest.mark.parametrize("before", ["", "with subtests.test('a'): pass"], ids=["", "after a subtest"])
def test_a_test_that_did_not_get_to_its_golden_keeps_it(suite, cache_dir, body, before):
    arguments = "llm_snapshot, subtests" if before else "llm_snapshot"
    if before and pytest.version_tuple < (9,):
        pytest.skip("subtests came with pytest 9")
    with (suite.path / "test_m.py").open("a") as module:
        module.write(f"\ndef test_b({arguments}):\n    {before}\n    {body}\n")
    result = suite.runpytest()
    assert "obsolete" not in result.stdout.str()
    assert obsolete(suite, cache_dir) == []


@pytest.mark.parametrize("early", [False, True], ids=["", "a golden of an early version"])
def test_a_test_whose_parameters_pytest_escapes_keeps_its_golden(suite, cache_dir, early):
    (suite.path / "test_m.py").write_text("""
import os
import pytest
@pytest.mark.parametrize("city", ["Zürich", "東京", chr(92)])
def test_b(city, llm_snapshot):
    if "SKIP" in os.environ: pytest.skip()
    assert "b" == llm_snapshot
def test_a(llm_snapshot): assert "a" == llm_snapshot
""", "utf-8")  # fmt: skip
    suite.runpytest("--llm-update=new").assert_outcomes(passed=4)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    (golden,) = suite.path.rglob("test_b*xfcrich*.json")
    assert r"::test_b[Z\\xfcrich]" in golden.read_text()
    if early:
        golden.write_text(golden.read_text().replace(r"\\", "/"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKIP", "1")
        suite.runpytest().assert_outcomes(passed=1, skipped=3)
    assert obsolete(suite, cache_dir) == []  # with other parameters, or with none, it may have run


def test_tests_without_parameters_today_keep_their_goldens_baselines_and_candidates(suite, cache_dir, monkeypatch):
    (suite.path / "test_m.py").write_text("""
import os
import pytest
def test_a(llm_snapshot): assert "a" == llm_snapshot
@pytest.mark.parametrize("case", os.environ["CASES"].split())
def test_case(case, llm_snapshot, llm_baseline):
    llm_baseline.check("score", 0.5, margin=0.1, higher_is_better=True)
    assert case + os.environ.get("DRIFT", "") == llm_snapshot
""")
    monkeypatch.setenv("CASES", "one two")
    suite.runpytest("--llm-update=new").assert_outcomes(passed=3)
    monkeypatch.setenv("DRIFT", "!")
    suite.runpytest().assert_outcomes(passed=1, failed=2)
    monkeypatch.setenv("CASES", "")
    suite.runpytest().assert_outcomes(passed=1, skipped=1)  # test_case[NOTSET]
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []
    assert len(list_pending(cache_dir, suite.path)) == 2

    monkeypatch.setenv("CASES", "three")
    monkeypatch.delenv("DRIFT")
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    assert obsolete(suite, cache_dir) == ["test_b--1.json", "test_case[one]--1.json", "test_case[two]--1.json"]
    assert [one.test for one in baselines(suite, cache_dir)] == ["test_case[one]", "test_case[two]"]
    assert len(list_pending(cache_dir, suite.path)) == 2
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(
        ["removed 3 files and 2 candidates", "removed 2 baselines"]
    )
    assert list_pending(cache_dir, suite.path) == []


@pytest.mark.parametrize(
    "way", ["-c other.ini", "--noconftest", "--times=3", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 -p pytest_llm.plugin"]
)
def test_a_run_of_the_suite_in_another_way_lists_nothing_that_is_there(suite, cache_dir, monkeypatch, way):
    suite.makefile(".ini", pytest="[pytest]\npython_functions = test_* check_*\npython_classes = Test* Check*")
    suite.makefile(".ini", other="[pytest]")
    suite.makeconftest("""
import pytest
@pytest.fixture(params=["en", "de"], autouse=True)
def lang(request): return request.param
""")
    (suite.mkdir("multiplying-1.dist-info") / "entry_points.txt").write_text("[pytest11]\nmultiplying = multiplying")
    suite.syspathinsert()
    suite.makepyfile(multiplying="""
def pytest_addoption(parser): parser.getgroup("multiplying").addoption("--times", type=int, default=2)
def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("nth")
    metafunc.parametrize("nth", range(metafunc.config.getoption("times")))
""", test_m="""
from shared import Shared
def test_a(llm_snapshot, llm_baseline):
    assert "a" == llm_snapshot
    llm_baseline.check("score", 0.5, margin=0.1, higher_is_better=True)
def check_c(llm_snapshot, llm_baseline):
    assert "c" == llm_snapshot
    llm_baseline.check("score", 0.5, margin=0.1, higher_is_better=True)
class CheckShared(Shared): pass
""", shared="""
class Shared:
    def test_shared(self, llm_snapshot): assert "s" == llm_snapshot
""")  # fmt: skip
    suite.runpytest("--llm-update=new").assert_outcomes(passed=12)
    variable, _, arguments = way.rpartition("=1 ")
    if variable:
        monkeypatch.setenv(variable, "1")
    result = suite.runpytest(*arguments.split(), "--llm-update=new")
    assert result.parseoutcomes()["passed"] != 12
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []


def test_a_run_that_could_not_collect_lists_nothing(suite, cache_dir):
    suite.makepyfile(test_broken="syntax error")
    suite.runpytest("--continue-on-collection-errors")
    suite.runpytest()
    assert obsolete(suite, cache_dir) == []


def test_a_run_without_assertions_lists_nothing(suite, cache_dir):
    suite.makepyfile(helper="def same(value, golden): assert value == golden")
    suite.makepyfile(test_m="import helper\ndef test_a(llm_snapshot): helper.same('a', llm_snapshot)")
    with (suite.path / "test_m.py").open("a") as module:
        module.write("\ndef test_own(llm_snapshot): assert 'own' == llm_snapshot")
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    result = suite.run(sys.executable, "-O", "-m", "pytest")
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["obsolete  not looked for: python -O leaves out the assertions of helpers"])
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]


DOCTEST = """
>>> getfixture("llm_snapshot") == "doc"
True
>>> getfixture("llm_baseline").check("score", 0.5, margin=0.1, higher_is_better=True).outcome
'pass'
"""


def test_doctests_that_were_not_collected_keep_their_goldens_and_baselines(suite, cache_dir):
    module = suite.path / "test_m.py"
    without = module.read_text() + BASELINE
    module.write_text(f'{without}\ndef norm():\n    r"""{indent(DOCTEST, "    ")}    """\n')
    (suite.path / "test_m.rst").write_text(DOCTEST)
    suite.runpytest("--doctest-modules", "--doctest-glob=*.rst", "--llm-update=new").assert_outcomes(passed=4)
    for arguments, passed in (["--doctest-modules"], 3), (["--doctest-glob=*.rst"], 3), ([], 2):
        suite.runpytest(*arguments).assert_outcomes(passed=passed)
        assert obsolete(suite, cache_dir) == ["test_b--1.json"]
        assert baselines(suite, cache_dir) == []
    module.write_text(without)
    suite.runpytest().assert_outcomes(passed=2)
    assert obsolete(suite, cache_dir) == ["test_b--1.json", "test_m.norm--1.json"]
    assert [one.test for one in baselines(suite, cache_dir)] == ["test_m.norm"]


def test_a_golden_that_is_used_again_leaves_the_list(suite, cache_dir):
    suite.runpytest()
    suite.makepyfile(test_m=MODULE)
    suite.runpytest("test_m.py::test_a")
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    suite.runpytest("test_m.py::test_b")
    assert obsolete(suite, cache_dir) == []


def test_an_array_and_a_baseline_that_are_used_again_leave_the_list(suite, cache_dir):
    module = suite.path / "test_m.py"
    without = module.read_text()
    back = without + ARRAY + BASELINE
    module.write_text(back)
    suite.runpytest("--llm-update=new").assert_outcomes(passed=3)
    module.write_text(without)
    suite.runpytest().assert_outcomes(passed=1)
    assert obsolete(suite, cache_dir) == ["test_array--1.json", "test_array--1.npy", "test_b--1.json"]
    assert [one.test for one in baselines(suite, cache_dir)] == ["test_base"]
    module.write_text(back)
    suite.runpytest("test_m.py").assert_outcomes(passed=3)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []


def test_a_list_of_another_branch_deletes_nothing(suite, cache_dir):
    module = suite.path / "test_m.py"
    feature = module.read_text()
    module.write_text(feature + BASELINE)
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    module.write_text(feature)
    suite.runpytest().assert_outcomes(passed=1)
    module.write_text(dedent(MODULE) + BASELINE)
    for arguments in ([], ["--yes"]):
        result = suite.run(COMMAND, "prune", *arguments)
        assert result.ret == 1
        result.stdout.fnmatch_lines([
            "kept __llm_snapshots__/test_m/test_b--1.json: its test module, or a conftest.py, changed since*",
            "kept __llm_baselines__/test_m.json: its test module, or a conftest.py, changed since*",
        ])  # fmt: skip
    module.write_text(feature)
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 1 file", "removed 1 baseline"])


def test_an_array_whose_golden_is_missing_is_kept_until_it_is_made_again(suite, cache_dir):
    with (suite.path / "test_m.py").open("a") as module:
        module.write(ARRAY)
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    (golden,) = suite.path.rglob("test_array--1.json")
    golden.unlink()
    suite.runpytest().assert_outcomes(passed=1, failed=1)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    suite.runpytest("test_m.py::test_array", "--llm-update=new").assert_outcomes(passed=1)
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 1 file"])
    suite.runpytest().assert_outcomes(passed=2)


def test_goldens_of_tests_that_several_links_lead_to_are_kept(pytester, cache_dir):
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib")
    tests = pytester.mkdir("shared") / "tests" / "test_c.py"
    tests.parent.mkdir()
    tests.write_text("""
def test_it(backend, llm_snapshot, llm_baseline):
    assert backend == llm_snapshot(name=backend)
    llm_baseline.check(backend, 0.5, margin=0.1, higher_is_better=True)
""")
    for name in ("a", "b"):
        folder = pytester.mkdir(name)
        (folder / "conftest.py").write_text(f"""
import pytest
@pytest.fixture
def backend(): return "{name}"
""")
        (folder / "tests").symlink_to(tests.parent)
    pytester.runpytest("a", "b", "--llm-update=new").assert_outcomes(passed=2)
    for arguments in (["a", "b"], ["a"], ["b"]):
        pytester.runpytest(*arguments).assert_outcomes(passed=len(arguments))
        assert read_list(cache_dir, pytester.path, "goldens", Obsolete) == []
        assert baselines(pytester, cache_dir) == []
    (pytester.path / "shared" / "conftest.py").write_bytes((pytester.path / "a" / "conftest.py").read_bytes())
    pytester.runpytest().assert_outcomes(passed=3)
    assert read_list(cache_dir, pytester.path, "goldens", Obsolete) == []
    assert baselines(pytester, cache_dir) == []


def test_what_is_obsolete_in_a_folder_beside_is_listed_once(suite, cache_dir):
    (suite.path / "test_m.py").rename(suite.path / "test_n.py")
    suite.runpytest("--llm-update=new").assert_outcomes(passed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(suite.mkdir("beside"))
        suite.runpytest("..").assert_outcomes(passed=1)
    assert sorted(obsolete(suite, cache_dir)) == ["test_a--1.json", "test_b--1.json"]


def test_a_run_of_files_that_a_plugin_picked_says_nothing_about_others(suite, cache_dir):
    """As pytest-picked does, which takes those that changed."""
    suite.makeconftest("def pytest_configure(config): config.args = ['test_m.py']")
    suite.runpytest().assert_outcomes(passed=1)
    assert obsolete(suite, cache_dir) == []


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_a_subtest_that_failed_before_its_golden_keeps_it(suite, cache_dir):
    with (suite.path / "test_m.py").open("a") as module:
        module.write("""
def test_b(llm_snapshot, subtests):
    with subtests.test("a"):
        assert False
        assert "b" == llm_snapshot
""")
    suite.runpytest()
    assert obsolete(suite, cache_dir) == []


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
@pytest.mark.parametrize("late", [False, True], ids=["logged-at-once", "logged-late"])
@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_a_subtest_that_was_skipped_keeps_its_golden_and_baseline(suite, cache_dir, monkeypatch, workers, late):
    if late:
        suite.makeconftest(LATE)
    with (suite.path / "test_m.py").open("a") as module:
        module.write("""
import os, unittest
def test_c(llm_snapshot, subtests):
    with subtests.test("gpu"):
        if "NO_GPU" in os.environ: pytest.skip("no gpu")
        assert "c" == llm_snapshot(name="gpu")
    with subtests.test("cpu"): pass
class TestU(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _fixtures(self, llm_snapshot, llm_baseline): self.snapshot, self.baseline = llm_snapshot, llm_baseline
    def test_d(self):
        with self.subTest("gpu"):
            if "NO_GPU" in os.environ: self.skipTest("no gpu")
            self.assertEqual("d", self.snapshot(name="gpu"))
            self.baseline.check("score", 0.5, margin=0.1, higher_is_better=True)
""")
    suite.runpytest("--llm-update=new", *workers).assert_outcomes(passed=3)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    monkeypatch.setenv("NO_GPU", "1")
    result = suite.runpytest(*workers)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["goldens   1 identical"])
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []


#: As pytest-forked runs a test: all that comes back are its reports.
FORKED = """
    import json, os
    from _pytest.runner import runtestprotocol
    def pytest_runtest_protocol(item, nextitem):
        hook, config = item.ihook, item.config
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            try:
                reports = runtestprotocol(item, log=False)
                data = [hook.pytest_report_to_serializable(config=config, report=one) for one in reports]
                os.write(write, json.dumps(data).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            data = json.loads(pipe.read())
        os.waitpid(child, 0)
        for one in data:
            hook.pytest_runtest_logreport(report=hook.pytest_report_from_serializable(config=config, data=one))
        return True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_what_a_test_used_in_a_process_of_its_own_is_known(suite, cache_dir, workers):
    suite.makeconftest(FORKED)
    module = suite.path / "test_m.py"
    module.write_text(module.read_text() + BASELINE)
    suite.runpytest_subprocess("--llm-update=new", *workers).assert_outcomes(passed=2)
    module.write_text(module.read_text().replace("0.5", "0.3"))
    result = suite.runpytest_subprocess(*workers, "--llm-record=run.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["goldens   1 identical", "gates     score *0.3 * fail *"])
    data = json.loads((suite.path / "run.json").read_text("utf-8"))
    assert [test["outcome"] for test in data["tests"]] == ["passed", "failed"]
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_a_subtest_that_was_skipped_in_a_process_of_its_own_keeps_its_golden(suite, cache_dir, monkeypatch):
    suite.makeconftest(FORKED)
    (suite.path / "test_m.py").write_text("""
import os, pytest
def test_c(llm_snapshot, subtests):
    with subtests.test("gpu"):
        if "NO_GPU" in os.environ: pytest.skip("no gpu")
        assert "c" == llm_snapshot(name="gpu")
    assert "c" == llm_snapshot(name="cpu")
""")
    suite.runpytest_subprocess("--llm-update=new")
    monkeypatch.setenv("NO_GPU", "1")
    suite.runpytest_subprocess().stdout.fnmatch_lines(["goldens   1 identical", "*1 passed*"])
    assert obsolete(suite, cache_dir) == ["test_a--1.json", "test_b--1.json"]


def test_a_run_outside_the_root_says_nothing_about_a_module_of_the_same_name_in_it(suite, cache_dir):
    inside = suite.mkdir("inside")
    (inside / "pytest.ini").write_text("[pytest]")
    for folder, name in ((inside, "here"), (suite.mkdir("outside"), "there")):
        (folder / "test_o.py").write_text(f"def test_{name}(llm_snapshot): assert 'x' == llm_snapshot")
    suite.runpytest("-c", "inside/pytest.ini", "inside", "--llm-update=new").assert_outcomes(passed=1)
    suite.runpytest("-c", "inside/pytest.ini", "outside", "--llm-update=new").assert_outcomes(passed=1)
    assert read_list(cache_dir, inside, "goldens", Obsolete) == []


def test_goldens_and_baselines_of_a_folder_without_a_module_left_are_obsolete(suite, cache_dir):
    module = suite.mkdir("unit") / "test_u.py"
    module.write_text("""
from pytest_llm import Score
def test_u(llm_snapshot, llm_baseline):
    assert "u" == llm_snapshot
    llm_baseline.check("accuracy", Score(1.0, name="accuracy", n=3, per_example=[1.0, 1.0, 1.0]), margin=0.1)
""")
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    module.unlink()
    for ignored in ("node_modules", ".tox"):
        (suite.mkdir(ignored) / "__llm_snapshots__" / "test_x").mkdir(parents=True)
    suite.runpytest().assert_outcomes(passed=1)
    found = read_list(cache_dir, suite.path, "goldens", Obsolete)
    assert [(one.path.name, one.reason) for one in found] == [
        ("test_b--1.json", "no test uses it"), ("test_u--1.json", "its test module is gone"),
    ]  # fmt: skip
    assert [(one.test, one.reason) for one in baselines(suite, cache_dir)] == [("test_u", "its test module is gone")]


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_parameters_that_an_option_chooses_keep_their_goldens_and_baselines(suite, cache_dir, workers):
    suite.makeconftest("""
def pytest_addoption(parser):
    parser.addoption("--langs", default="en,de")
    parser.addoption("--count", type=int, default=1)
def pytest_generate_tests(metafunc):
    if "lang" in metafunc.fixturenames: metafunc.parametrize("lang", metafunc.config.getoption("langs").split(","))
    if (count := metafunc.config.getoption("count")) > 1:  # as pytest-repeat does
        metafunc.fixturenames.append("nth")
        metafunc.parametrize("nth", range(count))
""")
    module = suite.makepyfile(
        test_l="""
from pytest_llm import Score
def test_l(lang, llm_snapshot, llm_baseline):
    assert lang == llm_snapshot
    llm_baseline.check("accuracy", Score(1.0, name="accuracy", n=3, per_example=[1.0, 1.0, 1.0]), margin=0.1)
"""
    )
    suite.runpytest("--llm-update=new").assert_outcomes(passed=3)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]  # its function is gone
    suite.runpytest("--langs=en", *workers).assert_outcomes(passed=2)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    suite.runpytest("--count=2", "--llm-update=new", *workers).assert_outcomes(passed=6)
    assert obsolete(suite, cache_dir) == ["test_b--1.json"]
    assert baselines(suite, cache_dir) == []

    module.write_text(module.read_text().replace("assert lang == llm_snapshot", ""))
    suite.runpytest("--langs=en")
    assert sorted(obsolete(suite, cache_dir)) == ["test_b--1.json", "test_l[en]--1.json"]
    suite.runpytest()
    assert len(obsolete(suite, cache_dir)) == 9  # with two of de and en, and six of --count=2
    assert len(baselines(suite, cache_dir)) == 4


def test_a_complete_run_removes_what_killed_runs_left_an_hour_ago(suite, cache_dir):
    with (suite.path / "test_m.py").open("a") as module:
        module.write(BASELINE)
    next(suite.path.rglob("test_a--1.json")).unlink()

    def left():
        return sorted(suite.path.glob("__llm_*/**/.*"))

    conftest = suite.makeconftest("import os; os.fsync = lambda file: os._exit(9)")
    for test in ("test_a", "test_base"):
        assert suite.runpytest_subprocess("-k", test, "--llm-update=new").ret == 9
    conftest.unlink()
    baseline, golden = left()
    young, another = golden.with_name(golden.name.replace(".json", ".npy")), golden.with_name(".mine.tmp")
    for file in (young, another):
        file.touch()
    for file in (baseline, golden, another):
        os.utime(file, (0, time.time() - 3700))
    suite.runpytest("-k", "test_a", "--llm-update=new").assert_outcomes(passed=1, deselected=1)
    assert left() == sorted([baseline, golden, young, another])
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    assert left() == sorted([young, another])


def test_a_candidate_of_a_test_that_is_gone_is_pruned_and_one_of_a_test_that_is_there_waits(suite, cache_dir):
    module = suite.path / "test_m.py"
    module.write_text(
        module.read_text().replace('"a"', '"another"') + "\ndef test_c(llm_snapshot): assert 1 == llm_snapshot\n"
    )
    suite.makepyfile(test_old="def test_one(llm_snapshot): assert 'one' == llm_snapshot")
    suite.runpytest().assert_outcomes(failed=3)
    (suite.path / "test_old.py").rename(suite.path / "test_new.py")
    suite.runpytest().stdout.fnmatch_lines(["next      2 goldens that no test uses are obsolete: pytest-llm prune"])

    def waiting():
        return [f"{one.path.parent.name}/{one.path.name}" for one in list_pending(cache_dir, suite.path)]

    there = ["test_m/test_a--1.json", "test_m/test_c--1.json", "test_new/test_one--1.json"]
    assert waiting() == [*there, "test_old/test_one--1.json"]
    result = suite.run(COMMAND, "prune", "--yes")
    assert result.outlines == [
        "__llm_snapshots__/test_m/test_b--1.json",
        "__llm_snapshots__/test_old/test_one--1.json: a candidate",
        "removed 1 file and 1 candidate",
    ]
    assert waiting() == there

    module.write_text(module.read_text().replace("test_c", "test_d"))
    suite.runpytest("--llm-update=all").assert_outcomes(passed=3)
    assert waiting() == ["test_m/test_c--1.json"]
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["removed 0 files and 1 candidate"])
    assert waiting() == []
    suite.run(COMMAND, "prune", "--yes").stdout.fnmatch_lines(["nothing to remove: *"])


def test_an_obsolete_golden_and_its_array_are_one(suite):
    module = suite.path / "test_m.py"
    before = module.read_text()
    module.write_text(before + ARRAY)
    suite.runpytest("--llm-update=new").assert_outcomes(passed=2)
    module.write_text(before)
    suite.runpytest().stdout.fnmatch_lines(["next      2 goldens that no test uses are obsolete: pytest-llm prune"])
    result = suite.run(COMMAND, "prune")
    assert len(result.outlines) == 4  # a line for each file
    assert result.outlines[-1] == "2 obsolete goldens; 'pytest-llm prune --yes' removes them"
