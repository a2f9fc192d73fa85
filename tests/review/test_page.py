"""The review page in a real browser: walked with keys, rated blind, hostile text stays text, axe-core is content."""

import re
import socket

import pytest

pytest.importorskip("playwright", reason="the 'test' extra brings playwright")
from playwright.sync_api import expect

from pytest_llm.golden.file import read
from pytest_llm.human.outputs import of_answer
from tests.browser import ONE_WORKER, injected, serious
from tests.reports.conftest import HOSTILE

from .conftest import NEW_STORY, STORY

pytestmark = ONE_WORKER


@pytest.fixture
def visit(serve, open_page):
    """Open the page of a session and note all that comes over the network."""

    def opened(project, mode="review", *, rater="ann", secret=b"1", **options):
        page = open_page("about:blank", **options)
        page.came = []
        page.on("response", lambda response: page.came.append((response.url, response.body())))
        page.server = serve(project.session(rater, secret))
        page.goto(f"{page.server.address}#{mode}")
        return page

    return opened


def place(page):
    return page.locator("#place")


def test_candidates_are_walked_accepted_and_rejected_by_keys(several, visit):
    page = visit(several)
    expect(place(page)).to_have_text("1 of 3: tests/test_x.py::test_hostile (1)")
    page.keyboard.press("j")
    expect(place(page)).to_have_text("2 of 3: tests/test_x.py::test_many (1)")
    page.keyboard.press("ArrowRight")
    expect(place(page)).to_have_text("3 of 3: tests/test_x.py::test_story (1)")

    golden, now = page.locator(".sides .text").all()
    assert (golden.inner_text(), now.inner_text()) == (STORY, NEW_STORY)
    assert page.locator(".sides del").all_inner_texts() == ["mat", "rain"]
    assert page.locator(".sides ins").all_inner_texts() == ["roof", "stars"]
    page.get_by_role("button", name="Colour tokens by margin").click()
    assert page.locator(".token.differs").all_inner_texts() == [" mat", " rain.", " roof", " stars."]

    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_have_text("accepted tests/__llm_snapshots__/test_x/test_story--1.json")
    expect(place(page)).to_have_text("2 of 2: tests/test_x.py::test_many (1)")
    page.keyboard.press("k")
    expect(place(page)).to_have_text("1 of 2: tests/test_x.py::test_hostile (1)")
    page.keyboard.press("s")
    expect(place(page)).to_have_text("2 of 2: tests/test_x.py::test_many (1)")
    page.keyboard.press("r")
    expect(page.get_by_role("alert")).to_contain_text("rejected: ")
    expect(place(page)).to_have_text("1 of 1: tests/test_x.py::test_hostile (1)")

    assert read(several.golden_of("test_story")).value == NEW_STORY
    assert [str(one) for one in read(several.golden_of("test_many")).value] == ["red 0", "red 1", "red 2"]
    assert [one.nodeid for one in several.pending()] == ["tests/test_x.py::test_hostile"]


def test_two_reviewers_and_a_golden_that_changed(several, visit):
    page, other = visit(several, quiet=False), several.session("bob")  # a browser logs a refusal
    expect(place(page)).to_contain_text("1 of 3")
    for one in other.items("review"):
        if one["test"].endswith("test_hostile"):
            other.settle(one["id"], "reject")
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("this candidate is gone: it was accepted or rejected meanwhile")
    page.keyboard.press("j")
    expect(place(page)).to_contain_text("test_many")
    several.golden_of("test_many").write_text("edited")
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("the golden changed since this candidate was made; run its test")
    assert several.golden_of("test_many").read_text() == "edited"
    assert len(several.pending()) == 2


def test_nothing_waits(project, visit):
    page = visit(project)
    expect(page.locator("#item")).to_have_text(re.compile(r"No candidate waits\..*run pytest, then come back"))
    expect(page.locator("#actions")).to_be_hidden()
    page.get_by_role("button", name="Rate").click()
    expect(page.locator("#item")).to_contain_text("There is no output to rate.")
    page.keyboard.press("5")
    assert serious(page) == []


def tossed(project, wanted):
    """A secret under which the first comparison has its golden on the ``wanted`` side."""
    for secret in (bytes([i]) for i in range(1, 50)):
        session = project.session(secret=secret)
        id = session.items("compare")[0]["id"]
        if session.item("compare", id)[wanted]["text"] == STORY:
            return secret
    raise AssertionError("no coin falls on that side")


@pytest.mark.parametrize("golden", ["a", "b"])
@pytest.mark.parametrize("key", ["1", "2"])
def test_a_blind_comparison_does_not_give_the_sides_away_before_the_choice(story, visit, key, golden):
    page = visit(story, "compare", secret=tossed(story, golden))
    boxes = page.locator(".sides .text")
    expect(boxes).to_have_count(2)
    sides = boxes.all_inner_texts()
    assert sides == ([STORY, NEW_STORY] if golden == "a" else [NEW_STORY, STORY])
    item = page.locator("main").inner_html().lower()
    assert [
        word for word in ("golden", "candidate", "new output", "actual", "<del", "<ins", "drift") if word in item
    ] == []
    sent = [(url, body) for url, body in page.came if "/list/" in url or "/item/" in url]
    assert [url.rpartition("/")[0].partition("/T/")[0].rsplit("/", 2)[-1] for url, _ in sent] == [
        "list", "compare"
    ]  # fmt: skip
    for _, body in sent:
        assert not re.search(rb"golden|candidate|actual|against|drift|sha256|revision", body)
        assert story.pending()[0].base.encode() not in body

    page.locator("body").press("c")
    page.get_by_role("textbox").fill("more of a night")
    page.keyboard.press("Escape")
    page.keyboard.press(key)
    expect(page.locator("#told")).to_contain_text(f"You chose {'AB'[int(key) - 1]}.")
    (kept,) = story.ratings()
    chosen = sides[int(key) - 1]
    assert kept.preference == ("output" if chosen == NEW_STORY else "against")
    assert (kept.output, kept.against) == (of_answer(NEW_STORY).digest, of_answer(STORY).digest)
    assert (kept.blind, kept.comment, kept.rater) == (True, "more of a night", "ann")
    told = page.locator(".sides h4").all_inner_texts()
    assert told[sides.index(STORY)].endswith(": the golden")
    assert told[sides.index(NEW_STORY)].endswith(": the new output")


