"""A series in a terminal: points, marks where something changed, and a legend that says what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_llm.history.series import Point, Series
from pytest_llm.reports.text import number, shorten, visible

if TYPE_CHECKING:
    from rich.text import Text

HEIGHT = 8
#: Lines of the legend of one chart: the newest.
LISTED = 12
_MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
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


#: For terminals that show ASCII only.
ASCII = Glyphs("*", ":", "-", "+", "|", "->")


def legend_points(series: Series) -> list[int]:
    """Return the indices of what the legend lists: changes of level, and of anything but the commit."""
    return [i for i, point in enumerate(series.points) if i in series.changes or point.telling]


def draw(series: Series, *, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Give the lines of the chart and of its legend, none wider than ``width`` columns."""
    from rich.text import Text

    values = [point.value for point in series.points]
    low, high = min(values), max(values)
    if low == high:
        rows = 1
    else:
        rows = HEIGHT
    labels = [number(high), *[""] * (rows - 2), number(low)] if rows > 1 else [number(high)]
    left = max(map(len, labels)) + 2
    columns = min(max(width - left, 10), max(len(values) * 2 - 1, 1))

    def column(i: int) -> int:
        return round(i * (columns - 1) / (len(values) - 1)) if len(values) > 1 else 0

    grid = [[(" ", "")] * columns for _ in range(rows)]
    for i, change in series.changes.items():
        for row in grid:
            row[column(i)] = (glyphs.change, _STYLES[series.verdict(change)])
    for i, value in enumerate(values):
        row = 0 if rows == 1 else round((high - value) / (high - low) * (rows - 1))
        style = _STYLES[series.verdict(series.changes[i])] if i in series.changes else "cyan"
        grid[row][column(i)] = (glyphs.point, style)
    yield Text(visible(shorten(series.title, max(width - 24, 20))), style="bold")
    for label, row in zip(labels, grid, strict=True):
        yield Text.assemble((f"{label:>{left - 2}}", "dim"), f" {glyphs.wall}", *row)
    listed = legend_points(series)[-min(LISTED, len(_MARKS)) :]
    marks = [" "] * columns
    for mark, i in zip(_MARKS, listed, strict=False):
        marks[column(i)] = mark
    yield Text(f"{' ' * (left - 1)}{glyphs.corner}{glyphs.level * columns}"[:width], style="dim")
    if listed:
        yield Text(f"{' ' * left}{''.join(marks)}".rstrip(), style="bold")
    yield Text(f"{' ' * left}{_span(series)}", style="dim")
    earlier = len(legend_points(series)) - len(listed)
    if earlier:
        yield Text(f"  {earlier} earlier changes are not listed; --html has all", style="dim")
    for mark, i in zip(_MARKS, listed, strict=False):
        yield from _entry(mark, i, series, width, glyphs)


def words(point: Point, glyphs: Glyphs = Glyphs()) -> list[str]:  # noqa: B008
    """Return what moved before a point, in words."""
    return [f"{what} {was} {glyphs.arrow} {now}" for what, was, now in point.moved]


def of_change(series: Series, i: int, glyphs: Glyphs = Glyphs()) -> str:  # noqa: B008
    """Return what a change of level says."""
    change = series.changes[i]
    judged = series.verdict(change)
    p = f"p {change.p:.2g}" if change.p else "a step: the figure stood still on either side"
    return f"level {number(change.before)} {glyphs.arrow} {number(change.after)}{judged and ', ' + judged} ({p})"


def _entry(mark: str, i: int, series: Series, width: int, glyphs: Glyphs) -> Iterator[Text]:
    import textwrap

    from rich.text import Text

    point = series.points[i]
    said = [of_change(series, i, glyphs)] if i in series.changes else [f"{number(point.value)}"]
    said += words(point, glyphs)
    head = f"{mark} {point.run.started[:10]} {point.run.short} "
    style = _STYLES[series.verdict(series.changes[i])] if i in series.changes else ""
    lines = textwrap.wrap(
        visible("; ".join(said)), max(width - 4, 30), initial_indent=head, subsequent_indent=" " * 4
    )  # fmt: skip
    for line in lines:
        yield Text(line, style=style)


def _span(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    n = len(series.points)
    note = f" {last.note}" if last.note else ""
    days = f"{first.run.started[:10]} to {last.run.started[:10]}" if n > 1 else first.run.started[:10]
    mean = math.fsum(point.value for point in series.points) / n
    return f"{n} run{'s' * (n > 1)}, {days}; last {number(last.value)}{note}, mean {number(mean)}"
