"""Runs without a model: records as pytest leaves them, made of figures that a test names."""

import json
import time
from pathlib import Path

import pytest

from pytest_llm.history import runfile
from tests.browser import browser, open_page  # noqa: F401

DIGEST = "0123456789abcdef" * 4


def verdict(name="loss", value=2.5, *, nodeid="test_m.py::test_a", kind="baseline", status="pass", outcome="pass",
            per_example=None, higher_is_better=False, ids=(), weights=(), questions=(), groups=()):  # fmt: skip
    held = per_example and {"values": list(per_example), "ids": list(ids), "weights": list(weights),
                            "questions": list(questions), "groups": list(groups)}  # fmt: skip
    evidence = {"pairs": [], "omitted": 0, "series": [], "changes": [], "higher_is_better": higher_is_better}
    return {
        "kind": kind, "name": name, "status": status, "outcome": outcome, "headline": f"{name} {value}",
        "figures": {} if value is None else {"value": value}, "examples": [], "notes": [], "diff": [],
        "nodeid": nodeid, "evidence": evidence, "per_example": held,
    }  # fmt: skip


def golden(status="identical", text="Paris", *, nodeid="test_m.py::test_g", name="1"):
    one = verdict(name, None, nodeid=nodeid, kind="golden", status=status,
                  outcome="pass" if status in ("identical", "near-tie") else "fail")  # fmt: skip
    side = {"text": text, "start": 0, "length": len(text), "tokens": [], "logprobs": [], "margins": []}
    one["evidence"]["pairs"] = [{"where": "", "actual": side, "golden": None, "same": True, "prompt": []}]
    one["evidence"]["higher_is_better"] = None
    return one


def record(i, *verdicts, commit="", branch="main", dirty=False, source="org/tiny", digest=DIGEST, torch="2.13",
           seconds=1.5, filtered=False, outcomes=None, revision=""):  # fmt: skip
    """The record of a run, an hour after the one before."""
    started = 1_790_000_000 + 3600 * i
    failing = {one["nodeid"] for one in verdicts if one["outcome"] == "fail"}
    tests = {one["nodeid"]: "failed" if one["nodeid"] in failing else "passed" for one in verdicts}
    tests.update(outcomes or {})
    return {
        "schema": 1,
        "id": time.strftime("%Y%m%dT%H%M%S000Z", time.gmtime(started)) + f"-{i * 7919 + 0xA0000000:08x}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": seconds, "exit_status": int("failed" in tests.values()), "filtered": filtered,
        "git": {"commit": commit or f"{i:07x}".ljust(40, "c"), "branch": branch, "dirty": dirty},
        "settings": {"alpha": 0.05},
        "environment": {"python": "3.11", "torch": torch, "transformers": "5.24"},
        "models": {"m1": {"source": source, "digest": digest, "dtype": "float32", "device": "cpu", "adapter": "",
                          "revision": revision, "service": "", "from_store": 1, "computed": 0, "load_seconds": 0.0}},
        "requests": [{"nodeid": id, "model": "m1", "kind": "generate", "digests": [], "computed": []} for id in tests],
        "tests": [{"nodeid": id, "outcome": outcome, "seconds": 0.1, "file": "test_m.py", "line": 1, "message": ""}
                  for id, outcome in tests.items()],
        "verdicts": list(verdicts), "obsolete": [], "stopped": "", "collection_errors": [],
    }  # fmt: skip


@pytest.fixture
def project(tmp_path, cache_dir, monkeypatch):
    """A project folder to run commands in; ``project(record, ...)`` leaves records as runs of pytest would."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(runfile, "horizon", lambda: "20270101T000000")  # whenever these tests run
    runs = runfile.runs_folder(cache_dir, folder)

    def leave(*records) -> Path:
        for data in records:
            runfile.write(data, runs / f"{data['id']}.json")
        return runs

    return leave


@pytest.fixture
def command(capsys, monkeypatch):
    """Run a command; return its exit code, its output and its errors."""
    from pytest_llm.cli import main

    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def as_file(data, path):
    path.write_text(json.dumps(data))
    return path
