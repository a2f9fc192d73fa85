"""The request log: what each test asked when it last ran, kept in the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.requests import Request
    from pytest_llm.store.database import OutputStore

#: A question of a test: the model's name in the log ("" is the one under test), and the request's digest.
Question = tuple[str, str]


class RequestLog:
    """Notes questions in memory and writes, at the end of a session, those of tests whose questions changed."""

    def __init__(self, store: OutputStore, root: str) -> None:
        """Open the log of one project; ``root`` tells projects that share a cache apart."""
        self._store = store
        self._root = _plain(root)
        self._noted: dict[str, dict[Question, Request]] = {}

    def note(self, test: str, model: str, digest: str, request: Request) -> None:
        """Note that ``test`` asked ``request`` of ``model``."""
        self._noted.setdefault(_plain(test), {})[_plain(model), digest] = request

    def recall(self, tests: Iterable[str]) -> dict[str, set[Question]]:
        """Return what each of ``tests`` asked when it last ran; a test that is not in the log is left out."""
        wanted = {_plain(test): test for test in tests}
        known: dict[str, set[Question]] = {}
        with self._store.reading() as db:
            rows = db.execute("SELECT test, model, request FROM asked WHERE root = ?", (self._root,))
            for test, model, digest in rows:
                if test in wanted:
                    known.setdefault(wanted[test], set()).add((model, digest))
        return known

    def read(self, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the requests with these digests, as JSON data; a damaged one is left out."""
        found = {}
        with self._store.reading() as db:
            for digest in digests:
                row = db.execute("SELECT data FROM questions WHERE request = ?", (digest,)).fetchone()
                with contextlib.suppress(TypeError, ValueError, RecursionError):  # there is none, or it is damaged
                    found[digest] = dict(json.loads(row[0]))
        return found

    def flush(self, passed: Collection[str]) -> None:
        """Write what was noted. A test that did not pass may have had more to ask: nothing of it is forgotten."""
        if not self._noted:
            return
        known = self.recall(self._noted)
        whole = set(map(_plain, passed))
        changed = {}
        for test, questions in self._noted.items():
            before = known.get(test, set())
            gone = before - set(questions) if test in whole else set()
            new = {question: request for question, request in questions.items() if question not in before}
            if gone or new:
                changed[test] = gone, new
        if changed:
            with self._store.writing() as db:
                for test, (gone, new) in changed.items():
                    db.executemany(
                        "DELETE FROM asked WHERE root = ? AND test = ? AND model = ? AND request = ?",
                        [(self._root, test, *question) for question in gone],
                    )
                    db.executemany(
                        "INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?)",
                        [(self._root, test, *question) for question in new],
                    )
                    db.executemany(  # each with its keys in order, and escaped: SQLite holds no half surrogate pair
                        "INSERT OR IGNORE INTO questions VALUES (?, ?)",
                        [(digest, json.dumps(request.to_json())) for (_, digest), request in new.items()],
                    )
        self._noted.clear()


def _plain(name: str) -> str:
    """Return a name as SQLite can hold it: a file's may have bytes that are not UTF-8, half a surrogate pair here."""
    return name.encode("utf-8", "backslashreplace").decode()
