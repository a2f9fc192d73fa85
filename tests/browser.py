"""Headless Chromium for tests of pages, with axe-core. Tests that use it carry ``pytestmark = browser.ONE_WORKER``."""

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: One browser for all of them, on one pytest-xdist worker.
ONE_WORKER = pytest.mark.xdist_group("browser")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """A running browser; skipped where there is none, but CI must have one."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a browser: .ci/run installs Debian's package 'chromium'")
        pytest.skip("no chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="the 'test' extra brings playwright")
    root = os.name == "posix" and os.geteuid() == 0  # Chromium's sandbox refuses root
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *(["--no-sandbox"] if root else [])]
        )
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """Open an address in a page of its own, which must say nothing in its console and ask nothing of a network."""
    contexts, said = [], []

    def opened(address, *, scheme="light", width=1280, quiet=True, **options):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def serious(page):
    """Return what axe-core finds that is serious or critical: rule, and the elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def injected(page):
    """Put a script into the page, and return which directive of its policy stopped it (``owned`` when none did)."""
    return page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            setTimeout(() => done(document.title), 1000);
        })"""
    )
