"""``pytest-llm ratings``: what people said of the outputs they rated, and how far they agree."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.common import project_settings
from pytest_llm.reports.text import visible

if TYPE_CHECKING:
    from pytest_llm.human.summary import Summary


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ratings",
        help="sum up what people said of outputs: means, preferences, agreement",
        description="Ratings are given with 'pytest-llm review --web'. They lie beside the goldens.",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.human.summary import summaries

    settings = project_settings()
    found = summaries(settings.root)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    elif not found:
        print(f"no ratings below {visible(str(settings.root))}: give some with pytest-llm review --web")
    else:
        _table(found)
    return 0


def _table(found: list[Summary]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("test", overflow="fold")
    for name in ("rated", "raters", "mean", "alpha", "kappa²", "new preferred"):
        table.add_column(name, justify="right", no_wrap=name != "new preferred")
    for one in found:
        table.add_row(
            Text(visible(one.test)),
            f"{one.rated}/{one.outputs}" if one.outputs else str(one.rated),
            str(len(one.raters)),
            _figure(one.mean),
            _figure(one.alpha, one.alpha_interval, "\n"),
            _figure(one.kappa_quadratic),
            f"{one.preferred} of {one.compared - one.tied}\n{_figure(one.win_rate, one.win_interval)}"
            if one.win_rate is not None
            else "",
        )
    Console(highlight=False).print(table)
    for one in found:
        said = [f"{one.tied} ties"] if one.tied else []
        said += [f"{one.not_blind} comparisons not blind, left out"] if one.not_blind else []
        said += [f"{one.earlier} ratings of outputs that are in no golden now, left out"] if one.earlier else []
        if said:
            print(f"{visible(one.test)}: {'; '.join(said)}")


def _figure(value: float | None, interval: tuple[float, float] | None = None, between: str = " ") -> str:
    if value is None:
        return ""
    return f"{value:.2f}" + (f"{between}[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
