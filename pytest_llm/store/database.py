"""The store itself: one SQLite file in WAL mode, safe under concurrent workers. Answers are JSON, never pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llm.environment import changed_parts
from pytest_llm.errors import FullError
from pytest_llm.files import canonical_json, digest_of
from pytest_llm.sqlitefile import SqliteFile
from pytest_llm.store.key import answer_key

Answer = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, request TEXT NOT NULL, identity TEXT NOT NULL, created REAL NOT NULL, answer TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_request ON answers (request);
CREATE INDEX IF NOT EXISTS answers_by_identity ON answers (identity);
CREATE TABLE IF NOT EXISTS identities (digest TEXT PRIMARY KEY, source TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS asked (
    root TEXT, test TEXT, model TEXT, request TEXT, PRIMARY KEY (root, test, model, request)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS questions (request TEXT PRIMARY KEY, data TEXT NOT NULL);
"""
#: SQLite takes at most 999 variables in a statement on older builds.
_CHUNK = 900
#: The Unix time in seconds as SQLite reads it: what freezes time in a test does not reach it.
_NOW = "(julianday('now') - 2440587.5) * 86400.0"
#: What the JSON of an answer ends with: 16 hexadecimal digits of a digest. Earlier versions wrote none, and read on.
_SEAL = "seal"
_SEALED = len(f'"{_SEAL}":"0123456789abcdef"}}')


