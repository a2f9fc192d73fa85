"""The page of trends in a real browser."""

import pytest

pytest.importorskip("playwright", reason="the 'test' extra brings playwright")
from playwright.sync_api import expect

from pytest_llm.history import series
from pytest_llm.history.database import History
from pytest_llm.history.trendpage import CHARTS, page
from tests.browser import ONE_WORKER, serious
from tests.history.conftest import record, verdict
from tests.history.test_trend import stepped
from tests.reports.conftest import HOSTILE

pytestmark = ONE_WORKER


def written(tmp_path, records, metric="loss"):
    history = History(tmp_path / "runs")
    history.add(records)
    path = tmp_path / "trend.html"
    path.write_text(page(metric, series.of_metric(history, metric, runs=history.runs())), "utf-8")
    return path.as_uri()


def test_a_change_is_drawn_said_and_leads_to_its_run(tmp_path, open_page):
    shown = open_page(written(tmp_path, stepped()))
    assert shown.title() == "Trend of loss"
    chart = shown.get_by_role("region", name="Chart of test_m.py::test_a")
    expect(chart.locator("circle.point")).to_have_count(12)
    expect(chart.locator("line.turn.worse")).to_have_count(1)
    expect(chart.locator("line.mean")).to_have_count(2)
    assert "12 runs from 2026-09-21 to 2026-09-22, between 2.5 and 2.9, last 2.9; 1 change of level" in (
        shown.locator("section p").first.inner_text()
    )
    links = chart.get_by_role("link")
    assert [link.get_attribute("aria-label") for link in links.all()] == [
        "a: 2.5; commit 0000002 → 0000003; torch 2.13 → 2.14",
        "b: level 2.5 → 2.9, worse (a step, without noise); commit 0000005 → 0000006; model files 0123456789ab → fedcba987654",
    ]
    # From the keyboard: the chart, its first letter, its second; it opens the table at the run.
    row = shown.locator("#run-1-6")
    expect(row).to_be_hidden()
    for _ in range(3):
        shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    expect(row).to_be_visible()
    expect(row).to_contain_text("a000b99a")
    assert row.locator("td").last.inner_text() == "commit 0000005 → 0000006; model files 0123456789ab → fedcba987654"
    assert shown.locator("tbody tr").count() == 12


def test_runs_without_a_figure_and_branches_in_one_line_are_said(tmp_path, open_page):
    broken = [record(i, outcomes={"test_m.py::test_a": "failed"}, branch="exp") for i in range(30, 60)]
    shown = open_page(written(tmp_path, [*stepped(), record(13, verdict(), branch="exp"), *broken]))
    expect(shown.locator("section > p.failed")).to_have_text("30 later runs of this test have no figure (30 failed).")
    expect(shown.locator("header > p.warned")).to_have_text(
        "2 branches are in one line here (exp, main): --branch=NAME draws one."
    )
    crosses = shown.locator("svg .gap")
    expect(crosses).to_have_count(30)
    assert "failed" in crosses.first.locator("title").text_content()
    last = shown.locator("circle.point").last.bounding_box()["x"]
    assert all(cross.bounding_box()["x"] > last for cross in crosses.all())
    expect(shown.locator("svg text.soft").last).to_have_text("2026-09-24")


def test_letters_of_neighbours_do_not_cover_one_another_and_labels_are_whole(tmp_path, open_page):
    records = [record(i, verdict(value=-1.23456e-05 if i else 0.0), torch=f"2.{max(i, 197)}") for i in range(201)]
    shown = open_page(written(tmp_path, records))
    boxes = [letter.bounding_box() for letter in shown.locator("svg .letter").all()]
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert other["y"] > one["y"] + 10 or other["x"] > one["x"] + one["width"]
    left = shown.locator("svg").bounding_box()["x"]
    assert [label.text_content() for label in shown.locator("svg > text").all()[:2]] == ["0", "-1.235e-05"]
    assert all(label.bounding_box()["x"] >= left for label in shown.locator("svg > text").all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_has_no_complaint_and_nothing_sticks_out(tmp_path, open_page, scheme, width):
    shown = open_page(written(tmp_path, stepped()), scheme=scheme, width=width, bypass_csp=True)
    shown.get_by_text("All runs of").click()
    assert serious(shown) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_narrow_window_shows_the_newest_runs_first(tmp_path, open_page):
    shown = open_page(written(tmp_path, stepped()), width=400)
    room = shown.get_by_role("region", name="Chart of test_m.py::test_a").bounding_box()
    dots = [dot.bounding_box()["x"] for dot in shown.locator("circle.point").all()]
    assert dots == sorted(dots)
    assert room["x"] < dots[-1] < room["x"] + room["width"]
    assert dots[0] < room["x"]


def test_hostile_names_stay_text(tmp_path, open_page):
    records = [
        record(i, verdict(HOSTILE, float(i), nodeid=HOSTILE), branch=HOSTILE, source=f"{HOSTILE}{i}", torch=HOSTILE * (i % 2))
        for i in range(4)
    ]  # fmt: skip
    shown = open_page(written(tmp_path, records, HOSTILE.encode("utf-8", "backslashreplace").decode()))
    assert shown.locator("script").count() == shown.locator("img").count() == 0
    assert "<script>document.title='owned'" in shown.locator("h2").inner_text()
    assert not set("\u202e\u200b\x1b\0") & set(shown.content())


def test_many_tests(tmp_path, open_page):
    records = [
        record(i, *(verdict(value=float(i), nodeid=f"t.py::test_{j:03}") for j in range(CHARTS + 5))) for i in range(3)
    ]
    shown = open_page(written(tmp_path, records))
    expect(shown.locator("svg")).to_have_count(CHARTS)
    expect(shown.locator("main > p")).to_have_text("5 more tests are not drawn: --test narrows them.")


def test_many_runs(tmp_path, open_page, monkeypatch):
    monkeypatch.setattr("pytest_llm.history.trendpage.ROWS", 50)
    monkeypatch.setattr("pytest_llm.history.trendpage.MARKS", 20)
    records = [record(i, verdict(value=float(i % 5)), torch=f"2.{max(i, 150)}") for i in range(220)]
    shown = open_page(written(tmp_path, records))
    expect(shown.locator("circle.point")).to_have_count(0)  # the line says enough
    expect(shown.locator("circle.mark")).to_have_count(20)
    expect(shown.locator("tbody tr")).to_have_count(50)
    for link in shown.locator("svg a").all():
        expect(shown.locator(link.get_attribute("href"))).to_have_count(1)
    expect(shown.locator("details p")).to_have_text("50 of 220: the newest, and those with a letter.")


def test_one_run(tmp_path, open_page):
    shown = open_page(written(tmp_path, [record(0, verdict())]))
    expect(shown.locator("circle.point")).to_have_count(1)
    expect(shown.locator("section > p")).to_have_text("one run, 2026-09-21: 2.5 (lower is better).")
