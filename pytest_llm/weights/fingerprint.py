"""The digest of weights: what they contain, never what they are called or where they are."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.files import write_atomic
from pytest_llm.weights.listing import adapter_files, refuse_pointer, side_files, weight_files
from pytest_llm.weights.parts import digest_of_all
from pytest_llm.weights.spec import Weights

#: A file changed within this many seconds may change again without its time stamp showing it (git's "racy" rule).
RACY_SECONDS = 2.0

#: By path, what shows that a file or folder has changed (`_stamp`).
Stamps = dict[Path, list[int]]


def fingerprint(
    weights: Weights, cache_dir: Path, *, clock: Callable[[], float] = time.time, seen: Stamps | None = None
) -> str:
    """Return the digest (sha256, hex) of the `contents` of ``weights``; ``""`` of a service's, which are not seen."""
    return digest_of_all(contents(weights, cache_dir, clock=clock, seen=seen))


def contents(
    weights: Weights, cache_dir: Path, *, clock: Callable[[], float] = time.time, seen: Stamps | None = None
) -> dict[str, dict[str, str]]:
    """Return the sha256 (hex) of every file that decides what ``weights`` answer, by its place and its name there.

    The places are the ``model``, its ``adapter``, and ``code 0``, ... for code elsewhere; a service has none. The files
    are the weights that transformers loads, the configurations, the tokenizer, the chat template, and a model's own
    code, wherever it lies; of a GGUF only the file itself, which holds all of them. Digests are remembered in
    ``cache_dir`` by path, size, modification and change time and inode, so unchanged weights are hashed once, but for
    those whose times do not show every change (`_in_image`, `_in_memory`). ``clock`` gives seconds since the epoch.
    ``seen`` gets the stamp of all that was looked at, for `check_unchanged`.

    Raises:
        ModelNotFoundError: a file cannot be read, or an index names a missing shard.
    """
    if weights.service:
        return {}
    seen = {} if seen is None else seen
    if weights.gguf:
        model = {"gguf": file_digests(weights.folder, [weights.gguf], cache_dir, clock, seen)[weights.gguf]}
    else:
        seen[weights.folder] = _stamp(weights.folder)  # changes with a file that comes
        names = {*weight_files(weights.folder), *side_files(weights.folder)}
        model = file_digests(weights.folder, sorted(names), cache_dir, clock, seen)
    places = {"model": model}
    if weights.adapter is not None:
        seen[weights.adapter] = _stamp(weights.adapter)
        places["adapter"] = file_digests(weights.adapter, adapter_files(weights.adapter), cache_dir, clock, seen)
    elsewhere = [folder for folder in weights.code if folder not in (weights.folder, weights.adapter)]
    for number, folder in enumerate(elsewhere):
        seen[folder] = _stamp(folder)
        files = sorted(file.name for file in folder.glob("*.py"))
        places[f"code {number}"] = file_digests(folder, files, cache_dir, clock, seen)
    return places


def check_unchanged(weights: Weights, digest: str, cache_dir: Path, seen: Stamps | None = None) -> None:
    """Check that ``weights`` are those of ``digest``, under which their answers are kept.

    With what `fingerprint` had ``seen``, files are only looked at again, and read where one has changed: a folder in
    which something else was written, or weights copied over by their equals, are no other weights.

    Raises:
        ModelNotFoundError: they are others, or a file cannot be read.
    """
    if seen is not None and _as_seen(seen):
        return
    now: Stamps = {}
    if fingerprint(weights, cache_dir, seen=now) != digest:
        raise ModelNotFoundError(
            f"the files of {weights.source!r} changed after this run had identified them. Run again, when nothing "
            "writes to them; a test that trains asks llm_loader(...) again after it saved."
        )
    if seen is not None:
        seen.clear()
        seen.update(now)


def _as_seen(seen: Stamps) -> bool:
    try:
        return all(_stamp(path) == stamp for path, stamp in seen.items())
    except OSError:
        return False


