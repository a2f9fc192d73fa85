"""``pytest-llm ratings``: what people said of the outputs they rated, and how far they agree."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.common import project_settings
from pytest_llm.reports.text import counted, shorten, visible

if TYPE_CHECKING:
    from pytest_llm.human.summary import Compared, Summary


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
    found = summaries(settings.root, settings.cache_dir)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    elif not found:
        print(f"no ratings below {visible(str(settings.root))}: give some with pytest-llm review --web")
    else:
        print("\n".join(row for one in found for row in _block(one)))
    return 0


def _block(one: Summary) -> list[str]:
    rows = [visible(one.test)]
    if one.rated:
        outputs = f"{one.rated} of {one.outputs}" if one.outputs else str(one.rated)
        who = shorten(", ".join(map(visible, one.raters)), 40)
        unsure = "" if one.outputs else " (of all ever rated: no golden says which texts there are now)"
        rows.append(f"  rated      {outputs} outputs by {who}: mean {_figure(one.mean)}{unsure}")
    if one.alpha is not None:
        kappas = (
            f", kappa {_figure(one.kappa)}, weighted {_figure(one.kappa_quadratic)}" if one.kappa is not None else ""
        )
        twice = f"; {counted(one.rated_twice, 'output')} rated twice"
        rows.append(f"  agreement  alpha {_figure(one.alpha, one.alpha_interval)}{kappas}{twice}")
    rows += [f"  compared   {_candidate(each)}" for each in one.compared]
    if one.untold:
        rows.append(f"  left out   {one.untold} comparisons of several other candidates whose models are not known")
    if one.earlier:
        rows.append(f"  left out   {one.earlier} of outputs that are in no golden now")
    return rows


def _candidate(one: Compared) -> str:
    model = f"model {one.model[:12]}" if one.model else "" if one.candidate else "model unknown"
    of = f"{counted(one.pairs, 'pair')}, {counted(one.judges, 'rater')}"
    said = [
        f"new preferred {one.preferred} of {one.compared - one.tied} ({of}): {_figure(one.win_rate, one.win_interval)}",
        counted(one.tied, "tie"),
        f"{one.not_blind} not blind, left out",
    ]
    shown = (one.win_rate is not None, one.tied, one.not_blind)
    which = ", ".join(filter(None, [one.candidate, model]))
    return f"{which}: {'; '.join(part for part, use in zip(said, shown, strict=True) if use)}"


def _figure(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
