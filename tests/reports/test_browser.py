"""The HTML report in a real browser: found, opened, read; hostile text stays text; axe-core has no complaint."""

import re

import pytest

pytest.importorskip("playwright", reason="the 'test' extra brings playwright")
from playwright.sync_api import expect

from pytest_llm.reports.html import html
from tests.browser import ONE_WORKER, injected, serious
from tests.reports.conftest import HOSTILE
from tests.reports.test_html import many

pytestmark = ONE_WORKER


@pytest.fixture
def report(run_record, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html(run_record), "utf-8")
    return path.as_uri()


def shown(page):
    return [row.inner_text() for row in page.locator("#tests > li:visible .id").all()]


def opened(page, name):
    row = page.locator("#tests > li", has=page.locator(".id", has_text=name))
    row.locator("summary").first.click()
    return row


def test_filter_and_search_and_what_they_announce(report, open_page):
    page = open_page(report)
    assert page.title() == (
        "Model regression: 4 failed, 1 could not be measured, 1 passed with a warning, 2 passed, 1 skipped"
    )
    status = page.get_by_role("status")
    assert status.inner_text() == "9 tests"
    assert [name.partition("::")[2] for name in shown(page)][-3:] == ["test_same", "test_threshold", "test_known"]
    for label in ("failed", "passed with a warning", "skipped"):
        page.get_by_role("checkbox", name=re.compile(f"^\\d+ {label}$")).uncheck()
    expect(status).to_have_text("3 of 9 tests")
    assert [name.partition("::")[2] for name in shown(page)] == ["test_unmeasured", "test_same", "test_threshold"]
    page.get_by_role("searchbox").fill("ROME it")
    expect(status).to_have_text("1 of 9 tests")
    assert shown(page) == ["test_report.py::test_same"]


def test_a_test_opens_with_the_keyboard_and_shows_both_sides(report, open_page):
    page = open_page(report)
    page.get_by_role("searchbox").fill("test_drifted")
    expect(page.get_by_role("status")).to_have_text("1 of 9 tests")
    page.get_by_role("searchbox").press("Tab")
    page.keyboard.press("Enter")
    row = page.locator("#tests > li:visible")
    assert row.get_by_role("heading", level=3).inner_text().endswith("drifted at token 3: ' Paris' → ' Lyon'")
    assert row.locator(".prompt").inner_text() == "Prompt\nuser: What is the capital of France?"
    golden, now = row.locator(".sides .text").all()
    assert (golden.inner_text(), now.inner_text()) == ("The capital is Paris.", "The capital is Lyon.")
    assert (row.locator("del").all_inner_texts(), row.locator("ins").all_inner_texts()) == (["Paris"], ["Lyon"])

    row.get_by_role("button", name="Colour tokens by margin").click()
    tokens = row.locator(".sides .text").nth(1).locator(".token")
    assert tokens.all_inner_texts() == ["The", " capital", " is", " Lyon", "."]
    classes = [node.get_attribute("class") for node in tokens.all()]
    assert classes == ["token", "token u0", "token u1", "token u3 differs", "token u2"]
    row.get_by_text("Tokens as a table").click()
    assert row.locator("tbody tr").nth(3).inner_text().split() == [
        "3",
        '"',
        'Paris"',
        "-0.500",
        "2.000",
        '"',
        'Lyon"',
        "-0.500",
        "2.000",
    ]

    again = open_page(page.url)  # the address leads back to the test
    assert again.locator("#tests details[open] .id").inner_text() == "test_report.py::test_drifted"


def test_what_a_test_raised_is_shown_where_no_verdict_says_it(report, open_page):
    page = open_page(report)
    said = opened(page, "test_unmeasured").get_by_role("region").inner_text()
    assert said == "pytest_llm.errors.InvalidInputError: nothing to measure\\x00 <b>here</b>"


def test_gates_are_drawn_and_described(report, open_page):
    page = open_page(report)
    drawing = opened(page, "test_gate").get_by_role("img")
    described = drawing.get_attribute("aria-label")
    assert re.fullmatch(r"change -0\.6667, 90 % interval -0\.\d+ to -0\.\d+; the margin ends at -0\.05", described)
    at = {name: float(drawing.locator(f".{name}").first.get_attribute(key))
          for name, key in (("point", "cx"), ("bound", "x1"), ("zero", "x1"), ("interval", "x1"))}  # fmt: skip
    assert at["interval"] < at["point"] < at["bound"] < at["zero"]
    assert drawing.locator(".zone").get_attribute("x") == "0"  # a smaller accuracy fails

    loss = opened(page, "test_loss").get_by_role("img")
    assert loss.get_attribute("aria-label").endswith("; the margin ends at 0.1")
    assert float(loss.locator(".zone").get_attribute("x")) == float(loss.locator(".bound").get_attribute("x1"))
    bound = opened(page, "test_threshold").get_by_role("img")
    assert bound.get_attribute("aria-label") == "value 1; at least 0.5 is asked"