def file_digests(
    folder: Path,
    names: Iterable[str],
    cache_dir: Path,
    clock: Callable[[], float] = time.time,
    seen: Stamps | None = None,
) -> dict[str, str]:
    """Return the sha256 of each file by name, from the folder's memo where the file has not changed.

    Raises:
        ModelNotFoundError: a file cannot be read, or is a pointer of git-lfs.
    """
    seen = {} if seen is None else seen
    memo = _read_memo(_memo_file(folder, cache_dir))
    digests, fresh = {}, dict(memo)
    for name in names:
        try:
            stamp = seen[folder / name] = _stamp(folder / name)
            known = memo.get(name)
            if known and known[:-1] == stamp:
                digests[name] = str(known[-1])
                continue
            refuse_pointer(folder / name)
            # Changed lately, or while it was read: the stamp does not vouch for these bytes.
            settled = clock() - max(stamp[1], stamp[2]) / 1e9 > RACY_SECONDS
            settled = settled and not _in_image(folder / name, stamp) and not _in_memory(folder / name)
            if settled:
                # A store through a memory map moves the times only where the page was on disk.
                with suppress(OSError):  # one that cannot be written to
                    sync(folder / name)
            digests[name] = sha256_of(folder / name)
            settled = settled and _stamp(folder / name) == stamp
        except OSError as error:
            raise ModelNotFoundError(f"{folder / name} cannot be read: {error.strerror or error}.") from error
        if settled:
            fresh[name] = [*stamp, digests[name]]
    if fresh != memo:
        # A memo saves time and nothing else: a read-only cache is no reason to fail. Of two processes that write at
        # once the last wins, and what the other learnt is hashed again.
        with suppress(OSError):
            _write_memo(folder, cache_dir, fresh)
    return digests


def remember(folder: Path, digests: Mapping[str, str], cache_dir: Path) -> None:
    """Note the ``digests`` of files that this process has just written to ``folder``, where nobody else writes."""
    with suppress(OSError):
        _write_memo(folder, cache_dir, {name: [*_stamp(folder / name), digest] for name, digest in digests.items()})


def _memo_file(folder: Path, cache_dir: Path) -> Path:
    key = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]
    return cache_dir / "digests" / f"{key}.json"


def _write_memo(folder: Path, cache_dir: Path, memo: Mapping[str, Any]) -> None:
    write_atomic(_memo_file(folder, cache_dir), json.dumps(memo, sort_keys=True))


def _stamp(path: Path) -> list[int]:
    """Return size, modification time, change time and inode.

    The change time cannot be set by a program, so it shows a file rewritten in place whose old modification time was
    put back (``rsync --times``).
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _in_image(path: Path, stamp: list[int]) -> bool:
    """Whether a file lies in a read-only image that keeps no change time (squashfs, SIF).

    Such an image shows the modification time, in whole seconds, as both; its inodes number places. So the files of the
    next image, mounted where this one was, can have the same stamps.
    """
    if sys.platform == "win32" or stamp[1] != stamp[2] or stamp[2] % 10**9:
        return False
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _in_memory(path: Path) -> bool:
    """Whether a file lies on tmpfs or ramfs, where a store through a memory map (numpy's, gguf's) moves no times."""
    device = path.stat().st_dev
    with suppress(OSError):  # no Linux, or one without /proc
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            place, _, kind = line.partition(" - ")
            if place.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                return kind.split()[0] in ("tmpfs", "ramfs")
    return False


def sync(path: Path) -> None:
    """Have the system write out what it still holds of a file or folder."""
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the sha256 (hex) of a file, read in pieces."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


def _read_memo(path: Path) -> dict[str, list[int | str]]:
    try:
        memo = json.loads(path.read_text("utf-8"))
        return {str(name): list(entry) for name, entry in memo.items() if len(entry) == 5}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
