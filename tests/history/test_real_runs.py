"""Runs of pytest, from the first to what the commands say of them."""

import json
import subprocess

import jsonschema
import pytest

from tests.conftest import COMMAND
from tests.reports.test_run_record import SCHEMA

SUITE = """
    import os
    from pytest_llm import assert_metric
    from pytest_llm.metrics.score import Score

    WORSE = bool(os.environ.get("WORSE"))

    def test_accuracy(llm_baseline):
        values = [1.0] * 12 if not WORSE else [1.0] * 3 + [0.0] * 9
        score = Score(sum(values) / 12, name="accuracy", n=12, per_example=values, ids=[f"q{i}" for i in range(12)])
        assert_metric(score, at_least=0.1)
        llm_baseline.check("accuracy", score, margin=0.05, groups=[f"g{i}" for i in range(12)])

    def test_answer(llm_snapshot):
        assert ("Lyon" if WORSE else "Paris") == llm_snapshot
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "xdist"])
def test_two_runs_compared_with_their_examples(pytester, cache_dir, monkeypatch, workers):
    pytester.makepyfile(test_suite=SUITE)
    pytester.runpytest("-q", "--llm-update=new").assert_outcomes(passed=2)
    pytester.runpytest("-q", *workers, "--llm-record=a.json").assert_outcomes(passed=2)
    done = subprocess.run([COMMAND, "compare", "latest~1", "latest"], cwd=pytester.path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "figures that moved" not in done.stdout, "the first run wrote what the second one found"
    monkeypatch.setenv("WORSE", "1")
    pytester.runpytest("-q", *workers, "--llm-record=b.json").assert_outcomes(failed=2)
    records = [json.loads((pytester.path / name).read_text()) for name in ("a.json", "b.json")]
    for data in records:
        jsonschema.validate(data, SCHEMA)
        assert data["git"]["dirty"] is None
        held = {one["kind"]: one["per_example"] for one in data["verdicts"] if one["name"] == "accuracy"}
        assert held["threshold"] == {**held["baseline"], "groups": []}
        assert held["baseline"]["groups"] == [*range(12)]
        assert held["baseline"]["ids"] == [f"q{i}" for i in range(12)]
    assert held["baseline"]["values"] == [1.0] * 3 + [0.0] * 9

    done = subprocess.run(
        [COMMAND, "compare", "latest~1", "latest"], cwd=pytester.path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "newly failing: 2\n  test_suite.py::test_accuracy\n  test_suite.py::test_answer\n" in done.stdout
    assert "9 worse, 0 better of" in done.stdout
    listed = subprocess.run([COMMAND, "history", "--json"], cwd=pytester.path, capture_output=True, check=True)
    assert [run["counts"] for run in json.loads(listed.stdout)] == [{"passed": 2}] * 2 + [{"failed": 2}]
    drawn = subprocess.run(
        [COMMAND, "trend", "accuracy"], cwd=pytester.path, capture_output=True, text=True, check=True
    )
    assert "3 runs" in drawn.stdout
    assert "last 0.25, mean 0.75" in drawn.stdout
