"""Two runs side by side: what differs around the tests, which tests turned, and every figure with paired statistics."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.history.rows import Run, better, of_record, value_of
from pytest_llm.history.series import moved
from pytest_llm.reports.overview import entries

#: What counts as worse or better: two-sided p, corrected over the figures of the comparison.
ALPHA = 0.05

_GOOD, _LEFT_OUT = ("passed", "warned"), ("skipped",)


@dataclasses.dataclass(frozen=True)
class Paired:
    """The change of the examples' values, B minus A, in pairs.

    Attributes:
        n: examples that both runs have; ``unpaired`` are in one only.
        delta, low, high: the mean change (weighted as the metric weighs examples), with its 95 % interval.
        p: two-sided; ``adjusted`` by Holm over the figures of the comparison.
        worse, better: ids of the examples that changed, the most changed first.
        method: the test, in words.
    """

    n: int
    unpaired: int
    delta: float
    low: float
    high: float
    p: float
    worse: tuple[str, ...]
    better: tuple[str, ...]
    method: str
    adjusted: float = math.nan


@dataclasses.dataclass(frozen=True)
class Item:
    """One check in both runs. ``answers`` are those compared with a golden that differ: ``(place, A, B)``.

    ``paired`` is ``None`` where there is nothing to pair; ``other`` tells that both runs have examples, of other
    questions.
    """

    nodeid: str
    kind: str
    name: str
    was: str
    now: str
    was_value: float | None
    now_value: float | None
    better: str
    paired: Paired | None
    other: bool
    answers: tuple[tuple[str, str, str], ...]

    @property
    def changed(self) -> bool:
        """Whether anything about it did."""
        moved_examples = self.paired is not None and bool(self.paired.worse or self.paired.better)
        return self.was != self.now or self.was_value != self.now_value or bool(self.answers) or moved_examples

    @property
    def verdict(self) -> str:
        """Return ``worse`` or ``better`` where the examples show it, else ``""``."""
        if self.paired is None or not self.better or not self.paired.adjusted <= ALPHA:
            return ""
        return "better" if (self.paired.delta > 0) == (self.better == "higher") else "worse"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found. Tests are node ids; ``p`` is of the tests that turned (exact McNemar, two-sided)."""

    a: Run
    b: Run
    moved: tuple[tuple[str, str, str], ...]
    newly_failing: tuple[str, ...]
    unmeasured: tuple[str, ...]
    newly_passing: tuple[str, ...]
    skipped: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    both: int
    p: float
    items: tuple[Item, ...]

    @property
    def exit_code(self) -> int:
        """1: tests fail that passed. 2: none does, but some that passed could not be measured. 0: neither."""
        return 1 if self.newly_failing else 2 if self.unmeasured else 0

    def to_json(self) -> dict[str, Any]:
        """Return it as data; NaN becomes ``None``."""
        data = {name: value for name, value in vars(self).items() if name not in ("a", "b", "items")}
        items = [{**dataclasses.asdict(item), "verdict": item.verdict} for item in self.items]
        full = {"a": self.a.to_json(), "b": self.b.to_json(), **data, "items": items, "exit_code": self.exit_code}
        return dict(_finite(full))


