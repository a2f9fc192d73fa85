"""What the page does, without a page: the code of the terminal, blind comparisons, ratings attached to what was seen."""

import json

import pytest

from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.golden.file import read
from pytest_llm.human import file
from pytest_llm.human.outputs import of_answer
from pytest_llm.review.session import GoneError

from .conftest import NEW_STORY, STORY, answer


def only(session, mode):
    (one,) = session.items(mode)
    return one["id"]


def test_a_candidate_is_accepted_as_on_the_terminal(story):
    session = story.session()
    id = only(session, "review")
    assert session.item("review", id)["verdict"]["status"] == "drifted"
    assert session.settle(id, "accept")["path"] == "tests/__llm_snapshots__/test_x/test_story--1.json"
    assert read(story.golden_of("test_story")).value == NEW_STORY
    assert session.items("review") == []
    with pytest.raises(GoneError, match="somebody was faster"):
        session.settle(id, "accept")


def test_of_two_reviewers_the_second_is_told_and_nothing_is_lost(story):
    ann, bob = story.session("ann"), story.session("bob")
    for_ann, for_bob = only(ann, "review"), only(bob, "review")
    ann.settle(for_ann, "reject")
    with pytest.raises(GoldenError, match="this candidate is gone: it was accepted or rejected meanwhile"):
        bob.settle(for_bob, "accept")
    assert read(story.golden_of("test_story")).value == STORY


def test_a_golden_that_changed_meanwhile_is_kept(story):
    session = story.session()
    id = only(session, "review")
    path = story.golden_of("test_story")
    path.write_text("{}")
    with pytest.raises(GoldenError, match="the golden changed since this candidate was made; run its test again"):
        session.settle(id, "accept")
    assert path.read_text() == "{}"
    assert len(story.pending()) == 1


@pytest.mark.parametrize("choice", ["a", "b", "tie"])
def test_a_preference_is_of_the_output_that_stood_on_the_side(project, choice):
    for i in range(6):
        project.differ(f"test_{i}", answer(f"old {i}"), answer(f"new {i}"))
    session = project.session()
    golden_sides = set()
    for one in session.items("compare"):
        shown = session.item("compare", one["id"])
        texts = {side: shown[side]["text"] for side in ("a", "b")}
        told = session.prefer(one["id"], choice, "")
        assert texts[told["golden"]].startswith("old")
        golden_sides.add(told["golden"])
        kept = project.ratings()[-1]
        new, old = sorted(texts.values())
        assert (kept.output, kept.against) == (of_answer(new).digest, of_answer(old).digest)
        chosen = {"tie": "tie"}.get(choice) or ("output" if texts[choice] == new else "against")
        assert (kept.preference, kept.blind, kept.rater, kept.rating) == (chosen, True, "ann", None)
    assert golden_sides == {"a", "b"}  # with this secret both shuffles came up


def test_nothing_that_is_sent_before_a_choice_depends_on_the_side(project):
    """The same project with the two outputs exchanged: what the page gets, but for the coin, is the same."""
    sent = []
    for name, (first, second) in {"x": ("left", "right"), "y": ("right", "left")}.items():
        project.differ(f"test_{name}", answer(first), answer(second))
    session = project.session()
    for one in session.items("compare"):
        shown = session.item("compare", one["id"])
        assert set(one) == {"id", "test", "name", "where", "done"}
        assert set(shown) == {"prompt", "a", "b", "blind", "mine"}
        sides = sorted((shown.pop("a"), shown.pop("b")), key=lambda side: side["text"])
        assert all(not side["tokens"] and not side["margins"] for side in sides)
        sent.append(json.dumps([shown, sides], sort_keys=True))
    assert sent[0] == sent[1]


def test_the_coin_is_fair_and_stays_while_the_session_lasts(project):
    for i in range(64):
        project.differ(f"test_{i}", answer(f"old {i}"), answer(f"new {i}"))
    session = project.session(secret=b"coin")

    def sides():
        return [session.item("compare", one["id"])["a"]["text"][:3] for one in session.items("compare")]

    first = sides()
    assert sides() == first
    assert 20 <= first.count("old") <= 44
    other = project.session(secret=b"another")
    assert [other.item("compare", one["id"])["a"]["text"][:3] for one in other.items("compare")] != first


def test_who_saw_the_sides_does_not_compare_blind(story):
    session = story.session()
    session.item("review", only(session, "review"))
    id = only(session, "compare")
    assert session.item("compare", id)["blind"] is False
    session.prefer(id, "a", "")
    assert story.ratings()[-1].blind is False


