"""Reports become cases: grouped by their question, and merged into those of the committed file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pytest_llm.errors import InvalidInputError
from pytest_llm.feedback import casefile
from pytest_llm.feedback.cases import Answer, Correction, FeedbackCase, case_id, normalised, person, report_of
from pytest_llm.feedback.incoming import BadLine, Report, cleaned, read_reports
from pytest_llm.feedback.redaction import redact
from pytest_llm.files import locked, path_tag


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import did: reports ``read``, those that were ``known`` before, and the cases of the file after it.

    Of the reports read, ``repeated`` come again in a later line: by their id, or by their user and the output.
    """

    read: int
    known: int
    repeated: int
    bad: tuple[BadLine, ...]
    cases: dict[str, FeedbackCase]
    new: int
    touched: int
    gone: int


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
        InvalidInputError: ``source`` cannot be read, or ``into`` not be written; or a report would write back what an
            import with `redact` blotted out of it.
        GoldenError: ``into`` holds what is no case; it is left as it is.
    """
    found = list(read_reports(source, fields, clean))
    reports = [one for one in found if isinstance(one, Report)]
    with locked(cache_dir / "locks" / f"feedback-{path_tag(into)}.lock", folder=into.parent):
        before = casefile.read(into) or {}
        _refuse_unredacting(reports, before, into)
        known = {report_of(key) for case in before.values() for key in case.reports}
        now = gathered(reports)
        after = _moved(before, reports, now)
        for case in now:
            merged = after[case.id].merged(case) if case.id in after else case
            # These belong to no report, so what an import before this one left in them stays.
            tags, models = cleaned(merged.tags, clean), cleaned(merged.models, clean)
            after[case.id] = dataclasses.replace(merged, tags=tags, models=models)
        if before or after:
            casefile.write(into, after.values())
    return Imported(
        len(reports),
        sum(report_of(report.key) in known for report in reports),
        len(reports) - sum(len(case.reports) for case in now),
        tuple(one for one in found if isinstance(one, BadLine)),
        after,
        new=len(after.keys() - before.keys()),
        touched=sum(case != before[name] for name, case in after.items() if name in before),
        gone=len(before.keys() - after.keys()),
    )


def _refuse_unredacting(reports: Iterable[Report], before: Mapping[str, FeedbackCase], into: Path) -> None:
    """Refuse reports that are kept in ``before`` as `redact` left them, and come as they were."""
    kept: dict[str, set[str]] = {}
    for case in before.values():
        for key in case.reports:
            kept.setdefault(report_of(key), set()).update(map(normalised, case.texts))
    undone = 0
    for report in reports:
        texts = kept.get(report_of(report.key), set())
        undone += any(normalised(t) not in texts and normalised(redact(t)) in texts for t in _case("", [report]).texts)
    if undone:
        raise InvalidInputError(
            f"{into}: nothing was imported: it keeps {undone} of these reports with what --redact blotted out, which "
            "this would write back: import with --redact, or into another file"
        )


def gathered(reports: Iterable[Report]) -> list[FeedbackCase]:
    """Return one case a question. Of two reports with one id, or by one user on one output, the last counts.

    A correction stays where the later one only repeats the vote.
    """
    groups: dict[str, dict[tuple[str, str], Report]] = {}
    for report in reports:
        group, place = groups.setdefault(case_id(report.turns), {}), (report.output, person(report.key))
        before = group.get(place)
        if before and before.vote == report.vote and not report.correction.strip():
            report = dataclasses.replace(report, correction=before.correction)
        group[place] = report
    return [_case(name, group.values()) for name, group in groups.items()]


def _moved(
    before: Mapping[str, FeedbackCase], reports: Iterable[Report], now: Sequence[FeedbackCase]
) -> dict[str, FeedbackCase]:
    """Return the cases of ``before`` without those ``reports`` that ask something else ``now``, or do not count.

    A case without any left is gone. What a reviewer wrote there goes where its reports went, if nobody wrote there.
    """
    homes = {report_of(report.key): case_id(report.turns) for report in reports}
    counted = {report_of(key) for case in now for key in case.reports}
    after = dict(before)
    for name, case in before.items():
        stay = {
            key
            for key in case.reports
            if homes.get(report_of(key), name) == name and (report_of(key) in counted or report_of(key) not in homes)
        }
        if stay == case.reports:
            continue
        heirs = {homes[report_of(key)] for key in case.reports - stay}
        written = case.pinned or case.ignored
        taken = any(after[heir].pinned or after[heir].ignored for heir in heirs & after.keys())
        if stay or name in heirs or (written and taken):
            after[name] = case.keeping(stay)
            continue
        del after[name]
        for one in now:
            if written and one.id in heirs:
                word = FeedbackCase(one.id, one.turns, pinned=case.pinned, ignored=case.ignored)
                after[one.id] = after[one.id].joined(word) if one.id in after else word
    return after


def _case(name: str, reports: Iterable[Report]) -> FeedbackCase:
    first, *others = (
        FeedbackCase(
            name,
            one.turns,
            (Answer(one.output, **{one.vote: (one.key,)}),),
            (Correction(one.correction, (one.key,)),) if one.correction.strip() else (),
            (one.model,) if one.model else (),
            one.tags,
        )
        for one in reports
    )
    return first.joined(*others)
