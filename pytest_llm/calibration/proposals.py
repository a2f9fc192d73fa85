"""What the observations of a calibration propose, and the file that keeps it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm import jsontext
from pytest_llm.calibration import margins
from pytest_llm.calibration.watch import Observation
from pytest_llm.errors import GoldenError, InvalidInputError, measured
from pytest_llm.files import write_atomic

if TYPE_CHECKING:
    from pytest_llm.location import Location
    from pytest_llm.record import RunRecord
    from pytest_llm.settings import Settings

__tracebackhide__ = measured

FILE = "llm_calibration.json"
_SCHEMA = 1

#: What is proposed for each kind: the name of the argument in the test.
_ARGUMENT = {"baseline": "margin", "repeats": "min_success"}


@dataclasses.dataclass(frozen=True)
class Proposal:
    """One row: what a check tolerates now, how far its figure moved, and what it should tolerate.

    ``current`` and ``proposed`` are values of ``argument``; ``proposed`` is ``None`` where no tolerance can help.
    """

    nodeid: str
    check: str
    argument: str
    current: float | None
    noise: float
    proposed: float | None
    runs: int


def conclude(run: RunRecord, settings: Settings) -> None:
    """Write what the observations of a whole run propose."""
    proposals = proposals_of(run, settings)
    if proposals:
        save(settings.root / FILE, proposals, settings.alpha)


def proposals_of(run: RunRecord, settings: Settings) -> list[Proposal]:
    """Return what the observations of a whole run propose."""
    return propose([Observation(**one) for one in run.observations], settings.alpha)


def propose(observations: Iterable[Observation], alpha: float) -> list[Proposal]:
    """Return one proposal a check, in the order of node ids and checks."""
    groups: dict[tuple[str, str, str], list[Observation]] = {}
    for one in observations:
        groups.setdefault((one.nodeid, one.kind, one.name), []).append(one)
    found = []
    for (nodeid, kind, name), group in sorted(groups.items()):
        values = [one.value for one in group]
        first, runs = group[0], len(values)
        row = Proposal(nodeid, f"{kind} {name}", _ARGUMENT.get(kind, ""), first.current, 0.0, None, runs)
        if kind == "test":
            if min(values) == 1:
                continue
            row = dataclasses.replace(row, check="assertions", noise=_rounded(values.count(0) / runs))
        elif kind == "repeats":
            count = margins.success_count(int(sum(values)), runs, first.n, alpha)
            row = dataclasses.replace(
                row, check="success rate", noise=_rounded(sum(values) / runs), proposed=count or None
            )
        elif kind == "golden":
            name, _, tolerance = name.rpartition(" ")
            values = [one.value for one in group if one.run]  # run 0 is what the others are compared with
            noise = _rounded(max(values, default=0))
            row = dataclasses.replace(row, check=f"golden {name}", argument=tolerance, noise=noise)
            if len(values) > 1 and tolerance != "text":
                row = dataclasses.replace(row, proposed=margins.rounded_up(margins.highest(values, alpha)))
        else:
            row = dataclasses.replace(row, noise=_rounded(max(values) - min(values)))
            if runs > 1 and kind == "baseline":
                row = dataclasses.replace(row, proposed=margins.rounded_up(margins.drop_margin(values, alpha)))
            elif runs > 1:
                row = _level(row, values, first.higher_is_better, alpha)
        found.append(row)
    return found


def _level(row: Proposal, values: list[float], upward: bool, alpha: float) -> Proposal:
    """Return the row of a threshold: ``at_least`` where higher is better, else ``at_most``."""
    sign = -1 if upward else 1
    turned = [sign * value for value in values]
    bound = margins.highest(turned, alpha)
    proposed = sign * margins.rounded_up(bound, abs(bound - statistics.fmean(turned)))
    return dataclasses.replace(row, argument="at_least" if upward else "at_most", proposed=proposed)


def save(path: Path, proposals: Iterable[Proposal], alpha: float) -> None:
    """Write proposals to ``path``, in place of those there for the same tests; other tests keep theirs.

    Raises:
        GoldenError: there is a file and it cannot be read, or it cannot be written.
    """
    tests = _read(path)
    fresh: dict[str, Any] = {}
    for one in proposals:
        row = {k: v for k, v in dataclasses.asdict(one).items() if k not in ("nodeid", "check")}
        fresh.setdefault(one.nodeid, {})[_key(one.check, one.argument)] = {**row, "false_alarms": alpha}
    content = {"schema": _SCHEMA, "tests": {**tests, **fresh}}
    try:
        write_atomic(path, jsontext.dump(content))
    except OSError as error:
        raise GoldenError(f"{path}: the proposals could not be written: {error}") from error


def margin_of(location: Location, settings: Settings, metric: str) -> float:
    """Return the margin that a calibration proposed for a baseline check of the test at ``location``.

    Raises:
        InvalidInputError: there is none.
        GoldenError: the file cannot be read.
    """
    row = _read(settings.root / FILE).get(location.nodeid, {}).get(_key(f"baseline {metric}", "margin"), {})
    if not isinstance(row.get("proposed"), (int, float)):
        raise InvalidInputError(
            f'margin="calibrated", but {FILE} has no margin for this check: measure one with '
            f"{location.command(settings.start, f'--llm-calibrate=20{settings.flags}')}"
        )
    return float(row["proposed"])


def _key(check: str, argument: str) -> str:
    return f"{check} {argument}".strip()


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    if not path.exists():
        return {}
    try:
        content = jsontext.load(path.read_text(encoding="utf-8-sig"))
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']} is not {_SCHEMA}")
        return {test: {key: dict(row) for key, row in rows.items()} for test, rows in content["tests"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GoldenError(f"{path} cannot be read ({error}); restore it, or remove it and calibrate again") from error


def _rounded(x: float) -> float:
    return float(f"{x:.3g}")
