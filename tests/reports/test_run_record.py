"""The file a run leaves."""

import json
import shutil
import subprocess
from importlib import resources

import jsonschema
import pytest

from pytest_llm.cli import main
from pytest_llm.errors import InvalidInputError
from pytest_llm.history import git, runfile
from tests.conftest import COMMAND

SCHEMA = json.loads(resources.files("pytest_llm.history").joinpath("run-record.schema.json").read_text())
OUTCOMES = {
    "test_drifted": "failed", "test_format": "passed", "test_gate": "failed", "test_hostile": "failed",
    "test_known": "xfailed", "test_loss": "failed", "test_same": "passed", "test_threshold": "passed",
    "test_unmeasured": "unmeasured",
}  # fmt: skip


def records(cache_dir):
    return sorted(cache_dir.glob("runs/*/*.json"))


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "xdist"])
def test_a_run_leaves_one_valid_record_of_the_tests_that_used_the_plugin(suite, cache_dir, workers):
    before = records(cache_dir)
    result = suite.runpytest(*workers)
    result.assert_outcomes(passed=4, failed=4, errors=1, xfailed=1)
    (path,) = set(records(cache_dir)) - set(before)
    data = json.loads(path.read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert path.stem == data["id"]
    assert data["exit_status"] == 1
    assert {test["nodeid"].partition("::")[2]: test["outcome"] for test in data["tests"]} == OUTCOMES
    assert all(test["file"] == "test_report.py" and test["seconds"] > 0 for test in data["tests"])
    lines = (suite.path / "test_report.py").read_text("utf-8").splitlines()
    where = {test["nodeid"].partition("::")[2]: lines[test["line"] - 1] for test in data["tests"]}
    assert "[4, .01, .3, 2, 1]) == llm_snapshot" in where["test_drifted"] or "answer(f" in where["test_drifted"]
    assert 'raise InvalidInputError("nothing' in where["test_unmeasured"]
    assert "def test_same" in where["test_same"]
    assert sorted((v["nodeid"].partition("::")[2], v["status"]) for v in data["verdicts"]) == [
        ("test_drifted", "drifted"), ("test_format", "format-only"), ("test_gate", "fail"),
        ("test_hostile", "drifted"), ("test_known", "drifted"), ("test_loss", "fail"), ("test_same", "identical"),
        ("test_threshold", "pass"),
    ]  # fmt: skip


def test_a_record_holds_both_sides_with_prompt_tokens_and_what_changed_around(run_record):
    drifted = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_drifted"))
    evidence = drifted["evidence"]
    assert evidence["changes"] == [["torch", "2.13", "2.14"]]
    (pair,) = evidence["pairs"]
    assert (pair["golden"]["text"], pair["actual"]["text"]) == ("The capital is Paris.", "The capital is Lyon.")
    assert pair["prompt"] == [["user", "What is the capital of France?"]]
    assert pair["actual"]["tokens"] == ["The", " capital", " is", " Lyon", "."]
    assert pair["actual"]["margins"] == [4, 0.01, 0.3, 2, 1]
    same = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_same"))["evidence"]["pairs"][0]
    assert (same["same"], same["golden"], same["actual"]["text"]) == (True, None, "Rome it is.")
    assert [v["evidence"]["higher_is_better"] for v in run_record["verdicts"] if v["kind"] == "baseline"] == [
        True,
        False,
    ]


def test_a_record_says_what_was_asked_and_what_had_to_be_computed(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile(
        test_ask="""
        def test_a(llm):
            llm.generate(["the capital of france is", "the capital of peru is"], max_new_tokens=2)

        def test_b(llm):
            llm.generate("the capital of peru is", max_new_tokens=2)
            llm.loss("the capital of peru is lima.")
        """
    )
    runs = []
    for _ in range(2):
        pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-record=run.json", "--llm-prefetch=off")
        runs.append(json.loads((pytester.path / "run.json").read_text("utf-8")))
    for data in runs:
        jsonschema.validate(data, SCHEMA)
    first, second = (data["requests"] for data in runs)
    assert [(one["nodeid"], one["kind"], len(one["digests"]), len(one["computed"])) for one in first] == [
        ("test_ask.py::test_a", "generate", 2, 2), ("test_ask.py::test_b", "generate", 1, 0),
        ("test_ask.py::test_b", "loss", 1, 1),
    ]  # fmt: skip
    assert first[1]["digests"][0] == first[0]["digests"][1]
    assert [one["digests"] for one in second] == [one["digests"] for one in first]
    assert [one["computed"] for one in second] == [[], [], []]
    ((key, use),) = runs[1]["models"].items()
    assert {one["model"] for one in second} == {key}
    assert (use["from_store"], use["computed"], use["load_seconds"]) == (4, 0, 0)
    assert runs[0]["models"][key]["load_seconds"] > 0


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("def test_a(): assert 0", ("--llm-report=r.html", "--llm-record=r.json")),
        ("import nothing_here", ("--llm-report=r.html", "--llm-record=r.json")),
        ("import nothing_here", ("-n1",)),
    ],
)
def test_a_suite_that_does_not_use_the_plugin_leaves_nothing_and_hears_nothing(
    pytester, cache_dir, monkeypatch, body, arguments
):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    pytester.makepyfile(body)
    result = pytester.runpytest_subprocess(*arguments, "--junitxml=j.xml")
    assert records(cache_dir) == []
    assert {path.name for path in pytester.path.iterdir()} & {"r.html", "r.json", "summary.md"} == set()
    assert "model regression" not in result.stdout.str()
    assert "::error" not in result.stdout.str()


