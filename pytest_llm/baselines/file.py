"""Baseline files: ``__llm_baselines__/<test module>.json`` beside the test module.

One file holds ``tests``: qualified test name -> metric -> entry. Keys are sorted and number lists wrapped at
fixed counts, so a pull request shows which figures moved. No timestamps, no absolute paths.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llm import jsontext
from pytest_llm.baselines import FOLDER
from pytest_llm.baselines.entry import Entry
from pytest_llm.errors import GoldenError
from pytest_llm.files import digest_of, leads_out, locked_where_possible, path_tag, safe_name, write_atomic
from pytest_llm.location import Location

SCHEMA = 1


def path_for(location: Location) -> Path:
    """Return the baseline file of the test at ``location``."""
    return location.file.parent / FOLDER / f"{safe_name(location.file.stem)}.json"


def read(path: Path, test: str, metric: str, *, replacing: bool = False) -> Entry | None:
    """Return the entry of ``test`` and ``metric``; ``None`` when there is none, or one to be replaced is damaged.

    Raises:
        GoldenError: the file is corrupt, holds merge-conflict markers, or was written by a newer version.
    """
    text, tests = _load(path)
    data = tests.get(test, {}).get(metric)
    if data is None:
        return None
    try:
        return Entry.from_json(data)
    except ValueError as error:
        if replacing:
            return None
        raise GoldenError(
            f"{path}:{_line_of(text, test, metric)}: {metric} of {test}: {error}; restore it from version control, or "
            "measure again with --llm-update=all"
        ) from None


def write(path: Path, test: str, metric: str, entry: Entry, locks: Path) -> None:
    """Put ``entry`` into the file, keeping what other tests, also in other processes, have there.

    ``locks`` is the folder for lock files, in the cache; where that cannot be written, nobody can hold a lock.

    Raises:
        GoldenError: what is there already cannot be read, or the file system refused.
    """
    with _changing(path, locks):
        _, tests = _load(path)
        tests.setdefault(test, {})[metric] = entry.to_json()
        write_atomic(path, jsontext.dump({"schema": SCHEMA, "tests": tests}, wrap=10))


def digests(path: Path) -> dict[tuple[str, str], str]:
    """Return a digest of the content of every entry, by test and metric. Raises as `read` does."""
    _, tests = _load(path)
    return {(test, metric): digest_of(data) for test, metrics in tests.items() for metric, data in metrics.items()}


def remove(path: Path, test: str, metric: str, digest: str, locks: Path) -> bool:
    """Remove the entry whose content has ``digest``, and the file with the last one; ``False`` when there is none.

    Raises:
        GoldenError: it has another content by now, the file cannot be read, or the file system refused.
    """
    with _changing(path, locks):
        _, tests = _load(path)
        if metric not in tests.get(test, {}):
            return False
        if digest_of(tests[test][metric]) != digest:
            raise GoldenError(f"{metric} of {test} in {path} changed since it was found obsolete: run the suite again")
        del tests[test][metric]
        tests = {name: metrics for name, metrics in tests.items() if metrics}
        if tests:
            write_atomic(path, jsontext.dump({"schema": SCHEMA, "tests": tests}, wrap=10))
            return True
        path.unlink()
        with contextlib.suppress(OSError):  # not empty
            path.parent.rmdir()
        return True


_ADVICE = (
    "keep one side of a merge, restore it from version control or delete it; then measure again with --llm-update=all"
)


@contextlib.contextmanager
def _changing(path: Path, locks: Path) -> Iterator[None]:
    if out := leads_out(path, path.parent):
        raise GoldenError(f"{path}: the baseline could not be written: it is a link to {out}; put a file there")
    try:
        real = path.resolve()  # of which the folder's folder stays when `remove` takes the last entry
        with locked_where_possible(locks / f"{path_tag(real)}.lock", folder=real.parent.parent):
            yield
    except OSError as error:
        raise GoldenError(f"{path}: the baseline could not be written: {error}") from error


def _load(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return "", {}
    except (OSError, UnicodeDecodeError) as error:
        raise GoldenError(f"{path}: cannot be read ({error}); {_ADVICE}") from None
    try:
        data = jsontext.load(text)
    except jsontext.JSONTextError as error:
        raise GoldenError(f"{path}{f':{error.line}' if error.line else ''}: {error}; {_ADVICE}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise GoldenError(
            f"{path}:{_line_of(text, 'schema')}: schema {schema} is newer than the {SCHEMA} this pytest_llm reads; "
            "upgrade pytest-llm-regression"
        )
    tests = data.get("tests") if schema == SCHEMA else None
    if not isinstance(tests, dict) or not all(isinstance(metrics, dict) for metrics in tests.values()):
        raise GoldenError(f"{path}:1: not a baseline file (no schema {SCHEMA} with tests); {_ADVICE}")
    return text, tests


def _line_of(text: str, *keys: str) -> int:
    """Return the line where ``keys``, one inside the other, are found in ``text``."""
    place = 0
    for key in keys:
        quoted = f"{json.dumps(key, ensure_ascii=False)}:"
        place = max(text.find(quoted, place), 0)
    return text.count("\n", 0, place) + 1
