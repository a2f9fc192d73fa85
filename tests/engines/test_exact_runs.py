"""``--llm-exact`` as a person at a terminal sees it: the same bits, whatever is selected, in whatever order, by whomever."""

from __future__ import annotations

import json
import time

from pytest_llm.store.database import OutputStore

SUITE = """
import json
import os
from pathlib import Path

import pytest

PROMPTS = ["the capital of japan is", "the red", "the white owl knows", "the blue cat sees the", "the capital", "the"]


@pytest.mark.parametrize("i", range(len(PROMPTS)))
def test_answer(llm, i):
    text = PROMPTS[i] + " the green dog."
    seen = [llm.generate(PROMPTS[i], max_new_tokens=4 + i).logprobs, llm.loss(text).token_logprobs]
    folder = Path(os.environ["SEEN"])
    folder.mkdir(exist_ok=True)
    (folder / f"{i}.json").write_text(json.dumps(seen))
"""
REVERSED = "def pytest_collection_modifyitems(items):\n    items.reverse()\n"


def seen_in_all_ways(pytester, monkeypatch, cache_dir, model, *flags):
    """What each test saw: asked one after the other, then anew in batches computed ahead, in four ways."""
    pytester.makepyfile(test_it=SUITE)
    pytester.makepyfile(backwards=REVERSED)
    pytester.syspathinsert()
    ways = {
        "one by one": (),
        "ahead": (),
        "some": ("-k", "1 or 4"),
        "workers": ("-n", "2"),
        "backwards": ("-p", "backwards"),
    }
    found = {}
    for way, arguments in ways.items():
        store = OutputStore(cache_dir)
        store.clear(before=time.time() + 1)  # the answers, not what was asked
        store.close()
        folder = pytester.path / way
        monkeypatch.setenv("SEEN", str(folder))
        result = pytester.runpytest(f"--llm-model={model}", *flags, *arguments)
        result.assert_outcomes(passed=2 if way == "some" else 6, deselected=4 if way == "some" else 0)
        found[way] = {file.name: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    return found


def test_exact_answers_are_the_same_bits_in_every_run(pytester, monkeypatch, cache_dir, tiny_gpt2):
    found = seen_in_all_ways(pytester, monkeypatch, cache_dir, tiny_gpt2, "--llm-exact")
    alone = found.pop("one by one")
    assert len(found["some"]) == 2
    assert all(answers == {name: alone[name] for name in answers} for answers in found.values())


def test_without_it_some_answer_is_rounded_otherwise_in_some_run(pytester, monkeypatch, cache_dir, tiny_gpt2):
    # The negative control: the runs do differ in what is computed together.
    found = seen_in_all_ways(pytester, monkeypatch, cache_dir, tiny_gpt2)
    alone = found.pop("one by one")
    assert any(answers != {name: alone[name] for name in answers} for answers in found.values())