class OutputStore(SqliteFile):
    """Answers by key.

    Opened on first use. Several processes may read and write at once: an answer is written whole, and the
    last writer of one key wins, which is harmless as equal keys have equal answers.
    """

    WHAT = "output store"
    CURE = (
        "Choose another folder with --llm-cache-dir, run without it (--llm-cache=off), or, if it is damaged, remove it "
        "with 'pytest-llm cache clear'"
    )
    UNWRITABLE = (
        "It lacks an answer that this run wants to keep: ask all questions once where it is written, run without it "
        "(--llm-cache=off), or choose another folder with --llm-cache-dir"
    )
    SCHEMA = 2
    TABLES = _TABLES

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda line: None) -> None:
        """Open the store in ``folder``; ``tell`` is told, once, that it has no room for an answer."""
        super().__init__(folder / "answers.sqlite")
        self._tell = tell
        #: Answers that the disk had no room for, as JSON, by key: this process has them.
        self._unkept: dict[bytes, bytes] = {}

    def get(self, identity: str, requests: Sequence[str], repeat: int = 0, *, since: float = 0.0) -> dict[str, Answer]:
        """Return the answers the store holds, by request digest; one that is not as it was written is left out.

        Args:
            identity: digest of what answers (see `pytest_llm.store.key.identity`).
            requests: request digests.
            repeat: which of several answers to the same sampled request.
            since: in Unix seconds, by `clock`; older answers are left out.
        """
        keys = {answer_key(identity, request, repeat): request for request in requests}
        # Bytes: damaged text may be no UTF-8, which SQLite's wrapper would refuse.
        found = {**dict(self._select("key, CAST(answer AS BLOB)", list(keys), since)), **self._in_memory(keys)}
        answers = {keys[key]: _opened(key, text) for key, text in found.items()}
        return {request: answer for request, answer in answers.items() if answer}

    def has(self, identity: str, requests: Sequence[str], repeat: int = 0, *, since: float = 0.0) -> set[str]:
        """Return which request digests have an answer, without reading the answers; the arguments are as in `get`."""
        keys = {answer_key(identity, request, repeat): request for request in requests}
        found = {key for (key,) in self._select("key", list(keys), since)}
        return {keys[key] for key in found | self._in_memory(keys).keys()}

    def put(
        self,
        identity: Mapping[str, Any],
        source: str,
        answers: Iterable[tuple[str, Answer]],
        repeat: int = 0,
        *,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        """Keep ``(request digest, answer)`` pairs; what is there already under the same key is replaced.

        ``parts`` are the digests of the model's parts, which `explain_miss` tells of and no key holds. Where the disk
        is full, the answers are kept in memory, for this process.
        """
        digest, facts = digest_of(identity), canonical_json({**identity, "parts": parts or {}})
        keyed = [(answer_key(digest, request, repeat), request, answer) for request, answer in answers]
        rows = [(key, request, digest, _sealed(key, answer)) for key, request, answer in keyed]
        try:
            with self.writing() as db:
                # Each time: another process may have cleared the store.
                db.execute("INSERT OR IGNORE INTO identities VALUES (?, ?, ?)", (digest, source, facts))
                db.executemany(f"INSERT OR REPLACE INTO answers VALUES (?, ?, ?, {_NOW}, ?)", rows)
        except FullError as error:
            if not self._unkept:
                self._tell(f"pytest_llm: answers are used, but not kept for another run: {error}")
            self._unkept.update({key: text.encode() for key, *_, text in rows})

    def explain_miss(self, identity: Mapping[str, Any], request: str, parts: Mapping[str, str] | None = None) -> str:
        """Say why ``request`` is not answered for ``identity``: which part of the key is another one."""
        here = {**identity, "parts": parts or {}}
        with self.reading() as db:
            same_question = [
                (source, _parsed(data))
                for source, data in db.execute(
                    "SELECT DISTINCT i.source, i.data FROM answers a JOIN identities i ON i.digest = a.identity "
                    "WHERE a.request = ?",
                    (request,),
                )
            ]
            if same_question:
                source, nearest = min(same_question, key=lambda row: len(differences(row[1], here)))
                changed = "; ".join(differences(nearest, here)) or "only another repeat is answered, or it is damaged"
                return f"the store has this question answered by {source}, but {changed}"
            count = "SELECT COUNT(*) FROM answers WHERE identity = ?"
            (others,) = db.execute(count, (digest_of(identity),)).fetchone()
        if others:
            return (
                f"the request is new or changed: the store has {others} other answers of this model, none to this one"
            )
        return "the store has no answer to this question, and none of this model"

    def contents(self) -> list[dict[str, Any]]:
        """Return each identity: its ``source`` and facts, how many ``answers``, the ``newest`` (Unix seconds)."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT i.source, i.data, COUNT(*), MAX(a.created) FROM answers a "
                "JOIN identities i ON i.digest = a.identity GROUP BY a.identity ORDER BY MAX(a.created) DESC"
            ).fetchall()
        return [
            {"source": source, **_parsed(data), "answers": count, "newest": newest}
            for source, data, count, newest in rows
        ]

    def clear(self, *, before: float | None = None) -> int:
        """Remove answers made before a Unix time, or all; return how many."""
        with self.reading() as db:
            with self.writing():
                count = db.execute("DELETE FROM answers WHERE ?1 IS NULL OR created < ?1", (before,)).rowcount
                db.execute("DELETE FROM identities WHERE digest NOT IN (SELECT identity FROM answers)")
                if before is None:
                    for table in ("asked", "questions", "claims"):
                        db.execute(f"DELETE FROM {table}")
            db.execute("VACUUM")
        return count

    def _in_memory(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return {key: self._unkept[key] for key in keys if key in self._unkept} if self._unkept else {}

    def _select(self, columns: str, keys: list[bytes], since: float) -> Iterator[tuple[Any, ...]]:
        newer = f" AND created >= {since!r}" if since else ""  # else the row of a key that is there is not read
        with self.reading() as db:
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                yield from db.execute(
                    f"SELECT {columns} FROM answers WHERE key IN ({','.join('?' * len(chunk))}){newer}", chunk
                )


def clock() -> float:
    """Return the time by which the store dates answers, in Unix seconds."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        return float(db.execute(f"SELECT {_NOW}").fetchone()[0])


#: Facts of an identity that their name does not explain.
_NAMES = {"engine": "pytest_llm's own computation (engine)"}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the facts in which two identities differ, each as ``name is NEW here and OLD there``."""
    content = changed_parts(*({"digest": facts.get("weights"), "parts": facts.get("parts")} for facts in (old, new)))
    plain = {name: (old.get(name), new.get(name)) for name in sorted({*old, *new} - {"weights", "parts"})}
    return [
        f"{_NAMES.get(name, name)} is {_short(now)} here and {_short(was)} there"
        for name, (was, now) in {**content, **plain}.items()
        if was != now
    ]


def _sealed(key: bytes, answer: Answer) -> str:
    """Return an answer as the JSON of its row."""
    # Not canonical: an answer may hold NaN, which the check on it must see, and half a surrogate pair.
    text = json.dumps(answer, separators=(",", ":"))
    head = text[:-1] + ("," if answer else "")
    return f'{head}"{_SEAL}":"{_digest(key, head.encode())}"}}'


def _opened(key: bytes, text: bytes) -> Answer:
    """Return the answer that was written under ``key``, an empty one where the disk changed a bit of it.

    A number of another value is JSON, too, and so is the answer of another row.
    """
    answer = _parsed(text)
    seal = answer.pop(_SEAL, None)
    return answer if seal is None or seal == _digest(key, text[:-_SEALED]) else {}


def _digest(key: bytes, text: bytes) -> str:
    return hashlib.sha256(key + text).hexdigest()[:16]


def _parsed(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for what is none: the disk may have damaged it."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        return dict(json.loads(text))
    return {}


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text[:12] if len(text) == 64 else text
