"""Memory that a pass leaves to the next one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
pytestmark = pytest.mark.skipif(not GLIBC, reason="only glibc gives freed arrays back at once")

#: Prints the pages a pass takes from the system once others have run, and those held by arrays of before.
PASSES = """
import resource, sys, torch
from pathlib import Path
from pytest_llm.engines.local import LocalEngine
from pytest_llm.weights.spec import ModelSpec

def passes(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        large = torch.ones(4_000_000)
        larger = large * 2
        del large, larger
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // count

def resident():
    return int(open("/proc/self/statm").read().split()[1])

engine = LocalEngine(Path(sys.argv[1]), ModelSpec(sys.argv[1], device="cpu"))
engine.model
passes(20)
kept = min(passes(5) for _ in range(8))  # an array may find no room of its size, once
held = resident()
engine.close()
print(kept, held - resident())
"""


def run(folder, **environ):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_PRE"))}
    done = subprocess.run(
        [sys.executable, "-c", PASSES, str(folder)], env=own | environ, check=True, capture_output=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


def test_a_pass_reuses_the_memory_of_the_last_and_close_gives_it_back(tiny_gpt2):
    taken, given_back = run(tiny_gpt2)
    assert taken < 100  # of 7,800
    assert given_back > 3000  # 16 MB are 4,000 pages


def test_an_allocator_that_somebody_set_up_is_left_alone(tiny_gpt2):
    # Each array is given back, and each page of the next is a fault.
    taken, _ = run(tiny_gpt2, MALLOC_MMAP_THRESHOLD_="65536")
    assert taken > 3000