EARLY = """
    import os, pytest
    from pytest_llm import assert_contains

    def template():
        if "BREAK" in os.environ:
            {ends}
        return "the answer"

    def check(text): assert_contains([text], "answer")

    @pytest.fixture
    def answer(llm_loader): return template()

    def test_golden(llm_snapshot): assert template() == llm_snapshot
    def test_fixture(answer): pass
    def test_name(): assert_contains([template()], "answer")
    def test_helper(): check(template())
    @pytest.mark.llm_repeat(2)
    def test_marker(): template()
    def test_unrelated(): template()
    def test_sound(): assert_contains(["answer"], "answer")
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "xdist"])
@pytest.mark.parametrize(
    ("ends", "outcome", "exit_status"),
    [("raise KeyError('country')", "failed", 1), ("pytest.skip('down')", "skipped", 0)],
)
def test_a_test_that_ends_before_it_measures_is_in_the_report(
    pytester, cache_dir, monkeypatch, workers, ends, outcome, exit_status
):
    pytester.makepyfile(test_early=EARLY.format(ends=ends))
    ours = {"test_golden", "test_fixture", "test_name", "test_helper", "test_marker", "test_sound"}

    def run(*arguments):
        result = pytester.runpytest(*workers, "--llm-record=run.json", "--llm-markdown=run.md", *arguments)
        data = json.loads((pytester.path / "run.json").read_text("utf-8"))
        return result, {test["nodeid"].partition("::")[2]: test["outcome"] for test in data["tests"]}

    assert run("--llm-update=new")[1] == dict.fromkeys(ours, "passed")
    monkeypatch.setenv("BREAK", "1")
    result, found = run()
    raised = "error" if outcome == "failed" else outcome
    assert found == {**dict.fromkeys(ours, outcome), "test_fixture": raised, "test_sound": "passed"}
    assert result.ret == exit_status
    assert f"5 {outcome}" in (pytester.path / "run.md").read_text("utf-8").splitlines()[0]
    assert main(["compare", "latest~1", "latest"]) == exit_status

    monkeypatch.setenv("GITHUB_ACTIONS", "true")  # a run in which none gets to measure
    before = len(records(cache_dir))
    result, found = run("-k", "test_golden")
    assert found == {"test_golden": outcome}
    assert len(records(cache_dir)) == before + 1
    assert ("::error file=" in result.stdout.str()) == (outcome == "failed")


PARTS = """
    import os, pytest
    BREAK = os.environ.get("BREAK")

    def test_first(llm_snapshot):
        if BREAK == "interrupt": raise KeyboardInterrupt
        assert (BREAK if BREAK == "first" else "one") == llm_snapshot
    def test_second(llm_snapshot):
        if BREAK == "crash": os._exit(1)
        assert "two" == llm_snapshot
    def test_last(llm_snapshot): assert (BREAK if BREAK == "last" else "three") == llm_snapshot
