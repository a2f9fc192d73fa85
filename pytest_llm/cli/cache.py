"""``pytest-llm cache info|clear``: what the output store and the converted weights hold, and freeing them."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import project_settings, size
from pytest_llm.errors import FullError, LLMError
from pytest_llm.reports.text import counted, visible
from pytest_llm.store.database import OutputStore


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("cache", help="show or clear the output store and the converted weights")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    info = actions.add_parser("info", help="what is in it, and how large it is")
    info.set_defaults(run=lambda arguments: _info())
    clear = actions.add_parser("clear", help="remove answers and converted weights (both, unless one is named)")
    clear.add_argument("--answers", action="store_true", help="remove answers only")
    clear.add_argument("--weights", action="store_true", help="remove converted weights only")
    clear.add_argument(
        "--older-than", type=_days, metavar="DAYS", help="only what was made more than DAYS ago; weights if named"
    )
    clear.set_defaults(run=_clear)


def _info() -> int:
    folder = project_settings().cache_dir
    store = OutputStore(folder)
    print(f"cache     {folder}")
    converted = _folders(folder / "converted")
    if store.path.exists():
        rows = store.contents()
        print(f"answers   {sum(row['answers'] for row in rows)} in {size(_bytes(store.path))}")
        for row in rows:
            day = time.strftime("%Y-%m-%d", time.localtime(row["newest"]))
            print(f"          {row['answers']:>6}  {visible(row['source'])}  {_around(row)}  newest {day}")
    else:
        print("answers   none")
    print(f"weights   {len(converted)} converted, {size(sum(map(_bytes, converted)))}")
    return 0


def _around(row: dict[str, Any]) -> str:
    if "service" in row:
        return visible(row["service"])
    versions = f"torch {row['torch']}, transformers {row['transformers']}"
    return f"{row['weights'][:12]}  {row['dtype']} {row['device']}  {versions}"


def _clear(arguments: argparse.Namespace) -> int:
    folder = project_settings().cache_dir
    both = not arguments.answers and not arguments.weights
    before = None if arguments.older_than is None else time.time() - arguments.older_than * 86400
    store = OutputStore(folder)
    if (arguments.answers or both) and store.path.exists():
        print(f"removed {_cleared(store, before)}")
    if arguments.weights or (both and before is None):
        # Nothing is written to a folder after it was made.
        converted = [one for one in _folders(folder / "converted") if before is None or one.lstat().st_mtime <= before]
        freed = sum(_bytes(one) for one in converted if not one.is_symlink())
        for one in converted:
            one.unlink() if one.is_symlink() else shutil.rmtree(one)  # what a link leads to is not ours
        print(f"removed {counted(len(converted), 'converted model')}, {size(freed)}")
    return 0


def _cleared(store: OutputStore, before: float | None) -> str:
    """Remove answers; where all are to go and the store is damaged, or the disk too full to write that, the store."""
    try:
        count = store.clear(before=before)
    except LLMError as error:
        if before is not None or not (isinstance(error, FullError) or _damaged(error.__cause__)):
            raise
        try:
            store.remove()
        except OSError as failure:
            raise LLMError(f"the output store {store.path} cannot be removed: {failure}") from None
        why = "the disk is full" if isinstance(error, FullError) else error.__cause__
        return f"the output store, which could not be used: {why}"
    return counted(count, "answer")


def _damaged(cause: BaseException | None) -> bool:
    """Whether SQLite found the file to be none of ours; of a lock or an I/O error it says nothing of the kind."""
    return isinstance(cause, sqlite3.DatabaseError) and (
        not isinstance(cause, sqlite3.OperationalError) or "no such table" in str(cause)
    )


def _days(text: str) -> float:
    with contextlib.suppress(ValueError):
        if (days := float(text)) >= 0:
            return days
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")


def _folders(parent: Path) -> list[Path]:
    return sorted(child for child in parent.iterdir() if child.is_dir()) if parent.is_dir() else []


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
