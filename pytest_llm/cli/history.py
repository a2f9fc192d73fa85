"""``pytest-llm history``: the runs there were; export them, or forget old ones."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.cli.common import number_of, project_settings, relative
from pytest_llm.errors import InvalidInputError
from pytest_llm.reports.text import counted, number, shorten, visible

if TYPE_CHECKING:
    from pytest_llm.history.database import History
    from pytest_llm.history.rows import Run

#: Runs listed without ``--limit``.
LISTED = 20
FORMATS = ("csv", "json", "mlflow", "tensorboard")
#: Marks a run that was not of all tests.
_PART = "(part)"
_COUNTS = {
    "failed": "fail", "uncollected": "not collected", "error": "error", "warned": "warn", "passed": "pass",
    "skipped": "skip",
}  # fmt: skip


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("history", help="list the runs there were, export or forget them")
    add_filters(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, newest last")
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    export = actions.add_parser("export", help="write all figures for another program")
    add_filters(export, default=argparse.SUPPRESS)
    export.add_argument("--format", choices=FORMATS, required=True)
    export.add_argument("--output", type=Path, metavar="PATH", help="a file, or the folder of mlflow and tensorboard")
    export.set_defaults(run=_export)
    forget = actions.add_parser("forget", help="remove all runs but the newest, or those that are named")
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("runs", nargs="*", default=[], metavar="RUN", help="a run, as 'compare' takes it")
    which.add_argument("--keep", type=number_of("runs", 1), metavar="N", help="how many to keep")
    forget.set_defaults(run=_forget)


def add_filters(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """Declare which runs a command takes."""
    parser.add_argument("--branch", default=default, help="only runs of this branch")
    parser.add_argument(
        "--model", default=default, metavar="PART", help="only runs that used a model with PART in its name"
    )
    parser.add_argument("--limit", type=number_of("runs", 1), default=default, metavar="N", help="only the newest N")


def opened() -> History:
    """Return the history of the project here, with the records pytest has left since taken in."""
    from pytest_llm.history import runfile
    from pytest_llm.history.database import History

    settings = project_settings()
    history = History(runfile.runs_folder(settings.cache_dir, settings.root))
    if history.path.is_file() and not history.path.stat().st_size:  # SQLite takes it for a new one
        print(
            f"{visible(relative(history.path))} was empty, so it was damaged. A new one is made of the records still "
            "there; 'pytest-llm import' brings back others",
            file=sys.stderr,
        )
    for path, why in history.take_in().items():
        print(f"left as it is: {visible(relative(path))}: {visible(why)}", file=sys.stderr)
    ahead = history.select("SELECT id, started FROM runs WHERE id > ? ORDER BY id", (runfile.horizon(),))
    if ahead:
        some = ", ".join(f"{id[-8:]} ({started})" for id, started in ahead[:3]) + ", ..." * (len(ahead) > 3)
        print(
            f"{counted(len(ahead), 'run')} later than now (a clock was wrong there, or is here), counted as the "
            f"oldest: {some}. 'pytest-llm history forget RUN' removes one",
            file=sys.stderr,
        )
    return history


def chosen(history: History, arguments: argparse.Namespace) -> list[Run]:
    """Return the runs that the filters let through, the newest last."""
    return history.runs(branch=arguments.branch, model=arguments.model, limit=arguments.limit)


def _list(arguments: argparse.Namespace) -> int:
    history = opened()
    if arguments.json:
        print(json.dumps([run.to_json() for run in chosen(history, arguments)], indent=2))
        return 0
    found = history.runs(branch=arguments.branch, model=arguments.model)
    if not found:
        print(_none(history, arguments))
        return 0
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    runs = found[-(arguments.limit or LISTED) :]
    # What all have in common is said once.
    columns = {"branch": _branch, "models": _models}
    said = {name: {of(run) for run in runs} for name, of in columns.items()}
    common = [f"{name}: {', '.join(min(one).splitlines())}" for name, one in said.items() if len(one) == 1 and any(one)]
    if common:
        console.print("; ".join(common) + "\n")
    shown = {name: of for name, of in columns.items() if len(said[name]) > 1}
    console.width = max(console.width, 60 + 10 * len(shown))  # a narrow terminal folds lines; rich would drop values
    console.print(_table(runs, shown))
    if any(run.filtered for run in runs):
        print(f"{_PART}: not of all tests")
    if len(runs) < len(found):
        print(f"{len(runs)} of {len(found)} runs; --limit=N shows more")
    return 0


def _none(history: History, arguments: argparse.Namespace) -> str:
    from pytest_llm.history import runfile

    branches = sorted({run.branch for run in history.runs()})
    if not branches:
        settings = project_settings()
        folders = runfile.projects(settings.cache_dir).items()
        ours = [folder for folder, test in folders if (settings.root / test.partition("::")[0]).is_file()]
        moved = "".join(f"\npytest-llm import {folder}" for folder in ours)
        hint = f"; these may be of this project, in another folder:{moved}" if moved else ""
        return f"there is no run yet: pytest leaves a record of every run that uses pytest_llm{hint}"
    if arguments.branch is not None and arguments.branch not in branches:
        known = ", ".join(branch or "none" for branch in branches)
        return visible(f"there is no run of branch {arguments.branch!r}; there are runs of {shorten(known)}")
    of = "" if arguments.branch is None else f" of branch {arguments.branch!r}"
    return visible(f"there is no run{of} with {arguments.model!r} in the name of a model")


def _branch(run: Run) -> str:
    return visible(run.branch)


def _models(run: Run) -> str:
    return "\n".join(visible(model["source"].rpartition("/")[2]) for model in run.models.values())


def _table(runs: list[Run], columns: Mapping[str, Callable[[Run], str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    years = {run.started[:4] for run in runs}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("commit", no_wrap=True)
    for name in columns:
        table.add_column(name, overflow="fold", ratio=1)
    table.add_column("tests", ratio=1)
    table.add_column("exit", justify="right", no_wrap=True)
    table.add_column("sec", justify="right", no_wrap=True)
    for run in runs:
        time = visible(run.started[:16].replace("T", " "))
        tests = ", ".join(f"{n} {_COUNTS[status]}" for status, n in run.counts.items())
        table.add_row(
            Text(run.short),
            Text(time[5:] if len(years) == 1 else time),
            Text(visible(run.revision)),
            *(Text(of(run)) for of in columns.values()),
            Text(
                f"{tests} {_PART}" if run.filtered else tests,
                style="red" if {"failed", "uncollected", "error"} & run.counts.keys() else "",
            ),
            Text(str(run.exit_status)),
            Text(number(round(run.seconds, 1))),
        )
    return table


def _export(arguments: argparse.Namespace) -> int:
    from pytest_llm.history import export, trackers

    path, form = arguments.output, arguments.format
    if path is None and form not in export.WRITERS:
        raise InvalidInputError(f"--format={form} writes a folder: name it with --output=DIR")
    history = opened()
    runs = chosen(history, arguments)
    try:
        if form in export.WRITERS:
            text = export.WRITERS[form](history, runs)
            if path is None:
                sys.stdout.write(text)
                return 0
            from pytest_llm.files import write_atomic

            write_atomic(path, text)
            written = len(runs)
        else:
            written = trackers.WRITERS[form](history, runs, path)
    except OSError as error:
        raise InvalidInputError(f"{path}: the export could not be written: {error.strerror or error}") from None
    print(f"wrote {counted(written, 'run')} to {visible(str(path))}")
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    given = [
        f"--{name}" for name in ("branch", "model", "limit", "json") if getattr(arguments, name) not in (None, False)
    ]
    if given:
        raise InvalidInputError(
            f"forget removes runs of all branches and models, and takes no filter: leave {', '.join(given)} out"
        )
    from pytest_llm.history import references

    history = opened()
    named = [references.run(history, said) for said in dict.fromkeys(arguments.runs)]
    old = list({run.id: run for run in named}.values()) if named else history.runs()[: -arguments.keep]
    history.forget(old)
    print(f"forgot {counted(len(old), 'run')}")
    return 0
