"""What a command does when nobody reads on, when the disk is full, and when the encoding lacks a character."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import COMMAND

from .conftest import drifted


def run(folder, *arguments, stdout, **env):
    return subprocess.run(
        [COMMAND, *arguments], cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
    )


@pytest.fixture
def gone():
    """The writing end of a pipe whose reader has left."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.fixture
def candidate(pytester, cache_dir):
    return drifted(pytester, "the cat \u2192", "the dog \u2192").path


def test_the_exit_code_does_not_depend_on_who_reads(candidate, gone):
    assert run(candidate, "review", "list", stdout=gone).returncode == 1
    (candidate / "bad.jsonl").write_text("no report\n")
    assert run(candidate, "feedback", "import", "bad.jsonl", stdout=gone).returncode == 2
    listed = run(candidate, "history", stdout=gone)  # by way of rich
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_full_disk_is_said(candidate):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        listed = run(candidate, "review", "list", stdout=full)
    assert listed.returncode == 2
    assert listed.stderr.splitlines() == [
        "pytest-llm review: the output cannot be written: [Errno 28] No space left on device"
    ]


def test_a_narrow_encoding_shows_escapes(candidate):
    shown = run(candidate, "review", "show", "1", stdout=subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "the dog \\u2192" in shown.stdout


@pytest.mark.parametrize("module", ["pytest_llm", "pytest_llm.cli"])
def test_the_command_is_that_of_an_interpreter_too(candidate, module):
    listed = subprocess.run([sys.executable, "-m", module, "review", "list"], cwd=candidate, capture_output=True)
    assert (listed.returncode, listed.stderr) == (1, b"")
    assert b"test_a.py::test_a" in listed.stdout
