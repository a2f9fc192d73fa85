"""``pytest-llm review``: walk the candidates that mismatches left, and accept or reject them; no model runs."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.common import ask, interactive, project_settings, relative
from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.reports.text import render, visible

if TYPE_CHECKING:
    from pytest_llm.golden.pending import Candidate
    from pytest_llm.settings import Settings


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "review",
        help="show, accept or reject the outputs that differ from their goldens",
        description="Without an action: walks the candidates one by one on a terminal, lists them elsewhere.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "show", "accept", "reject"))
    parser.add_argument("which", nargs="*", metavar="NUMBER|TEST", help="numbers as last listed, or parts of test ids")
    parser.add_argument("--all", action="store_true", help="every candidate")
    parser.add_argument("--web", action="store_true", help="review in a local page, where outputs can be rated too")
    parser.add_argument("--port", type=int, default=0, help="port of the page [a free one]")
    parser.add_argument("--no-browser", action="store_true", help="print the address of the page, open nothing")
    parser.add_argument("--rater", metavar="NAME", help="who rates: it is written beside the goldens [your login name]")
    parser.add_argument(
        "--mode", choices=("review", "compare", "rate"), default="review", help="what the page starts with [review]"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.golden.pending import elsewhere, list_pending, number

    settings = project_settings()
    if arguments.web:
        return _web(settings, arguments)
    candidates = list_pending(settings.cache_dir, settings.root)
    action = arguments.action or ("walk" if interactive() else "list")
    if action in ("list", "walk") or (action == "show" and not arguments.which):
        number(settings.cache_dir, settings.root, candidates)
    if not candidates:
        print("no candidates wait here")
        for folder, count in elsewhere(settings.cache_dir, settings.root).items():
            some = "1 waits" if count == 1 else f"{count} wait"
            print(f"{some} for the same goldens in {visible(str(folder))}: review there, or run the tests here")
        return 2 if arguments.which else 0
    if action == "list":
        for place, candidate in enumerate(candidates, 1):
            print(f"{place:>3}  {candidate.verdict.status:<12}{_title(candidate)}")
        print("show, accept or reject them: pytest-llm review accept NUMBER (or --all)")
        return 1
    if action == "walk":
        return _walk(candidates)
    chosen = _chosen(settings, candidates, arguments.which, arguments.all or action == "show")
    if action == "show":
        for candidate in chosen:
            _show(candidate)
        return 0
    settled = [_settle(candidate, action) for candidate in chosen]
    return 0 if all(settled) else 2


def _web(settings: Settings, arguments: argparse.Namespace) -> int:
    import threading
    import webbrowser

    from pytest_llm.review.server import ReviewServer
    from pytest_llm.review.session import Session

    if arguments.action:
        raise InvalidInputError(f"--web shows a page, and takes no action: leave {arguments.action!r} out")
    session = Session(settings, arguments.rater or _login())
    server = ReviewServer(session, arguments.port)
    address = server.address + ("" if arguments.mode == "review" else f"#{arguments.mode}")
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends it from the moment that it is offered
        ends = "the page's Done button or Ctrl-C ends it"
        print(f"review    {address}\nrating as {visible(session.rater)}; {ends}", flush=True)
        if not arguments.no_browser:
            # Beside the server: a browser of the terminal would not come back before it is closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.run()
    left = session.left()
    print(f"\n{left} candidate{' waits' if left == 1 else 's wait'}" if left else "\nno candidate waits")
    return 1 if left else 0


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        raise InvalidInputError("say who rates: --rater=NAME") from None


def _walk(candidates: Sequence[Candidate]) -> int:
    left = 0
    for place, candidate in enumerate(candidates, 1):
        print(f"\n[{place}/{len(candidates)}]")
        _show(candidate)
        answer = ask("[a]ccept, [r]eject, [s]kip, [q]uit?", "arsq")
        if answer == "q":
            return 1
        if answer == "s" or not _settle(candidate, {"a": "accept", "r": "reject"}[answer]):
            left += 1
    return 1 if left else 0


def _show(candidate: Candidate) -> None:
    print(f"{_title(candidate)}\n{visible(relative(candidate.path))}\n{render(candidate.verdict)}")
    if any(row.startswith("… (+") for row in candidate.verdict.diff):
        print("  all of it: pytest-llm review --web")


def _settle(candidate: Candidate, action: str) -> bool:
    """Do it, and say so; ``False`` where somebody was faster or the golden is another one now, which is said too."""
    try:
        candidate.accept() if action == "accept" else candidate.reject()
    except GoldenError as error:
        print(f"pytest-llm review: {visible(str(error))}", file=sys.stderr)
        return False
    if action == "accept":
        print(f"accepted  {visible(relative(candidate.path))}")
    else:
        print(f"rejected  {_title(candidate)}: its golden stays")
    return True


def _title(candidate: Candidate) -> str:
    return f"{visible(candidate.nodeid)} ({visible(candidate.verdict.name)})"


def _chosen(
    settings: Settings, candidates: Sequence[Candidate], which: Sequence[str], everything: bool
) -> list[Candidate]:
    if not which:
        if everything:
            return list(candidates)
        raise InvalidInputError("say which: numbers of 'pytest-llm review list', parts of test ids, or --all")
    chosen: list[Candidate] = []
    for word in which:
        if not word.strip():  # as of an unset variable: it is a part of every test id
            raise InvalidInputError(f"{word!r} names no candidate: give a number, a part of a test id, or --all")
        if word.isdecimal():
            found = [_numbered(settings, candidates, word)]
        else:
            found = [one for one in candidates if word in one.nodeid or Path(word) == one.path]
        if not found:
            raise InvalidInputError(f"no candidate {word!r}: there are {len(candidates)}, see 'pytest-llm review list'")
        chosen += [one for one in found if one not in chosen]
    return chosen


def _numbered(settings: Settings, candidates: Sequence[Candidate], word: str) -> Candidate:
    """Return the candidate that had this number when somebody was last shown them, as it was then."""
    from pytest_llm.golden.pending import number, numbered

    root = settings.cache_dir, settings.root
    rows = numbered(*root) or number(*root, candidates)
    file, sha256 = dict(zip(map(str, range(1, len(rows) + 1)), rows, strict=True)).get(word, (None, ""))
    again = "look at them again: pytest-llm review list"
    if file is None:
        raise InvalidInputError(f"no candidate {word}: there were {len(rows)} when they were listed; {again}")
    found = next((one for one in candidates if one.file == file), None)
    if found is None:
        raise InvalidInputError(
            f"candidate {word} is gone since they were listed: it was accepted or rejected, or its test passed; {again}"
        )
    if found.sha256 != sha256:
        raise InvalidInputError(
            f"candidate {word} is another one since they were listed: {_title(found)} ran again; {again}"
        )
    return found