def test_outputs_are_rated_by_keys(story, visit):
    page = visit(story, "rate", rater="bob")
    expect(place(page)).to_contain_text("1 of 2, 2 to do")
    first = page.locator("#item .text").last.inner_text()
    page.keyboard.press("c")
    page.keyboard.type("1 good line")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    expect(page.get_by_role("alert")).to_have_text("rated 4")
    expect(place(page)).to_contain_text("2 of 2, 1 to do")
    second = page.locator("#item .text").last.inner_text()
    page.keyboard.press("2")
    expect(page.get_by_role("alert")).to_have_text("rated 2: all outputs are rated")
    kept = {one.output: (one.rating, one.comment, one.rater) for one in story.ratings()}
    assert kept == {
        of_answer(first).digest: (4, "1 good line", "bob"), of_answer(second).digest: (2, "", "bob")
    }  # fmt: skip
    assert {first, second} == {STORY, NEW_STORY}
    page.keyboard.press("k")
    expect(page.get_by_role("button", name="4 of 5")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("textbox")).to_have_value("1 good line")


def test_hostile_output_stays_text_and_the_page_usable(several, visit):
    page = visit(several)
    now = page.locator(".sides .text").nth(1)
    text = now.evaluate("node => node.textContent")
    assert "<script>document.title='owned'</script></script><img src=x onerror=alert(1)>" in text
    escaped = ("\\u001b[31mred", "\\u202egnitset\\u202c", "\\u0000", "\\ud800", "\\u2028", "zero\\u200bwidth", "\\r")
    assert [one for one in escaped if one not in text] == []
    assert not set(text) & set("\x1b\x00\u202e\u202c\u2028\u200b\r")
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Review: pytest-llm"
    for mode, ready in (("Compare blind", "1 of 5, 5 to do: {} (1)"), ("Rate", "1 of 10, 10 to do: {}")):
        page.get_by_role("button", name=mode, exact=True).click()
        expect(place(page)).to_have_text(ready.format("tests/test_x.py::test_hostile"))
        assert page.locator("main img, main script").count() == 0
    page.keyboard.press("3")
    expect(page.get_by_role("alert")).to_have_text("rated 3")
    assert len(several.ratings()) == 1
    assert several.ratings()[0].output in {of_answer("calm").digest, of_answer(HOSTILE + "x" * 1_000_000).digest}
    assert max(len(body) for url, body in page.came if re.search("/item/(compare|rate)/", url)) < 50_000


def test_a_key_that_is_held_down_decides_once(several, visit):
    page = visit(several)
    expect(place(page)).to_contain_text("1 of 3")
    page.keyboard.down("r")
    for _ in range(5):
        page.keyboard.down("r")
    page.keyboard.up("r")
    expect(place(page)).to_contain_text("1 of 2")
    assert len(several.pending()) == 2


def test_keys_are_told_and_rest_while_the_dialog_is_open(story, visit):
    page = visit(story)
    expect(place(page)).to_contain_text("1 of 1")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("accept: the new output becomes the golden")
    page.keyboard.press("a")
    assert serious(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert len(story.pending()) == 1


def test_done_ends_the_server(several, visit):
    page = visit(several)
    expect(place(page)).to_contain_text("1 of 3")
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#item")).to_contain_text("Done.3 candidates wait for another time.")
    page.server.thread.join(20)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", page.server.server_port))


def test_nothing_but_the_pages_own_script_can_run(story, serve, open_page):
    page = open_page(serve(story.session()).address, quiet=False)
    assert injected(page).startswith("script-src")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_in_both_themes_and_widths_and_axe_finds_nothing_serious(several, visit, scheme):
    page = visit(several, scheme=scheme)
    for mode, ready in (("Accept or reject", "1 of 3: "), ("Compare blind", "1 of 5, "), ("Rate", "1 of 10, ")):
        page.get_by_role("button", name=mode, exact=True).click()
        expect(place(page)).to_contain_text(ready)
        if mode != "Accept or reject":
            page.keyboard.press("1")
            expect(page.locator("#told" if mode == "Compare blind" else "#said")).to_be_visible()
        assert serious(page) == []
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            expect(page.locator("#actions button").first).to_be_in_viewport()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == (scheme == "dark")


def test_without_javascript_it_says_so(story, visit):
    page = visit(story, java_script_enabled=False)
    assert page.get_by_text("This page needs JavaScript").is_visible()


def test_a_name_is_text(story, visit):
    page = visit(story, rater="<b>ann</b>")
    assert "rating as <b>ann</b>" in page.locator("header").inner_text()
