"""Reports from production, and the command that imports them."""

import json

import pytest

REPORTS = [
    {"id": "r1", "user": "ann@example.org", "prompt": "What is the capital of France?", "tags": ["geo"],
     "output": "The capital of France is Lyon.", "vote": "down", "correction": "The capital of France is Paris."},
    {"id": "r2", "user": "bob", "prompt": "what is the  capital of FRANCE?", "output": "Paris is the capital.",
     "vote": 1, "model": "m1"},
    {"id": "r3", "prompt": "What is the capital of France?", "output": "Paris is the capital.", "vote": "bad"},
    {"id": "r4", "prompt": "What is the capital of France?", "output": "Paris is the capital.", "rating": "👍"},
    {"id": "r5", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Am I slow?"}],
     "output": "Yes.", "thumbs": False},
]  # fmt: skip


@pytest.fixture
def feedback(tmp_path, capsys, cache_dir, monkeypatch):
    """Write reports and import them; return the exit code, what was printed, the errors."""
    from pytest_llm.cli import main

    monkeypatch.chdir(tmp_path)

    def run(reports, *options):
        lines = [json.dumps(one) + "\n" if isinstance(one, dict) else one for one in reports]
        (tmp_path / "reports.jsonl").write_bytes(b"".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        code = main(["feedback", "import", "reports.jsonl", *options])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return run


@pytest.fixture
def lines(tmp_path):
    """Return the lines of the committed file, as data."""

    def read(path="tests/feedback_cases.jsonl"):
        return [json.loads(line) for line in (tmp_path / path).read_text("utf-8").splitlines()]

    return read
