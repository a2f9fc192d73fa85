"""``assert_human_rating`` and the metric, as a test uses them; ratings are written as the page writes them."""

import json
import re

import krippendorff
import numpy as np
import pytest
import scipy.stats

from pytest_llm.errors import InvalidInputError
from pytest_llm.human import file
from pytest_llm.human.asked import asked_for
from pytest_llm.human.file import Rating
from pytest_llm.human.goldens import texts
from pytest_llm.human.outputs import of_answer
from pytest_llm.metrics import human_rating
from tests.golden.conftest import answer

SUITE = """
    import os
    from pytest_llm import assert_human_rating
    from pytest_llm.metrics import human_rating
    from tests.golden.conftest import answer

    OUTPUTS = [answer(f"poem {i}", prompt=f"Write poem {i}") for i in range(6)]
    if os.environ.get("NEW"):
        OUTPUTS[2] = answer("poem two", prompt="Write poem 2")
"""


@pytest.fixture
def suite(pytester, cache_dir):
    class Suite:
        path = pytester.path
        ratings = pytester.path / "__llm_snapshots__" / "test_poems" / file.NAME

        def run(self, body, *flags):
            indented = "\n".join(f"        {line}" for line in body.splitlines())
            pytester.makepyfile(test_poems=f"{SUITE}\n    def test_poems(llm_baseline, llm_snapshot):\n{indented}\n")
            return pytester.runpytest(*flags)

        def rate(self, rater, *ratings, text="poem {}", prompt="Write poem {}", comment=""):
            for i, rating in enumerate(ratings):
                if rating:
                    output = of_answer(answer(text.format(i), prompt=prompt.format(i)))
                    file.append(self.ratings, Rating(
                        test="test_poems.py::test_poems", output=output.digest, prompt=output.question, rater=rater,
                        rating=rating, comment=comment,
                    ), cache_dir)  # fmt: skip

        def asked(self):
            return [output.text for one in asked_for(cache_dir, pytester.path) for output in one.outputs]

    return Suite()


GATE = "assert_human_rating(OUTPUTS, at_least=3.5, raters_at_least=2, agreement_at_least=0.4)"


def test_without_ratings_nothing_is_measured_and_the_outputs_wait_for_a_rater(suite):
    result = suite.run(GATE, "--llm-record=run.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*InvalidInputError: mean human rating: 6 of 6 outputs have fewer than 2 ratings: [[]0], [[]1], *",
            "E * n 6   rated 0   raters_at_least 2",
            "E * note: an error and not a regression: a changed output has to be rated anew",
            "E * note: rate them: pytest-llm review --web --mode=rate --rater=NAME",
        ]
    )
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert (verdict["name"], verdict["status"], verdict["outcome"]) == ("human_rating", "invalid", "error")
    assert suite.asked() == [f"poem {i}" for i in range(6)]


def test_enough_good_ratings_pass_and_say_who_and_how_sure(suite):
    suite.rate("ann", 5, 4, 4, 5, 3, 5)
    suite.rate("bob", 5, 4, 4, 5, 4, 5)
    result = suite.run(GATE, "--llm-record=run.json")
    result.assert_outcomes(passed=1)
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["headline"] == "mean human rating 4.42 is at least 3.5"
    figures = verdict["figures"]
    assert (figures["n"], figures["raters"], figures["ratings"], figures["at_least"]) == (6, 2, 12, 3.5)
    means = [5, 4, 4, 5, 3.5, 5]
    low, high = scipy.stats.t.interval(0.95, 5, np.mean(means), scipy.stats.sem(means))
    assert figures["interval"] == [pytest.approx(low, abs=0.005), 5]  # the scale ends there
    assert high > 5
    assert figures["standard error"] == pytest.approx(scipy.stats.sem(means))
    table = [[5, 4, 4, 5, 3, 5], [5, 4, 4, 5, 4, 5]]
    assert figures["alpha"] == pytest.approx(krippendorff.alpha(table, level_of_measurement="ordinal"), abs=0.0005)
    assert suite.asked() == []


