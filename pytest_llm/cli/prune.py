"""``pytest-llm prune``: remove the goldens and baselines that the last complete run did not use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import ask, interactive, project_settings, relative
from pytest_llm.errors import GoldenError
from pytest_llm.reports.text import counted, visible


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prune",
        help="remove goldens and baselines that no test uses, as the last complete run saw it",
        description="Lists them and asks. Where nobody can be asked, removes them only with --yes. A run cannot know "
        "of parameters that the environment chooses, and calls their goldens obsolete where it chose others.",
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.baselines import obsolete as baselines
    from pytest_llm.golden.listing import STALE, read_list
    from pytest_llm.golden.obsolete import Obsolete, remove
    from pytest_llm.golden.pending import discard_candidate, list_pending

    settings = project_settings()
    place = settings.cache_dir, settings.root
    waiting = {one.path for one in list_pending(*place)}
    listed = read_list(*place, "goldens", Obsolete) or ()
    found = [one for one in listed if one.path.exists() or one.path in waiting]
    entries = [one for one in read_list(*place, "baselines", baselines.ObsoleteEntry) or () if one.path.exists()]
    every: list[Obsolete | baselines.ObsoleteEntry] = [*found, *entries]
    stale = {one for one in every if one.stale}  # each reads its test module
    kept = [(one.path, STALE) for one in every if one in stale]
    found, entries = [one for one in found if one not in stale], [one for one in entries if one not in stale]
    if not found and not entries:
        if not kept:
            print(
                "nothing to remove: the last complete, unfiltered run used every golden and baseline, or there was none"
            )
        return _tell(kept)
    for one in found:
        print(visible(relative(one.path)) + ("" if one.path.exists() else ": a candidate"))
    for entry in entries:
        print(visible(f"{relative(entry.path)}: {entry.metric} of {entry.test} ({entry.reason})"))
    goldens = {one.path.with_suffix("") for one in found}  # with their arrays
    both = (goldens, "obsolete golden"), (entries, "obsolete baseline")
    what = " and ".join(counted(len(some), noun) for some, noun in both if some)
    if not arguments.yes:
        if not interactive():
            print(f"{what}; 'pytest-llm prune --yes' removes {'it' if len(goldens) + len(entries) == 1 else 'them'}")
            return 1
        if ask(f"remove {what}? [y]es, [n]o", "yn") == "n":
            return 1
    removed, left = remove(found)
    kept += left
    dropped = {one.path for one in found if not one.path.exists()}
    for path in dropped:
        discard_candidate(settings.cache_dir, path)
    gone = 0
    for entry in entries:
        try:
            gone += entry.remove(settings.cache_dir / "locks")
        except GoldenError as error:
            kept.append((entry.path, str(error)))
    if found:
        candidates = counted(len(dropped & waiting), "candidate")
        print(f"removed {counted(len(removed), 'file')}" + (f" and {candidates}" if dropped & waiting else ""))
    if entries:
        print(f"removed {counted(gone, 'baseline')}")
    return _tell(kept)


def _tell(kept: list[tuple[Path, str]]) -> int:
    """Print what was kept and why, each file once; return the exit status."""
    for path, reason in dict.fromkeys(kept):
        print(f"kept {visible(relative(path))}: {reason}")
    return 1 if kept else 0
