"""``pytest-llm review --web`` as a person starts it: what it prints, how it ends, what it leaves."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import COMMAND

from .conftest import drifted


@pytest.fixture
def suite(pytester, cache_dir):
    return drifted(pytester, "the cat", "the dog")


def _heed_ctrl_c():
    """What a shell starts in its background ignores Ctrl-C, and so does all that this starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def started(suite):
    """Start the command; give the process and the address it prints."""
    running = []

    def start(*flags, env=None):
        process = subprocess.Popen(
            [COMMAND, "review", "--web", *flags], cwd=suite.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=env, preexec_fn=_heed_ctrl_c,
        )  # fmt: skip
        running.append(process)
        found = re.fullmatch(r"review    (http://127\.0\.0\.1:\d+/[\w-]{43}/)(#\w+)?\n", process.stdout.readline())
        return process, found[1], found[2]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def act(address, path, **said):
    """Do as the page does."""
    origin = re.match(r"http://[^/]+", address)[0]
    headers = {"Content-Type": "application/json", "Origin": origin}
    request = urllib.request.Request(address + path, json.dumps(said).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_a_candidate_is_accepted_and_done_ends_it(suite, started):
    process, address, _ = started("--no-browser", "--rater=Ann Other")
    assert process.stdout.readline() == "rating as Ann Other; the page's Done button or Ctrl-C ends it\n"
    with urllib.request.urlopen(address + "list/review", timeout=20) as answer:
        (one,) = json.load(answer)
    assert one["test"] == "test_a.py::test_a"
    assert act(address, "settle", id=one["id"], action="accept")["done"] == "accept"
    assert act(address, "done") == {"left": 0}
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "\nno candidate waits\n", "")
    suite.runpytest().assert_outcomes(passed=1)


def test_ctrl_c_ends_it_without_a_traceback(started):
    process, _, mode = started("--no-browser", "--mode=compare")
    assert mode == "#compare"
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.strip(), err) == (1, "1 candidate waits", "")


def test_ctrl_c_may_come_while_the_address_is_printed(started):
    process, _, _ = started("--no-browser")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (1, "")
    assert out.endswith("\n1 candidate waits\n")


def test_a_browser_is_opened_at_the_address(suite, started, monkeypatch):
    script = suite.path / "browser.py"
    script.write_text("import pathlib, sys; pathlib.Path('opened.txt').write_text(sys.argv[1])")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {script} %s")
    process, address, _ = started()
    opened = suite.path / "opened.txt"
    for _ in range(200):
        if opened.exists() and opened.read_text():
            break
        signal.sigtimedwait([], 0.05)
    assert opened.read_text() == address
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 1


def test_the_page_is_for_ratings_too_so_it_opens_when_nothing_waits(suite, started):
    suite.run(COMMAND, "review", "reject", "--all")
    process, address, _ = started("--no-browser")
    assert act(address, "done") == {"left": 0}
    assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["accept"], "--web shows a page, and takes no action: leave 'accept' out"),
        (["--rater= "], "a rater's name is 1 to 80 visible characters, not ' '"),
        (["--port=99999"], "cannot listen on port 99999: *; leave --port out for a free one"),
    ],
)
def test_what_it_refuses(suite, flags, said):
    result = suite.run(COMMAND, "review", "--web", "--no-browser", *flags)
    assert result.ret == 2
    result.stderr.fnmatch_lines([f"pytest-llm review: {said}"])


def test_on_a_terminal_one_that_cannot_be_settled_does_not_stop_the_others(suite):
    suite.makepyfile(
        test_a="def test_a(llm_snapshot): assert 'the dog' == llm_snapshot",
        test_b="def test_b(llm_snapshot): assert 'new' == llm_snapshot",
    )
    suite.runpytest().assert_outcomes(failed=2)
    golden = next(suite.path.rglob("test_a--1.json"))
    golden.write_text("edited")
    result = suite.run(COMMAND, "review", "accept", "--all")
    assert result.ret == 2
    result.stderr.fnmatch_lines(
        ["pytest-llm review: *test_a--1.json: the golden changed since this candidate was made*"]
    )
    result.stdout.fnmatch_lines(["accepted  *test_b--1.json"])
    assert golden.read_text() == "edited"