def test_a_low_mean_fails_with_the_worst_outputs_and_what_raters_said(suite):
    suite.rate("ann", 5, 1, 2, 3, 3, 3, comment="does not rhyme\x1b[31m")
    result = suite.run("assert_human_rating(OUTPUTS, at_least=4)")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: mean human rating 2.83 is below 4",
            "E  *worst 3:",
            "E  *[[]1]  1",
            "E  *actual:   poem 1",
            "E  *note: [[]1] ann gave 1: does not rhyme\\x1b[[]31m",
        ]
    )


def test_all_that_a_test_asks_about_waits_for_a_rater(suite):
    # As subtests ask, each of which may fail.
    body = "for output in OUTPUTS[:3]:\n    with suppress(LLMError):\n        human_rating(output)"
    for rated, waiting in ((), [0, 1, 2]), ((0, 0, 5), [0, 1]), ((5, 5), []):
        suite.rate("ann", *rated)
        suite.run(f"from contextlib import suppress\nfrom pytest_llm import LLMError\n{body}")
        assert suite.asked() == [f"poem {i}" for i in waiting]


def test_a_changed_output_has_no_rating(suite, monkeypatch):
    suite.rate("ann", 5, 5, 5, 5, 5, 5)
    monkeypatch.setenv("NEW", "1")
    result = suite.run("assert_human_rating(OUTPUTS, at_least=3)")
    result.stdout.fnmatch_lines(["E*InvalidInputError: mean human rating: 1 of 6 outputs has no rating: [[]2]"])
    assert suite.asked() == ["poem two"]
    suite.rate("ann", 0, 0, 5, text="poem two")
    suite.run("assert_human_rating(OUTPUTS, at_least=3)").assert_outcomes(passed=1)


def test_the_same_words_to_another_prompt_have_no_rating(suite):
    suite.rate("ann", 5, 5, 5, 5, 5, 5, prompt="Write another poem {}")
    result = suite.run("assert_human_rating(OUTPUTS, at_least=3)")
    result.stdout.fnmatch_lines(["E*InvalidInputError: mean human rating: 6 of 6 outputs have no rating*"])


def test_plain_text_is_known_by_its_test(suite):
    suite.rate("ann", 5)
    suite.run("assert_human_rating(str(OUTPUTS[0]), at_least=3)").assert_outcomes(passed=1)
    lines = suite.ratings.read_text().replace("::test_poems", "::test_other")
    suite.ratings.write_text(lines)
    suite.run("assert_human_rating(str(OUTPUTS[0]), at_least=3)").assert_outcomes(errors=1)
    suite.run("assert_human_rating(OUTPUTS[0], at_least=3)").assert_outcomes(passed=1)


def test_raters_who_do_not_agree_measure_nothing(suite):
    suite.rate("ann", 5, 1, 5, 1, 5, 5)
    suite.rate("bob", 1, 5, 5, 5, 3, 5)
    result = suite.run(GATE)
    result.stdout.fnmatch_lines(
        [
            "E*InvalidInputError: mean human rating: the raters' agreement (Krippendorff's alpha) -0.* is below 0.4",
            "E*note: a mean of raters who do not agree means little: *",
        ]
    )


def test_agreement_needs_an_output_that_two_rated(suite):
    suite.rate("ann", 5, 4, 5, 4, 5, 5)
    result = suite.run("assert_human_rating(OUTPUTS, at_least=3, agreement_at_least=0.1)")
    result.stdout.fnmatch_lines(
        ["E*(Krippendorff's alpha) is not known: none of 6 outputs rated twice, and it takes 5"]
    )
    result.stdout.fnmatch_lines(["E*note: have them rated by somebody else too: pytest-llm review --web --mode=rate *"])
    suite.rate("bob", 5, 4)  # who agrees, on two of six
    result = suite.run("assert_human_rating(OUTPUTS, at_least=3, agreement_at_least=0.1)")
    result.stdout.fnmatch_lines(["E*(Krippendorff's alpha) is not known: 2 of 6 outputs rated twice, and it takes 5"])
    suite.rate("bob", 5, 4, 5, 4, 5, 5)
    suite.run("assert_human_rating(OUTPUTS, at_least=3, agreement_at_least=0.1)").assert_outcomes(passed=1)


