"""Whole runs: reports, an import, and the tests that they become."""

import json

import pytest

from tests.conftest import COMMAND
from tests.feedback.conftest import REPORTS

SUITE = """
    import pytest
    from pytest_llm import feedback_cases

    @pytest.mark.parametrize("case", feedback_cases({arguments}))
    def test_feedback(case):
        case.check("Paris is the capital of France.")
"""
FRANCE, SLOW = "what-is-the-capital-of-france-42a8b89ddb", "am-i-slow-438340c959"


@pytest.fixture
def project(pytester, cache_dir):
    (pytester.path / "tests").mkdir()

    def made(reports, arguments=""):
        import textwrap

        (pytester.path / "reports.jsonl").write_text("".join(json.dumps(one) + "\n" for one in reports))
        assert not reports or pytester.run(COMMAND, "feedback", "import", "reports.jsonl").ret == 0
        (pytester.path / "tests/test_it.py").write_text(textwrap.dedent(SUITE).format(arguments=arguments))
        return pytester

    return made


def test_cases_are_tests_with_readable_names(project):
    ran = project(REPORTS).runpytest("-v", "-p", "no:cacheprovider")
    ran.stdout.fnmatch_lines(
        [
            f"tests/test_it.py::test_feedback[[]{SLOW}[]] PASSED *",
            f"tests/test_it.py::test_feedback[[]{FRANCE}[]] PASSED *",
            "gates     feedback  8.92857  <= 90       pass  test_it.py::test_feedback[[]am-i-slow-*",
            "          feedback  85.5163  >= 66.3431  pass  test_it.py::test_feedback[[]what-is-*",
        ]
    )
    assert ran.ret == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("votes='up'", [FRANCE]),
        ("votes='down'", [SLOW, FRANCE]),
        ("votes='both'", [FRANCE]),
        ("tags='geo'", [FRANCE]),
        ("tags=['x', 'geo']", [FRANCE]),
        ("'feedback_cases.jsonl', votes='down'", [SLOW, FRANCE]),
    ],
)
def test_some_of_the_cases(project, arguments, names):
    ran = project(REPORTS, arguments).runpytest("--collect-only", "-q")
    assert [line for line in ran.outlines if "::" in line] == [f"tests/test_it.py::test_feedback[{n}]" for n in names]


@pytest.mark.parametrize(
    ("reports", "arguments", "why"),
    [
        ([], "", "there is no */tests/feedback_cases.jsonl: import reports with 'pytest-llm feedback import REPORTS.jsonl "
                 "--into=*/tests/feedback_cases.jsonl'"),
        (REPORTS, "tags='x'", "none of the 2 cases of */feedback_cases.jsonl has these votes and tags, or all are ignored"),
    ],
)  # fmt: skip
def test_no_cases_are_an_error_at_collection_or_a_skipped_test(project, reports, arguments, why):
    ran = project(reports, arguments).runpytest()
    ran.stdout.fnmatch_lines(
        [f"E   *InvalidInputError: feedback_cases: {why}. While there are none: feedback_cases(..., empty='skip')"]
    )
    assert ran.ret == 2
    ran = project(reports, f"{arguments}{', ' * bool(arguments)}empty='skip'").runpytest("-rs")
    ran.assert_outcomes(skipped=1)
    ran.stdout.fnmatch_lines([f"SKIPPED * no feedback cases yet: {why}"])


def test_an_empty_file_and_wrong_arguments(project):
    suite = project([])
    (suite.path / "tests/feedback_cases.jsonl").write_text("")
    suite.runpytest().stdout.fnmatch_lines(["*feedback_cases: */feedback_cases.jsonl holds no cases. While*"])
    project([], "votes='sideways'").runpytest().stdout.fnmatch_lines(
        ["*InvalidInputError: feedback_cases: votes is 'up', 'down' or 'both', and empty is 'error' or 'skip'"]
    )


def test_ignored_cases_are_left_out_and_undecided_ones_skipped(project):
    tie = [{"id": f"t{vote}", "prompt": "Tie?", "output": "y", "vote": vote} for vote in (1, -1)]
    suite = project([*REPORTS, *tie])
    path = suite.path / "tests/feedback_cases.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({**row, "ignored": "rude"} if row["id"] == SLOW else row) + "\n" for row in rows)
    )
    ran = suite.runpytest("-rs")
    ran.assert_outcomes(passed=1, skipped=1)
    ran.stdout.fnmatch_lines(
        ["SKIPPED * as many thumbs up as down, and no correction: nothing to hold an answer against"]
    )


def test_a_damaged_file_is_an_error_at_collection(project):
    suite = project([])
    (suite.path / "tests/feedback_cases.jsonl").write_text('{"schema": 1}\n')
    ran = suite.runpytest()
    ran.stdout.fnmatch_lines(["E   *GoldenError: */feedback_cases.jsonl:1: the feedback case has no 'id'"])
    assert ran.ret == 2


ASKING = """
    import pytest
    from pytest_llm import feedback_cases

    @pytest.mark.parametrize("case", feedback_cases())
    def test_feedback(llm, llm_snapshot, case):
        answer = llm.generate(case.prompt, max_new_tokens=8)
        case.check(answer, at_least=40)
"""


def test_a_model_answers_all_cases_in_one_batch(pytester, cache_dir, tiny_gpt2):
    facts = {"france": "paris", "italy": "rome", "spain": "madrid", "japan": "tokyo"}
    reports = [
        {"prompt": f"the capital of {country} is", "output": " wien.", "vote": "down", "correction": f" {city}."}
        for country, city in facts.items()
    ]
    (pytester.path / "reports.jsonl").write_text("".join(json.dumps(one) + "\n" for one in reports))
    assert pytester.run(COMMAND, "feedback", "import", "reports.jsonl", "--into=feedback_cases.jsonl").ret == 0
    pytester.makepyfile(test_it=ASKING)
    pytester.runpytest(f"--llm-model={tiny_gpt2}").assert_outcomes(passed=4)
    # Other weights, another dtype: nothing is in the store, and all of it is asked at once, ahead of the tests.
    ran = pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-dtype=float64", "--llm-report=out.html")
    ran.assert_outcomes(passed=4)
    ran.stdout.fnmatch_lines(["model * float64 cpu  4 answers: 0 from the store, 4 computed (4 ahead); loaded*"])
    page = (pytester.path / "out.html").read_text("utf-8")
    assert "the capital of france is" in page
    assert "chrF 100 to the reference is at least 40" in page


def test_a_question_cut_in_the_middle_of_a_character_can_be_asked(pytester, cache_dir, tiny_gpt2):
    report = {"prompt": "the capital of france is \ud83d", "output": "\ud83d", "vote": "down", "correction": " paris."}
    (pytester.path / "reports.jsonl").write_text(json.dumps(report))
    assert pytester.run(COMMAND, "feedback", "import", "reports.jsonl", "--into=feedback_cases.jsonl").ret == 0
    pytester.makepyfile(
        test_it=ASKING.replace("case.check(answer, at_least=40)", "assert case.rejected == ('\\ud83d',)")
    )
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=1)
