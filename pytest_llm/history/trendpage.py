"""Trends as one HTML file that needs nothing else: inline SVG, no script, and a table under every chart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llm.history.legend import Legend, gaps, labels, mixed, slots
from pytest_llm.history.runfile import order
from pytest_llm.history.series import Series
from pytest_llm.reports.html import asset, source_hash, template
from pytest_llm.reports.text import number

#: The drawing's size and the frame of the curve in it, in its own units.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 268, 90, 20, 24, 78
#: Rows of letters below a chart, and the room that one takes in its row.
LETTER_ROWS, LETTER = 3, 20
#: Charts of one page; letters of one chart, and rows of all tables: the newest.
CHARTS, MARKS, ROWS = 60, 100, 5_000


@dataclasses.dataclass(frozen=True)
class Mark:
    """A run that the chart points out: ``x``, ``y``, a letter, its row, what it says, ``better``, ``worse`` or ""."""

    index: int
    x: float
    y: float
    letter: str
    row: int
    text: str
    change: bool
    judged: str


def page(metric: str, found: Sequence[Series]) -> str:
    """Return the page of the series of ``metric``."""
    from markupsafe import Markup

    style = asset("report.css") + asset("scroll.css") + asset("trend.css")
    return template(asset("trend.html.j2")).render(
        metric=metric,
        charts=[_chart(series, ROWS // min(len(found), CHARTS)) for series in found[:CHARTS]],
        omitted=max(0, len(found) - CHARTS),
        mixed=mixed(found),
        style=Markup(style),
        style_hash=source_hash(style),
        box=(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM),
    )


def _chart(series: Series, listed: int) -> dict[str, Any]:
    values = [point.value for point in series.points]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1

    full, empty = slots(series)

    def x(slot: int) -> float:
        room, last = WIDTH - LEFT - RIGHT, len(full) + len(empty) - 1
        return round(LEFT + (room * slot / last if last else room / 2), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    places = [(x(slot), y(value)) for slot, value in zip(full, values, strict=True)]
    starts = [0, *series.changes, len(values)]
    levels = [
        (x(full[a]), x(full[b - 1]), y(sum(values[a:b]) / (b - a))) for a, b in zip(starts, starts[1:], strict=False)
    ]
    legend = Legend(series)
    marked = legend.marks(MARKS)[0]
    marks = [
        Mark(
            i, *places[i], _letter(n), row, legend.said(i), i in series.changes,
            series.verdict(series.changes[i]) if i in series.changes else "",
        )
        for n, (i, row) in enumerate(zip(marked, _rows([places[i][0] for i in marked]), strict=True))
    ]  # fmt: skip
    letters = {mark.index: mark.letter for mark in marks}
    chosen = [i for i in range(len(values)) if i >= len(values) - listed or i in letters]
    return {
        "series": series, "places": places, "levels": levels if series.changes else [], "marks": marks,
        "rows": [(i, series.points[i]) for i in reversed(chosen)],
        "gaps": [(x(slot), run.short, why) for slot, (run, why) in zip(empty, series.gaps, strict=True)],
        "last": max([series.points[-1].run, *(run for run, _ in series.gaps)], key=lambda run: order(run.id)),
        "missing": gaps(series),
        "labels": labels(low, high), "letters": letters,
        "summary": _summary(series), "dots": len(places) <= 200,
    }  # fmt: skip


def _summary(series: Series) -> str:
    """Return what the chart shows, for who does not see it."""
    values = [point.value for point in series.points]
    low, high, changes = min(values), max(values), len(series.changes)
    if len(values) == 1:
        return f"one run, {series.points[0].run.started[:10]}: {number(values[0])}"
    return (
        f"{len(values)} runs from {series.points[0].run.started[:10]} to {series.points[-1].run.started[:10]}, "
        f"between {number(low, high)} and {number(high, low)}, last {number(values[-1])}; "
        f"{changes or 'no'} change{'s' * (changes != 1)} of level"
    )


def _rows(places: Sequence[float]) -> Iterator[int]:
    """Give the first row in which there is room for a letter at each of the places, else the row with most room."""
    ends = [-math.inf] * LETTER_ROWS
    for x in places:
        row = next((row for row, end in enumerate(ends) if x - end >= LETTER), ends.index(min(ends)))
        ends[row] = x
        yield row


def _letter(n: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    letters = ""
    n += 1
    while n:
        n, rest = divmod(n - 1, 26)
        letters = chr(97 + rest) + letters
    return letters
