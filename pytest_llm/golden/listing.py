"""The lists of what a complete run did not use, kept between the run and ``pytest-llm prune``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_llm import jsontext
from pytest_llm.errors import GoldenError
from pytest_llm.files import digest_of, path_tag, write_atomic
from pytest_llm.golden.pending import digest

T = TypeVar("T")

#: Why what is listed is not removed, where its test module is another now.
STALE = "its test module, or a conftest.py, changed since it was found obsolete: run the whole suite again"


def write_list(cache_dir: Path, root: Path, what: str, found: Sequence[Any]) -> None:
    """Keep the list of ``what`` in the project at ``root``: named tuples with a ``path``. It replaces an older one."""
    rows = [{**one._asdict(), "path": str(one.path.absolute())} for one in found]
    file, content = _file(cache_dir, root, what), jsontext.dump(rows).encode("utf-8")
    # Nearly every run finds what the last one found, and a write waits for the disk.
    if not file.is_file() or file.read_bytes() != content:
        write_atomic(file, content)


def read_list(cache_dir: Path, root: Path, what: str, kind: type[T]) -> list[T] | None:
    """Return the list of the last complete run, as instances of ``kind``; ``None`` when there was none, or an old one.

    Raises:
        GoldenError: the list is damaged.
    """
    file = _file(cache_dir, root, what)
    try:
        rows = jsontext.load(file.read_text("utf-8"))
        if any(row.keys() != kind.__annotations__.keys() for row in rows):  # of a version with other fields
            return None
        return [kind(**{**row, "path": Path(row["path"])}) for row in rows]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise GoldenError(f"{file} cannot be read ({error}): run the whole suite again") from error


def take_off(cache_dir: Path, root: Path, what: str, kind: type[T], used: Callable[[T], bool]) -> None:
    """Take off the list what is ``used``: what a run used is not obsolete any more. Raises as `read_list`."""
    listed = read_list(cache_dir, root, what, kind) or []
    left = [one for one in listed if not used(one)]
    if len(left) < len(listed):
        write_list(cache_dir, root, what, left)


def source_of(modules: Iterable[Path], folder: Path) -> str:
    """Return a digest of what says which tests there are: the ``modules``, and each conftest.py from ``folder`` up.

    It is another one where a module is not there any more, or is back: on another branch a list says nothing.
    """
    conftests = (parent / "conftest.py" for parent in (folder, *folder.parents))
    return digest_of([digest(file) for file in (*sorted(modules), *conftests)])


def _file(cache_dir: Path, root: Path, what: str) -> Path:
    return cache_dir / "obsolete" / f"{path_tag(root)}-{what}.json"
