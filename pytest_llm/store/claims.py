"""Claims: who computes an answer, so that two workers never compute the same one.

A claim names a lock file beside the store, which its owner holds locked while it computes. The system unlocks it when
the process ends, however it ends, in whatever container it ran: no clock decides whether an owner is alive, so a slow
batch never loses its claims, and a killed process loses them at once. SQLite needs such locks of the file system too.
Where they do not reach (another machine, on some network disks), an answer is computed twice, which is harmless.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import FullError

if TYPE_CHECKING:
    from pytest_llm.store.database import OutputStore


@contextlib.contextmanager
def held(store: OutputStore, keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Claim those of ``keys`` that nobody alive has claimed, give them, and give them up at the end, answered or not.

    A process that died with claims loses them to whoever asks next. On a full disk nothing can be claimed, and all of
    ``keys`` are given: what another process computes too is computed twice.
    """
    from filelock import FileLock

    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
    lock = FileLock(_lock_file(store, owner), timeout=0)
    alive = functools.cache(functools.partial(_alive, store))
    mine: list[bytes] = []
    try:
        try:
            with store.writing() as db:
                for key in keys:
                    row = db.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone()
                    if row is None or not alive(row[0]):
                        if not mine:  # before anybody can see the claim
                            Path(lock.lock_file).parent.mkdir(exist_ok=True)
                            lock.acquire()
                        db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, owner))
                        mine.append(key)
        except FullError:
            mine[:] = keys
        yield mine
    finally:
        if mine:
            try:
                with contextlib.suppress(FullError), store.writing() as db:
                    db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", [(key, owner) for key in mine])
            finally:
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)


def owners(store: OutputStore, keys: Sequence[bytes]) -> list[str]:
    """Return who has claimed any of ``keys``, as people say it."""
    with store.reading() as db:
        rows = [db.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone() for key in keys]
    parts = {tuple(row[0].split(":")[:2]) for row in rows if row is not None}
    return [f"process {pid} on {host}" for host, pid in sorted(parts)]


def _alive(store: OutputStore, owner: str) -> bool:
    """Whether the owner still holds its lock file; one without a file, as earlier versions had none, is dead."""
    from filelock import FileLock, Timeout

    path = _lock_file(store, owner)
    if not path.exists():
        return False
    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except (Timeout, OSError):  # held, or another user's, which cannot be asked
        return True
    with contextlib.suppress(OSError):
        path.unlink()
    return False


def _lock_file(store: OutputStore, owner: str) -> Path:
    return store.path.parent / "claims" / f"{owner.rpartition(':')[2]}.lock"