def test_when_all_ratings_are_the_same_a_warning_says_that_agreement_is_not_known(suite):
    for rater in ("ann", "bob"):
        suite.rate(rater, 5, 5, 5, 5, 5, 5)
    result = suite.run(GATE, "--llm-record=run.json")
    result.assert_outcomes(passed=1)
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["outcome"] == "warn"
    assert verdict["notes"] == [
        "every rating is the same: whether raters agree cannot be told from chance (1 of pairs do)"
    ]
    assert verdict["figures"]["interval"] == [4.54, 5]  # up to 1 - 0.025 ** (1 / 6) may be a point off


def test_where_one_rating_differs_chance_cannot_be_told_from_agreement_either(suite):
    suite.rate("ann", 4, 4, 4, 4, 4, 4)
    suite.rate("bob", 5, 4, 4, 4, 4, 4)
    result = suite.run(GATE, "--llm-record=run.json")
    result.assert_outcomes(passed=1)  # though alpha is 0
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["outcome"] == "warn"
    assert verdict["notes"] == [
        "all but 1 of 12 ratings are the same: whether raters agree cannot be told from chance (0.833 of pairs do)"
    ]
    assert verdict["figures"]["rated twice"] == 6
    assert verdict["figures"]["same rating"] == 0.833


def test_of_few_outputs_all_rated_twice_agreement_is_in_doubt(suite):
    for rater in ("ann", "bob"):
        suite.rate(rater, 5, 4, 5)
    suite.run(GATE.replace("OUTPUTS", "OUTPUTS[:3]"), "--llm-record=run.json").assert_outcomes(passed=1)
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["outcome"] == "warn"
    assert verdict["notes"][-1] == "of 3 outputs little can be said of how far raters agree"


def test_one_person_is_one_rater_however_the_name_is_typed(suite):
    for rater in ("Ann", "ann ", "ａｎｎ", "ANN"):
        suite.rate(rater, 5, 4, 5, 4, 5, 5)
    result = suite.run(GATE)
    result.stdout.fnmatch_lines(["E*mean human rating: 6 of 6 outputs have fewer than 2 ratings: *"])


def test_two_equal_ratings_leave_room(suite):
    suite.rate("ann", 4, 4)
    suite.run("assert_human_rating(OUTPUTS[:2], at_least=3)", "--llm-record=run.json").assert_outcomes(passed=1)
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["figures"]["interval"] == [3.16, 4.84]
    assert "standard error" not in verdict["figures"]


def test_the_same_output_twice_is_one_item(suite):
    suite.rate("ann", 5, 1, 3)
    suite.run("assert_human_rating(OUTPUTS[:3] + OUTPUTS[:1], at_least=3)", "--llm-record=run.json")
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["figures"]["value"] == 3.5
    assert verdict["figures"]["ratings"] == 3


def test_a_baseline_of_ratings(suite):
    check = "llm_baseline.check('human_rating', human_rating(OUTPUTS), margin=0.5)"
    suite.rate("ann", 5, 4, 4, 5, 3, 5)
    suite.run(check, "--llm-update=new").assert_outcomes(passed=1)
    suite.run(check).assert_outcomes(passed=1)
    suite.rate("ann", 1, 1, 1, 1, 1, 1)
    result = suite.run(check)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*human_rating 1.00 is worse than its baseline 4.33*"])


def test_a_gate_takes_one_answer_rated_once_for_one(suite):
    body = "llm_baseline.check('human_rating', human_rating([{!r}] * 8 + ['a', 'b']), margin=0.5)"
    for text, rating in (("old", 4), ("new", 3), ("a", 4), ("b", 4)):
        output = of_answer(text)
        file.append(suite.ratings, Rating(
            test="test_poems.py::test_poems", output=output.digest, rater="ann", rating=rating,
        ), suite.path)  # fmt: skip
    suite.run(body.format("old"), "--llm-update=new").assert_outcomes(passed=1)
    suite.run(body.format("new"), "--llm-record=run.json")
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert verdict["figures"]["method"] == "paired t over 3 groups"
    assert verdict["figures"]["p"] > 0.03  # as eight that fell alike: 0.0001


