"""What the review page shows and does, without a word of HTTP.

An item has an opaque id: a keyed hash of what it is and of its content, so that it says nothing, and an action on it is
on what the reader saw. In a blind comparison the same key tosses the coin; which side is which leaves this object only
after the reader chose.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.files import shown_path
from pytest_llm.golden.evidence import beside, messages
from pytest_llm.golden.pending import Candidate, list_pending
from pytest_llm.human import file
from pytest_llm.human.asked import asked_for
from pytest_llm.human.file import Rating
from pytest_llm.human.goldens import Texts, differing, folders, new_texts, texts
from pytest_llm.human.outputs import Output
from pytest_llm.review.seen import Seen
from pytest_llm.settings import Settings

Mode = Literal["review", "rate", "compare"]
MODES: tuple[Mode, ...] = ("review", "rate", "compare")


class GoneError(LLMError):
    """There is no such item, or not any more."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """An output to rate; in a comparison, the new one, ``against`` the golden's. ``folder`` is where ratings go."""

    folder: Path
    nodeid: str
    name: str
    revision: str
    output: Output
    against: Output | None = None
    candidate: Path | None = None

    def rating(self, rater: str, **said: Any) -> Rating:
        """Return what ``rater`` ``said`` of it."""
        return Rating(
            test=self.nodeid,
            golden=self.name,
            where=self.output.where,
            output=self.output.digest,
            prompt=self.output.question,
            model=self.output.model,
            against=self.against.digest if self.against else "",
            revision=self.revision,
            rater=rater,
            **said,
        )


