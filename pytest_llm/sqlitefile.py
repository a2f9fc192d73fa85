"""One SQLite file that several processes use: WAL mode, a numbered schema, errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from pytest_llm.errors import FullError, LLMError
from pytest_llm.files import locked

#: How the system says that a file may not be written.
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
#: And that there is no room for it.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
#: Bytes that SQLite needs beside a database in WAL mode, even to read it.
_BESIDE = 1 << 16


class SqliteFile:
    """A database at ``path``, opened on first use. Subclasses say what is in it.

    ``WHAT`` names it in errors; ``CURE`` ends them, ``UNWRITABLE`` where it can be read only; ``TABLES`` creates what
    ``SCHEMA`` numbers, and brings an older file up to it.
    """

    WHAT = ""
    CURE = ""
    UNWRITABLE = "Let this user write it and its folder"
    SCHEMA = 1
    TABLES = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        #: What kept it from being opened but to be read: the disk is full.
        self._cramped: Exception | None = None
        self._lock = threading.RLock()  # a test may ask from several threads

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the database, on a full disk as it lies there.

        Raises:
            FullError: the disk is full.
            LLMError: it cannot be opened or used; the message says what to do.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                # By SQLite, or by the system, of a lock beside it. It is sound.
                refused = isinstance(error, OSError) and error.errno in _REFUSED and os.access(self.path, os.R_OK)
                cause = self._cramped or error
                if _for_want_of_room(cause, self.path):
                    why = f"the disk is full ({cause})"
                    raise FullError(f"the {self.WHAT} {self.path} cannot be used: {why}. {self.CURE}") from error
                if refused or "readonly" in str(error):
                    raise LLMError(
                        f"the {self.WHAT} {self.path} may be read here, but not written: {error}. {self.UNWRITABLE}"
                    ) from error
                raise LLMError(f"the {self.WHAT} {self.path} cannot be used: {error}. {self.CURE}") from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the database inside one transaction that no other process writes in."""
        with self.reading() as db, db:
            # At once, not at the first write: what is read inside must still hold when it is written upon.
            db.execute("BEGIN IMMEDIATE")
            yield db

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._cramped = None

    def remove(self) -> None:
        """Remove the file, whatever is in it, and what SQLite keeps beside it.

        Raises:
            OSError: it cannot be removed.
        """
        self.close()
        for end in ("", "-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # WAL needs files beside the database, even to read it. Where none can be made, and no writer has left any, all
        # is in the database itself, which is read as it lies there.
        log = Path(f"{self.path}-wal")
        settled = self.path.is_file() and (not log.exists() or not log.stat().st_size)
        if settled and not os.access(self.path.parent, os.W_OK):
            return self._open(still=True)
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            if not settled or not _for_want_of_room(error, self.path):
                raise
            self._cramped = error
            return self._open(still=True)

    def _open(self, *, still: bool = False) -> sqlite3.Connection:
        place = f"{self.path.absolute().as_uri()}?immutable=1" if still else self.path
        db = sqlite3.connect(place, uri=still, timeout=60.0, check_same_thread=False)
        try:
            (schema,) = db.execute("PRAGMA user_version").fetchone()
            if schema > self.SCHEMA:
                known = f"schema {schema}, known {self.SCHEMA}"
                raise sqlite3.DatabaseError(f"a newer pytest_llm wrote it ({known}): upgrade")
            if schema < self.SCHEMA:
                # Under a lock: the switch to WAL does not wait for another connection, whatever the timeout.
                with locked(self.path.with_suffix(".lock")):
                    db.execute("PRAGMA journal_mode=WAL")
                    db.executescript(f"BEGIN IMMEDIATE; {self.TABLES} PRAGMA user_version={self.SCHEMA}; COMMIT;")
            # Losing the last writes to a power cut costs the work of making them again, not their truth.
            db.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            db.close()
            raise
        return db


def _for_want_of_room(error: Exception, path: Path) -> bool:
    """Whether the disk was full: SQLite says so of the database, but of what it needs beside it an I/O error."""
    if "is full" in str(error) or getattr(error, "errno", None) in _FULL:
        return True
    if "disk I/O error" not in str(error):
        return False
    return getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE" or (
        shutil.disk_usage(path.parent).free < _BESIDE
    )
