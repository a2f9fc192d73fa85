"""Reports become cases: grouped by their question, and merged into those of the committed file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pytest_llm.feedback import casefile
from pytest_llm.feedback.cases import Answer, Correction, FeedbackCase, case_id
from pytest_llm.feedback.incoming import BadLine, Report, read_reports
from pytest_llm.files import locked, path_tag


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import did: reports ``read``, those that were ``known`` before, and the cases of the file after it."""

    read: int
    known: int
    bad: tuple[BadLine, ...]
    cases: dict[str, FeedbackCase]
    new: int
    touched: int


def import_reports(
    source: Path,
    into: Path,
    *,
    cache_dir: Path,
    fields: Mapping[str, str] | None = None,
    clean: Callable[[str], str] = lambda text: text,
) -> Imported:
    """Merge the reports of ``source`` into the cases of ``into``, under a lock; bad lines are left out and named.

    Raises:
        InvalidInputError: ``source`` cannot be read, or ``into`` not be written.
        GoldenError: ``into`` holds what is no case; it is left as it is.
    """
    found = list(read_reports(source, fields, clean))
    reports = [one for one in found if isinstance(one, Report)]
    with locked(cache_dir / "locks" / f"feedback-{path_tag(into)}.lock"):
        before = casefile.read(into) or {}
        known = {key for case in before.values() for key in case.reports}
        after = dict(before)
        for case in gathered(reports):
            after[case.id] = after[case.id].merged(case) if case.id in after else case
        if after:
            casefile.write(into, after.values())
    keys = {report.key for report in reports}
    return Imported(
        len(reports),
        len(reports) - len(keys - known),
        tuple(one for one in found if isinstance(one, BadLine)),
        after,
        new=len(after.keys() - before.keys()),
        touched=sum(case != before[name] for name, case in after.items() if name in before),
    )


def gathered(reports: Iterable[Report]) -> list[FeedbackCase]:
    """Return one case a question. Of two reports with one key (a vote that was changed) the last counts."""
    groups: dict[str, dict[str, Report]] = {}
    for report in reports:
        groups.setdefault(case_id(report.turns), {})[report.key] = report
    return [_case(name, group.values()) for name, group in groups.items()]


def _case(name: str, reports: Iterable[Report]) -> FeedbackCase:
    votes: dict[str, dict[str, list[str]]] = {}
    corrections: dict[str, list[str]] = {}
    models: set[str] = set()
    tags: set[str] = set()
    turns: tuple[dict[str, str], ...] = ()
    for report in reports:
        turns = turns or report.turns
        votes.setdefault(report.output, {"up": [], "down": []})[report.vote].append(report.key)
        if report.correction.strip():
            corrections.setdefault(report.correction, []).append(report.key)
        models.add(report.model)
        tags.update(report.tags)
    return FeedbackCase(
        name,
        turns,
        tuple(
            Answer(text, *(tuple(sorted(keys[side])) for side in ("up", "down")))
            for text, keys in sorted(votes.items())
        ),
        tuple(Correction(text, tuple(sorted(keys))) for text, keys in sorted(corrections.items())),
        tuple(sorted(models - {""})),
        tuple(sorted(tags)),
    )
