"""``pytest-llm report``: render a run record again, the newest of this project or one from elsewhere (CI)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import refuse_overwriting, write
from pytest_llm.cli.history import opened


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="render the record of a run as HTML or Markdown",
        description="Without --html or --markdown, the Markdown is printed.",
    )
    parser.add_argument(
        "record", nargs="?", default="latest", metavar="RECORD", help="a file, or a run as 'compare' takes it [latest]"
    )
    parser.add_argument("--html", type=Path, metavar="PATH", help="write the HTML report")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the Markdown summary")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.history import references
    from pytest_llm.history.rows import of_record
    from pytest_llm.reports.html import html
    from pytest_llm.reports.markdown import markdown

    refuse_overwriting({"--html": arguments.html, "--markdown": arguments.markdown}, [Path(arguments.record)])
    data = references.find(opened, arguments.record)
    of_record(data)  # a record from elsewhere may hold anything
    write(arguments.html, lambda: html(data))
    write(arguments.markdown, lambda: markdown(data))
    if not (arguments.html or arguments.markdown):
        print(markdown(data))
    return 0
