"""``pytest-llm prune``: remove the goldens that the last complete run did not use."""

from __future__ import annotations

import argparse
from typing import Any

from pytest_llm.cli.common import ask, interactive, project_settings, relative
from pytest_llm.reports.text import visible


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prune",
        help="remove goldens that no test uses, as the last complete run saw it",
        description="Lists them and asks. Where nobody can be asked, removes them only with --yes.",
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.golden.obsolete import read_obsolete, remove

    settings = project_settings()
    listed = read_obsolete(settings.cache_dir, settings.root) or []
    found = [one for one in listed if one.path.exists()]
    if not found:
        print("nothing to remove: the last complete, unfiltered run used every golden, or there was none")
        return 0
    for one in found:
        print(visible(relative(one.path)))
    what = f"{len(found)} obsolete golden{'s' * (len(found) != 1)}"
    if not arguments.yes:
        if not interactive():
            print(f"{what}; 'pytest-llm prune --yes' removes {'it' if len(found) == 1 else 'them'}")
            return 1
        if ask(f"remove {what}? [y]es, [n]o", "yn") == "n":
            return 1
    removed, kept = remove(found)
    for path, reason in kept:
        print(f"kept {visible(relative(path))}: {reason}")
    print(f"removed {len(removed)} file{'s' * (len(removed) != 1)}")
    return 1 if kept else 0
