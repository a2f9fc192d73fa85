"""A series in a terminal: points, marks where something changed, and a legend that says what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llm.history.series import Point, Series
from pytest_llm.reports.text import number, visible

if TYPE_CHECKING:
    from rich.text import Text

HEIGHT = 8
#: Lines of the legend of one chart: the newest.
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


#: For terminals that show ASCII only.
ASCII = Glyphs("*", ":", "-", "+", "|", "->")


def legend_points(series: Series) -> list[int]:
    """Return the indices of what the legend lists: changes of level, and of anything but the commit."""
    return [i for i, point in enumerate(series.points) if i in series.changes or point.telling]


def draw(series: Series, *, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Give the lines of the chart and of its legend, none wider than ``width`` columns.

    Where there are more runs than columns, a column shows the mean of its runs.
    """
    from rich.text import Text

    n = len(series.points)
    columns = min(max(width - _LEFT, 10), n * 2 - 1)
    column = [round(i * (columns - 1) / max(n - 1, 1)) for i in range(n)]
    yield Text(visible(series.title), style="bold")
    for label, row in _grid(series, column, columns, glyphs):
        line = Text.assemble((f"{label:>{_LEFT - 2}} {glyphs.wall}", "dim"), *row)
        line.rstrip()
        yield line
    yield Text(f"{' ' * (_LEFT - 1)}{glyphs.corner}{glyphs.level * columns}", style="dim")
    telling = legend_points(series)
    listed = telling[-LISTED:]
    marks = [" "] * columns
    for mark, i in zip(_MARKS, listed, strict=False):
        marks[column[i]] = mark
    if listed:
        yield Text(f"{' ' * _LEFT}{''.join(marks)}".rstrip(), style="bold")
    yield Text(f"{' ' * _LEFT}{_span(series)}", style="dim")
    if len(telling) > len(listed):
        yield Text(f"{len(telling) - len(listed)} earlier changes are not listed; --html has more", style="dim")
    for mark, i in zip(_MARKS, listed, strict=False):
        yield from _entry(mark, i, series, width, glyphs)


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
    labels = [f"{high:.4g}", *[""] * (rows - 2), f"{low:.4g}"]
    yield from zip(labels, grid, strict=False)


def words(point: Point, glyphs: Glyphs = Glyphs()) -> list[str]:  # noqa: B008
    """Return what moved before a point, in words."""
    return [f"{what} {was} {glyphs.arrow} {now}" for what, was, now in point.moved]


def of_change(series: Series, i: int, glyphs: Glyphs = Glyphs()) -> str:  # noqa: B008
    """Return what a change of level says."""
    change = series.changes[i]
    judged = series.verdict(change)
    p = f"p {change.p:.2g}" if change.p else "a step, without noise"
    return f"level {number(change.before)} {glyphs.arrow} {number(change.after)}{judged and ', ' + judged} ({p})"


def _entry(mark: str, i: int, series: Series, width: int, glyphs: Glyphs) -> Iterator[Text]:
    import textwrap

    from rich.text import Text

    point = series.points[i]
    said = [of_change(series, i, glyphs)] if i in series.changes else [f"{number(point.value)}"]
    said += words(point, glyphs)
    head = f"{mark} {point.run.started[:10]} {point.run.short} "
    style = _STYLES[series.verdict(series.changes[i])] if i in series.changes else ""
    for line in textwrap.wrap(
        visible("; ".join(said)), max(width, 40), initial_indent=head, subsequent_indent=" " * 4
    ):  # fmt: skip
        yield Text(line, style=style)


def _span(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    n = len(series.points)
    note = f" {last.note}" if last.note else ""
    days = f"{first.run.started[:10]} to {last.run.started[:10]}" if n > 1 else first.run.started[:10]
    mean = math.fsum(point.value for point in series.points) / n
    return f"{n} run{'s' * (n > 1)}, {days}; last {number(last.value)}{note}, mean {number(mean)}"
