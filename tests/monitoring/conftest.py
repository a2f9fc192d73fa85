"""Windows of made-up outputs, and what a person sees of their comparison."""

import json
import random

import pytest

from tests.browser import browser, open_page  # noqa: F401

PLACES = ("Paris", "Rome", "Madrid", "Tokyo", "Cairo", "Lima", "Havana", "Nairobi", "Oslo", "Vienna")
THINGS = ("museum", "river", "market", "old town", "harbour", "university", "cathedral", "park")


class Writer:
    """Outputs of a travel assistant, well and gone wrong, from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def good(self):
        pick, number = self.random.choice, self.random.randint
        hours = [
            f"The {pick(THINGS)} of {pick(PLACES)} is open from {number(7, 11)} to {number(15, 20)}."
            for _ in range(number(1, 5))
        ]
        return " ".join([f"You could start in {pick(PLACES)}, whose {pick(THINGS)} is worth a visit.", *hours])

    def bad(self):
        chance = self.random.random()
        if chance < 0.12:
            return "I'm sorry, but I can't help with that. As an AI language model I do not travel."
        if chance < 0.2:
            return "Je vous propose de commencer par la vieille ville, puis de visiter le musée près du port."
        if chance < 0.25:
            return ""
        return "the old town " * 40 if chance < 0.32 else self.good()


@pytest.fixture
def write(tmp_path):
    """Write rows, or texts, as a window."""

    def written(name, rows):
        rows = [{"output": row} if isinstance(row, str) else row for row in rows]
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return written


@pytest.fixture
def reference(write):
    return write("ref.jsonl", [Writer(i).good() for i in range(300)])


@pytest.fixture
def monitor(tmp_path, capsys, cache_dir, monkeypatch):
    """Run the command in an 80-column terminal; return its exit code, what it printed and its errors."""
    from pytest_llm.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        code = main(["monitor", *(str(one).replace(f"{tmp_path}/", "") for one in arguments)])
        said = capsys.readouterr()
        return code, [line.rstrip() for line in said.out.splitlines()], said.err

    return run
