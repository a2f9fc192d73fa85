"""What a run says to GitHub Actions."""

import re

import pytest

from pytest_llm.reports.github import commands

COMMAND = re.compile(r"^::(error|warning) (\S.*?)::(.*)$")


def parsed(line):
    """Read a command as the runner does."""
    level, head, message = COMMAND.fullmatch(line).groups()
    values = dict(one.split("=", 1) for one in head.split(","))
    for code, character in (("%2C", ","), ("%3A", ":"), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        values = {name: value.replace(code, character) for name, value in values.items()}
        message = message.replace(code, character)
    return level, values, message


def heard(lines):
    """Return the commands that the runner takes from these lines."""
    found, stopped = [], ""
    for line in map(str.strip, lines):
        if stopped:
            stopped = "" if line == f"::{stopped}::" else stopped
        elif line.startswith("::stop-commands::"):
            stopped = line.removeprefix("::stop-commands::")
        elif line.startswith("::") or "##[" in line:
            found.append(line)
    assert not stopped
    return found


@pytest.fixture
def actions(monkeypatch, suite):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "summary.md"))
    return suite


def test_annotations_point_at_the_lines_and_the_summary_is_written(actions):
    (actions.path / "summary.md").write_text("before\n")
    result = actions.runpytest()
    found = [parsed(line) for line in heard(result.outlines)]
    assert "::error file=x::injected" in result.outlines  # a failing test printed it, and nobody listens
    folder = actions.path.name
    assert sorted((level, values["file"], values["title"]) for level, values, _ in found) == [
        ("error", f"{folder}/test_report.py", "test_report.py::test_drifted: failed"),
        ("error", f"{folder}/test_report.py", "test_report.py::test_gate: failed"),
        ("error", f"{folder}/test_report.py", "test_report.py::test_hostile: failed"),
        ("error", f"{folder}/test_report.py", "test_report.py::test_loss: failed"),
        ("error", f"{folder}/test_report.py", "test_report.py::test_unmeasured: could not be measured"),
        ("warning", f"{folder}/test_report.py", "test_report.py::test_format: passed with a warning"),
    ]
    lines = (actions.path / "test_report.py").read_text("utf-8").splitlines()
    drifted = next(one for one in found if "test_drifted" in one[1]["title"])
    assert "llm_snapshot" in lines[int(drifted[1]["line"]) - 1] or "answer(" in lines[int(drifted[1]["line"]) - 1]
    assert "- The capital is Paris.\n" in drifted[2]
    summary = (actions.path / "summary.md").read_text("utf-8")
    assert summary.startswith(
        "before\n## ❌ Model regression: 4 failed, 1 could not be measured, 1 passed with a warning"
    )


@pytest.mark.parametrize("flags", [["-q"], ["-qq"], ["-v"]])
def test_however_much_is_shown_nobody_listens_to_what_a_test_printed(actions, flags):
    result = actions.runpytest(*flags)
    assert "::error file=x::injected" in result.outlines
    assert "::error file=x::injected" not in heard(result.outlines)


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        ('assert "Paris" in answer, answer', []),  # whole in the short test summary, on CI
        ('assert "Paris" in answer, answer', ["-x"]),
        ('assert "Paris" in answer, answer', ["--no-summary"]),
        ("raise KeyboardInterrupt(answer)", []),
        ("pytest.exit(answer)", []),
    ],
)
def test_nobody_listens_before_pytest_has_shown_everything(actions, monkeypatch, body, flags):
    monkeypatch.setenv("CI", "true")
    actions.makepyfile(
        test_report=f"""
        import pytest

        def test_first(llm_snapshot): assert "a" == llm_snapshot

        def test_said(llm_snapshot):
            answer = "hi\\n::error file=x::injected"
            {body}
        """
    )
    result = actions.runpytest_subprocess(*flags, *(["-k", "said"] if flags == ["-x"] else []))
    said = heard(result.outlines)
    assert [parsed(line)[1]["title"].partition(":")[0] for line in said] == ["test_report.py"] * len(said)
    assert said


def test_a_session_that_pytest_breaks_off_is_listened_to_again(actions):
    actions.makeconftest("def pytest_runtest_logfinish(nodeid, location): raise RuntimeError(nodeid)")
    result = actions.runpytest_subprocess()
    result.stdout.fnmatch_lines(["INTERNALERROR*"])
    assert "::error file=x::injected" not in heard(result.outlines)


def test_off_means_off(actions):
    result = actions.runpytest("--llm-github=off")
    assert not any(line.startswith(("::stop-commands", "::error file=test_report")) for line in result.outlines)
    assert not (actions.path / "summary.md").exists()


def test_elsewhere_nothing_is_said(suite):
    assert [line for line in suite.runpytest().outlines if line.startswith("::")] == ["::error file=x::injected"]


def test_no_output_of_a_model_ends_a_command_or_begins_another(run_record, tmp_path):
    text = "\n".join(commands(run_record, tmp_path, {}))
    assert len(text.splitlines()) == 6
    assert all(COMMAND.fullmatch(line) for line in text.splitlines())
    evil = {"nodeid": "a.py::t[x,line=1::error::50%\n::stop-commands::x]", "outcome": "failed", "seconds": 1.0,
            "file": "a,b:c%.py", "line": 3, "message": ""}  # fmt: skip
    verdict = {"kind": "golden", "name": "1", "status": "drifted", "outcome": "fail", "headline": "100%\r\n::debug::x",
               "figures": {}, "examples": [], "notes": [], "diff": [], "nodeid": evil["nodeid"], "evidence": None}  # fmt: skip
    (line,) = commands({"tests": [evil], "verdicts": [verdict], "collection_errors": []}, tmp_path, {})
    assert "\n" not in line
    assert "\r" not in line
    level, values, message = parsed(line)
    assert (level, values["file"], values["line"]) == ("error", "a,b:c%.py", "3")
    assert set(values) == {"file", "line", "title"}
    assert message == "100%\\r\\n::debug::x"


def test_a_slash_in_a_parameter_is_no_folder(tmp_path):
    test = {"nodeid": "a/t.py::t[org/name]", "outcome": "failed", "seconds": 1.0, "file": "a/t.py", "line": 3,
            "message": ""}  # fmt: skip
    (line,) = commands({"tests": [test], "verdicts": [], "collection_errors": []}, tmp_path, {})
    assert parsed(line)[1]["title"] == "t.py::t[org/name]: failed"


def test_no_more_annotations_than_github_shows(tmp_path):
    tests = [
        {"nodeid": f"t.py::t{i}", "outcome": "failed", "seconds": 0.1, "file": "t.py", "line": i, "message": ""}
        for i in range(50)
    ]
    verdicts = [
        {"kind": "golden", "name": "1", "status": "drifted", "outcome": "fail", "headline": "h", "figures": {},
         "examples": [], "notes": [], "diff": [], "nodeid": test["nodeid"], "evidence": None}
        for test in tests
    ]  # fmt: skip
    assert len(commands({"tests": tests, "verdicts": verdicts, "collection_errors": []}, tmp_path, {})) == 10
