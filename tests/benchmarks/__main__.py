"""Run the suite, print one table, write ``.bench/results.json``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import json
import platform
import sys

from tests.benchmarks.timing import WORK, Figure

#: Parts that give figures, and how often each runs. `lm_eval` takes ten minutes a run; `growth` compares with nothing;
#: what `unused` looks for is a tenth of what its runs, of half a second, differ by.
PARTS = {"unused": 101, "warm": 7, "gguf": 5, "scoring": 5, "memory": 5, "cold": 5, "lm_eval": 5, "growth": 1}
#: Parts that print their own tables and return an exit status.
TABLES = ("bench_gates", "sensitivity")


def main() -> int:
    """Return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, *TABLES, []], help="all of them by default")
    parser.add_argument("--runs", type=int, help="side-by-side runs of each part")
    asked = parser.parse_args()
    chosen = asked.parts or [*PARTS, *TABLES]
    WORK.mkdir(exist_ok=True)
    figures: list[Figure] = []
    status = 0
    for part in chosen:
        name = f"tests.benchmarks.{part}"
        if part in TABLES:
            if importlib.util.find_spec(name):
                status |= int(importlib.import_module(name).main() or 0)
            continue
        for figure in importlib.import_module(name).run(asked.runs or PARTS[part]):
            print(figure.row(), flush=True)
            figures.append(figure)
    _write(figures)
    return status | any(figure.met is False for figure in figures)


def _write(figures: list[Figure]) -> None:
    path = WORK / "results.json"
    data = json.loads(path.read_text()) if path.exists() else {"figures": []}
    again = {figure.part for figure in figures}
    kept = [old for old in data["figures"] if old["part"] not in again]
    new = [{**dataclasses.asdict(f), "bar": None if f.met is None else f.bar, "met": f.met} for f in figures]
    machine = {"python": platform.python_version(), "machine": platform.processor() or platform.machine()}
    path.write_text(json.dumps({**machine, "figures": kept + new}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
