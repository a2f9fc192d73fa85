"""The site: it builds without a warning, leaves out nothing, and is read without a network."""

import argparse
import functools
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading

import pytest

import pytest_llm
from pytest_llm import metrics
from pytest_llm.cli import command_line
from tests.browser import ONE_WORKER, serious
from tests.docs.pages import ROOT

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="no mkdocs: the 'docs' extra brings it"),
    ONE_WORKER,
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def code(site, page):
    """What stands in ``<code>`` of a page."""
    return set(re.findall(r"<code>([^<]*)</code>", (site / page).read_text("utf-8")))


def test_every_option_is_there(site):
    done = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True)
    flags = set(re.findall(r"--llm-[\w-]+", done.stdout))
    shown = {text.partition("=")[0] for text in code(site, "options.html")}
    assert len(flags) > 25
    assert flags <= shown
    names = {flag[6:].replace("-", "_") for flag in flags}
    assert {f"PYTEST_LLM_{name.upper()}" for name in names} <= shown
    assert {f"llm_{name}" for name in names} <= shown


def test_every_argument_of_every_command_is_there(site):
    sections = (site / "commands.html").read_text("utf-8").split("<h2 ")[1:]
    by_command = {re.search(r"<code>([^<]*)</code>", one)[1]: one for one in sections}
    seen = 0

    def walk(parser):
        nonlocal seen
        groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        for group in groups:
            for child in group.choices.values():
                walk(child)
        if not groups:
            for flag in set(re.findall(r"^  (?:-\w, )?(--[a-z][\w-]*)", parser.format_help(), re.MULTILINE)) - {
                "--help"
            }:
                seen += 1
                assert f"<code>{flag}" in by_command[parser.prog], (parser.prog, flag)

    walk(command_line())
    assert seen > 30


def test_every_public_name_is_there(site):
    pages = "".join(page.read_text("utf-8") for page in site.glob("*.html"))
    missing = [name for name in pytest_llm.__all__ if not re.search(rf'id="pytest_llm\.[\w.]*\b{name}"', pages)]
    assert missing == []
    own = set(metrics.__all__) - set(pytest_llm.__all__)
    missing = [name for name in own if not re.search(rf'id="pytest_llm\.metrics\.\w+\.{name}"', pages)]
    assert missing == []
    for fixture in ("llm", "llm_loader", "llm_snapshot", "llm_baseline"):
        assert f'id="pytest_llm.fixtures.{fixture}"' in pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index.html", "tutorial.html", "options.html", "fixtures.html", "statistics.html"])
def test_a_page_is_accessible_and_asks_no_network(open_page, address, page, scheme):
    asked = []
    opened = open_page("about:blank", scheme=scheme, width=400)
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(f"{address}/{page}")
    opened.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert len(asked) > 2
    assert serious(opened) == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400


def test_search_finds_a_page(open_page, address):
    from playwright.sync_api import expect

    page = open_page(f"{address}/index.html")
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("calibrate")
    found = page.locator(".md-search-result__link", has_text="Calibration").first
    expect(found).to_be_visible()
    found.click()
    expect(page).to_have_url(re.compile("calibration.html"))
