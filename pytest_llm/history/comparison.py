"""Two runs side by side: what differs around the tests, which tests turned, and every figure with paired statistics."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.evidence import EXAMPLES
from pytest_llm.history.pairing import Paired, paired
from pytest_llm.history.rows import Run, better, of_record, value_of
from pytest_llm.history.series import moved
from pytest_llm.reports.overview import entries
from pytest_llm.stats.pairs import BY_TOKEN

#: What counts as worse or better: two-sided p, corrected over the figures of the comparison.
ALPHA = 0.05

_GOOD = ("passed", "warned")

#: Statuses of a check that found what is committed, or committed it.
_AS_BEFORE = {"created", "updated", "pass", "identical"}


@dataclasses.dataclass(frozen=True)
class Item:
    """One check in both runs. ``answers`` are those compared with a golden that differ: ``(place, A, B)``.

    ``paired`` is ``None`` where there is nothing to pair; ``other`` tells that both runs have examples, of ``other
    questions`` or read as ``other tokens``, and ``unkept`` that a run had more than a record keeps.
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
    other: str
    unkept: bool
    answers: tuple[tuple[str, str, str], ...]

    @property
    def changed(self) -> bool:
        """Whether anything about it did, which examples it is of too."""
        change = self.paired
        examples = bool(self.other) if change is None else bool(change.worse or change.better or change.unpaired)
        turned = self.was != self.now and not {self.was, self.now} <= _AS_BEFORE
        return turned or self.was_value != self.now_value or bool(self.answers) or examples

    @property
    def verdict(self) -> str:
        """Return ``worse`` or ``better`` where the examples show it, else ``""``."""
        if self.paired is None or not self.better or not self.paired.adjusted <= ALPHA:
            return ""
        return "better" if (self.paired.delta > 0) == (self.better == "higher") else "worse"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found. Tests are node ids; ``p`` (exact McNemar, two-sided) is of those that passed or failed.

    ``uncollected`` are what could be collected in A, or was not there, and cannot be in B: ``(node id, error)``;
    ``stopped`` is what ended B before its tests did. Tests of A that B did not come to are ``unmeasured``. ``new`` are
    the tests that only B ran, with their status, the gravest first.
    """

    a: Run
    b: Run
    moved: tuple[tuple[str, str, str], ...]
    newly_failing: tuple[str, ...]
    unmeasured: tuple[str, ...]
    uncollected: tuple[tuple[str, str], ...]
    stopped: str
    newly_passing: tuple[str, ...]
    skipped: tuple[str, ...]
    new: dict[str, str]
    gone: tuple[str, ...]
    both: int
    p: float
    items: tuple[Item, ...]

    @property
    def exit_code(self) -> int:
        """1: tests fail that did not in A. 2: none do; some could not be measured or collected. 0: neither."""
        new = {*self.new.values()}
        if self.newly_failing or "failed" in new:
            return 1
        return 2 if self.unmeasured or self.uncollected or "error" in new else 0

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
    uncollected = tuple(_uncollected(a, b))
    end = str(b["stopped"])
    unknown = {id for id in before.keys() - after.keys() if end or any(_within(id, where) for where, _ in uncollected)}
    if not common and not unknown:
        why = "".join(f"; {where} could not be collected in {run_b.short}: {error}" for where, error in uncollected[:1])
        raise InvalidInputError(f"the runs {run_a.short} and {run_b.short} have no test in common{why}")

    def turned(was: Container[str], now: Container[str]) -> tuple[str, ...]:
        return tuple(sorted(id for id in common if before[id] in was and after[id] in now))

    unmeasured = {*turned((*_GOOD, "skipped"), ("error",)), *(id for id in unknown if before[id] in _GOOD)}
    return Comparison(
        a=run_a,
        b=run_b,
        moved=(*moved(run_a, run_b), *_settings(a, b)),
        newly_failing=turned((*_GOOD, "skipped", "error"), ("failed",)),
        unmeasured=tuple(sorted(unmeasured)),
        uncollected=uncollected,
        stopped=end,
        newly_passing=turned(("failed", "error"), _GOOD),
        skipped=turned(_GOOD, ("skipped",)),
        new={nodeid: status for nodeid, status in after.items() if nodeid not in before},
        gone=tuple(sorted(before.keys() - after.keys() - unmeasured)),
        both=len(common),
        p=_two_sided(len(turned(_GOOD, ("failed",))), len(turned(("failed",), _GOOD))),
        items=_corrected([_item(old, new) for old, new in _pairs(a["verdicts"], b["verdicts"])]),
    )


def _uncollected(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, str]]:
    known = {one["nodeid"] for one in a["collection_errors"]}
    for one in b["collection_errors"]:
        if one["nodeid"] not in known:
            yield one["nodeid"], one["message"].strip().rpartition("\n")[2].removeprefix("E   ")


def _within(nodeid: str, where: str) -> bool:
    """Whether a test is in what could not be collected: a file, a class in one, or a folder."""
    return where in ("", ".") or nodeid.startswith((f"{where}::", f"{where}/"))


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
    found = paired(old["per_example"], new["per_example"], direction, by_token=new["name"] in BY_TOKEN)
    change, other = (None, found) if isinstance(found, str) else (found, "")
    return Item(
        nodeid=new["nodeid"],
        kind=new["kind"],
        name=new["name"],
        was=old["status"],
        now=new["status"],
        was_value=value_of(old),
        now_value=value_of(new),
        better=direction,
        paired=change,
        other=other,
        unkept=change is None and any(map(_unkept, (old, new))),
        answers=tuple(_answers(old, new)),
    )


def _unkept(verdict: dict[str, Any]) -> bool:
    n = verdict["figures"].get("n")
    return isinstance(n, int) and n > EXAMPLES and not verdict["per_example"]


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
