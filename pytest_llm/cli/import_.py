"""``pytest-llm import``: take run records from CI into the history."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_llm.cli.history import opened
from pytest_llm.reports.text import counted, visible


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "import",
        help="take run records from CI into the history",
        description="Reads records (JSON), folders and .zip artifacts. A record that is there already changes nothing.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.history.importing import import_into

    done = import_into(opened(), arguments.paths)
    bad = f", {len(done.bad)} bad" if done.bad else ""
    print(f"{counted(done.new, 'new run')}, {done.known} that were there already{bad}")
    for where, why in done.bad:
        print(f"{visible(where)}: {visible(why)}", file=sys.stderr)
    return 2 if done.bad else 0