def test_who_saw_the_sides_is_known_when_the_page_is_opened_again(story):
    def blind(rater):
        session = story.session(rater, secret=b"2")
        return session.item("compare", only(session, "compare"))["blind"]

    session = story.session("ann")
    session.item("review", only(session, "review"))
    assert (blind("Ann "), blind("bob")) == (False, True)
    session.settle(only(session, "review"), "reject")
    story.differ("test_story", answer(STORY, prompt="Tell a story."), answer(NEW_STORY, prompt="Tell a story."))
    assert (blind("ann"), blind("bob")) == (False, True)
    for rater in ("ann", "bob"):
        session = story.session(rater)
        session.prefer(only(session, "compare"), "a", "")
    assert [one.blind for one in story.ratings()] == [False, True]


def test_another_answer_is_compared_blind(story):
    session = story.session()
    session.item("review", only(session, "review"))
    story.differ("test_story", answer(STORY, prompt="Tell a story."), answer("A dog barked.", prompt="Tell a story."))
    session = story.session()
    assert session.item("compare", only(session, "compare"))["blind"] is True


def test_a_damaged_note_of_who_saw_is_named(story):
    session = story.session()
    session.item("review", only(session, "review"))
    (kept,) = story.cache.rglob("*.seen")
    kept.write_text("[]")
    session = story.session()
    with pytest.raises(GoldenError, match=r"\.seen: who saw this candidate cannot be read .*; delete the file"):
        session.item("compare", only(session, "compare"))


def test_a_change_after_the_sides_were_told_is_not_blind_but_a_comment_is_no_change(story):
    session = story.session()
    id = only(session, "compare")
    session.prefer(id, "a", "")
    session.prefer(id, "a", "it rhymes")
    assert (story.ratings()[-1].blind, story.ratings()[-1].comment) == (True, "it rhymes")
    session.prefer(id, "b", "")
    assert story.ratings()[-1].blind is False
    assert len(file.current(story.ratings())) == 1


def test_outputs_of_goldens_candidates_and_tests_are_rated_once_each(story):
    story.asks("test_asked", "an answer nobody stored")
    story.asks("test_story", NEW_STORY)  # plain text: another prompt than the candidate's, as far as anybody knows
    session = story.session()
    shown = {one["id"]: session.item("rate", one["id"])["text"]["text"] for one in session.items("rate")}
    assert sorted(shown.values()) == sorted(["an answer nobody stored", STORY, NEW_STORY, NEW_STORY])
    # Nothing says which text is the golden's.
    assert {(one["test"].rpartition("_")[2], one["name"], one["where"]) for one in session.items("rate")} == {
        ("asked", "", ""), ("story", "", "")
    }  # fmt: skip
    for id, text in shown.items():
        session.rate(id, 4, text[:5])
    kept = {(one.output, one.prompt): one for one in story.ratings()}
    golden = of_answer(answer(STORY, prompt="Tell a story."))
    mine = kept[golden.digest, golden.question]
    assert (mine.rating, mine.test, mine.golden, mine.model) == (4, "tests/test_x.py::test_story", "1", "a" * 64)
    assert mine.revision == story.pending()[0].base
    assert all(one["done"] for one in session.items("rate"))
    assert [one["done"] for one in story.session("bob").items("rate")] == [False] * 4


def test_a_rating_is_changed_by_rating_again(story):
    session = story.session()
    id = session.items("rate")[0]["id"]
    session.rate(id, 2, "dull")
    session.rate(id, 5, "it grows on me")
    assert session.item("rate", id)["mine"] == {"rating": 5, "comment": "it grows on me"}
    assert [one.rating for one in file.current(story.ratings())] == [5]


def test_a_question_that_changed_is_not_compared(project):
    project.differ("test_a", answer("old", prompt="What?"), answer("new", prompt="Why?"))
    assert project.session().items("compare") == []
    assert len(project.session().items("rate")) == 2


@pytest.mark.parametrize("rater", ["", " ", "a\nb", "x" * 81])
def test_a_rater_has_a_name(story, rater):
    with pytest.raises(InvalidInputError, match="a rater's name is 1 to 80 visible characters"):
        story.session(rater)


def test_a_record_of_another_project_leads_no_rating_there(story, tmp_path):
    story.asks("test_asked", "text")
    (asked,) = (story.cache / "unrated").rglob("*.json")
    asked.write_text(asked.read_text().replace(str(story.root), str(tmp_path / "elsewhere")))
    with pytest.raises(GoldenError, match="is no folder of goldens in .*delete the file"):
        story.session().items("rate")
