"""``pytest-llm feedback import``: production's JSON Lines in, one committed file of cases out."""

import hashlib
import json
import random

import pytest

from pytest_llm.argument_rules import as_prompt
from pytest_llm.feedback.incoming import NAMES
from pytest_llm.feedback.redaction import redact
from tests.feedback.conftest import REPORTS
from tests.reports.conftest import HOSTILE


def key(report_id, user="", case="what-is-the-capital-of-france-42a8b89ddb"):
    def digest(data):
        text = json.dumps(data, separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    return digest({"id": report_id})[:16] + (f"-{digest({'user': user, 'case': case})[:8]}" if user else "")


def test_reports_of_one_question_are_one_case(feedback, lines):
    assert feedback(REPORTS) == (
        0,
        ["reports   5 read, 0 of them known before", "cases     2 in tests/feedback_cases.jsonl: 2 new, 0 changed"],
        [],
    )
    assert lines() == [
        {
            "schema": 1,
            "id": "am-i-slow-438340c959",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Am I slow?"}],
            "answers": [{"text": "Yes.", "down": [key("r5")]}],
        },
        {
            "schema": 1,
            "id": "what-is-the-capital-of-france-42a8b89ddb",
            "prompt": "What is the capital of France?",
            "corrections": [{"text": "The capital of France is Paris.", "reports": [key("r1", "ann@example.org")]}],
            "answers": [
                {"text": "Paris is the capital.", "up": sorted([key("r2", "bob"), key("r4")]), "down": [key("r3")]},
                {"text": "The capital of France is Lyon.", "down": [key("r1", "ann@example.org")]},
            ],
            "tags": ["geo"],
            "models": ["m1"],
        },
    ]


def test_no_user_is_kept_and_no_id_of_a_report(feedback, tmp_path):
    feedback([{**one, "email": "secret@example.org", "time": "2026-01-01"} for one in REPORTS])
    text = (tmp_path / "tests/feedback_cases.jsonl").read_text("utf-8")
    assert not [word for word in ("ann@", "bob", "secret", "r1", "2026", 'user":') if word in text]


def test_importing_again_changes_nothing_and_more_reports_add_up(feedback, lines, tmp_path):
    feedback(REPORTS[:3])
    path = tmp_path / "tests/feedback_cases.jsonl"
    first = path.read_bytes()
    assert feedback(REPORTS[:3])[1] == [
        "reports   3 read, 3 of them known before",
        "cases     1 in tests/feedback_cases.jsonl: 0 new, 0 changed",
    ]
    assert path.read_bytes() == first
    assert feedback(REPORTS)[1] == [
        "reports   5 read, 3 of them known before",
        "cases     2 in tests/feedback_cases.jsonl: 1 new, 1 changed",
    ]
    in_parts = path.read_bytes()
    path.unlink()
    feedback(REPORTS)
    assert path.read_bytes() == in_parts


def test_the_order_of_reports_does_not_matter_but_for_the_spelling_of_the_question(feedback, lines):
    same = [{**one, "prompt": "What is the capital of France?"} if "prompt" in one else one for one in REPORTS]
    feedback(same)
    expected = lines()
    for seed in range(3):
        random.Random(seed).shuffle(same)
        feedback(same, f"--into={seed}.jsonl")
        assert lines(f"{seed}.jsonl") == expected


def test_a_vote_that_was_changed_counts_once(feedback, lines):
    feedback([REPORTS[2]])
    feedback([{**REPORTS[2], "vote": "up"}])
    assert lines()[0]["answers"] == [{"text": "Paris is the capital.", "up": [key("r3")]}]


def test_reports_without_ids_are_told_apart_by_all_they_say(feedback, lines):
    plain = {"prompt": "Hi", "output": "Hello", "vote": "up"}
    ann, bob = {**plain, "user": "ann"}, {**plain, "user": "bob"}
    feedback([ann, bob, plain, plain])
    (votes,) = lines()[0]["answers"]
    assert len(votes["up"]) == 4
    assert sorted(len(one) for one in votes["up"]) == [16, 16, 25, 25]  # of a user there is a digest too
    # A later export repeats them, and has one more of those that nothing tells apart.
    assert feedback([plain, ann, plain, plain, bob])[1][0] == "reports   5 read, 4 of them known before"
    assert len(lines()[0]["answers"][0]["up"]) == 5


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_id_is_none(feedback, lines, tmp_path, blank):
    def week(n):
        report = {"id": blank, "prompt": f"Question {n}?", "output": "No.", "vote": "down"}
        return [{**report, "user": user, "correction": f"{user} {n}"} for user in ("ann", "bob")]

    assert feedback([*week(1), *week(2)])[1] == [
        "reports   4 read, 0 of them known before",
        "cases     2 in tests/feedback_cases.jsonl: 2 new, 0 changed",
    ]
    assert feedback(week(2))[1][0] == "reports   2 read, 2 of them known before"
    path = tmp_path / "tests/feedback_cases.jsonl"
    path.write_text("".join(json.dumps({**case, "reference": f"Of {case['prompt']}"}) + "\n" for case in lines()))
    feedback(week(3))
    assert [(case["prompt"], case.get("reference"), len(case["corrections"])) for case in lines()] == [
        ("Question 1?", "Of Question 1?", 2),
        ("Question 2?", "Of Question 2?", 2),
        ("Question 3?", None, 2),
    ]


@pytest.mark.parametrize(
    ("field", "other", "name"),
    [("prompt", "And Mars?", "question"), ("output", "Nope.", "output"), ("user", "bob", "user")],
)
def test_an_id_that_tells_nothing_apart_is_named(feedback, lines, tmp_path, field, other, name):
    report = {**FLAT, "id": "chat-1", "user": "ann", "vote": "down"}
    before = [{**report, "correction": "A globe."}]
    feedback(before)
    first = lines()
    reports = [report, {**report, field: other}, {**report, "id": "chat-2"}, report]
    why = f"too, which has another {name}: give each report an id of its own, or none"
    code, out, err = feedback(reports)
    assert (code, err) == (
        2,
        [
            f"reports.jsonl:1: its id is that of line 2 {why}",
            f"reports.jsonl:2: its id is that of line 1 {why}",
            f"reports.jsonl:4: its id is that of line 2 {why}",
            "pytest-llm feedback: 3 lines were no report and left out",
        ],
    )
    assert out[0] == "reports   1 read, 0 of them known before"
    feedback(before)
    assert lines()[0]["corrections"] == first[0]["corrections"]
    code, out, _ = feedback(reports, "--field=id=none", "--into=all.jsonl")
    assert (code, out[0].split(",")[0]) == (0, "reports   4 read")


def test_a_report_that_comes_twice_in_a_new_file_was_not_known_before(feedback, lines):
    report = {**FLAT, "id": "a", "vote": "up"}
    code, out, _ = feedback([report, {**report, "vote": "down"}])
    assert (code, out[0]) == (0, "reports   2 read, 0 of them known before, 1 left out for what a later line says")
    assert lines()[0]["answers"] == [{"text": "No.", "down": [key("a")]}]


@pytest.mark.parametrize(
    ("spelling", "side"),
    [(word, "up") for word in ("up", "UP", 1, "1", "+1", 1.0, True, "true", "good", "yes", "👍")]
    + [(word, "down") for word in ("down", -1, "-1", -1.0, False, "False", "bad", "no", "👎")],
)
def test_spellings_of_votes(feedback, lines, spelling, side):
    assert feedback([{"prompt": "Hi", "output": "Hello", "vote": spelling}])[0] == 0
    assert list(lines()[0]["answers"][0]) == ["text", side]


@pytest.mark.parametrize("ours", NAMES)
def test_spellings_of_fields(feedback, lines, ours):
    report = {"prompt": "Hi", "output": "Hello", "vote": "up", "tags": ["a"], "model": "m"}
    if ours == "correction":
        report["correction"] = "Good day"
    feedback([report])
    expected = lines()
    if ours in ("id", "user", "time"):
        return
    for theirs in NAMES[ours]:
        feedback([{theirs if name == ours else name: value for name, value in report.items()}], "--into=other.jsonl")
        assert lines("other.jsonl") == expected
    renamed = {"x" if name == ours else name: value for name, value in report.items()}
    feedback([renamed], f"--field={ours}=x", "--into=x.jsonl")
    assert lines("x.jsonl") == expected


def test_bad_lines_are_named_and_the_good_ones_imported(feedback, lines):
    good = {"prompt": "Hi", "output": "Hello", "vote": "up"}
    wrong = {
        "{\n": "not JSON: Expecting property name enclosed in double quotes at column 2",
        "[]\n": "a report is a JSON object",
        '{"output": "y", "vote": 1}\n': "no question (prompt or messages or input or question)",
        '{"prompt": "x", "vote": 1}\n': "no output (output or response or completion or answer)",
        '{"prompt": "x", "output": "y"}\n': "neither a vote (vote or thumbs or feedback or rating) nor a correction",
        '{"prompt": "x", "output": "y", "vote": 0}\n': "0 may be no vote: numbers of 'vote' are votes where all "
        "are 1 or -1, and these are 0, 1, 5, which may be stars, or none: write up or down for each",
        '{"prompt": "x", "output": "y", "vote": "meh"}\n': "no vote (up/down, 1/-1, true/false, good/bad): 'meh'",
        '{"prompt": "x", "output": "y", "vote": 5}\n': "5 may be no vote: numbers of 'vote' are votes where all "
        "are 1 or -1, and these are 0, 1, 5, which may be stars, or none: write up or down for each",
        '{"prompt": 3, "output": "y", "vote": 1}\n': "a question is text or a list of chat messages",
        '{"prompt": " ", "output": "y", "vote": 1}\n': "the question is empty",
        '{"prompt": "x", "output": ["y"], "vote": 1}\n': "output is text, not ['y']",
        '{"prompt": "x", "output": " ", "vote": "up"}\n': "thumbs up for an empty output",
        '{"messages": [{"role": "user"}], "output": "y", "vote": 1}\n': "message 1 lacks a role, or a content or "
        "tool_calls: see llm.chat",
        '{"messages": [{"role": "assistant", "content": "y"}], "output": "y", "vote": 1}\n': "the last message is the "
        "assistant's: it belongs in output",
        '{"prompt": "x", "output": "y", "vote": "up", "tags": 3}\n': "tags are texts, not 3",
        b'{"prompt": "\xff"}\n': "not UTF-8: invalid start byte at byte 12",
        "[" * 100_000 + "\n": "not JSON this can read: nested too deep",
    }
    code, out, err = feedback([good, "\n", *wrong, {**good, "prompt": "Bye"}])
    assert code == 2
    assert out[1] == "cases     2 in tests/feedback_cases.jsonl: 2 new, 0 changed"
    assert err == [
        *(f"reports.jsonl:{number}: {why}" for number, why in enumerate(wrong.values(), 3)),
        "pytest-llm feedback: 17 lines were no report and left out",
    ]
    assert [one["prompt"] for one in lines()] == ["Bye", "Hi"]


STARS = [{"prompt": f"Is it safe {i}?", "output": "Yes.", "rating": stars} for i, stars in enumerate((1, 1, 4, 5))]


@pytest.mark.parametrize(
    ("reports", "options", "left"),
    [
        (STARS, (), 0),
        (STARS[:2], (), 0),  # nothing but the worst
        ([{**one, "stars": str(one["rating"]), "rating": None} for one in STARS[:2]], ("--field=vote=stars",), 0),
        ([{**STARS[0], "rating": 1.0}, {**STARS[0], "rating": 0}], (), 0),
        ([{**STARS[0], "rating": float("nan")}, {**STARS[0], "rating": 1e300}], (), 0),
        ([*STARS, {**STARS[0], "rating": "👎"}, {**STARS[1], "rating": None, "vote": 1}], (), 2),
        ([STARS[0], {**STARS[1], "rating": -1}], (), 2),  # stars are no less than 0
    ],
)
def test_stars_are_no_thumbs(feedback, tmp_path, reports, options, left):
    code, out, err = feedback(reports, *options)
    assert (code, out[1].split()[1]) == (2 if left < len(reports) else 0, str(left))
    assert len(err) == (len(reports) - left + 1 if code else 0)
    assert all("write up or down" in line for line in err[:-1])
    assert (tmp_path / "tests/feedback_cases.jsonl").exists() == bool(left)


FLAT = {"prompt": "Is the earth flat?", "output": "No."}
YES, NO = {"vote": "down", "correction": "Yes."}, {"vote": "down", "correction": "A globe."}


def expected(tmp_path, path="tests/feedback_cases.jsonl"):
    from pytest_llm.feedback import casefile

    return casefile.read(tmp_path / path)


def test_one_user_is_one_voice(feedback, tmp_path):
    often = [{**FLAT, **YES, "user": "cy", "time": i} for i in range(3)]
    elsewhere = {**FLAT, **YES, "user": "cy", "output": "Nope."}
    others = [{**FLAT, **NO, "user": user, "output": "Hm."} for user in ("ann", "bob")]
    _, out, _ = feedback([*often, elsewhere, *others])
    assert out[0] == "reports   6 read, 0 of them known before, 2 left out for what a later line says"
    (case,) = expected(tmp_path).values()
    assert (case.reference, case.votes) == ("A globe.", (0, 4))
    feedback([{**one, "id": f"n{i}"} for i, one in enumerate(often)])  # a later export, of the same person
    (case,) = expected(tmp_path).values()
    assert (case.reference, case.votes) == ("A globe.", (0, 4))
    feedback([{**one, "user": None} for one in often])  # by nobody known: each is another's
    (case,) = expected(tmp_path).values()
    assert (case.reference, case.votes) == ("Yes.", (0, 7))


@pytest.mark.parametrize("together", [True, False])
def test_a_user_who_changes_their_mind_counts_as_they_said_last(feedback, tmp_path, together):
    said = [{**FLAT, "user": "ann", "vote": "up"}, {**FLAT, "user": "ann", "vote": "down"}]
    for some in [said] if together else [[one] for one in said]:
        feedback(some)
    (case,) = expected(tmp_path).values()
    assert (case.votes, case.goldens, case.rejected) == ((0, 1), (), ("No.",))


@pytest.mark.parametrize("together", [True, False])
def test_a_vote_after_a_correction_does_not_take_it_back(feedback, tmp_path, together):
    said = [{**FLAT, **NO, "user": "ann", "id": 1}, {**FLAT, "vote": "down", "user": "ann", "id": 2}]
    weeks = [said] if together else [said[:1], said[1:], said[1:]]  # the last export twice
    for some in weeks:
        feedback(some)
    (case,) = expected(tmp_path).values()
    assert (case.votes, case.reference) == ((0, 1), "A globe.")
    feedback([{**said[1], **YES, "id": 3}])
    (case,) = expected(tmp_path).values()
    assert (case.votes, [one.text for one in case.corrections]) == ((0, 1), ["Yes."])
    feedback([{**said[1], "vote": "up", "id": 4}])
    (case,) = expected(tmp_path).values()
    assert (case.votes, case.corrections) == ((1, 0), ())


@pytest.mark.parametrize("report_id", ["r9", None])
def test_redaction_of_what_was_imported_before(feedback, lines, tmp_path, report_id):
    private = {"id": report_id, "prompt": "Write to ann@example.org", "output": "Hi ann@example.org", "vote": -1}
    feedback([private])
    (before,) = lines()
    assert feedback([private], "--redact")[1] == [
        "reports   1 read, 1 of them known before",
        "cases     1 in tests/feedback_cases.jsonl: 1 new, 0 changed, 1 gone",
    ]
    (case,) = lines()
    assert (case["prompt"], case["answers"]) == (
        "Write to [email]", [{"text": "Hi [email]", "down": before["answers"][0]["down"]}]
    )  # fmt: skip
    assert "example" not in (tmp_path / "tests/feedback_cases.jsonl").read_text()


@pytest.mark.parametrize("report_id", ["r1", None])
@pytest.mark.parametrize("field", ["prompt", "output", "correction", "tags", "model"])
def test_what_was_redacted_is_not_written_back(feedback, tmp_path, report_id, field):
    plain = {"id": report_id, "prompt": "Who?", "output": "Bob", "vote": "down", "correction": "Ann", "user": "u"}
    private = {**plain, field: "mail Ann@example.org"}
    feedback([private], "--redact")
    path = tmp_path / "tests/feedback_cases.jsonl"
    before = path.read_text()
    code, out, err = feedback([private, {**plain, "id": "new"}])
    assert (code, out, path.read_text()) == (2, [], before)
    assert err == [
        f"pytest-llm feedback: {path.relative_to(tmp_path)}: nothing was imported: it keeps 1 of these reports with "
        "what --redact blotted out, which this would write back: import with --redact, or into another file"
    ]
    assert feedback([private, {**plain, "id": "new"}], "--redact")[0] == 0


def test_what_a_user_took_back_is_redacted_too(feedback, lines):
    said = [{"prompt": "I am ann@example.org", "output": "Hi", "vote": vote, "user": "ann"} for vote in ("up", "down")]
    feedback(said[:1])
    feedback(said, "--redact")
    (case,) = lines()
    assert (case["prompt"], [*case["answers"][0]]) == ("I am [email]", ["text", "down"])


def test_a_report_whose_question_was_edited_moves_and_takes_a_reviewers_word_along(feedback, lines, tmp_path):
    path = tmp_path / "tests/feedback_cases.jsonl"
    feedback([{**FLAT, "id": "a", "vote": "down"}, {**FLAT, "id": "b", "vote": "down"}])
    (case,) = lines()
    path.write_text(json.dumps({**case, "reference": "A globe."}) + "\n")
    edited = {**FLAT, "prompt": "Is it flat?", "vote": "down"}
    feedback([{**edited, "id": "a"}])  # the other asks what it did
    assert [(one["prompt"], one.get("reference")) for one in lines()] == [
        ("Is it flat?", None),
        ("Is the earth flat?", "A globe."),
    ]
    path.write_text(json.dumps({**case, "reference": "A globe."}) + "\n")
    feedback([{**edited, "id": "a"}, {**edited, "id": "b"}])
    (case,) = lines()
    assert (case["prompt"], case["reference"], len(case["answers"][0]["down"])) == ("Is it flat?", "A globe.", 2)


def test_a_file_that_is_not_there(feedback, capsys, tmp_path):
    from pytest_llm.cli import main

    assert main(["feedback", "import", "gone.jsonl"]) == 2
    assert capsys.readouterr().err == (
        "pytest-llm feedback: gone.jsonl: the reports cannot be read: No such file or directory\n"
    )
    assert not (tmp_path / "tests").exists()


def test_hostile_reports_stay_text_and_lose_nothing(feedback, lines, tmp_path):
    report = {
        "prompt": HOSTILE,
        "output": HOSTILE + "x" * 1_000_000,
        "vote": "down",
        "correction": "\x00",
        "tags": [HOSTILE],
    }
    code, _, _ = feedback([report])
    assert code == 0
    text = (tmp_path / "tests/feedback_cases.jsonl").read_text("utf-8")
    assert text.count("\n") == 1
    assert "\u202e" not in text
    assert "\x1b" not in text
    (case,) = lines()
    assert (case["prompt"], case["answers"][0]["text"]) == (HOSTILE.replace("\ud800", "\ufffd"), report["output"])
    assert case["id"].replace("-", "").isalnum()
    assert case["id"].isascii()
    code, _, err = feedback([{"prompt": HOSTILE, "output": "x", "vote": HOSTILE}])
    assert all(line.isprintable() for line in err)


def test_what_a_reviewer_wrote_stays(feedback, lines, tmp_path):
    feedback(REPORTS[:2])
    (case,) = lines()
    case |= {"reference": "Paris.", "ignored": "a duplicate of another"}
    (tmp_path / "tests/feedback_cases.jsonl").write_text(json.dumps(case) + "\n")
    feedback(REPORTS)
    assert [(one.get("reference"), one.get("ignored")) for one in lines()] == [
        (None, None),
        ("Paris.", "a duplicate of another"),
    ]


def test_both_sides_of_a_merge_are_one_case(feedback, lines, tmp_path):
    for name, some in (("a", REPORTS[:3]), ("b", REPORTS[2:])):
        feedback(some, f"--into={name}.jsonl")
    feedback(REPORTS, "--into=whole.jsonl")
    both = (tmp_path / "a.jsonl").read_text() + (tmp_path / "b.jsonl").read_text()
    (tmp_path / "both.jsonl").write_text(both)
    feedback(REPORTS[:1], "--into=both.jsonl")
    assert lines("both.jsonl") == lines("whole.jsonl")


def test_the_order_of_a_merge_decides_nothing(feedback, lines, tmp_path):
    path = tmp_path / "tests/feedback_cases.jsonl"
    sides = []
    for vote in ("up", "down"):
        feedback([{**FLAT, "id": "a", "vote": vote}])
        sides.append(path.read_text())
    for merged in (sides, sides[::-1]):
        path.write_text("".join(merged))
        (case,) = expected(tmp_path).values()
        assert (case.votes, case.expected, case.rejected) == ((1, 1), (), ())  # until it is imported again
        feedback([{**FLAT, "id": "a", "vote": "up"}])
        assert "down" not in lines()[0]["answers"][0]
    pinned = [json.dumps({**json.loads(sides[0]), "reference": text}) + "\n" for text in ("One.", "Two.", "One.")]
    for merged, numbers, texts in (("01", "2 1", "One Two"), ("10", "2 1", "Two One"), ("021", "3 1", "One Two")):
        path.write_text("".join(pinned[int(i)] for i in merged))
        (here, there), (old, new) = numbers.split(), texts.split()
        assert feedback(REPORTS)[2] == [
            f"pytest-llm feedback: tests/feedback_cases.jsonl:{here}: the same case is in line {there} with another "
            f"reference, '{old}.' and here '{new}.': keep one"
        ]
    path.write_text(pinned[0] + sides[1] + pinned[2])
    (case,) = expected(tmp_path).values()
    assert case.pinned == "One."


def test_a_file_that_is_no_file_of_cases_is_left_alone(feedback, tmp_path):
    path = tmp_path / "tests/feedback_cases.jsonl"
    path.parent.mkdir()
    for text, why in {
        "<<<<<<< HEAD\n": ":1: the feedback case cannot be read: merge-conflict markers (<<<<<<<)",
        '{"schema": 2}\n': ":1: a newer pytest_llm wrote this case (schema 2): upgrade",
        "\n3\n": ":2: no feedback case: it has no schema number",
        '{"schema": 1, "prompt": "x"}\n': ":1: the feedback case has no 'id'",
        '{"schema": 1, "id": "x", "prompt": "x"}\n': ":1: the question was edited: its id is now x-*, not x",
        '{"schema": 1, "id": "x", "prompt": "x", "note": 1}\n': ":1: a field does not hold what it should: there is no "
        "field 'note'; it has *",
        '{"schema": 1, "id": "x", "prompt": "x", "answers": [{"text": "y", "up": "k"}]}\n': ":1: a field does not hold "
        "what it should: up is a list",
    }.items():
        path.write_text(text)
        code, out, err = feedback(REPORTS)
        assert (code, out) == (2, [])
        assert pytest.LineMatcher(err).fnmatch_lines([f"pytest-llm feedback: tests/feedback_cases.jsonl{why}"]) is None
        assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "blotted"),
    [
        ("write to ann.b+c@mail.example.co.uk, please", "write to [email], please"),
        ("call +44 20 7946 0958 or (020) 7946-0958", "call [phone] or [phone]"),
        ("call 555-123-4567.", "call [phone]."),
        ("+33 6 12 34 56 78, +81 3-1234-5678, +353 1 234 5678", "[phone], [phone], [phone]"),
        ("from +12 to +34 5 C, 1 +2 3 +4 567", "from +12 to +34 5 C, 1 +2 3 +4 567"),
        ("card 4111 1111 1111 1111 exp", "card [card] exp"),
        ("card 4111111111111111", "card [card]"),
        ("order 4111111111111112", "order 4111111111111112"),
        ("is 4111 1111 1111 1111 12/27 cvv 123", "is [card] 12/27 cvv 123"),
        ("4111111111111111 123 or 12-27 4111-1111-1111-1111 123", "[card] 123 or 12-27 [card] 123"),
        ("378282246310005 1234, 5105 1051 0510 5100 4111 1111 1111 1111", "[card] 1234, [card] [card]"),
        ("in 2019-2024, 10.0.0.1, 3.14159 at 2024-12-31 10:30", "in 2019-2024, 10.0.0.1, 3.14159 at 2024-12-31 10:30"),
        ("a@b is no address", "a@b is no address"),
    ],
)
def test_redaction(text, blotted):
    assert redact(text) == blotted