@pytest.mark.parametrize(
    ("value", "bound", "shown"),
    [
        (0.8999996, 0.9, ["0.8999996", "0.9"]),
        (0.9 - 1e-12, 0.9, ["0.9", "0.9"]),
        (0.123456789, 0.9, ["0.123457", "0.9"]),
    ],
)
def test_a_figure_that_fails_is_told_from_its_bound(run_record, tmp_path, open_page, value, bound, shown):
    verdict = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_threshold"))
    verdict["figures"] = {"value": value, "at_least": bound}
    (tmp_path / "r.html").write_text(html(run_record), "utf-8")
    row = opened(open_page((tmp_path / "r.html").as_uri()), "test_threshold")
    assert row.locator(".facts dd").all_inner_texts() == shown
    assert row.get_by_role("img").get_attribute("aria-label") == f"value {shown[0]}; at least {shown[1]} is asked"


@pytest.mark.parametrize(
    ("expected", "before", "titles"),
    [
        ("Paris", "It is Paris.", ["Expected", "Now", "Before", "Now"]),
        ("", "It is Paris.", ["Before", "Now"]),
        ("Paris", "It is Lyon.", ["Expected", "Now"]),
        ("", "", ["Now"]),
    ],
)
def test_an_example_of_a_gate_shows_what_was_expected_and_what_was_before(
    run_record, tmp_path, open_page, expected, before, titles
):
    verdict = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_gate"))
    verdict["examples"] = [{"id": "0", "expected": expected, "actual": "It is Lyon.", "before": before, "value": 0.0}]
    (tmp_path / "r.html").write_text(html(run_record), "utf-8")
    row = opened(open_page((tmp_path / "r.html").as_uri()), "test_gate")
    assert row.locator(".pair h4").all_inner_texts() == titles
    assert row.locator("del").all_inner_texts().count("Paris") == (before == "It is Paris.") + (expected == "Paris")


def test_curves_are_drawn(run_record, tmp_path, open_page):
    verdict = next(v for v in run_record["verdicts"] if v["nodeid"].endswith("test_drifted"))
    verdict["evidence"]["series"] = [
        {"title": "error by layer", "x": "layer", "y": "relative", "values": [0.0, 0.01, None, 0.5], "limit": 0.05}
    ]
    (tmp_path / "r.html").write_text(html(run_record), "utf-8")
    page = open_page((tmp_path / "r.html").as_uri())
    drawing = opened(page, "test_drifted").get_by_role("img")
    assert drawing.get_attribute("aria-label") == "error by layer: relative by layer, largest 0.5 at 3"
    assert drawing.locator("path").get_attribute("d").count("M") == 2


def test_hostile_output_stays_text(report, open_page):
    page = open_page(report)
    row = opened(page, "test_hostile")
    now = row.locator(".sides .text").nth(1)
    text = now.evaluate("node => node.textContent")
    assert "<script>document.title='owned'</script></script><img src=x onerror=alert(1)>" in text
    escaped = ("\\u001b[31mred", "\\u202egnitset\\u202c", "\\u0000", "\\ud800", "\\u2028", "zero\\u200bwidth", "\\r")
    assert [one for one in escaped if one not in text] == []
    assert not set(text) & set("\x1b\x00\u202e\u202c\u2028\u200b\r")
    assert page.locator("#tests img, #tests script").count() == 0
    assert page.title().startswith("Model regression")
    row.get_by_role("button", name="Colour tokens by margin").click()
    assert HOSTILE.split("\n")[0] in row.locator(".sides .text").nth(1).evaluate("node => node.textContent")


def test_nothing_but_the_pages_own_script_can_run(report, open_page):
    page = open_page(report, quiet=False)  # the browser says in its console what it blocked
    assert injected(page).startswith("script-src")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_in_both_themes_and_widths_and_axe_finds_nothing_serious(report, open_page, scheme, width):
    page = open_page(report, scheme=scheme, width=width)
    for name in ("test_drifted", "test_gate", "test_hostile", "test_same", "test_format"):
        opened(page, name)
    for button in page.get_by_role("button", name="Colour tokens by margin").all()[:1]:
        button.click()
    page.get_by_text("Tokens as a table").first.click()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == (scheme == "dark")


def test_two_thousand_tests_are_listed_and_searched(run_record, tmp_path, open_page):
    (tmp_path / "r.html").write_text(html(many(run_record, 2000)), "utf-8")
    page = open_page((tmp_path / "r.html").as_uri())
    assert page.get_by_role("status").inner_text() == "2000 tests"
    page.get_by_role("searchbox").fill("word199939")
    expect(page.get_by_role("status")).to_have_text("1 of 2000 tests")
    assert shown(page) == ["tests/test_many.py::test_1999"]


def test_without_javascript_the_overview_stands(report, open_page):
    page = open_page(report, java_script_enabled=False)
    assert "4 failed" in page.locator(".lead").inner_text()
    assert page.get_by_text("needs JavaScript").is_visible()
