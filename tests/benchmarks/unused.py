"""The plugin installed and not used, against pytest without it: 1,000 trivial tests.

Each has an environment of its own, with pytest alone and with the plugin's wheel beside it: pytest reads the list of
files of a plugin that is installed, also with ``-p no:``.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.timing import WORK, Figure, made, ours_alone, pytest_run, side_by_side


def run(runs: int) -> Iterator[Figure]:
    """Yield the ratio and the milliseconds."""
    folder = WORK / "unused"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_trivial.py").write_text("".join(f"def test_{i}():\n    pass\n\n\n" for i in range(1000)))
    without, with_it = made("pytest-alone", "pytest==9.*"), ours_alone()
    for python in (without, with_it):
        pytest_run(folder, python=python)  # writes bytecode
    ours, theirs, ratio = side_by_side(
        lambda: pytest_run(folder, python=with_it), lambda: pytest_run(folder, python=without), runs
    )
    note = f"{ours * 1e3:.0f} ms with, {theirs * 1e3:.0f} ms without"
    yield Figure(
        "unused", "1,000 trivial tests: time over pytest without it", (1 / ratio - 1) * 100, "%", 3, False, runs, note
    )
    yield Figure(
        "unused",
        "1,000 trivial tests: time over pytest without it",
        (1 / ratio - 1) * theirs * 1e3,
        "ms",
        15,
        False,
        runs,
    )