def test_redacted_imports(feedback, lines):
    report = {
        "prompt": "I am ann@example.org",
        "output": "Hi ann@example.org",
        "vote": -1,
        "correction": "Hi +1 555-123-4567",
    }
    assert feedback([report, {**report, "prompt": "I am bob@example.org"}], "--redact")[0] == 0
    (case,) = lines()
    assert (case["prompt"], case["answers"][0]["text"]) == ("I am [email]", "Hi [email]")
    assert case["corrections"][0]["text"] == "Hi [phone]"
    assert len(case["answers"][0]["down"]) == 2


def test_all_texts_of_a_case_are_redacted_also_what_an_earlier_import_left(feedback, lines):
    report = {
        "id": 1,
        "prompt": "hi",
        "output": "x",
        "vote": -1,
        "model": "of ann@example.org",
        "tags": ["ann@example.org"],
    }
    turns = [{"role": "ann@example.org", "content": "hi"}, {"role": "user", "content": "hi"}]
    reports = [report, {**report, "id": 2, "prompt": turns}]
    feedback(reports)
    feedback(reports, "--redact")
    assert [(case["tags"], case["models"]) for case in lines()] == [(["[email]"], ["of [email]"])] * 2
    assert "ann" not in json.dumps(lines())


CALL = {"type": "function", "function": {"name": "mail", "arguments": '{"to": "j\\u00f6rg@example.org", "day": "Mon"}'}}
AGENT = [
    {"role": "user", "content": [{"type": "text", "text": "Mail Jörg"}, {"type": "text", "text": "at j@example.org"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", **CALL}]},
    {
        "role": "tool",
        "tool_call_id": "call_1",
        "name": "mail",
        "content": "sent to j@example.org",
        "trace": "j@example.org",
    },
    {"role": "user", "content": "Thanks!"},
]


def test_the_conversation_of_an_agent_is_a_question(feedback, lines, tmp_path):
    """As `llm.chat` takes it. Of another run's ids of calls it is the same question."""
    again = json.loads(json.dumps(AGENT).replace("call_1", "call_2"))
    reports = [{"prompt": turns, "output": "Bye.", "vote": "up"} for turns in (AGENT, again)]
    assert feedback(reports)[0] == 0
    (case,) = expected(tmp_path).values()
    assert case.votes == (2, 0)
    assert case.id.startswith("thanks-")
    kept = [{name: value for name, value in turn.items() if name != "trace"} for turn in AGENT]
    assert list(as_prompt(case.messages)) == kept
    assert feedback(reports, "--redact")[0] == 0
    (line,) = lines()
    assert "example" not in json.dumps(line)
    (call,) = line["messages"][1]["tool_calls"]
    assert call == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "mail", "arguments": '{"to": "[email]", "day": "Mon"}'},
    }
    assert [part["text"] for part in line["messages"][0]["content"]] == ["Mail Jörg", "at [email]"]
    assert feedback(reports)[0] == 2  # would write back what was blotted out


def test_what_is_said_of_a_bad_line_is_redacted(feedback):
    good = {"prompt": "Hi", "output": "Hello", "vote": "up"}
    long = "x" * 50 + " ann.lee@example.org"
    bad = [
        {**good, "vote": long},
        {**good, "output": [long]},
        {**good, "tags": {"a": long}},
        {**good, "prompt": [long]},
    ]
    code, _, err = feedback(bad, "--redact")
    assert code == 2
    assert len(err) == 5
    assert "[email]" in err[0]
    assert "ann" not in "".join(err)


def test_a_correction_that_is_the_output_it_corrects_is_named(feedback):
    report = {"prompt": "Hi", "output": "Hello ", "vote": "down", "correction": "Hello"}
    code, out, err = feedback([report, {**report, "prompt": "Bye", "output": "Hm"}])
    assert (code, out[1]) == (0, "cases     2 in tests/feedback_cases.jsonl: 2 new, 0 changed")
    assert len(err) == 1
    assert err[0].startswith("tests/feedback_cases.jsonl: hi-")
    assert err[0].endswith(": 'Hello ' was turned down, and is what people asked for: it passes")