"""


@pytest.mark.parametrize(
    ("breaks", "arguments", "filtered"),
    [
        ("", [], False), ("", ["-x"], False), ("first", [], False), ("last", ["-x"], False), ("first", ["-n2"], False),
        ("first", ["-x"], True), ("first", ["--stepwise"], True),
        ("interrupt", [], True), ("crash", ["-n2"], True),
        ("", ["--ignore=test_other.py"], True), ("", ["--ignore-glob", "*_other.py"], True),
        ("", ["--deselect=test_parts.py::test_last"], True), ("", ["-k", "last"], True), ("", ["test_parts.py"], True),
        ("", ["-c", "left.ini"], False),
    ],
)  # fmt: skip
def test_a_record_says_whether_all_tests_ran(pytester, cache_dir, monkeypatch, breaks, arguments, filtered):
    pytester.makepyfile(test_parts=PARTS, test_other="def test_other(llm_snapshot): assert 'o' == llm_snapshot")
    (pytester.path / "left.ini").write_text("[pytest]\naddopts = --ignore=test_other.py\n")
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("BREAK", breaks)
    pytester.runpytest_subprocess(*arguments, "--llm-record=run.json")
    assert json.loads((pytester.path / "run.json").read_text("utf-8"))["filtered"] is filtered


CRASH = """
    import os, pytest, time

    @pytest.mark.parametrize("i", range(6))
    def test_p(i, llm_snapshot):
        assert ("bad" if i == 2 and "BREAK" in os.environ else str(i)) == llm_snapshot
        if i == 3 and "BREAK" in os.environ: time.sleep(0.5); os._exit(3)
"""


def test_what_a_worker_saw_before_it_crashed_is_in_the_reports(pytester, cache_dir, monkeypatch):
    pytester.makepyfile(test_crash=CRASH)
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("BREAK", "crash")
    result = pytester.runpytest_subprocess("-n1", "--llm-record=run.json", "--llm-markdown=run.md", "--llm-update=new")
    result.assert_outcomes(passed=4, failed=2)
    told = "crashed   test_crash.py::test_p[[]3[]]: what it wrote before its worker crashed is in no list here"
    result.stdout.fnmatch_lines([told, "goldens   4 identical, 1 drifted"])
    found = {test["nodeid"]: test for test in json.loads((pytester.path / "run.json").read_text("utf-8"))["tests"]}
    outcomes = {nodeid[-2]: test["outcome"] for nodeid, test in found.items()}
    assert outcomes == {"0": "passed", "1": "passed", "2": "failed", "3": "error", "4": "passed", "5": "passed"}
    assert "crashed while running" in found["test_crash.py::test_p[3]"]["message"]
    assert "❌ Model regression: 2 failed, 4 passed" in (pytester.path / "run.md").read_text("utf-8")


def test_a_report_says_that_the_run_was_stopped(pytester, cache_dir):
    pytester.makepyfile("""
        import pytest
        def test_a(llm_snapshot): assert "a" == llm_snapshot
        def test_b(): pytest.exit("enough", 7)
    """)
    pytester.runpytest("--llm-update=new", "--llm-markdown=run.md", "--llm-report=run.html")
    head = "1 passed, and the run was stopped (pytest's exit status 7)"
    assert (pytester.path / "run.md").read_text("utf-8").startswith(f"## ⚠️ Model regression: {head}")
    assert head in (pytester.path / "run.html").read_text("utf-8").replace("&#39;", "'")


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        ("assert 0", "stopping after 1 failures"),
        ("request.session.shouldfail = 'session-timeout: 2.0 sec exceeded'", "session-timeout: 2.0 sec exceeded"),
    ],
)
def test_a_run_that_another_test_or_a_plugin_stopped_is_no_green_one(pytester, cache_dir, stop, why):
    pytester.makepyfile(f"""
        def test_a(llm_snapshot): assert "a" == llm_snapshot
        def test_b(request): {stop}
        def test_c(llm_snapshot): assert "c" == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new")
    pytester.runpytest("-x", "--llm-markdown=run.md", "--llm-record=run.json")
    head = f"## ⚠️ Model regression: 1 passed, and the run was stopped ({why})\n"
    assert (pytester.path / "run.md").read_text("utf-8") == head
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert (data["stopped"], data["filtered"]) == (why, True)


