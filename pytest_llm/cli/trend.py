"""``pytest-llm trend``: how a metric, drift or latency moved over the runs of the history."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import write
from pytest_llm.cli.history import add_filters, chosen, opened
from pytest_llm.cli.streams import shows

#: Charts drawn in a terminal; a page has more.
DRAWN = 6


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "trend",
        help="draw how a metric, drift counts or latency moved over runs",
        description="Draws one chart for each test. Where the level changed, and where commits, models or versions "
        "did, it says so.",
    )
    parser.add_argument("metric", metavar="METRIC", help="the name of a gate's metric, 'drift', or 'seconds'")
    parser.add_argument("--test", default="", metavar="PART", help="only tests with PART in their node id")
    add_filters(parser)
    parser.add_argument("--html", type=Path, metavar="PATH", help="write one self-contained page with all charts")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from pytest_llm.history import chart, legend, series

    history = opened()
    found = series.of_metric(history, arguments.metric, test=arguments.test, runs=chosen(history, arguments))
    console = Console(highlight=False, soft_wrap=False)
    glyphs = chart.Glyphs() if shows("●┊│└─→×") else chart.ASCII
    for number, one in enumerate(found[:DRAWN]):
        if number:
            console.print()
        for line in chart.draw(one, width=console.width, glyphs=glyphs):
            console.print(line, overflow="fold")
    if mixed := legend.mixed(found):
        console.print(f"\n{mixed}", style="yellow", markup=False)
    if len(found) > DRAWN:
        console.print(f"\nand {len(found) - DRAWN} more: --test narrows them, --html has all")
    if arguments.html:
        from pytest_llm.history.trendpage import page

        write(arguments.html, lambda: page(arguments.metric, found), "page")
        console.print(f"\nwrote {arguments.html}", markup=False)
    return 0
