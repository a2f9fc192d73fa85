"""Who has seen which of two texts is the golden: kept beside the candidate, as it outlives the page that showed it.

``<candidate>.seen`` is JSON: for each person the keys of such pairs. It stays when the candidate goes: that may return.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from pytest_llm.errors import GoldenError
from pytest_llm.files import digest_of, write_atomic
from pytest_llm.golden.pending import Candidate, golden_lock
from pytest_llm.human.outputs import Output


class Seen:
    """The pairs of texts that one person has seen with their names.

    Its methods raise `GoldenError` where what is kept is damaged (the message says which file to delete), or where
    another process does not let go of the golden.
    """

    def __init__(self, cache_dir: Path, person: str) -> None:
        self._cache_dir, self._person = cache_dir, person
        self._here: set[str] = set()  # in a cache that cannot be written it is kept as long as this

    def mark(self, candidate: Candidate, pairs: Iterable[tuple[Output, Output]]) -> None:
        """Keep that the person has seen ``pairs``, texts of ``candidate`` and of its golden."""
        keys = {_key(*pair) for pair in pairs}
        self._here |= keys
        file = _file(candidate.file)
        with golden_lock(self._cache_dir, candidate.path):
            people = _read(file)
            people[self._person] = sorted(keys.union(people.get(self._person, ())))
            with contextlib.suppress(OSError):
                write_atomic(file, json.dumps(people))

    def has(self, candidate: Path, pair: tuple[Output, Output]) -> bool:
        """Return whether the person has seen ``pair``; ``candidate`` is the file it waits in."""
        key = _key(*pair)
        return key in self._here or key in _read(_file(candidate)).get(self._person, ())


def _key(output: Output, other: Output) -> str:
    return digest_of(sorted([output.digest, other.digest]))[:32]


def _file(candidate: Path) -> Path:
    return candidate.with_suffix(".seen")


def _read(file: Path) -> dict[str, list[str]]:
    try:
        return {str(person): [str(key) for key in keys] for person, keys in json.loads(file.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise GoldenError(f"{file}: who saw this candidate cannot be read ({error!r}); delete the file") from error
