"""What a chart of a series points out, and in what words: the same in a terminal and on the page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pytest_llm.history.runfile import order
from pytest_llm.history.series import Series
from pytest_llm.reports.text import apart, counted, number, visible

#: What comes and goes more often than this (two machines of one pool, two branches) is pointed out the first time only.
OFTEN = 3
#: Runs on either side of a change of level, found among noise, in which its cause may be as well.
NEAR = 3

_Moved = tuple[str, str, str]


class Legend:
    """The runs of one series that its chart marks, and what it says of each."""

    def __init__(self, series: Series, arrow: str = "→") -> None:
        self._series, self._arrow = series, arrow
        seen: dict[tuple[str, frozenset[str]], list[int]] = defaultdict(list)
        for i, point in enumerate(series.points):
            for one in point.telling:
                seen[_pair(one)].append(i)
        self._often = {pair: places for pair, places in seen.items() if len(places) > OFTEN}

    def marks(self, most: int) -> tuple[list[int], int]:
        """Return the indices of at most ``most`` points, and how many more there would be.

        Changes of level go first, then the newest of which anything but the commit changed.
        """
        changes = list(self._series.changes)
        others = [i for i in range(len(self._series.points)) if i not in self._series.changes and self._news(i)]
        room = max(0, most - len(changes))
        chosen = sorted(changes[-most:] + others[len(others) - min(room, len(others)) :])
        return chosen, len(changes) + len(others) - len(chosen)

    def said(self, i: int) -> str:
        """Return what is said of a marked point."""
        point, change = self._series.points[i], self._series.changes.get(i)
        said = [number(point.value)]
        if change:
            judged = self._series.verdict(change)
            sure = f"p {change.p:.2g}; about here" if change.p else "a step, without noise"
            before, after = number(change.before, change.after), number(change.after, change.before)
            level = f"level {before} {self._arrow} {after}"
            said = [f"{level}{judged and ', ' + judged} ({sure})"]
        said += [self._words(one) for one in point.moved if one[0] == "commit" or one in self._news(i)]
        if change and change.p:
            said += self._near(i)
        return "; ".join(said)

    def _news(self, i: int) -> list[_Moved]:
        """Return what changed before a point, without the commit and what comes and goes."""
        return [one for one in self._series.points[i].telling if self._often.get(_pair(one), [i])[0] == i]

    def _words(self, one: _Moved) -> str:
        what, was, now = one
        times = len(self._often.get(_pair(one), ()))
        return f"{what} {was} {self._arrow} {now}" + (f" (back and forth, {times} times)" if times else "")

    def _near(self, i: int) -> Iterator[str]:
        for at in range(max(0, i - NEAR), min(len(self._series.points), i + NEAR + 1)):
            away = f"{counted(abs(at - i), 'run')} {'before' if at < i else 'after'}"
            if at != i:
                yield from (f"{away}: {self._words(one)}" for one in self._news(at))


def _pair(one: _Moved) -> tuple[str, frozenset[str]]:
    return one[0], frozenset(one[1:])


def labels(low: float, high: float) -> tuple[str, str]:
    """Return what to call the ends of an axis, which two names never are the same."""
    return apart((".4g", ".6g", ".9g"), (low, high))[0]


def slots(series: Series) -> tuple[list[int], list[int]]:
    """Return the places of the points, and of the runs without a figure, among all of these runs."""
    runs = [point.run.id for point in series.points], [run.id for run, _ in series.gaps]
    place = {id: n for n, id in enumerate(sorted({*runs[0], *runs[1]}, key=order))}
    return [place[id] for id in runs[0]], [place[id] for id in runs[1]]


def gaps(series: Series) -> list[str]:
    """Return what to say of runs in which the test measured nothing, the newest first."""
    last = order(series.points[-1].run.id)
    said = []
    for later, which in ((True, "later"), (False, "earlier")):
        why = Counter(words for run, words in series.gaps if (order(run.id) > last) == later)
        if why:
            n = why.total()
            words = ", ".join(f"{k} {one}" for one, k in why.most_common())
            said.append(f"{counted(n, f'{which} run')} of this test {'has' if n == 1 else 'have'} no figure ({words})")
    return said


def mixed(found: Sequence[Series]) -> str:
    """Return what to say where runs of several branches are in one line, ``""`` where none are."""
    names = [{point.run.branch for point in one.points} for one in found]
    if max(map(len, names), default=0) < 2:
        return ""
    known = sorted(visible(name) or "none" for name in set.union(*names))
    listed = ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")
    return f"{len(known)} branches are in one line here ({listed}): --branch=NAME draws one"