class Session:
    """One reader's review of one project. Its methods may be called from several threads."""

    def __init__(self, settings: Settings, rater: str, secret: bytes = b"") -> None:
        """Start a review by ``rater``; ``secret`` decides ids and coins, and is random by default.

        Raises:
            InvalidInputError: nobody is called that.
        """
        self.settings, self.rater = settings, rater
        self._person = Rating(test="", output="0" * 64, rater=rater).person  # its checks are those of the name
        self._secret = secret or secrets.token_bytes(32)
        self._items: dict[Mode, dict[str, Any]] = {mode: {} for mode in MODES}
        self._goldens: dict[tuple[Path, int, int], Texts | None] = {}
        self._seen = Seen(settings.cache_dir, self._person)
        self._lock = threading.RLock()

    def items(self, mode: Mode) -> list[dict[str, Any]]:
        """Return what there is to do, as it is now: ids, tests, and whether this rater has done it."""
        with self._lock:
            lists: dict[Mode, Callable[[], list[tuple[str, Any]]]] = {
                "review": self._candidates, "rate": self._to_rate, "compare": self._to_compare
            }  # fmt: skip
            found = lists[mode]()
            self._items[mode] = dict(found)
            held = {} if mode == "review" else self._mine(found)
            return [
                {
                    "id": id,
                    "test": item.nodeid,
                    # Of an output to rate they would tell a golden from what a test says now.
                    "name": item.verdict.name if isinstance(item, Candidate) else item.name * (mode == "compare"),
                    "where": item.output.where if mode == "compare" else "",
                    "done": id in held,
                }
                for id, item in found
            ]

    def item(self, mode: Mode, id: str) -> dict[str, Any]:
        """Return what the page shows of one item.

        Raises:
            GoneError: it is not there.
        """
        with self._lock:
            item = self._find(mode, id)
            if isinstance(item, Candidate):
                new = new_texts(item)
                if new is not None:  # the review names the sides: comparing them is not blind any more
                    self._seen.mark(item, differing(self._golden(item.path), new))
                return {"verdict": {**item.verdict.to_json(), "per_example": None}}
            mine = self._mine([(id, item)]).get(id)
            prompt = messages(item.output.prompt)
            if item.against is None:
                shown = dataclasses.asdict(beside("", None, item.output.text, prompt))
                said = mine and {"rating": mine.rating, "comment": mine.comment}
                return {"prompt": prompt, "text": shown["actual"], "mine": said}
            # Plain texts: tokens would give away which of the two comes from a file.
            shown = dataclasses.asdict(beside("", item.against.text, item.output.text, prompt))
            sides = ("actual", "golden") if self._swapped(id) else ("golden", "actual")
            return {
                "prompt": prompt,
                "a": shown[sides[0]],
                "b": shown[sides[1]],
                "blind": not self._seen.has(item.candidate, (item.output, item.against)),
                "mine": mine and self._told(id, mine),
            }

    def settle(self, id: str, action: str) -> dict[str, Any]:
        """Accept or reject a candidate, as the terminal does.

        Raises:
            GoneError: it is not there.
            GoldenError: it, or its golden, is not what the reader saw.
        """
        if action not in ("accept", "reject"):
            raise InvalidInputError(f"a candidate is accepted or rejected, not {action!r:.40}")
        with self._lock:
            candidate = self._find("review", id)
            candidate.accept() if action == "accept" else candidate.reject()
            del self._items["review"][id]
            return {"done": action, "path": self._shown(candidate.path)}

    def rate(self, id: str, rating: Any, comment: str) -> dict[str, Any]:
        """Keep a rating, 1 to 5.

        Raises:
            GoneError: the output is not there.
            InvalidInputError: not a rating.
        """
        if rating is None:
            raise InvalidInputError("a comment goes with a rating: give one, 1 to 5")
        with self._lock:
            item = self._find("rate", id)
            self._append(item, item.rating(self.rater, rating=rating, comment=comment))
            return {"rating": rating, "comment": comment}

    def prefer(self, id: str, choice: Any, comment: str) -> dict[str, Any]:
        """Keep a preference, ``a``, ``b`` or ``tie``; return which side was the golden.

        Raises:
            GoneError: the pair is not there.
            InvalidInputError: not a choice.
        """
        if choice not in ("a", "b", "tie"):
            raise InvalidInputError(f"a preference is a, b or tie, not {choice!r:.40}")
        with self._lock:
            item = self._find("compare", id)
            new = "a" if self._swapped(id) else "b"
            preference = "tie" if choice == "tie" else "output" if choice == new else "against"
            before = self._mine([(id, item)]).get(id)
            blind = not self._seen.has(item.candidate, (item.output, item.against))
            if before is not None:  # the reader knows by now: only what they said before they knew was blind
                blind = before.blind and before.preference == preference
            given = item.rating(self.rater, preference=preference, comment=comment, blind=blind)
            self._append(item, given)
            return self._told(id, given)

    def left(self) -> int:
        """Return how many candidates wait."""
        return len(list_pending(self.settings.cache_dir, self.settings.root))

    def _told(self, id: str, given: Rating) -> dict[str, Any]:
        golden, new = ("b", "a") if self._swapped(id) else ("a", "b")
        choice = {"tie": "tie", "output": new, "against": golden}[given.preference]
        return {"choice": choice, "golden": golden, "comment": given.comment, "blind": given.blind}

    def _swapped(self, id: str) -> bool:
        return bool(self._hash("side", id)[0] & 1)

    def _hash(self, *parts: str) -> bytes:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).digest()

    def _find(self, mode: Mode, id: str) -> Any:
        try:
            return self._items[mode][id]
        except KeyError:
            raise GoneError("this is not here any more: somebody was faster, or a test ran again") from None

    def _append(self, item: Subject, rating: Rating) -> None:
        file.append(item.folder / file.NAME, rating, self.settings.cache_dir)

    def _mine(self, found: list[tuple[str, Any]]) -> dict[str, Rating]:
        """Return what this rater said before, by item."""
        held: dict[Path, dict[Any, Rating]] = {}
        for folder in {item.folder for _, item in found}:
            ratings = file.current(file.read(folder / file.NAME))
            held[folder] = {one.subject: one for one in ratings if one.person == self._person}
        mine = {}
        for id, item in found:
            preference = "tie" if item.against else ""
            said = held[item.folder].get(item.rating(self.rater, preference=preference).subject)
            if said is not None:
                mine[id] = said
        return mine

    def _candidates(self) -> list[tuple[str, Candidate]]:
        pending = list_pending(self.settings.cache_dir, self.settings.root)
        return [(self._id("candidate", self._shown(one.path), one.base, one.content), one) for one in pending]

    def _shown(self, path: Path) -> str:
        return shown_path(path, self.settings.root)

    def _id(self, *parts: Any) -> str:
        return self._hash(*map(str, parts)).hex()[:32]

    def _to_rate(self) -> list[tuple[str, Subject]]:
        found: dict[str, Subject] = {}
        for subject in self._subjects():
            output, place = subject.output, self._shown(subject.folder)
            found.setdefault(self._id("rate", place, subject.nodeid, output.question, output.digest), subject)
        # Within a test by the hash: where an output comes from must not show in its place.
        return sorted(found.items(), key=lambda one: (one[1].nodeid, one[0]))

    def _subjects(self) -> Iterator[Subject]:
        for one in asked_for(self.settings.cache_dir, self.settings.root):
            yield from (Subject(one.folder, one.nodeid, "", "", output) for output in one.outputs)
        for _, candidate, new in self._new_texts():
            yield from (
                Subject(candidate.path.parent, candidate.nodeid, new.name, candidate.base, output)
                for output in new.outputs
            )
        for folder in folders(self.settings.root):
            for path in sorted(folder.glob("*.json")):
                golden = self._golden(path)
                for output in golden.outputs if golden else ():
                    yield Subject(folder, golden.nodeid, golden.name, golden.revision, output)  # type: ignore[union-attr]

    def _to_compare(self) -> list[tuple[str, Subject]]:
        found = []
        for id, candidate, new in self._new_texts():
            for output, old in differing(self._golden(candidate.path), new):
                subject = Subject(
                    candidate.path.parent, candidate.nodeid, new.name, candidate.base, output, old, candidate.file
                )
                found.append((self._id("compare", id, output.where), subject))
        return found

    def _new_texts(self) -> Iterator[tuple[str, Candidate, Texts]]:
        for id, candidate in self._candidates():
            new = new_texts(candidate)
            if new is not None:
                yield id, candidate, new

    def _golden(self, path: Path) -> Texts | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._goldens:
            self._goldens[key] = texts(path)
        return self._goldens[key]
