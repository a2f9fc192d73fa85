"""The diff a reader sees."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.golden.diff import MAX_ROWS, _words, line_diff, word_diff
from pytest_llm.golden.evidence import MAX_TEXT, beside


def rows(*lines):
    return tuple(lines)


def test_one_changed_word_is_underlined():
    assert line_diff("One\nThe capital is Paris, France.\nEnd", "One\nThe capital is Lyon, France.\nEnd") == rows(
        "@@ first difference: line 2, column 16 @@",
        "  One",
        "- The capital is Paris, France.",
        "?                ^^^^^",
        "+ The capital is Lyon, France.",
        "?                ^^^^",
    )


def test_lines_that_came_and_went():
    assert line_diff("a\nb\nc", "a\nc\nd") == rows(
        "@@ first difference: line 2, column 1 @@", "  a", "- b", "  c", "+ d"
    )


def test_what_does_not_show_is_escaped_and_the_marks_still_fit():
    assert line_diff("a\x1b[31mb x", "a\x1b[31mb y") == rows(
        "@@ first difference: line 1, column 9 @@",
        "- a\\x1b[31mb x",
        "?            ^",
        "+ a\\x1b[31mb y",
        "?            ^",
    )
    assert line_diff("a\r", "a")[1:] == rows("- a\\r", "?  ^^", "+ a")
    assert line_diff("\t日本 x", "\t日本 y")[2] == "? \t     ^"


def test_one_changed_character_of_a_script_without_spaces_is_underlined():
    assert line_diff("最后我们坐地铁回家。", "最后我们坐公交回家。")[1:] == rows(
        "- 最后我们坐地铁回家。", "?           ^^^^", "+ 最后我们坐公交回家。", "?           ^^^^"
    )
    assert line_diff("ไปที่บ้าน", "ไปที่ร้าน")[2] == "?    ^"
    assert word_diff("今日はiPhoneを買う", "今日はiPadを買う") == "今日は[-iPhone-]{+iPad+}を買う"


def test_a_mark_belongs_to_its_letter():
    assert word_diff("मैं किताब लाया", "मैं कलम लाया") == "मैं [-किताब-]{+कलम+} लाया"
    assert word_diff("le cafe\u0301 noir", "le the\u0301 noir") == "le [-cafe\u0301-]{+the\u0301+} noir"


@given(st.text(max_size=30))
def test_the_words_of_a_text_are_all_of_it(text):
    assert "".join(_words(text)) == text


def test_long_lines_that_end_differently_are_cut_at_one_column():
    start = " ".join(f"w{i}" for i in range(60))
    shown = line_diff(f"{start} end", f"{start} and more")
    assert shown[1].removesuffix("end") == shown[3].removesuffix("and more").replace("+", "-")
    assert (shown[2], shown[4]) == (
        "?" + " " * (len(shown[1]) - 4) + "^^^",
        "?" + " " * (len(shown[1]) - 4) + "^^^^^^^^",
    )


def test_a_long_line_is_cut_around_its_difference():
    shown = line_diff("x" * 500 + " cat " + "y" * 500, "x" * 500 + " dog " + "y" * 500)
    assert shown[0] == "@@ first difference: line 1, column 502 @@"
    assert shown[1].startswith("- … x")
    assert " cat " in shown[1]
    assert shown[1].endswith("y…")
    assert shown[2].index("^") == shown[1].index("cat")
    assert all(len(row) < 180 for row in shown)


def test_a_runaway_answer_stays_readable():
    shown = line_diff("\n".join(f"a{i}" for i in range(5000)), "\n".join(f"b{i}" for i in range(9000)))
    assert len(shown) == MAX_ROWS + 1
    assert shown[-1].startswith("… (+")


@given(st.text(st.sampled_from("ab \n"), max_size=30), st.text(st.sampled_from("ab \n"), max_size=30))
def test_a_short_diff_holds_every_changed_line(old, new):
    shown = line_diff(old, new)
    assert bool(shown) == (old != new)
    if not any(row.startswith("…") for row in shown):
        lines_old, lines_new = Counter(old.split("\n")), Counter(new.split("\n"))
        lines_old.subtract(row[2:] for row in shown if row.startswith("- "))
        lines_new.subtract(row[2:] for row in shown if row.startswith("+ "))
        assert lines_old == lines_new
        assert min(lines_old.values()) >= 0


@pytest.mark.parametrize(("old", "new"), [("", "a"), ("a", ""), ("a\n", "a"), ("a", "a\n")])
def test_empty_sides(old, new):
    assert line_diff(old, new)[0].startswith("@@ first difference")


@pytest.mark.parametrize(("old", "new"), [("a" * 25_000, "a" * 25_000 + " and on"), ("a" * 30_000 + "b", "a" * 30_000)])
def test_long_texts_stand_side_by_side_around_where_they_part_or_one_ends(old, new):
    pair = beside("", old, new, ())
    assert pair.golden.text != pair.actual.text
    assert (pair.golden.start, pair.actual.start) == (min(len(old), len(new)) - MAX_TEXT // 4,) * 2


def test_words_that_changed_far_into_a_text_are_shown():
    start = "all the same words " * 200
    shown = word_diff(f"{start}red", f"{start}blue")
    assert shown.startswith("…")
    assert shown.endswith("the same words [-red-]{+blue+}")
