"""A comparison in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_llm.monitoring import wording
from pytest_llm.monitoring.panel import Comparison
from pytest_llm.reports.text import shorten, visible

_STYLES = {"none": "", "small": "yellow", "drift": "bold red"}


def show(found: Comparison, console: Console) -> None:
    """Print the table of checks, what moved most, and what was not compared.

    Outputs are untrusted: every text is printed as it stands, without markup, its control characters as escapes.
    """
    for label, window in (("reference", found.reference), ("current", found.current)):
        console.print(Text(f"{label:<10} {len(window)} outputs of {visible(window.path)}"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    table.add_column("check", overflow="fold")
    table.add_column("result", no_wrap=True)
    for heading in ("reference", "current", "apart"):
        table.add_column(heading, overflow="fold")
    table.add_column("Holm p", justify="right", no_wrap=True)
    shown = [check for check in found.checks if not check.segment or check.status != "none"]
    for check in shown:
        style = _STYLES[check.status]
        cells = (visible(check.reference), visible(check.current), wording.apart(check))
        row = (wording.name(check), wording.STATUSES[check.status], *cells, wording.p_value(check.p_adjusted))
        table.add_row(*(Text(cell, style=style) for cell in row))
    console.print()
    console.print(table)
    console.print()
    if len(shown) < len(found.checks):
        console.print(Text(f"and {len(found.checks) - len(shown)} checks of single segments without drift"))
    for check in found.drifted:
        moved = [wording.moved(check)] if check.bars and check.test != "rate" else []
        moved += [f"least like the reference: {visible(shorten(text, 120))}" for text in check.examples]
        for line in moved:
            console.print(Text(f"{wording.name(check)}: {line}"))
    for check in found.checks:
        if check.note and not check.segment:
            console.print(Text(f"note: {check.name}: {check.note}", style="dim"))
    for note in found.notes:
        console.print(Text(f"note: {visible(note)}", style="dim"))
    console.print(Text(found.headline, style="bold red" if found.drifted else "bold green"))
