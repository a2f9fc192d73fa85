"""The page in a real browser: readable in both themes and widths, hostile text stays text, axe-core has no complaint."""

import pytest

pytest.importorskip("playwright", reason="the 'test' extra brings playwright")
from playwright.sync_api import expect

from pytest_llm.monitoring.page import html
from pytest_llm.monitoring.panel import compare
from pytest_llm.monitoring.window import Window
from tests.browser import ONE_WORKER, serious
from tests.monitoring.conftest import Writer
from tests.reports.conftest import HOSTILE

pytestmark = ONE_WORKER


class Length:
    def embed(self, texts):
        return [[len(text) / 100, text.count(" ") / 20] for text in texts]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    writer = Writer(1)
    then = [writer.good() for _ in range(200)]
    now = [writer.bad() for _ in range(200)] + [HOSTILE.replace("\ud800", "\ufffd") + str(i) for i in range(40)]
    windows = [
        Window(f"{name}<i>.jsonl", tuple(texts), segments=tuple(("uk", "<b>us")[i % 2] for i in range(len(texts))))
        for name, texts in (("then", then), ("now", now))
    ]
    path = tmp_path_factory.mktemp("page") / "out.html"
    path.write_text(html(compare(*windows, by="market", encoder=Length())), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page(page_file, open_page, scheme, width):
    page = open_page(page_file, scheme=scheme, width=width)
    assert page.title().startswith("Output monitoring: drift in ")
    expect(page.get_by_role("row", name="refusals drift all")).to_be_visible()
    expect(page.get_by_role("row", name="refusals drift <b>us")).to_be_visible()
    expect(page.get_by_role("heading", name="embeddings")).to_be_visible()
    assert "<script>document.title='owned'</script>" in page.locator("pre").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    bars = page.locator("section.check", has_text="characters").first.locator("rect.is")
    assert max(bar.bounding_box()["width"] for bar in bars.all()) > 50
    rates = {
        (row := section.locator("tbody tr").first).locator("td").nth(1).inner_text(): row.locator("rect.is")
        for section in page.locator("section.check").all()
        if section.locator("svg.rate").count()
    }
    lengths = {float(text.rstrip("%")): bar.bounding_box()["width"] for text, bar in rates.items()}
    assert len(lengths) >= 3
    scales = [width / rate for rate, width in lengths.items()]
    assert max(scales) == pytest.approx(min(scales), rel=0.02), lengths  # one scale; rates as shown are rounded
    ends = {one.inner_text() for one in page.locator("section.check:has(svg.rate) .ends").all()}
    assert len(ends) == 1
    assert ends.pop().split() in (["0%", "20%"], ["0%", "50%"])
    folded = page.locator("details").first
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(folded.locator("p").first).to_be_visible()
    assert serious(page) == []
