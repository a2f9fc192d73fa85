"""The database of runs: what every run record of a project held, kept when the record's file is long gone.

One SQLite file beside the records, ``<cache>/runs/<hash of root>/history.sqlite``, in WAL mode. It has a table of what
lists and trends need, and every record whole (compressed), for comparisons. pytest itself only writes files, and packs
the older ones; the commands take them in.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.history import runfile
from pytest_llm.history.rows import Rows, Run, of_record
from pytest_llm.sqlitefile import SqliteFile

NAME = "history.sqlite"

#: Record files taken in with one transaction.
_BATCH = 50
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started TEXT NOT NULL, seconds REAL NOT NULL,
    exit_status INTEGER NOT NULL, filtered INTEGER NOT NULL, "commit" TEXT NOT NULL, branch TEXT NOT NULL,
    dirty INTEGER, counts TEXT NOT NULL, models TEXT NOT NULL, environment TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS records (run INTEGER PRIMARY KEY REFERENCES runs, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tests (
    run INTEGER NOT NULL REFERENCES runs, nodeid TEXT NOT NULL, status TEXT NOT NULL, seconds REAL NOT NULL,
    models TEXT NOT NULL, PRIMARY KEY (run, nodeid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    run INTEGER NOT NULL REFERENCES runs, position INTEGER NOT NULL, nodeid TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT NOT NULL, value REAL, better TEXT NOT NULL,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS verdicts_by_metric ON verdicts (name, run) WHERE value IS NOT NULL;
CREATE INDEX IF NOT EXISTS goldens ON verdicts (run, nodeid, status) WHERE kind = 'golden';
"""
_RUN = 'number, id, started, seconds, exit_status, filtered, "commit", branch, dirty, counts, models, environment'


class History(SqliteFile):
    """The runs of one project, newest last where they are listed. Opened on first use."""

    WHAT = "history"
    CURE = (
        "Nothing was changed. If it is damaged, move it away: a new one is made of the records still there, and of "
        "what 'pytest-llm import' brings back"
    )
    TABLES = _TABLES

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / NAME)
        self.folder = folder

    def add(self, records: Iterable[dict[str, Any]]) -> int:
        """Take records in, all of them or none, and return how many were new.

        A record is known by its id: one that is there is left as it is.

        Raises:
            InvalidInputError: one of them is no run record.
            LLMError: the database cannot be used.
        """
        return self._add([(of_record(data), data) for data in records])

    def _add(self, prepared: Sequence[tuple[Rows, dict[str, Any]]]) -> int:
        with self.writing() as db:
            return sum(self._insert(db, rows, data) for rows, data in prepared)

    def take_in(self) -> dict[Path, str]:
        """Take in the record files that pytest left and are not here yet. Packed ones are removed when they are here.

        Returns:
            Those that are no run records, with the reason. They stay where they are.
        """
        packed = sorted((self.folder / runfile.PACKED).glob("*.json.gz"))
        found = [*packed, *sorted(self.folder.glob("*.json"))]
        known = self.ids() if found else set()
        new = [path for path in found if path.name.partition(".")[0] not in known]
        bad: dict[Path, str] = {}
        for start in range(0, len(new), _BATCH):
            good = []
            for path in new[start : start + _BATCH]:
                try:
                    data = runfile.read(path)
                    good.append((of_record(data), data))
                except InvalidInputError as error:
                    if path.exists():  # else another process took it in, and pruned it
                        bad[path] = str(error)
            self._add(good)
        for path in packed:
            if path not in bad:
                path.unlink(missing_ok=True)
        return bad

    def ids(self) -> set[str]:
        """Return the ids of all runs."""
        with self.reading() as db:
            return {id for (id,) in db.execute("SELECT id FROM runs")}

    def runs(self, *, branch: str | None = None, model: str | None = None, limit: int | None = None) -> list[Run]:
        """Return the newest ``limit`` runs of a branch, with a model whose name or digest has ``model`` in it.

        The newest is the last. Runs that are later than now count as the oldest (`runfile.order`).
        """
        with self.reading() as db:
            where, values = ("WHERE branch = ?", [branch]) if branch is not None else ("", [])
            found = []
            query = f"SELECT {_RUN} FROM runs {where} ORDER BY id < ? DESC, id DESC"
            for row in db.execute(query, [*values, runfile.horizon()]):
                run = Run.from_row(row)
                if model is None or run.uses(model):
                    found.append(run)
                if len(found) == limit:
                    break
        return found[::-1]

    def select(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a query of the tables gives."""
        with self.reading() as db:
            return db.execute(query, tuple(values)).fetchall()

    def record(self, run: Run) -> dict[str, Any]:
        """Return the whole record of a run."""
        ((blob,),) = self.select("SELECT data FROM records WHERE run = ?", (run.number,))
        try:
            return dict(json.loads(zlib.decompress(blob)))
        except (zlib.error, ValueError) as error:
            raise LLMError(f"the record of run {run.id} in {self.path} is damaged: {error}") from error

    def forget(self, runs: Iterable[Run]) -> None:
        """Remove runs, and give the space back.

        Their files go first, or the next command would take them in again.
        """
        with self.reading() as db:
            with self.writing():
                for run in runs:
                    (self.folder / f"{run.id}.json").unlink(missing_ok=True)
                    for table in ("records", "tests", "verdicts"):
                        db.execute(f"DELETE FROM {table} WHERE run = (SELECT number FROM runs WHERE id = ?)", (run.id,))
                    db.execute("DELETE FROM runs WHERE id = ?", (run.id,))
            db.execute("VACUUM")

    def _insert(self, db: sqlite3.Connection, rows: Rows, data: dict[str, Any]) -> bool:
        done = db.execute(f"INSERT OR IGNORE INTO runs ({_RUN}) VALUES (NULL{', ?' * len(rows.run)})", rows.run)
        if not done.rowcount:
            return False
        number = done.lastrowid
        text = json.dumps(data, separators=(",", ":"))  # ASCII: a record may hold half a surrogate pair
        db.execute("INSERT INTO records VALUES (?, ?)", (number, zlib.compress(text.encode())))
        db.executemany("INSERT OR REPLACE INTO tests VALUES (?, ?, ?, ?, ?)", [(number, *row) for row in rows.tests])
        db.executemany(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [(number, *row) for row in rows.verdicts]
        )
        return True
