"""Threads under pytest-xdist: each worker takes its share while it has a model, and torch's own number comes back."""

from __future__ import annotations

import pytest
import torch

from pytest_llm.engines import threads
from pytest_llm.requests import Generate
from tests.engines.conftest import answers, engine_for


@pytest.fixture
def eight(monkeypatch):
    """Eight cores, and torch using all of them."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr(threads, "_models", 0)
    own = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(own)


def used(engine):
    answers(engine, [Generate("the red", max_new_tokens=1)])
    return torch.get_num_threads()


@pytest.mark.parametrize(("workers", "share"), [("", 8), ("1", 8), ("2", 4), ("3", 2), ("16", 1)])
def test_a_worker_takes_its_share(eight, monkeypatch, tiny_gpt2, workers, share):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    first, second = engine_for(tiny_gpt2), engine_for(tiny_gpt2)
    assert (used(first), used(second)) == (share, share)
    first.close()
    assert torch.get_num_threads() == share
    second.close()
    assert torch.get_num_threads() == 8


def test_fewer_threads_than_the_share_stay(eight, monkeypatch, tiny_gpt2):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    torch.set_num_threads(1)
    assert used(engine_for(tiny_gpt2)) == 1


def test_exact_answers_keep_the_number_they_have_without_workers(eight, monkeypatch, tiny_gpt2):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "4")
    assert used(engine_for(tiny_gpt2, exact=True)) == 8
