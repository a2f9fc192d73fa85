"""The lists of what a complete run did not use, kept between the run and ``pytest-llm prune``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_llm.errors import GoldenError
from pytest_llm.files import path_tag, write_atomic
from pytest_llm.golden import jsontext

T = TypeVar("T")


def write_list(cache_dir: Path, root: Path, what: str, found: Sequence[Any]) -> None:
    """Keep the list of ``what`` in the project at ``root``: named tuples with a ``path``. It replaces an older one."""
    rows = [{**one._asdict(), "path": str(one.path.absolute())} for one in found]
    file, content = _file(cache_dir, root, what), jsontext.dump(rows).encode("utf-8")
    # Nearly every run finds what the last one found, and a write waits for the disk.
    if not file.is_file() or file.read_bytes() != content:
        write_atomic(file, content)


def read_list(cache_dir: Path, root: Path, what: str, kind: type[T]) -> list[T] | None:
    """Return the list of the last complete run, as instances of ``kind``; ``None`` when there was none.

    Raises:
        GoldenError: the list is damaged.
    """
    file = _file(cache_dir, root, what)
    try:
        return [kind(**{**row, "path": Path(row["path"])}) for row in jsontext.load(file.read_text("utf-8"))]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise GoldenError(f"{file} cannot be read ({error}): run the whole suite again") from error


def _file(cache_dir: Path, root: Path, what: str) -> Path:
    return cache_dir / "obsolete" / f"{path_tag(root)}-{what}.json"
