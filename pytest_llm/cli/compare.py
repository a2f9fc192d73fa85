"""``pytest-llm compare``: two runs, test by test and figure by figure."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.history import opened
from pytest_llm.cli.streams import shows
from pytest_llm.evidence import EXAMPLES
from pytest_llm.reports.text import counted, number, p_value, shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

    from pytest_llm.history.comparison import Comparison, Item
    from pytest_llm.history.rows import Run

#: Rows of each list; ``--json`` has all.
SHOWN = 30


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="compare two runs: newly failing, newly passing, every figure in pairs",
        description="A run is an id or a part of it, a commit, 'latest', 'latest~1', or the path of a record. "
        "Exit code: 0 no test fails that did not in RUN_A, 1 some do, 2 some could not be measured or collected, "
        "RUN_B was stopped before some, or nothing could be compared.",
    )
    parser.add_argument("before", metavar="RUN_A")
    parser.add_argument("after", metavar="RUN_B")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.history import references
    from pytest_llm.history.comparison import compare

    history = functools.cache(opened)
    found = compare(*(references.find(history, said) for said in (arguments.before, arguments.after)))
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _show(found)
    return found.exit_code


def _show(found: Comparison) -> None:
    from rich.console import Console

    from pytest_llm.reports.overview import STATUSES, in_words

    # No line is cut where nobody looks at a terminal: a node id is for copying.
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for letter, run in (("A", found.a), ("B", found.b)):
        console.print(f"{letter}  {_head(run)}")
    _section(console, "changed around the tests", [f"{what}: {was} {_arrow()} {now}" for what, was, now in found.moved])
    end = f"; B was stopped ({found.stopped})" if found.stopped else ""
    new = [f"{nodeid}  {STATUSES[status]}" for nodeid, status in found.new.items()]
    for title, tests, style in (
        ("newly failing", found.newly_failing, "red"),
        ("could not be collected", [f"{where}: {why}" for where, why in found.uncollected], "magenta"),
        ("could not be measured now", found.unmeasured, "magenta"),
        ("newly passing", found.newly_passing, "green"),
        ("skipped, or expected to fail, now", found.skipped, "yellow"),
        ("not run in A, which was not of all tests" if found.a.filtered else "new", new, ""),
        ("not run in B, which was not of all tests" if found.b.filtered else "gone", found.gone, ""),
    ):
        _section(console, f"{title}: {len(tests)}" if tests else "", tests, style)
    changed = [item for item in found.items if item.changed]
    _figures(console, [item for item in changed if item.was_value is not None or item.now_value is not None])
    _goldens(console, [item for item in changed if item.kind == "golden"])
    turned = f"{len(found.newly_failing)} newly failing, {len(found.newly_passing)} newly passing"
    lost = f"; {len(found.unmeasured)} could not be measured now" if found.unmeasured else ""
    only = f"; {len(new)} in B only: {in_words(Counter(found.new.values()))}" if new else ""
    console.print(
        f"\n{counted(found.both, 'test')} in both: {turned} (exact McNemar p {p_value(found.p)}); "
        f"{len(found.items) - len(changed)} of {len(found.items)} checks the same{lost}{only}{visible(end)}"
    )


def _head(run: Run) -> str:
    from pytest_llm.reports.overview import in_words

    commit = f"commit {run.revision}" + (f" on {run.branch}" if run.branch else "") if run.commit else "no commit"
    started = run.started[:16].replace("T", " ")
    return visible(f"{run.short}  {started} UTC  {commit}  {number(round(run.seconds, 1))} s  {in_words(run.counts)}")


def _section(console: Console, title: str, lines: Sequence[str], style: str = "") -> None:
    if not lines:
        return
    console.print(f"\n{title}", style=f"bold {style}")
    for line in lines[:SHOWN]:
        console.print(f"  {visible(shorten(line, 400))}")
    if len(lines) > SHOWN:
        console.print(f"  and {len(lines) - SHOWN} more (--json has all)")


def _figures(console: Console, items: Sequence[Item]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not items:
        return
    console.print("\nfigures that moved", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, justify in (("metric", "left"), ("A", "right"), ("B", "right"), ("change", "right"), ("p", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("examples")
    table.add_column("test", overflow="fold")
    order = {"worse": 0, "": 1, "better": 2}
    listed = sorted(items, key=lambda item: order[item.verdict])[:SHOWN]
    for item in listed:
        was, now = item.was_value, item.now_value
        delta = "" if was is None or now is None else f"{now - was:+.4g}"
        cells = (item.name, _figure(was, now), _figure(now, was), delta, _adjusted(item), _examples(item), item.nodeid)
        style = {"worse": "red", "better": "green", "": ""}[item.verdict]
        table.add_row(*(Text(visible(shorten(cell, 200)), style=style) for cell in cells))
    console.print(table, soft_wrap=False)
    if len(items) > len(listed):
        console.print(f"and {len(items) - len(listed)} more (--json has all)")
    if any(item.paired for item in listed):
        console.print("p: two-sided, in pairs of examples, Holm's correction over all checks", style="dim")


def _examples(item: Item) -> str:
    if item.paired is None:
        return item.other or (f"more than {EXAMPLES:,} are not kept" if item.unkept else "no pairs")
    worse, improved, n = len(item.paired.worse), len(item.paired.better), item.paired.n
    words = ("worse", "better") if item.better else ("lower", "higher")
    unpaired = f", {item.paired.unpaired} in one run only" if item.paired.unpaired else ""
    return f"{worse} {words[0]}, {improved} {words[1]} of {n}{unpaired}"


def _goldens(console: Console, items: Sequence[Item]) -> None:
    from pytest_llm.golden.diff import word_diff

    if not items:
        return
    console.print("\ngoldens that moved", style="bold")
    for item in items[:SHOWN]:
        status = item.was if item.was == item.now else f"{item.was} {_arrow()} {item.now}"
        console.print(f"  {visible(f'{item.nodeid} ({item.name})')}  {visible(status)}")
        for where, was, now in item.answers[:3]:
            console.print(f"    {visible(where)}{' ' if where else ''}{shorten(word_diff(was, now))}")
    if len(items) > SHOWN:
        console.print(f"  and {len(items) - SHOWN} more (--json has all)")


def _arrow() -> str:
    return "→" if shows("→") else "->"


def _adjusted(item: Item) -> str:
    return "" if item.paired is None else p_value(item.paired.adjusted)


def _figure(value: float | None, other: float | None) -> str:
    return "" if value is None else number(value, other)
