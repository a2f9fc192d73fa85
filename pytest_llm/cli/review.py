"""``pytest-llm review``: walk the candidates that mismatches left, and accept or reject them; no model runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.common import ask, interactive, project_settings, relative
from pytest_llm.errors import InvalidInputError
from pytest_llm.reports.text import render, visible

if TYPE_CHECKING:
    from pytest_llm.golden.pending import Candidate


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "review",
        help="show, accept or reject the outputs that differ from their goldens",
        description="Without an action: walks the candidates one by one on a terminal, lists them elsewhere.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "show", "accept", "reject"))
    parser.add_argument("which", nargs="*", metavar="NUMBER|TEST", help="numbers of the list, or parts of test ids")
    parser.add_argument("--all", action="store_true", help="every candidate")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.golden.pending import list_pending

    settings = project_settings()
    candidates = list_pending(settings.cache_dir, settings.root)
    if not candidates:
        print("no candidates: every golden matched when it was last compared, or was reviewed")
        return 0
    action = arguments.action or ("walk" if interactive() else "list")
    if action == "list":
        for number, candidate in enumerate(candidates, 1):
            print(f"{number:>3}  {candidate.verdict.status:<12}{_title(candidate)}")
        print("show, accept or reject them: pytest-llm review accept NUMBER (or --all)")
        return 1
    if action == "walk":
        return _walk(candidates)
    for candidate in _chosen(candidates, arguments.which, arguments.all or action == "show"):
        if action == "show":
            _show(candidate)
        else:
            _settle(candidate, action)
    return 0


def _walk(candidates: Sequence[Candidate]) -> int:
    left = 0
    for number, candidate in enumerate(candidates, 1):
        print(f"\n[{number}/{len(candidates)}]")
        _show(candidate)
        answer = ask("[a]ccept, [r]eject, [s]kip, [q]uit?", "arsq")
        if answer == "q":
            return 1
        if answer == "s":
            left += 1
        else:
            _settle(candidate, {"a": "accept", "r": "reject"}[answer])
    return 1 if left else 0


def _show(candidate: Candidate) -> None:
    print(f"{_title(candidate)}\n{visible(relative(candidate.path))}\n{render(candidate.verdict)}")


def _settle(candidate: Candidate, action: str) -> None:
    if action == "accept":
        candidate.accept()
        print(f"accepted  {visible(relative(candidate.path))}")
    else:
        candidate.reject()
        print(f"rejected  {_title(candidate)}: its golden stays")


def _title(candidate: Candidate) -> str:
    return f"{visible(candidate.nodeid)} ({visible(candidate.verdict.name)})"


def _chosen(candidates: Sequence[Candidate], which: Sequence[str], everything: bool) -> list[Candidate]:
    if not which:
        if everything:
            return list(candidates)
        raise InvalidInputError("say which: numbers of 'pytest-llm review list', parts of test ids, or --all")
    chosen: list[Candidate] = []
    for word in which:
        if word.isdecimal() and 1 <= int(word) <= len(candidates):
            found = [candidates[int(word) - 1]]
        else:
            found = [one for one in candidates if word in one.nodeid or Path(word) == one.path]
        if not found:
            raise InvalidInputError(f"no candidate {word!r}: there are {len(candidates)}, see 'pytest-llm review list'")
        chosen += [one for one in found if one not in chosen]
    return chosen
