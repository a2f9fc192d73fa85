"""Loaded models stay while they fit, and the least recently used goes first."""

from __future__ import annotations

import gc
import weakref

import pytest

from pytest_llm.weights.pool import Pool


class Model:
    def __init__(self, log, name):
        self.log, self.name, self.itself = log, name, self  # a cycle, as modules and their hooks form

    def close(self):
        self.log.append(f"close {self.name}")


def loader(log, name, size):
    def load():
        log.append(f"load {name}")
        return Model(log, name), size

    return load


def test_keeps_what_fits_and_drops_the_least_recently_used():
    log, pool = [], Pool(limit=100)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert pool.get(name, loader(log, name, 50)).name == name

    assert log == ["load a", "load b", "load c", "close b", "load b", "close c"]


def test_one_larger_than_the_limit_is_kept_alone():
    log, pool = [], Pool(limit=100)
    pool.get("small", loader(log, "small", 10))
    large = pool.get("large", loader(log, "large", 500))
    assert pool.get("large", loader(log, "large", 500)) is large

    assert log == ["load small", "load large", "close small"]


def test_an_evicted_model_leaves_memory_at_once():
    pool = Pool(limit=100)
    model = weakref.ref(pool.get("a", loader([], "a", 60)))
    gc.disable()
    try:
        pool.get("b", loader([], "b", 60))
        assert model() is None
    finally:
        gc.enable()


def test_a_model_that_fails_to_load_leaves_the_others():
    log, pool = [], Pool(limit=100)
    pool.get("a", loader(log, "a", 60))

    def broken():
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        pool.get("b", broken)
    pool.get("a", loader(log, "a", 60))

    assert log == ["load a"]


def test_clear_closes_everything():
    log, pool = [], Pool(limit=100)
    pool.get("a", loader(log, "a", 10))
    pool.get("plain", lambda: (object(), 10))  # nothing to close
    pool.clear()
    pool.get("a", loader(log, "a", 10))

    assert log == ["load a", "close a", "load a"]
