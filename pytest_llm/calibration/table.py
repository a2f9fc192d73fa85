"""The table of a calibration in the terminal's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.calibration import margins
from pytest_llm.calibration.proposals import FILE, Proposal, proposals_of
from pytest_llm.reports.text import number, short_nodeids, visible

if TYPE_CHECKING:
    import pytest

    from pytest_llm.record import RunRecord
    from pytest_llm.settings import Settings


def write_table(reporter: pytest.TerminalReporter, run: RunRecord, settings: Settings) -> None:
    """Write what was measured, what is proposed, and what the proposals rest on."""
    rows, runs, alpha = proposals_of(run, settings), settings.calibrate, settings.alpha
    reporter.write_sep("=", "calibration")
    if not rows:
        reporter.write_line("no selected test asked a model and checked what it answered")
        return
    cells = [("check", "now", "noise", "proposed", "test")]
    tests = short_nodeids(row.nodeid for row in rows)
    for row in rows:
        now = "" if row.current is None else number(row.current)
        cells.append((row.check, now, _noise(row), _proposed(row), tests[row.nodeid]))
    widths = [max(len(visible(line[i])) for line in cells) for i in range(4)]
    for index, line in enumerate(cells):
        text = "  ".join([*(visible(c).ljust(w) for c, w in zip(line[:4], widths, strict=True)), visible(line[4])])
        tight = index > 0 and _tight(rows[index - 1])
        reporter.write_line(text, yellow=tight, bold=index == 0)
    bound = margins.guaranteed(runs + 1)
    reporter.write_line(
        f"\n1 + {runs} runs a test. Each proposal raises a false alarm in {alpha:.3g} of comparisons, if noise is "
        f"normal;\nwhatever the noise, a margin does in at most {bound:.2g} of them. Proposals go to {FILE}, which\n"
        'only margin="calibrated" reads.'
    )


def _noise(row: Proposal) -> str:
    if row.check == "assertions":
        return f"failed in {row.noise:.3g} of runs"
    if row.check == "success rate":
        return f"{row.noise:.3g} succeed"
    if row.argument == "text":
        return "text differs" if row.noise else "none"
    return number(row.noise) if row.noise else "none"


def _proposed(row: Proposal) -> str:
    return "-" if row.proposed is None else f"{row.argument}={number(row.proposed)}"


def _tight(row: Proposal) -> bool:
    """Whether the test as it is will raise false alarms more often than asked for."""
    if row.current is None or row.proposed is None:
        return row.proposed is None and (row.noise > 0 or row.argument == "min_success")
    upward = row.argument in ("at_least", "min_success")
    return row.current > row.proposed if upward else row.current < row.proposed
