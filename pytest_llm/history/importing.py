"""Run records from elsewhere: files, folders and the .zip artifacts of CI. What they hold is untrusted.

Nothing is unpacked to disk, so no name in an archive can lead anywhere, and no more is read of a member than a record
may have, whatever its size is said to be.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError
from pytest_llm.history import runfile
from pytest_llm.history.database import History

#: How the names of records end; those that pytest packed are compressed.
_RECORDS = (".json", ".json.gz")
#: Bytes of one record, records of one archive, bytes of all its records.
LARGEST, MEMBERS, TOTAL = 64 << 20, 10_000, 1 << 30


@dataclasses.dataclass
class Imported:
    """What came of an import: records that were ``new`` or ``known``, and what is ``bad``, each with the reason."""

    new: int = 0
    known: int = 0
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def import_into(history: History, paths: list[Path]) -> Imported:
    """Take in every record that ``paths`` hold; what is none is listed, and stops nothing.

    Raises:
        LLMError: the history cannot be used.
    """
    done = Imported()
    for where, read in _sources(paths, done.bad):
        try:
            added = history.add([parsed(read())])
        except InvalidInputError as error:
            done.bad.append((where, str(error)))
        except (OSError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            done.bad.append((where, f"it cannot be read: {error}"))
        else:
            done.new += added
            done.known += 1 - added
    return done


def read(path: Path) -> dict[str, Any]:
    """Read one record that may come from anywhere.

    Raises:
        InvalidInputError: it cannot be read, or is none.
    """
    try:
        return parsed(_limited(path.name, path.open, "rb"))
    except (InvalidInputError, OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"{path}: {error}") from None


def parsed(content: bytes) -> dict[str, Any]:
    """Return the record that ``content`` is, checked against the schema.

    Raises:
        InvalidInputError: it is none, or a newer version's; the message says where it fails.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"this is no run record: {error or 'nested too deeply'}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > runfile.SCHEMA:
        raise InvalidInputError(f"a newer pytest_llm wrote this record (schema {schema}): upgrade")
    problem = next(_validator().iter_errors(data), None)
    if problem is not None:
        raise InvalidInputError(f"this is no run record: {problem.json_path}: {problem.message[:200]}")
    return dict(data)


@functools.cache
def _validator() -> Any:
    import jsonschema

    text = resources.files("pytest_llm.history").joinpath("run-record.schema.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _sources(paths: list[Path], bad: list[tuple[str, str]]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Give the name of every JSON file and a function that reads it; add to ``bad`` what cannot be looked into."""
    for path in paths:
        if path.is_dir():
            projects = runfile.projects(path)
            count = len({folder.name for folder in projects})
            if count > 1:
                listed = "; ".join(f"{folder}, of {test}" for folder, test in projects.items())
                bad.append((str(path), f"it has the runs of {count} projects: import this one's alone: {listed}"))
                continue
            # Of a cache folder, which holds other JSON, too.
            path = next((folder for folder in projects if folder.parent == path / "runs"), path)
            inside = sorted(one for one in path.rglob("*") if one.name.endswith((*_RECORDS, ".zip")) and one.is_file())
            if not inside:
                bad.append((str(path), "this folder holds no .json and no .zip"))
        else:
            inside = [path]
        for one in inside:
            if one.suffix == ".zip":
                yield from _members(one, bad)
            else:
                yield str(one), functools.partial(_limited, one.name, one.open, "rb")


def _members(path: Path, bad: list[tuple[str, str]]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [one for one in archive.infolist() if one.filename.endswith(_RECORDS) and not one.is_dir()]
            if not found:
                bad.append((str(path), "this archive holds no .json"))
            total = 0
            for count, one in enumerate(found):
                if count >= MEMBERS or total > TOTAL:
                    bad.append((str(path), f"it holds too much: {count} of its {len(found)} records were read"))
                    return

                def read(one: zipfile.ZipInfo = one) -> bytes:
                    nonlocal total
                    total += LARGEST  # until it is known to be less
                    content = _limited(one.filename, archive.open, one)
                    total += len(content) - LARGEST
                    return content

                yield f"{path}:{one.filename}", read
    except (OSError, zipfile.BadZipFile) as error:
        bad.append((str(path), f"it cannot be read: {error}"))


def _limited(name: str, opened: Callable[..., Any], *arguments: Any) -> bytes:
    with opened(*arguments) as raw, gzip.open(raw) if name.endswith(".gz") else raw as stream:
        content: bytes = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InvalidInputError(f"it has more than {LARGEST >> 20} MB, which no run record has")
    return content