def test_a_gate_says_when_other_people_rated(suite, monkeypatch):
    check = "llm_baseline.check('human_rating', human_rating(OUTPUTS), margin=0.5)"
    suite.rate("strict", 3, 3, 3, 3, 2, 3)
    suite.run(check, "--llm-update=new").assert_outcomes(passed=1)
    suite.ratings.unlink()
    suite.rate("Lenient", 5, 5, 4, 5, 5, 5)
    suite.run(check, "--llm-record=run.json").assert_outcomes(passed=1)
    said = "nobody rated both: the baseline is of strict, this score of lenient; one person's 3 may be another's 4"
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert (verdict["status"], verdict["outcome"], verdict["notes"][0]) == ("improved", "warn", said)
    suite.rate("STRICT", 5, 5, 4, 5, 5, 5)
    suite.run(check, "--llm-record=run.json")
    (verdict,) = json.loads((suite.path / "run.json").read_text())["verdicts"]
    assert said not in verdict["notes"]


def test_a_pass_by_other_people_is_a_warning(suite):
    check = "llm_baseline.check('human_rating', human_rating({}), margin=0.5)"
    suite.rate("ann", 3, 4, 3, 4, 3, 4)
    suite.run(check.format("OUTPUTS"), "--llm-update=new").assert_outcomes(passed=1)
    suite.rate("bob", 3, 4, 4, 4, 3, 4, text="ode {}")
    odes = "[answer(f'ode {i}', prompt=f'Write poem {i}') for i in range(6)]"
    result = suite.run(check.format(odes))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gates*human_rating*warn*", "*nobody rated both: the baseline is of ann, this score*"])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("assert_human_rating(OUTPUTS, at_least=0.4)", "no value can be 0.4, it is between 1 and 5"),
        ("assert_human_rating(OUTPUTS, at_least=4, raters_at_least=0)", "raters_at_least counts people from 1"),
        ("assert_human_rating(OUTPUTS, at_least=4, agreement_at_least=40)", "an alpha is at most 1, not 40"),
        ("assert_human_rating(OUTPUTS, at_least=4, agreement_at_least='0.4')", "an alpha is at most 1, not '0.4'"),
        ("assert_human_rating([], at_least=4)", "there are no predictions"),
        ("from pytest_llm import assert_metric; assert_metric('human_rating', OUTPUTS, at_least=4)", "have no rating"),
    ],
)
def test_what_makes_no_sense(suite, body, what):
    result = suite.run(body)
    assert re.search(f"InvalidInputError: .*{what}", result.stdout.str())


def test_a_golden_says_what_each_of_its_texts_answers(suite):
    suite.run("assert OUTPUTS == llm_snapshot", "--llm-update=new").assert_outcomes(passed=1)
    (path,) = suite.path.rglob("*--1.json")
    golden = texts(path)
    asked = [of_answer(answer(f"poem {i}", prompt=f"Write poem {i}"), f"[{i}]") for i in range(6)]
    assert list(golden.outputs) == asked
    assert (golden.nodeid, golden.name) == ("test_poems.py::test_poems", "1")


def test_outside_a_test_the_file_is_named(suite, monkeypatch):
    monkeypatch.setattr("pytest_llm.lifecycle._at", None)
    suite.rate("ann", 5)
    output = answer("poem 0", prompt="Write poem 0")
    assert human_rating(output, suite.ratings) == 5
    with pytest.raises(InvalidInputError, match="outside a test, say which file"):
        human_rating(output)


def test_chat_messages_are_the_same_question_in_a_golden_as_in_a_test(suite):
    chat = "answer('Hé!', prompt=({'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hé?'}))"
    suite.run(f"assert {chat} == llm_snapshot", "--llm-update=new").assert_outcomes(passed=1)
    (path,) = suite.path.rglob("*--1.json")
    (output,) = texts(path).outputs
    live = of_answer(eval(chat))
    assert (output.digest, output.question) == (live.digest, live.question)
    assert output.question != ""
