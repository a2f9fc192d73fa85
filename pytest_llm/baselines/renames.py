"""Tests that were renamed: where a baseline is missing, that of a test that is gone may be of the very question."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm import record
from pytest_llm.baselines import file
from pytest_llm.files import shown_path
from pytest_llm.golden.renames import gone
from pytest_llm.verdicts import RENAMED, SAME

if TYPE_CHECKING:
    from pytest_llm.baselines.entry import Entry
    from pytest_llm.location import Location
    from pytest_llm.verdicts import Verdict


def noted(verdict: Verdict, location: Location, path: Path, now: Entry, root: Path) -> Verdict:
    """Return ``verdict`` on a figure that had no baseline, with notes on the one its test may have had as another.

    Raises:
        GoldenError: the file at ``path`` cannot be read.
    """
    run, metric = record.current(), verdict.name
    if run is None or not now.request or location.nodeid not in run.collected:
        return verdict
    is_gone = gone(location.file, run)
    for test in [test for test, name in file.digests(path) if name == metric and is_gone(test)]:
        before = file.read(path, test, metric)
        if before is not None and before.request == now.request:
            begin = SAME if before.to_json() == now.to_json() else f"{RENAMED}, and against it this answer is another"
            shown, made = shown_path(path, root), ", in the place of the new entry" * (verdict.status == "created")
            notes = (
                f"{begin}: {metric} of {test}, {before.value:g}, in {shown}",
                f"if the test was renamed, keep that baseline: call it {location.qualname} there{made}",
            )
            return dataclasses.replace(verdict, notes=(*verdict.notes, *notes))
    return verdict
