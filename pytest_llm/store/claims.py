"""Claims: which process computes an answer, so that two workers never compute the same one."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.store.database import OutputStore


def take(store: OutputStore, keys: Sequence[bytes]) -> list[bytes]:
    """Claim those of ``keys`` that nobody alive has claimed, and return them.

    A process that died with claims loses them to whoever asks next; one on another machine that shares the cache is
    taken to be alive.
    """
    owner = _owner(os.getpid())
    taken: list[bytes] = []
    with store.writing() as db:
        for key in keys:
            row = db.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone()
            if row is None or row[0] == owner or not _alive(row[0]):
                db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, owner))
                taken.append(key)
    return taken


def release(store: OutputStore, keys: Sequence[bytes]) -> None:
    """Give up claims, answered or not."""
    with store.writing() as db:
        db.executemany("DELETE FROM claims WHERE key = ?", [(key,) for key in keys])


def _owner(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def _alive(owner: str) -> bool:
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
