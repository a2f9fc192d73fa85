"""1,000 golden assertions that pass, against 1,000 text snapshots of syrupy: each over its own bare pytest.

Each has an environment of its own: other plugins have hooks around each fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.timing import WORK, Figure, made, ours_alone, pytest_run, side_by_side

_N = 1000
_TEXT = "\n".join(f"Line {i} of an answer that a model gave, with words in it." for i in range(4))


def run(runs: int) -> Iterator[Figure]:
    """Yield the ratio of what each adds to bare pytest."""
    plugin, syrupy = ours_alone(), made("syrupy", "pytest==9.*", "syrupy")
    ours, theirs, bare = (
        _suite(name, fixture) for name, fixture in (("ours", "llm_snapshot"), ("syrupy", "snapshot"), ("bare", ""))
    )
    cache = {"PYTEST_LLM_CACHE_DIR": str(WORK / "warm-cache")}
    pytest_run(ours, "--llm-update=new", python=plugin, **cache)
    pytest_run(theirs, "--snapshot-update", python=syrupy)

    def ours_over_bare() -> float:
        whole = pytest_run(ours, python=plugin, **cache)
        return whole - pytest_run(bare, "-p", "no:pytest_llm", python=plugin)

    def theirs_over_bare() -> float:
        return pytest_run(theirs, python=syrupy) - pytest_run(bare, "-p", "no:syrupy", python=syrupy)

    mine, other, ratio = side_by_side(ours_over_bare, theirs_over_bare, runs)
    note = f"{1e3 * mine / _N:.2f} ms and {1e3 * other / _N:.2f} ms an assertion over bare pytest"
    yield Figure("warm", "1,000 golden assertions, against 1,000 of syrupy", 1 / ratio, "x time", 1, False, runs, note)


def _suite(name: str, fixture: str) -> Path:
    folder = WORK / f"warm-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    check = f"text == {fixture}" if fixture else "text"
    (folder / "test_many.py").write_text(
        f"import pytest\n\n\n@pytest.mark.parametrize('i', range({_N}))\n"
        f"def test_it(i{', ' + fixture if fixture else ''}):\n    text = f'{{i}} ' + {_TEXT!r}\n    assert {check}\n"
    )
    return folder