@pytest.mark.parametrize(("status", "spread"), [(0, ()), (1, ()), (0, ("-n1",))])
def test_a_run_that_ended_itself_with_the_status_of_a_whole_one_is_no_green_one(pytester, cache_dir, status, spread):
    pytester.makepyfile("""
        def test_a(llm_snapshot): assert "a" == llm_snapshot
        def test_b(llm_snapshot): assert "b" == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new")
    pytester.makeconftest(f"""
        import pytest
        def pytest_runtest_logfinish(nodeid): pytest.exit("time is up", {status})
    """)
    assert pytester.runpytest("--llm-markdown=run.md", "--llm-record=run.json", *spread).ret == status
    head = "## ⚠️ Model regression: 1 passed, and the run was stopped (before its last test)\n"
    assert (pytester.path / "run.md").read_text("utf-8") == head
    assert json.loads((pytester.path / "run.json").read_text("utf-8"))["filtered"]


def test_a_test_whose_body_did_not_end_has_not_passed(pytester, cache_dir):
    pytester.makepyfile("""
        import pytest
        from pytest_llm import assert_contains
        def test_a():
            assert_contains(["a"], "a")
            pytest.exit("enough")
    """)
    pytester.runpytest("--llm-record=run.json", "--llm-markdown=run.md")
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert ([test["outcome"] for test in data["tests"]], data["filtered"]) == (["interrupted"], True)
    assert "Model regression: 1 could not be measured" in (pytester.path / "run.md").read_text("utf-8")


RETRY = """
    import pytest

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if call.when == "call" and report.failed:
            item.ihook.pytest_runtest_teardown(item=item, nextitem=None)
            report.outcome = "retried"
            item.ihook.pytest_runtest_logreport(report=report)
            item._initrequest()
            item.ihook.pytest_runtest_setup(item=item)
            again = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
            made = pytest.TestReport.from_item_and_call(item, again)
            report.outcome, report.longrepr = made.outcome, made.longrepr
        return report
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one-process", "xdist"])
def test_a_test_came_out_as_the_plugin_says_that_retried_it(pytester, cache_dir, monkeypatch, workers):
    """As pytest-retry does, in the report that pytest has made of the first attempt."""
    pytester.makeconftest(RETRY)
    pytester.makepyfile("""
        import os
        answers = [os.environ.get("FIRST", "a"), "a"]
        def test_a(llm_snapshot): assert answers.pop(0) == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("FIRST", "b")
    pytester.runpytest(*workers, "--llm-record=run.json", "--llm-markdown=run.md").assert_outcomes(passed=1)
    (test,) = json.loads((pytester.path / "run.json").read_text("utf-8"))["tests"]
    assert test["outcome"] == "passed"
    assert (pytester.path / "run.md").read_text("utf-8") == "## ✅ Model regression: 1 passed\n"


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ("unmeasured failed", "failed"), ("failed unmeasured", "failed"), ("unmeasured passed", "unmeasured"),
        ("passed unmeasured", "unmeasured"), ("skipped passed", "passed"), ("passed interrupted", "interrupted"),
    ],
)  # fmt: skip
def test_the_gravest_of_its_subtests_is_the_outcome_of_a_test(pytester, cache_dir, parts, outcome):
    pytester.makepyfile(f"""
        import pytest
        from pytest_llm import InvalidInputError, assert_contains
        def test_a(subtests):
            assert_contains(["a"], "a")
            for part in {parts.split()}:
                if part == "interrupted": pytest.exit("enough")
                with subtests.test(part):
                    if part == "unmeasured": raise InvalidInputError("no server")
                    if part == "skipped": pytest.skip("not here")
                    assert part == "passed"
    """)
    pytester.runpytest("--llm-record=run.json")
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    assert [test["outcome"] for test in data["tests"]] == [outcome]


def test_ctrl_c_in_a_worker_leaves_each_verdict_once(pytester, cache_dir):
    pytester.makepyfile("""
        import os, signal, time
        from pytest_llm import assert_contains
        def test_a():
            assert_contains(["a"], "a")
        def test_b():
            assert_contains(["b"], "b")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
    """)
    pytester.runpytest_subprocess("-n1", "--llm-record=run.json")
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    assert [verdict["nodeid"].partition("::")[2] for verdict in data["verdicts"]] == ["test_a", "test_b"]


@pytest.mark.parametrize(("at", "again"), [("first", ""), ("second", ""), ("second", "raise KeyboardInterrupt")])
def test_ctrl_c_leaves_what_workers_saw_before(pytester, cache_dir, monkeypatch, at, again):
    pytester.makeconftest(f"def pytest_keyboard_interrupt(): {again or 'pass'}")
    pytester.makepyfile("""
        import os, signal, time
        def interrupt(at):
            if os.environ.get("AT") == at:
                time.sleep(1)  # the controller takes in what came before
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(1)
        def test_first(llm_snapshot, llm_baseline):
            interrupt("first")
            assert "a" == llm_snapshot
            llm_baseline.check("m", 1.0, margin=0.1, higher_is_better=True)
        def test_second(llm_snapshot):
            interrupt("second")
            assert "b" == llm_snapshot
    """)
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("AT", at)
    pytester.runpytest_subprocess("-n1", "--llm-record=run.json", "--llm-markdown=run.md")
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    before = ["test_first"] if at == "second" else []
    for kind in ("tests", "verdicts"):
        assert list(dict.fromkeys(one["nodeid"].partition("::")[2] for one in data[kind])) == before
    assert (data["filtered"], data["exit_status"]) == (True, 2)
    assert "the run was stopped (pytest's exit status 2)" in (pytester.path / "run.md").read_text("utf-8")


@pytest.mark.parametrize("arguments", [("-n1",), ("--continue-on-collection-errors",)])
def test_a_file_that_could_not_be_collected_is_in_every_report(pytester, cache_dir, monkeypatch, arguments):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(
        test_sound="def test_a(llm_snapshot): assert 'a' == llm_snapshot", test_broken="import nothing_here"
    )
    reports = ("--llm-record=run.json", "--llm-markdown=run.md", "--llm-report=run.html")
    result = pytester.runpytest(*arguments, *reports, "--llm-update=new")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["::error file=test_broken.py,line=1,title=test_broken.py%3A could not be collected::*nothing_here*"]
    )
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert ([one["nodeid"] for one in data["collection_errors"]], data["filtered"]) == (["test_broken.py"], True)
    head = "1 file could not be collected, 1 passed"
    assert (pytester.path / "run.md").read_text("utf-8").startswith(f"## ⚠️ Model regression: {head}")
    assert head in (pytester.path / "run.html").read_text("utf-8")


@pytest.mark.parametrize("arguments", [(), ("-n1",), ("-x",)])
@pytest.mark.parametrize("known", ["records", "goldens"])
def test_a_run_whose_files_are_all_lost_is_reported(pytester, cache_dir, monkeypatch, known, arguments):
    module = pytester.makepyfile("def test_a(llm_snapshot): assert 'a' == llm_snapshot")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    if known == "goldens":  # as on CI, where no cache is kept
        shutil.rmtree(records(cache_dir)[0].parent)
    else:
        shutil.rmtree(pytester.path / "__llm_snapshots__")
    module.write_text(f"import nothing_here\n{module.read_text()}")
    pytester.runpytest_subprocess("--collect-only")
    assert len(records(cache_dir)) == (known == "records")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    result = pytester.runpytest_subprocess(*arguments, "--llm-markdown=run.md")
    result.stdout.fnmatch_lines([f"::error file={module.name},line=1,title=*could not be collected::*nothing_here*"])
    data = json.loads(records(cache_dir)[-1].read_text("utf-8"))
    assert [one["nodeid"] for one in data["collection_errors"]] == [module.name]
    assert data["filtered"]
    for name in ("summary.md", "run.md"):
        assert (pytester.path / name).read_text("utf-8").startswith("## ⚠️ Model regression: 1 file could not be coll")


def test_a_report_says_what_was_written_and_not_compared(pytester, cache_dir):
    body = "def test_a(llm_snapshot, llm_baseline):\n    llm_baseline.check('m', {0}, margin=0.1, higher_is_better=True)\n    assert '{0}' == llm_snapshot"
    head = ""
    for value, flag in ((1.0, "new"), (0.5, "all"), (0.5, "all")):
        pytester.makepyfile(test_w=body.format(value))
        pytester.runpytest(f"--llm-update={flag}", "--llm-markdown=run.md").assert_outcomes(passed=1)
        head, before = (pytester.path / "run.md").read_text("utf-8").splitlines()[0], head
    written = "## 🔶 Model regression: 1 passed; 2 goldens or baselines were written, not compared"
    assert (before, head) == (written, "## ✅ Model regression: 1 passed")


def test_modules_of_one_name_in_two_projects_are_two(pytester, cache_dir):
    for name in ("a", "b"):
        (pytester.path / name / "tests").mkdir(parents=True)
        (pytester.path / name / "pytest.ini").write_text("[pytest]\n")
        (pytester.path / name / "tests" / "test_n.py").write_text("""
def test_n(llm_snapshot, llm_baseline):
    llm_baseline.check("m", 1.0, margin=0.1, higher_is_better=True)
    assert "n" == llm_snapshot
""")
    arguments = ("--import-mode=importlib", "a", "b", "--llm-record=run.json")
    pytester.runpytest_subprocess(*arguments, "--llm-update=new").stdout.no_fnmatch_line("*obsolete*")
    (pytester.path / "a" / "tests" / "__llm_snapshots__" / "test_n" / "test_n--1.json").unlink()
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=1, failed=1)
    tests = json.loads((pytester.path / "run.json").read_text("utf-8"))["tests"]
    found = {test["nodeid"]: test["outcome"] for test in tests}
    assert found == {"tests/test_n.py::test_n": "failed", "../b/tests/test_n.py::test_n": "passed"}


def test_tests_that_a_plugin_drops_without_a_word_are_missed(pytester, cache_dir):
    pytester.makepyfile(test_parts=PARTS)
    pytester.makeconftest("def pytest_collection_modifyitems(items): items[:] = items[::2]")
    result = pytester.runpytest("--llm-update=new", "--llm-record=run.json")
    result.assert_outcomes(passed=2)
    assert json.loads((pytester.path / "run.json").read_text("utf-8"))["filtered"] is True


def test_a_run_of_what_failed_last_is_not_of_all_tests(pytester, cache_dir, monkeypatch):
    pytester.makepyfile(test_parts="def test_a(llm_snapshot): assert 'a' == llm_snapshot",
                        test_other="def test_o(llm_snapshot): assert 'o' == llm_snapshot")  # fmt: skip
    pytester.runpytest("--llm-update=new", "test_other.py")
    pytester.runpytest()
    pytester.runpytest("--lf", "--llm-record=run.json")
    data = json.loads((pytester.path / "run.json").read_text("utf-8"))
    assert (len(data["tests"]), data["filtered"]) == (1, True)


def test_a_report_that_was_asked_for_is_written_though_no_test_of_ours_ran(pytester, cache_dir, monkeypatch):
    pytester.makeconftest("from pytest_llm import assert_bleu")
    pytester.makepyfile("def test_a(): pass")
    (pytester.path / "r.md").write_text("an older report")
    pytester.runpytest("--collect-only", "--llm-markdown=r.md")
    assert (pytester.path / "r.md").read_text() == "an older report"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest("--llm-markdown=r.md")
    result.stdout.fnmatch_lines(["markdown  r.md"])
    result.stdout.no_fnmatch_line("::*")
    assert (pytester.path / "r.md").read_text("utf-8") == "## ⏭️ Model regression: no tests\n"
    assert records(cache_dir) == []


def test_a_report_that_cannot_be_written_says_so_and_loses_nothing(suite, cache_dir):
    (suite.path / "taken").mkdir()
    result = suite.runpytest("--llm-report=taken", "--llm-markdown=ok.md")
    result.assert_outcomes(passed=4, failed=4, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(["report    could not be written: taken: Is a directory", "markdown  ok.md"])
    assert (suite.path / "ok.md").exists()


def test_old_records_leave_the_folder(suite, cache_dir):
    data = json.loads(records(cache_dir)[0].read_text("utf-8"))
    folder = records(cache_dir)[0].parent
    for i in range(runfile.KEPT + 3):
        id = f"20200101T{i:09d}Z-00000000"
        runfile.write({**data, "id": id}, folder / f"{id}.json")
    suite.runpytest()
    left = records(cache_dir)
    assert len(left) == runfile.KEPT
    assert left[0].name == "20200101T000000005Z-00000000.json"
    assert not left[-1].name.startswith("2020")


def test_a_record_stays_though_those_of_a_clock_that_was_wrong_are_later(pytester, cache_dir):
    pytester.makepyfile("import os\ndef test_a(llm_snapshot): assert os.environ.get('SAID', 'a') == llm_snapshot")
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    (first,) = records(cache_dir)
    data = json.loads(first.read_text("utf-8"))
    for i in range(runfile.KEPT + 3):
        id = f"20990101T{i:09d}Z-00000000"
        runfile.write({**data, "id": id}, first.with_name(f"{id}.json"))
    pytester._monkeypatch.setenv("SAID", "b")
    pytester.runpytest().assert_outcomes(failed=1)
    assert len(records(cache_dir)) == runfile.KEPT
    assert records(cache_dir)[0] == first
    assert pytester.run(COMMAND, "report").outlines[0] == "## ❌ Model regression: 1 failed"


def test_hostile_text_survives_exactly_and_long_text_is_cut(run_record, tmp_path):
    from tests.reports.conftest import HOSTILE

    pair = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_hostile"))["evidence"]["pairs"][0]
    assert pair["actual"]["text"] == HOSTILE
    data = runfile.plain({"a": float("nan"), "b": [float("inf")], "c": "x" * 1_000_000, "d": ("\ud800",)})
    runfile.write(data, tmp_path / "r.json")
    back = json.loads((tmp_path / "r.json").read_bytes())
    assert back == {"a": "nan", "b": ["inf"], "c": "x" * 20_000 + "… (+980000 characters)", "d": ["\ud800"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "no run record"),
        ("[]", "no run record"),
        ('{"verdicts": []}', "no run record"),
        ('{"schema": 9}', "newer"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path, content, message):
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        runfile.read(path)


class TestGit:
    @pytest.fixture
    def repo(self, tmp_path):
        self.run(tmp_path, "init", "-q", "-b", "trunk/x")
        self.run(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
        return tmp_path

    @staticmethod
    def run(folder, *arguments):
        done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def test_a_branch_loose_packed_and_from_a_subfolder(self, repo):
        expected = {"commit": self.run(repo, "rev-parse", "HEAD"), "branch": "trunk/x"}
        (repo / "deep/er").mkdir(parents=True)
        assert git.head(repo, {}) == git.head(repo / "deep/er", {}) == expected
        self.run(repo, "pack-refs", "--all")
        assert git.head(repo, {}) == expected

    def test_a_linked_work_tree_and_a_detached_head(self, repo):
        self.run(repo, "worktree", "add", "-q", "-b", "side", "linked")
        commit = self.run(repo, "rev-parse", "HEAD")
        assert git.head(repo / "linked", {}) == {"commit": commit, "branch": "side"}
        self.run(repo, "checkout", "-q", "--detach")
        assert git.head(repo, {}) == {"commit": commit, "branch": ""}

    @pytest.mark.parametrize(
        ("variables", "branch"),
        [
            ({"GITHUB_HEAD_REF": "feature/x", "GITHUB_REF": "refs/pull/12/merge", "GITHUB_SHA": "other"}, "feature/x"),
            ({"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/release/2", "GITHUB_SHA": "HEAD"}, "release/2"),
            ({"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "other"}, ""),
            ({"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/tags/v1", "GITHUB_SHA": "HEAD"}, ""),
            ({"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"}, "main"),
            ({"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "x", "CI_COMMIT_REF_NAME": "x"}, "x"),
            ({"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1"}, ""),
            ({"BRANCH_NAME": "main"}, "main"),
            ({"BRANCH_NAME": "PR-3", "CHANGE_BRANCH": "x"}, "x"),
        ],
        ids=[
            "github-pr",
            "github",
            "github-other",
            "github-tag",
            "gitlab",
            "gitlab-mr",
            "gitlab-tag",
            "jenkins",
            "jenkins-pr",
        ],
    )
    def test_a_detached_head_is_of_the_branch_that_ci_names(self, repo, variables, branch):
        commit = self.run(repo, "rev-parse", "HEAD")
        variables = {name: value.replace("HEAD", commit) for name, value in variables.items()}
        assert git.head(repo, variables) == {"commit": commit, "branch": "trunk/x"}
        self.run(repo, "checkout", "-q", "--detach")
        assert git.head(repo, variables) == {"commit": commit, "branch": branch}

    def test_files_that_differ_from_the_commit(self, repo, tmp_path_factory):
        assert git.dirty(repo)() is False
        (repo / "untracked").write_text("a")
        assert git.dirty(repo)() is False
        self.run(repo, "add", "untracked")
        assert git.dirty(repo / ".git" / "..")() is True
        assert git.dirty(tmp_path_factory.mktemp("elsewhere"))() is None

    def test_without_a_commit_or_a_repository_ci_may_know(self, tmp_path):
        assert git.head(tmp_path, {"GITHUB_SHA": "abc"}) == {"commit": "abc", "branch": ""}
        self.run(tmp_path, "init", "-q", "-b", "new")
        assert git.head(tmp_path, {}) == {"commit": "", "branch": "new"}
        (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")  # as of a reftable
        assert git.head(tmp_path, {"CI_COMMIT_SHA": "abc", "CI_COMMIT_BRANCH": "x"}) == {"commit": "abc", "branch": "x"}

    def test_what_is_no_repository_ends_no_run(self, tmp_path):
        (tmp_path / ".git").write_bytes(b"\xff\xfe")
        assert git.head(tmp_path, {}) == {"commit": "", "branch": ""}
        assert git.dirty(tmp_path)() is None
