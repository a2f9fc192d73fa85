"""The file a run leaves: one JSON document with all that reports show, kept in the cache and pruned there.

``run-record.schema.json`` beside this module documents it. It stands under ``<cache>/runs/<hash of root>/<id>.json``
and, with ``--llm-record=PATH``, at PATH too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm import environment
from pytest_llm.errors import InvalidInputError
from pytest_llm.files import SURROGATE, path_tag, shown_path, write_atomic
from pytest_llm.history import git

if TYPE_CHECKING:
    from pytest_llm.record import RunRecord
    from pytest_llm.settings import Settings

SCHEMA = 1
#: Records kept for a project: the newest ones.
KEPT = 100
#: Seconds by which clocks may differ.
SLACK = 3600
#: The folder, beside the records, of older ones that wait for the history.
PACKED = "packed"
#: Characters of one text in a record.
MAX_TEXT = 20_000

_SETTINGS = ("update", "cache", "offline", "logprob_margin", "alpha", "power", "correction", "strict_gates")
_VERSIONS = ("pytest-llm-regression", "pytest", "torch", "transformers", "peft", "gguf", "evaluate", "sacrebleu")
_OURS = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{8}\.json")
#: What `path_tag` makes of a project's root.
_TAG = re.compile("[0-9a-f]{20}")


def document(run: RunRecord, settings: Settings, *, started: float, exit_status: int) -> dict[str, Any]:
    """Return the record as the document that the schema describes. ``started`` is in seconds since 1970."""
    dirty, concerned = git.dirty(settings.root), run.concerned  # git looks while the verdicts become data
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(started))}{int(started % 1 * 1000):03d}Z"
    verdicts: list[Any] = plain([verdict.to_json() for verdict in run.verdicts])
    return {
        "schema": SCHEMA,
        "id": f"{stamp}-{os.urandom(4).hex()}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "exit_status": exit_status,
        "filtered": run.filtered,
        "stopped": run.stopped,
        "git": {**git.head(settings.root), "dirty": dirty()},
        "settings": {name: getattr(settings, name) for name in _SETTINGS},
        "environment": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count() or 0,
            **{name: environment.version(name) for name in _VERSIONS},
        },
        "models": plain(
            {key: {**dataclasses.asdict(use), "from_store": use.from_store} for key, use in run.models.items()}
        ),
        "requests": plain([vars(one) for one in run.asked]),
        "tests": [{"nodeid": nodeid, **test.to_json()} for nodeid, test in sorted(concerned.items())],
        "collection_errors": [
            {"nodeid": nodeid, "message": plain(text)} for nodeid, text in sorted(run.collection_errors.items())
        ],
        "verdicts": verdicts,
        "obsolete": [shown_path(Path(path), settings.root) for path in run.obsolete],
    }


def runs_folder(cache_dir: Path, root: Path) -> Path:
    """Return where the records of the project at ``root`` are."""
    return cache_dir / "runs" / path_tag(root)


def projects(parent: Path) -> dict[Path, str]:
    """Return the folders of records in the caches below a folder, each with a test of its newest run (``no test``).

    The folders of one project have one name.
    """
    found = {}
    for folder in sorted(one for one in parent.rglob("*") if _TAG.fullmatch(one.name) and one.parent.name == "runs"):
        newest = max((path for path in folder.glob("*.json") if _OURS.fullmatch(path.name)), default=folder)
        found[folder] = "no test"
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            found[folder] = str(json.loads(newest.read_bytes())["tests"][0]["nodeid"])
    return found


def keep(data: dict[str, Any], settings: Settings) -> Path:
    """Write the document into the cache, pack the oldest ones beyond `KEPT`, and return its path."""
    folder = runs_folder(settings.cache_dir, settings.root)
    path = folder / f"{data['id']}.json"
    write(data, path)
    names = sorted((name for name in os.listdir(folder) if _OURS.fullmatch(name)), key=order)  # noqa: PTH208
    for name in names[:-KEPT]:
        with contextlib.suppress(OSError):  # another run packed it; or the disk is full, and it stays
            _pack(folder / name)
    return path


def _pack(path: Path) -> None:
    """Put a record aside, compressed, until the history takes it in: what does that takes longer than a run should."""
    import gzip

    write_atomic(path.parent / PACKED / f"{path.name}.gz", gzip.compress(path.read_bytes(), 1, mtime=0))
    path.unlink()


def write(data: dict[str, Any], path: Path) -> None:
    """Write the document as UTF-8 JSON; a lone surrogate, which UTF-8 cannot hold, as its escape."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raw = SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode("utf-8")
    write_atomic(path, raw)


def read(path: Path) -> dict[str, Any]:
    """Read a record as `keep` leaves it, packed or not. What it holds is for `rows.of_record` to check.

    Raises:
        InvalidInputError: it cannot be read, has no schema, or that of a newer version.
    """
    import gzip
    import zlib

    try:
        raw = path.read_bytes()
        data: dict[str, Any] = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        newer = data["schema"] > SCHEMA
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"it cannot be read: {error}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise no_record(error) from None
    if newer:
        raise InvalidInputError(f"a newer pytest_llm wrote this record (schema {data['schema']}): upgrade")
    return data


def no_record(error: Exception) -> InvalidInputError:
    """Return what to raise for data in which something is missing, or wrong."""
    if isinstance(error, KeyError):
        return InvalidInputError(
            f"this is no run record of this version: it has no {error.args[0]!r:.99}. If an older pytest_llm wrote "
            "it, read it with that, or delete it"
        )
    return InvalidInputError(f"this is no run record ({error!r:.200})")


def order(id: str) -> tuple[bool, str]:
    """Return what sorts runs, the newest last: an id starts with its time. Later than now counts as the oldest."""
    return id < horizon(), id


def horizon() -> str:
    """Return what the id of a run that is later than now, as a wrong clock said, is greater than."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() + SLACK))


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: no NaN or infinity (named instead), no text longer than `MAX_TEXT`."""
    kind = type(value)
    if value is None or kind is bool or kind is int or (kind is str and len(value) <= MAX_TEXT):  # nearly all of it
        return value
    if isinstance(value, str):
        text = str(value)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… (+{len(text) - MAX_TEXT} characters)"
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return plain(value.item()) if hasattr(value, "item") else plain(str(value))  # a number of numpy, or anything
