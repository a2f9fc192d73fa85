"""The example suites pass as committed, and the gate of the second one tells a careful candidate from a careless one."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(cache_dir):
    def run(name, *arguments):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
        result = subprocess.run(command, cwd=EXAMPLES / name, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    return run


def test_quickstart_is_green_and_then_warm(example):
    code, output = example("quickstart")
    assert code == 0, output
    code, output = example("quickstart")
    assert code == 0, output
    assert output.count("no weights loaded") == 2
    assert "4 identical" in output


def finetune(target, *arguments):
    script = EXAMPLES / "regression_gate" / "finetune.py"
    subprocess.run([sys.executable, script, target, *arguments], check=True, capture_output=True)


def test_the_gate_tells_a_careful_candidate_from_a_careless_one(example, tmp_path):
    code, output = example("regression_gate")
    assert code == 0, output

    finetune(tmp_path / "careful", "--steps", "2")
    code, output = example("regression_gate", f"--llm-model={tmp_path / 'careful'}")
    assert code == 0, output
    assert "improved" in output

    finetune(tmp_path / "careless", "--learning-rate", "1e-3", "--steps", "2")
    code, output = example("regression_gate", f"--llm-model={tmp_path / 'careless'}")
    assert code == 1, output
    assert "test_general_english_is_not_forgotten" in output
    assert "is worse than its baseline" in output
