"""A feedback case: one question, the answers people judged, and what they would have liked to read.

Every judgement is kept as the key of its report, so two copies of a case (two imports, two branches) merge by union
without counting a report twice. A key is a digest of the report and, where its user is known, after a hyphen, one of
the user on this question: what counts is people.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.feedback import turns as chat
from pytest_llm.feedback.turns import Turn
from pytest_llm.verdicts import Verdict

__tracebackhide__ = measured

#: Hexadecimal digits of a prompt's digest in the id of its case: 40 bits.
_ID_DIGITS = 10
_SLUG = 40

#: Between the two digests of a key.
SEPARATOR = "-"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One output, and the keys of the reports that voted it up and down."""

    text: str
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()

    @property
    def score(self) -> int:
        """Thumbs up minus thumbs down."""
        return people(self.up) - people(self.down)


@dataclasses.dataclass(frozen=True)
class Correction:
    """What somebody would have liked to read, and the keys of the reports that said so."""

    text: str
    reports: tuple[str, ...] = ()

    @property
    def score(self) -> int:
        """How many people said so."""
        return people(self.reports)


@dataclasses.dataclass(frozen=True, repr=False)
class FeedbackCase:
    """One question with what people said of its answers; see `pytest_llm.feedback_cases`.

    ``turns`` are the chat messages that were asked, as ``llm.chat`` takes them. ``models`` gave the answers.
    ``pinned`` is a reference that a reviewer wrote into the file, and ``ignored`` the reason not to test this case:
    an import leaves both alone.
    """

    id: str
    turns: tuple[Turn, ...]
    answers: tuple[Answer, ...] = ()
    corrections: tuple[Correction, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pinned: str = ""
    ignored: str = ""

    @property
    def messages(self) -> list[Turn]:
        """The question as chat messages, for ``llm.chat(case.messages)``."""
        return copy.deepcopy(list(self.turns))

    @property
    def prompt(self) -> str:
        """The question as text, for ``llm.generate(case.prompt)``.

        Raises:
            InvalidInputError: it is a conversation, which one of its texts does not stand for.
        """
        if not single(self.turns):
            raise InvalidInputError(f"feedback case {self.id} is a conversation of {len(self.turns)}: use .messages")
        return str(self.turns[0]["content"])

    @property
    def reference(self) -> str | None:
        """What should have been said: what a reviewer pinned, else the correction most people gave."""
        if self.pinned:
            return self.pinned
        best = min(self.corrections, key=lambda one: (-one.score, one.text), default=None)
        return best.text if best else None

    @property
    def goldens(self) -> tuple[str, ...]:
        """The outputs with more thumbs up than down, best first."""
        liked = [answer for answer in self.answers if answer.score > 0]
        return tuple(one.text for one in sorted(liked, key=lambda one: (-one.score, -people(one.up), one.text)))

    @property
    def golden(self) -> str | None:
        """The best of `goldens`."""
        return next(iter(self.goldens), None)

    @property
    def rejected(self) -> tuple[str, ...]:
        """The outputs with more thumbs down than up, worst first."""
        disliked = [answer for answer in self.answers if answer.score < 0]
        return tuple(one.text for one in sorted(disliked, key=lambda one: (one.score, one.text)))

    @property
    def expected(self) -> tuple[str, ...]:
        """What an answer is compared with: the pinned reference alone, else the reference and the goldens."""
        if self.pinned:
            return (self.pinned,)
        return tuple(dict.fromkeys([*([self.reference] if self.reference else []), *self.goldens]))

    @property
    def contradictory(self) -> tuple[str, ...]:
        """The outputs that were turned down though they are, letter by letter, what is expected."""
        asked_for = {text.strip() for text in self.expected}
        return tuple(text for text in self.rejected if text.strip() in asked_for)

    @property
    def votes(self) -> tuple[int, int]:
        """Thumbs up and thumbs down, over all outputs."""
        return sum(people(one.up) for one in self.answers), sum(people(one.down) for one in self.answers)

    @property
    def reports(self) -> frozenset[str]:
        """The keys of all reports."""
        return frozenset(key for one in self.answers for key in (*one.up, *one.down))

    @property
    def texts(self) -> frozenset[str]:
        """Every text that a report brought."""
        turns = {text for turn in self.turns for text in chat.texts(turn)}
        said = {*(one.text for one in self.answers), *(one.text for one in self.corrections)}
        return frozenset({*turns, *said, *self.models, *self.tags})

    def check(self, output: str, **options: Any) -> Verdict:
        """Assert that ``output`` is what people asked for; see `pytest_llm.assert_feedback`."""
        from pytest_llm.feedback.check import assert_feedback

        return assert_feedback(self, output, **options)

    def merged(self, newer: FeedbackCase) -> FeedbackCase:
        """Return both as one case; what ``newer`` has of a report, or of a user on an output, counts.

        A correction stays where the same vote comes again without one.
        """
        again = set(map(report_of, newer.reports))
        now = {(one.text, person(key)): (key, key in one.up) for one in newer.answers for key in (*one.up, *one.down)}
        corrected = {key for one in newer.corrections for key in one.reports}
        stay: set[str] = set()
        heirs: dict[str, str] = {}
        for one in self.answers:
            for key in (*one.up, *one.down):
                later, up = now.get((one.text, person(key)), ("", False))
                if later and later not in corrected and up == (key in one.up):
                    heirs[key] = later
                elif not later and report_of(key) not in again:
                    stay.add(key)
        held = tuple(
            Correction(one.text, tuple(heirs[key] for key in one.reports if key in heirs))
            for one in self.corrections
            if not heirs.keys().isdisjoint(one.reports)
        )
        return self.keeping(stay).joined(newer, dataclasses.replace(newer, corrections=held))

    def keeping(self, keys: Collection[str]) -> FeedbackCase:
        """Return the case with the reports of these ``keys`` alone."""
        answers = (Answer(one.text, _both(one.up, keys), _both(one.down, keys)) for one in self.answers)
        corrections = (Correction(one.text, _both(one.reports, keys)) for one in self.corrections)
        return dataclasses.replace(
            self,
            answers=tuple(one for one in answers if one.up or one.down),
            corrections=tuple(one for one in corrections if one.reports),
        )

    def joined(self, *others: FeedbackCase) -> FeedbackCase:
        """Return all that is in any, in whatever order: a report that votes both ways in them counts both ways."""
        cases = (self, *others)
        answers: dict[str, tuple[set[str], set[str]]] = {}
        corrections: dict[str, set[str]] = {}
        for case in cases:
            for answer in case.answers:
                up, down = answers.setdefault(answer.text, (set(), set()))
                up.update(answer.up)
                down.update(answer.down)
            for one in case.corrections:
                corrections.setdefault(one.text, set()).update(one.reports)
        return dataclasses.replace(
            self,
            answers=tuple(Answer(t, _sorted(up), _sorted(down)) for t, (up, down) in sorted(answers.items())),
            corrections=tuple(Correction(t, _sorted(keys)) for t, keys in sorted(corrections.items())),
            models=_sorted({model for case in cases for model in case.models}),
            tags=_sorted({tag for case in cases for tag in case.tags}),
            pinned=next((case.pinned for case in cases if case.pinned), ""),
            ignored=next((case.ignored for case in cases if case.ignored), ""),
        )

    def __repr__(self) -> str:
        up, down = self.votes
        return f"<FeedbackCase {self.id}: {up} up, {down} down>"


def report_of(key: str) -> str:
    """Return the part of a report's key that no edit of the report changes."""
    return key.partition(SEPARATOR)[0]


def person(key: str) -> str:
    """Return the part of a key that tells people apart; where the user is unknown, each report is another's."""
    return key.partition(SEPARATOR)[2] or key


def people(keys: Iterable[str]) -> int:
    """Return how many people reports are of."""
    return len(set(map(person, keys)))


def single(turns: tuple[Turn, ...]) -> bool:
    """Whether the question is one text of a user's, and no conversation."""
    return len(turns) == 1 and turns[0]["role"] == "user" and isinstance(turns[0]["content"], str)


def normalised(text: str) -> str:
    """Return ``text`` as duplicates are told by: Unicode NFC, case folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def case_id(turns: tuple[Turn, ...]) -> str:
    """Return the id of the question: words of its last text to read, and a digest that tells it from all others.

    Letters, digits and hyphens only, so that it is safe in node ids, shells and file names.
    """
    asked = [[turn["role"], normalised(chat.text(turn)), *chat.question(turn)] for turn in turns]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:_ID_DIGITS]
    plain = unicodedata.normalize("NFKD", asked[-1][1]).encode("ascii", "ignore").decode()
    slug = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    cut = slug if len(slug) <= _SLUG else slug[: _SLUG + 1].rpartition("-")[0] or slug[:_SLUG]
    return f"{cut or 'case'}-{digest}"


def _both(some: Iterable[str], keys: Collection[str]) -> tuple[str, ...]:
    return tuple(key for key in some if key in keys)


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(values))
