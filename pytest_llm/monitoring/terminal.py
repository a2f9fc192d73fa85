"""A comparison in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_llm.monitoring import wording
from pytest_llm.monitoring.panel import Comparison
from pytest_llm.reports.text import counted, shorten, visible

_STYLES = {"none": "", "small": "yellow", "drift": "bold red"}


def show(found: Comparison, console: Console) -> None:
    """Print the table of checks, what moved most, and what was not compared or left out.

    Outputs are untrusted: every text is printed as it stands, without markup, its control characters as escapes.
    """
    for label, window in (("reference", found.reference), ("current", found.current)):
        console.print(Text(f"{label:<10} {len(window)} outputs of {visible(window.path)}"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    shown = [check for check in found.checks if not check.segment or check.status != "none"]
    rows = [
        (
            wording.name(check), wording.STATUSES[check.status], visible(check.reference), visible(check.current),
            wording.apart(check), wording.p_value(check.p_adjusted),
        )
        for check in shown
    ]  # fmt: skip
    headings = ("check", "result", "reference", "current", "apart", "Holm p")
    for heading, width in zip(headings, _widths([headings, *rows], console.width), strict=True):
        justify: Literal["right", "left"] = "right" if heading == "Holm p" else "left"
        table.add_column(heading, overflow="fold", width=width, justify=justify)
    for check, row in zip(shown, rows, strict=True):
        table.add_row(*(Text(cell, style=_STYLES[check.status]) for cell in row))
    console.print()
    console.print(table)
    console.print()
    if len(shown) < len(found.checks):
        quiet = len(found.checks) - len(shown)
        console.print(Text(f"and {counted(quiet, 'check')} of single segments without drift"))
    arrow = "->" if console.options.ascii_only else "→"
    for check in found.drifted:
        moved = [wording.moved(check, arrow=arrow)] if check.bars and check.test != "rate" else []
        moved += [f"least like the reference: {visible(shorten(text, 120))}" for text in check.examples]
        for line in moved:
            console.print(Text(f"{wording.name(check)}: {line}"))
    for check in found.checks:
        if check.note and not check.segment:
            console.print(Text(f"note: {check.name}: {check.note}", style="dim"))
    for note in found.notes:
        console.print(Text(f"note: {visible(note)}", style="dim"))
    console.print(Text(visible(found.headline), style="bold red" if found.drifted else "bold green"))


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column of a table that is ``room`` wide, its gaps of 3 included.

    Columns lose first what breaks no word; rich by itself would break the words of the widest.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    words = [max(cell_len(word) for cell in column for word in cell.split()) for column in columns]
    while sum(widths) + 3 * (len(widths) - 1) > max(room, 40):
        loser = max(range(len(widths)), key=lambda i: (max(0, widths[i] - words[i]), widths[i]))
        widths[loser] -= 1
    return widths