def compare(a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Compare the run records ``a`` (before) and ``b`` (after).

    Raises:
        InvalidInputError: they have no test in common, or one is no record.
    """
    run_a, run_b = (Run.from_row((0, *of_record(data).run)) for data in (a, b))
    before, after = ({entry.nodeid: entry.status for entry in entries(data)} for data in (a, b))
    common = [nodeid for nodeid in before if nodeid in after]
    if not common:
        raise InvalidInputError(f"the runs {run_a.short} and {run_b.short} have no test in common")

    def turned(now: str) -> tuple[str, ...]:
        return tuple(sorted(id for id in common if before[id] in _GOOD and after[id] == now))

    failing, unmeasured = turned("failed"), turned("error")
    passing = tuple(sorted(id for id in common if before[id] not in (*_GOOD, *_LEFT_OUT) and after[id] in _GOOD))
    return Comparison(
        a=run_a,
        b=run_b,
        moved=(*moved(run_a, run_b), *_settings(a, b)),
        newly_failing=failing,
        unmeasured=unmeasured,
        newly_passing=passing,
        skipped=turned("skipped"),
        new=tuple(sorted(after.keys() - before.keys())),
        gone=tuple(sorted(before.keys() - after.keys())),
        both=len(common),
        p=_two_sided(len(failing), len([id for id in passing if before[id] == "failed"])),
        items=_corrected([_item(old, new) for old, new in _pairs(a["verdicts"], b["verdicts"])]),
    )


def _settings(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in {**a["settings"], **b["settings"]}:
        was, now = (str(data["settings"].get(name, "none")) for data in (a, b))
        if was != now:
            yield f"llm_{name}", was, now


def _pairs(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give the checks of both runs: same test, kind and name, and the same place among those."""

    def keyed(verdicts: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
        seen: Counter[tuple[str, ...]] = Counter()
        found = {}
        for verdict in verdicts:
            key = verdict["nodeid"], verdict["kind"], verdict["name"]
            place = (*key, seen[key])
            found[place] = verdict
            seen[key] += 1
        return found

    old, new = keyed(a), keyed(b)
    return ((old[key], new[key]) for key in sorted(old) if key in new)


def _item(old: dict[str, Any], new: dict[str, Any]) -> Item:
    direction = better(new) or better(old)
    held = old.get("per_example"), new.get("per_example")
    paired = _paired(*held, direction)
    return Item(
        nodeid=new["nodeid"],
        kind=new["kind"],
        name=new["name"],
        was=old["status"],
        now=new["status"],
        was_value=value_of(old),
        now_value=value_of(new),
        better=direction,
        paired=paired,
        other=paired is None and all(one and len(_counted(one)) > 1 for one in held),
        answers=tuple(_answers(old, new)),
    )


def _answers(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    def texts(verdict: dict[str, Any]) -> dict[str, Any]:
        pairs = (verdict["evidence"] or {}).get("pairs", ())
        return {pair["where"]: pair["actual"] for pair in pairs if pair["actual"]}

    was, now = texts(old), texts(new)
    for where, side in was.items():
        other = now.get(where, side)
        # Of a long text a record holds a part; parts of different places cannot be compared.
        comparable = side["start"] == other["start"] or side["length"] != other["length"]
        if comparable and (side["text"], side["length"]) != (other["text"], other["length"]):
            yield where, side["text"], other["text"]


def _paired(old: Any, new: Any, direction: str) -> Paired | None:
    """Compare the values of the examples that both have; ``None`` where there are fewer than two."""
    if not old or not new:
        return None
    before, after = _counted(old), _counted(new)
    places = [(i, j) for i, j in _same(old, new) if i in before and j in after]
    if len(places) < 2:
        return None
    import numpy as np

    from pytest_llm.stats.paired import Design, compare_binary, compare_means

    x, u = (np.array(column) for column in zip(*(before[i] for i, _ in places), strict=True))
    y, v = (np.array(column) for column in zip(*(after[j] for _, j in places), strict=True))
    ids = [new["ids"][j] if new["ids"] else str(j) for _, j in places]
    groups = _groups(old, new, places)
    change = y - x
    design = Design(margin=0.0, alpha=0.025, power=0.8, groups=groups, resamples=0, seed=0)
    right_or_wrong = {*x.tolist(), *y.tolist()} <= {0.0, 1.0} and (u == 1).all() and (v == 1).all()
    delta = float((y * v).sum() / v.sum() - (x * u).sum() / u.sum())
    if not change.any() and (u == v).all():
        low = high = 0.0
        p, method = 1.0, "no example differs"
    elif groups and len({*groups}) < 2:
        low, high, p, method = -math.inf, math.inf, 1.0, "one group says nothing about the rest"
    else:
        fall, rise = (
            compare_binary(sign * change, design) if right_or_wrong else compare_means(sign * y, sign * x, v, u, design)
            for sign in (1, -1)
        )
        low, high, p, method = fall.low, -rise.low, min(1.0, 2 * fall.p, 2 * rise.p), fall.method
    order = sorted(range(len(ids)), key=lambda i: -abs(change[i]))
    fell, rose = (tuple(ids[i] for i in order if sign * change[i] > 0) for sign in (-1, 1))
    worse, improved = (rose, fell) if direction == "lower" else (fell, rose)
    unpaired = len(before) + len(after) - 2 * len(ids)
    return Paired(len(ids), unpaired, delta, float(low), float(high), p, worse, improved, method)


def _groups(old: Any, new: Any, places: list[tuple[int, int]]) -> list[int] | None:
    """Return the groups of examples at ``places``, as the newer record has them, else the older; ``None`` for none."""
    for held, side in ((new, 1), (old, 0)):
        if held.get("groups"):
            return [held["groups"][place[side]] for place in places]
    return None


def _counted(held: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """Return value and weight of every example that has a finite one, by its position."""
    values = held["values"]
    weights = held["weights"] or [1.0] * len(values)
    return {
        i: (float(value), float(weight))
        for i, (value, weight) in enumerate(zip(values, weights, strict=False))
        if _number(value) and _number(weight) and weight > 0
    }


def _same(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the positions of the examples that are the same question in both.

    Those of one id, unless what they ask differs. Without ids all, where all ask the same or (in older records, or of
    bare figures, of which it is not known) there are as many; else those whose question is in either run once: many
    examples may have one reference, and an example that was removed moves the others.
    """
    asked, asks = old.get("questions") or [], new.get("questions") or []
    n, m = len(old["values"]), len(new["values"])
    if old["ids"] and new["ids"]:
        places = {id: i for i, id in enumerate(old["ids"])}
        found = [(places[id], j) for j, id in enumerate(new["ids"]) if id in places]
        return [(i, j) for i, j in found if not asked or not asks or asked[i] == asks[j]]
    if asked == asks or not asked or not asks:
        known = bool(asked and asks) or bool(old["ids"]) == bool(new["ids"])
        return [(i, i) for i in range(n)] if known and n == m else []
    once, now = Counter(asked), Counter(asks)
    places = {question: i for i, question in enumerate(asked) if once[question] == 1}
    return [(places[question], j) for j, question in enumerate(asks) if now[question] == 1 and question in places]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _two_sided(worse: int, improved: int) -> float:
    from pytest_llm.stats.binary import mcnemar_exact

    return min(1.0, 2 * mcnemar_exact(worse, improved), 2 * mcnemar_exact(improved, worse))


def _corrected(items: list[Item]) -> tuple[Item, ...]:
    from pytest_llm.stats.correction import adjust_p

    adjusted = iter(adjust_p([item.paired.p for item in items if item.paired]))
    return tuple(
        dataclasses.replace(item, paired=dataclasses.replace(item.paired, adjusted=next(adjusted)))
        if item.paired
        else item
        for item in items
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
