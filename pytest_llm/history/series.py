"""How a figure moved over runs: its series by test, and what changed around the model between one run and the next."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llm.environment import changed_parts
from pytest_llm.errors import InvalidInputError
from pytest_llm.history.changepoints import Change, changes
from pytest_llm.history.database import History
from pytest_llm.history.rows import MODEL, Run
from pytest_llm.history.runfile import order
from pytest_llm.reports.overview import STATUSES
from pytest_llm.reports.text import shorten, visible

#: What can be drawn besides the metrics of gates: goldens that are not identical, and seconds.
DRIFT, SECONDS = "drift", "seconds"

_SAME = ("identical", "created", "updated")
#: pytest's exit codes of a run that did not come to its tests, or not to all: files that cannot be collected, say.
_ENDED = (2, 3, 4)
#: Names that an error lists.
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Point:
    """A figure in one run. ``moved`` is what differs from the series' run before: ``(what, was, now)``."""

    run: Run
    value: float
    note: str = ""
    moved: tuple[tuple[str, str, str], ...] = ()

    @property
    def telling(self) -> tuple[tuple[str, str, str], ...]:
        """What differs besides the commit, which differs in most runs."""
        return tuple(one for one in self.moved if one[0] != "commit")


@dataclasses.dataclass(frozen=True)
class Series:
    """A figure over runs, oldest first. ``better`` is ``higher``, ``lower``, or empty where it is not known.

    ``gaps`` are runs after the first in which the test measured no such figure, and how it came out, in words.
    """

    title: str
    points: tuple[Point, ...]
    better: str = ""
    gaps: tuple[tuple[Run, str], ...] = ()

    @functools.cached_property
    def changes(self) -> dict[int, Change]:
        """Where the level changed, by the index of the first point of the new level."""
        return {change.at: change for change in changes([point.value for point in self.points])}

    def verdict(self, change: Change) -> str:
        """Return ``better``, ``worse``, or ``""`` where the direction is not known."""
        if not self.better:
            return ""
        return "better" if (change.after > change.before) == (self.better == "higher") else "worse"


def of_metric(history: History, metric: str, *, test: str = "", runs: Sequence[Run]) -> list[Series]:
    """Return the series of ``metric`` over ``runs``: one for each test with ``test`` in its node id.

    ``drift`` counts goldens, in all and by status; ``seconds`` is the run's time, or with ``test`` the tests'. Both
    leave out runs that were not of all tests, unless ``test`` says which ones matter.

    Raises:
        InvalidInputError: no run has such a figure; the message lists those there are.
    """
    by_number = {run.number: run for run in runs}
    found = list(_of_verdicts(history, metric, test, by_number))
    if metric == DRIFT:
        found = [*_of_goldens(history, test, by_number), *found]
    elif metric == SECONDS:
        found = [*_of_seconds(history, test, by_number), *found]
    if not found:
        raise InvalidInputError(_nothing(history, metric, test, runs))
    return found


def metrics(history: History) -> list[str]:
    """Return the names of all figures there are."""
    return [DRIFT, SECONDS, *(name for (name,) in history.select(
        "SELECT DISTINCT name FROM verdicts WHERE value IS NOT NULL ORDER BY name"
    ))]  # fmt: skip


def moved(
    before: Run, after: Run, *, models: tuple[Sequence[str], Sequence[str]] | None = None
) -> Iterator[tuple[str, str, str]]:
    """Give what differs between two runs, ``(what, was, now)``: commit, branch, models (of these keys), versions."""
    if before.revision != after.revision:
        yield "commit", before.revision or "unknown", after.revision or "unknown"
    if before.branch != after.branch:
        yield "branch", before.branch or "none", after.branch or "none"
    keys = models or ((), ())
    found = _models_moved(*(
        [run.models[key] for key in chosen if key in run.models] or list(run.models.values())
        for run, chosen in zip((before, after), keys, strict=True)
    ))  # fmt: skip
    # Where a test asked none, a fixture may have asked for it. What only one run used was for other tests.
    ours = models is None or all(models)
    yield from (one for one in found if ours or not (one[0] == "model" and "none" in one[1:]))
    for name, was in before.environment.items():
        now = after.environment.get(name, was)  # of another version's record, which may not say
        if was != now:
            yield name, was or "none", now or "none"


