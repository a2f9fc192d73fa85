"""What a command does when nobody reads on, when the disk is full, when the encoding lacks a character, on GitHub."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llm.cli.streams import _Unheard
from tests.conftest import COMMAND
from tests.history.conftest import record, verdict
from tests.reports.test_github import heard

from .conftest import drifted

#: What GitHub's runner takes for a command: where a line begins, where rich begins one, and anywhere.
FORGED = ("::error file=README.md::forged", f"{'a' * 70} ::error::forged", "\n  ::warning::forged", "a ##[error]forged")


def run(folder, *arguments, stdout, command=COMMAND, **env):
    return subprocess.run(
        [command, *arguments], cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
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


def test_a_closed_output_is_no_error(candidate):
    for streams in (">&-", ">&- 2>&-"):
        found = run(candidate, "-c", f"'{COMMAND}' review list {streams}", stdout=subprocess.PIPE, command="sh")
        assert (found.returncode, found.stdout, found.stderr) == (1, "", "")


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


def test_the_command_is_that_of_an_interpreter_too(candidate):
    listed = subprocess.run([sys.executable, "-m", "pytest_llm", "review", "list"], cwd=candidate, capture_output=True)
    assert (listed.returncode, listed.stderr) == (1, b"")
    assert b"test_a.py::test_a" in listed.stdout


@pytest.fixture
def on_github(candidate):
    """Run a command as in a step of GitHub Actions; return what it wrote to each stream, and what the runner hears."""

    def command(*arguments):
        done = run(candidate, *arguments, stdout=subprocess.PIPE, GITHUB_ACTIONS="true", COLUMNS="80")
        assert done.returncode in (0, 1, 2)
        return done.stdout, done.stderr, heard(done.stdout.splitlines()) + heard(done.stderr.splitlines())

    return command


def test_no_output_of_a_command_is_a_command_to_githubs_runner(candidate, on_github):
    records = []
    for i, text in enumerate(FORGED):
        verdicts = [verdict("acc", i / 4, nodeid=f"{one}{place}") for place, one in enumerate(FORGED)]
        records.append(record(i, *verdicts, branch=text, source=text))
        (candidate / f"{i}.json").write_text(json.dumps(records[-1]))
    assert on_github("import", *(f"{i}.json" for i in range(len(FORGED))))[2] == []
    for arguments in (
        ["trend", "acc"], ["compare", records[0]["id"], records[1]["id"]], ["history", "--limit=9"], ["report", "0.json"],
        ["history", "export", "--format=csv"], ["review", FORGED[0]], ["compare", "latest", FORGED[2]],
    ):  # fmt: skip
        out, err, commands = on_github(*arguments)
        assert commands == []
        assert "error" in out + err or "warning" in out + err
    runs = json.loads(on_github("history", "export", "--format=json")[0])["runs"]
    assert [run["branch"] for run in runs[: len(FORGED)]] == list(FORGED)


def test_a_table_of_production_outputs_commands_nothing(candidate, on_github):
    for name, word in (("then", "museum"), ("now", "sorry")):
        rows = [{"output": f"the {word} opens at {i}", "by": FORGED[i % 4]} for i in range(160)]
        (candidate / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, _, commands = on_github("monitor", "now.jsonl", "--reference=then.jsonl", "--by=by")
    assert commands == []
    assert "\\u003aerror::forged" in out
    assert "##\\u005berror]forged" in out


def test_doctor_shows_what_the_files_of_a_model_say_as_text(candidate, on_github):
    base = "x\x1b]0;title\x07\x1b[1A\nmodel   fine\n::error::forged"
    (candidate / "lora").mkdir()
    (candidate / "lora" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    out, _, commands = on_github("doctor", "--model=lora")
    assert commands == []
    assert all(line.isprintable() for line in out.splitlines())
    assert "lora: NOT USABLE: 'lora' is a LoRA adapter, not a model: name its base ('x\\x1b]0;" in out.splitlines()[-1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_no_command_comes_together_of_parts(size):
    text = "a\n \u3000::error::x\nb :: c\r::debug::y\n##[group]z :##: ##[endgroup]\n::d"
    stream = _Unheard(io.BytesIO(), "utf-8", newline="")
    for start in range(0, len(text), size):
        stream.write(text[start : start + size])
    stream.flush()
    assert stream.buffer.getvalue().decode() == (
        "a\n \u3000:\\u003aerror::x\nb :: c\r:\\u003adebug::y\n##\\u005bgroup]z :##: ##\\u005bendgroup]\n:\\u003ad"
    )
