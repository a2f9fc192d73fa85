"""A series in a terminal: points, marks where something changed, and a legend that says what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llm.history.legend import Legend, gaps, labels, slots
from pytest_llm.history.series import Series
from pytest_llm.reports.text import counted, number, shorten, visible

if TYPE_CHECKING:
    from rich.text import Text

HEIGHT = 8
#: Marks of one chart.
LISTED = 12
_MARKS = "123456789abc"
#: Columns of the labels and the axis.
_LEFT = 12
_STYLES = {"better": "green", "worse": "red", "": "yellow"}


@dataclasses.dataclass(frozen=True)
class Glyphs:
    """What a chart is drawn with."""

    point: str = "●"
    change: str = "┊"
    level: str = "─"
    corner: str = "└"
    wall: str = "│"
    arrow: str = "→"
    gap: str = "×"


#: For terminals that show ASCII only.
ASCII = Glyphs("*", ":", "-", "+", "|", "->", "x")


def draw(series: Series, *, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Give the lines of the chart and of its legend; the chart is no wider than ``width`` columns.

    Where there are more runs than columns, a column shows the mean of its runs, and its marks stand below one another.
    """
    from rich.text import Text

    places = slots(series)
    n = len(series.points) + len(series.gaps)
    columns = min(max(width - _LEFT, 10), n * 2 - 1)
    column, empty = ([round(i * (columns - 1) / max(n - 1, 1)) for i in some] for some in places)
    yield Text(visible(shorten(series.title, 400)), style="bold")
    for label, row in _grid(series, column, columns, glyphs):
        line = Text.assemble((f"{label:>{_LEFT - 2}} {glyphs.wall}", "dim"), *row)
        line.rstrip()
        yield line
    axis = [(glyphs.gap, "red") if at in empty else (glyphs.level, "dim") for at in range(columns)]
    yield Text.assemble((f"{' ' * (_LEFT - 1)}{glyphs.corner}", "dim"), *axis)
    legend = Legend(series, glyphs.arrow)
    listed, more = legend.marks(LISTED)
    marks: list[list[str]] = []
    for mark, i in zip(_MARKS, listed, strict=False):
        if all(below[column[i]] != " " for below in marks):
            marks.append([" "] * columns)
        next(below for below in marks if below[column[i]] == " ")[column[i]] = mark
    for below in marks:
        yield Text(f"{' ' * _LEFT}{''.join(below)}".rstrip(), style="bold")
    yield Text(f"{' ' * _LEFT}{_span(series)}", style="dim")
    for said in gaps(series):
        yield from _wrapped(f"{glyphs.gap} ", said, width, "red")
    if more:
        yield Text(f"not listed: {counted(more, 'other change')}; --html has more", style="dim")
    for mark, i in zip(_MARKS, listed, strict=False):
        run, change = series.points[i].run, series.changes.get(i)
        style = _STYLES[series.verdict(change)] if change else ""
        yield from _wrapped(f"{mark} {run.started[:10]} {run.short} ", legend.said(i), width, style)


def _grid(
    series: Series, column: Sequence[int], columns: int, glyphs: Glyphs
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Give the rows of the drawing from the top: label, and glyph with style for each column."""
    inside: dict[int, list[float]] = {}
    for at, point in zip(column, series.points, strict=True):
        inside.setdefault(at, []).append(point.value)
    means = {at: math.fsum(values) / len(values) for at, values in inside.items()}
    low, high = min(means.values()), max(means.values())
    rows = 1 if low == high else HEIGHT
    turns = {column[i]: _STYLES[series.verdict(change)] for i, change in series.changes.items()}
    blank = [(glyphs.change, turns[at]) if at in turns else (" ", "") for at in range(columns)]
    grid = [list(blank) for _ in range(rows)]
    for at, mean in means.items():
        place = round((high - mean) / (high - low) * (rows - 1)) if rows > 1 else 0
        grid[place][at] = (glyphs.point, turns.get(at, "cyan"))
    ends = labels(low, high)
    yield from zip([ends[1], *[""] * (rows - 2), ends[0]], grid, strict=False)


def _wrapped(head: str, said: str, width: int, style: str) -> Iterator[Text]:
    import textwrap

    from rich.text import Text

    for line in textwrap.wrap(visible(said), max(width, 40), initial_indent=head, subsequent_indent=" " * 4):
        yield Text(line, style=style)


def _span(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    n = len(series.points)
    note = f" {last.note}" if last.note else ""
    days = f"{first.run.started[:10]} to {last.run.started[:10]}" if n > 1 else first.run.started[:10]
    mean = math.fsum(point.value for point in series.points) / n
    return f"{counted(n, 'run')}, {days}; last {number(last.value)}{note}, mean {number(mean)}"