def _models_moved(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    old = [model for model in before if all(_apart(model, other) for other in after)]
    new = [model for model in after if all(_apart(other, model) for other in before)]
    several = max(len(before), len(after)) > 1
    pairs = [(was, now) for now in new for was in old if was["source"] == now["source"]]
    pairs.sort(key=lambda pair: len(_apart(*pair)))  # stable
    if len(old) == len(new) == 1:
        pairs = [(old[0], new[0])]
    for was, now in pairs:
        if was in old and now in new:
            of = f" of {_name(now, after)}" if several else ""
            yield from ((f"{name}{of}", _short(a), _short(b)) for name, (a, b) in _apart(was, now).items())
            old.remove(was)
            new.remove(now)
    for model in old:
        yield "model", _name(model, before), "none"
    for model in new:
        yield "model", "none", _name(model, after)


def _apart(was: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return in what a model is another one, its content by parts."""
    plain = {name: (was[name], now[name]) for name in MODEL if name != "digest" and was[name] != now[name]}
    return {"model" if name == "source" else name: pair for name, pair in plain.items()} | changed_parts(was, now)


def _name(model: dict[str, Any], models: list[dict[str, Any]]) -> str:
    """Return the source of a model, with what tells it from others of that source."""
    alike = [one for one in models if one["source"] == model["source"]]
    telling = [name for name in ("adapter", "dtype", "device") if len({one[name] for one in alike}) > 1]
    said = ", ".join(model[name] for name in telling if model[name])
    return str(model["source"]) + (said and f" ({said})")


def _short(value: str | None) -> str:
    return "none" if not value else value[:12] if len(value) in (40, 64) else value


def _of_verdicts(history: History, metric: str, test: str, runs: dict[int, Run]) -> Iterator[Series]:
    rows = history.select(
        "SELECT v.run, v.nodeid, v.kind, v.value, v.better, t.models FROM verdicts v LEFT JOIN tests t "
        "ON t.run = v.run AND t.nodeid = v.nodeid WHERE v.name = ? AND v.value IS NOT NULL AND instr(v.nodeid, ?) "
        "ORDER BY v.run, v.position",
        (metric, test),
    )
    seen: Counter[tuple[Any, ...]] = Counter()
    values: dict[tuple[str, int, str], list[tuple[Run, float, list[str]]]] = defaultdict(list)
    direction: dict[str, str] = {}
    for number, nodeid, kind, value, better, models in rows:
        if number in runs:
            seen[number, nodeid, kind] += 1
            values[nodeid, seen[number, nodeid, kind], kind].append((runs[number], value, json.loads(models or "[]")))
            direction[nodeid] = better or direction.get(nodeid, "")
    kept: dict[tuple[str, int], list[str]] = defaultdict(list)
    for nodeid, index, kind in values:
        # A threshold and a baseline of one score are one series.
        twin = any(_same(values[nodeid, index, other], values[nodeid, index, kind]) for other in kept[nodeid, index])
        if not twin:
            kept[nodeid, index].append(kind)
    outcomes = _outcomes(history, metric, test)
    for (nodeid, index), kinds in sorted(kept.items()):
        for kind in kinds:
            title = nodeid + (f" ({kind})" if len(kinds) > 1 else "") + (f" #{index}" if index > 1 else "")
            points = _points(values[nodeid, index, kind])
            yield Series(title, points, direction[nodeid], tuple(_gaps(points, outcomes.get(nodeid, {}), runs)))


def _outcomes(history: History, metric: str, test: str) -> dict[str, dict[int, str]]:
    """Return how each test that has measured ``metric`` came out, by the number of the run."""
    rows = history.select(
        "SELECT nodeid, run, status FROM tests WHERE instr(nodeid, ?) AND nodeid IN "
        "(SELECT nodeid FROM verdicts WHERE name = ? AND value IS NOT NULL)",
        (test, metric),
    )
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for nodeid, number, status in rows:
        found[nodeid][number] = status
    return found


def _gaps(points: Sequence[Point], outcomes: dict[int, str], runs: dict[int, Run]) -> Iterator[tuple[Run, str]]:
    measured = {point.run.number for point in points}
    for number, run in sorted(runs.items(), key=lambda item: order(item[1].id)):
        if number in measured or order(run.id) < order(points[0].run.id):
            continue
        if number in outcomes:
            yield run, STATUSES[outcomes[number]]
        elif run.exit_status in _ENDED:
            yield run, "not run"


def _same(a: list[tuple[Run, float, list[str]]], b: list[tuple[Run, float, list[str]]]) -> bool:
    # One of the two may be rounded, as what a file holds is.
    return [run.number for run, *_ in a] == [run.number for run, *_ in b] and all(
        math.isclose(x, y, rel_tol=1e-6) for (_, x, _), (_, y, _) in zip(a, b, strict=True)
    )


def _of_goldens(history: History, test: str, runs: dict[int, Run]) -> Iterator[Series]:
    rows = history.select(
        "SELECT run, status, COUNT(*) FROM verdicts WHERE kind = 'golden' AND instr(nodeid, ?) GROUP BY run, status",
        (test,),
    )
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for number, status, n in rows:
        if number in runs and (test or not runs[number].filtered):
            counts[number][status] = n
    statuses = sorted({status for counted in counts.values() for status in counted} - set(_SAME))
    for title, which in [("goldens that are not identical", statuses), *((status, [status]) for status in statuses)]:
        if counts and (len(statuses) != 1 or which is statuses):
            figures: list[Any] = [
                (runs[number], float(sum(counted[one] for one in which)), None, f"of {sum(counted.values())}")
                for number, counted in counts.items()
            ]
            yield Series(title, _points(figures), "lower")


def _of_seconds(history: History, test: str, runs: dict[int, Run]) -> Iterator[Series]:
    if not test:
        whole = [(run, run.seconds, None) for run in runs.values() if not run.filtered]
        if whole:
            yield Series("seconds of a run", _points(whole), "lower")
        return
    found: dict[str, list[Any]] = defaultdict(list)
    rows = history.select("SELECT run, nodeid, seconds, models FROM tests WHERE instr(nodeid, ?)", (test,))
    for number, nodeid, seconds, models in rows:
        if number in runs:
            found[nodeid].append((runs[number], seconds, json.loads(models)))
    for nodeid, figures in sorted(found.items()):
        yield Series(nodeid, _points(figures), "lower")


def _points(figures: Sequence[Any]) -> tuple[Point, ...]:
    """Return the points of ``(run, value, keys of models[, note])``, oldest first, with what moved between them.

    The models are those that the test asked; ``None`` where all of the run count.
    """
    points: list[Point] = []
    last: tuple[Run, list[str] | None] | None = None
    for run, value, models, *note in sorted(figures, key=lambda figure: order(figure[0].id)):
        asked = (last[1], models) if last and last[1] is not None else None
        differs = tuple(moved(last[0], run, models=asked)) if last else ()
        points.append(Point(run, value, note[0] if note else "", differs))
        last = run, models
    return tuple(points)


def _nothing(history: History, metric: str, test: str, runs: Sequence[Run]) -> str:
    if not runs:
        return "there is no run to draw: the history is empty, or no run is of this branch and model"
    known = metrics(history)
    if metric not in known:
        return f"there is no figure {metric!r} in the history; there are {_listed(known)}"
    where = [nodeid for (nodeid,) in history.select(
        "SELECT DISTINCT nodeid FROM verdicts WHERE name = ? AND value IS NOT NULL ORDER BY nodeid", (metric,)
    )]  # fmt: skip
    return f"no run chosen here has {metric!r}" + (f" in a test with {test!r} in its name" if test else "") + (
        f"; it is checked in {_listed(where)}" if where else "; runs that were not of all tests do not count"
    )  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(visible(shorten(name, 100)) for name in names[:_LISTED]) + more
