"""A feedback case: one question, the answers people judged, and what they would have liked to read.

Every judgement is kept as the key of its report, so counts are the lengths of lists, and two copies of a case (two
imports, two branches) merge by union without counting a report twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.verdicts import Verdict

__tracebackhide__ = measured

#: Hexadecimal digits of a prompt's digest in the id of its case: 40 bits.
_ID_DIGITS = 10
_SLUG = 40


@dataclasses.dataclass(frozen=True)
class Answer:
    """One output, and the keys of the reports that voted it up and down."""

    text: str
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()

    @property
    def score(self) -> int:
        """Thumbs up minus thumbs down."""
        return len(self.up) - len(self.down)


@dataclasses.dataclass(frozen=True)
class Correction:
    """What somebody would have liked to read, and the keys of the reports that said so."""

    text: str
    reports: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, repr=False)
class FeedbackCase:
    """One question with what people said of its answers; see `pytest_llm.feedback_cases`.

    ``turns`` are the chat messages that were asked, with ``role`` and ``content``. ``models`` gave the answers.
    ``pinned`` is a reference that a reviewer wrote into the file, and ``ignored`` the reason not to test this case:
    an import leaves both alone.
    """

    id: str
    turns: tuple[dict[str, str], ...]
    answers: tuple[Answer, ...] = ()
    corrections: tuple[Correction, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pinned: str = ""
    ignored: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question as chat messages, for ``llm.chat(case.messages)``."""
        return [dict(turn) for turn in self.turns]

    @property
    def prompt(self) -> str:
        """The question as text, for ``llm.generate(case.prompt)``.

        Raises:
            InvalidInputError: it is a conversation, which one of its texts does not stand for.
        """
        if not single(self.turns):
            raise InvalidInputError(f"feedback case {self.id} is a conversation of {len(self.turns)}: use .messages")
        return self.turns[0]["content"]

    @property
    def reference(self) -> str | None:
        """What should have been said: what a reviewer pinned, else the correction most reports gave."""
        if self.pinned:
            return self.pinned
        best = min(self.corrections, key=lambda one: (-len(one.reports), one.text), default=None)
        return best.text if best else None

    @property
    def goldens(self) -> tuple[str, ...]:
        """The outputs with more thumbs up than down, best first."""
        liked = [answer for answer in self.answers if answer.score > 0]
        return tuple(one.text for one in sorted(liked, key=lambda one: (-one.score, -len(one.up), one.text)))

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
    def votes(self) -> tuple[int, int]:
        """Thumbs up and thumbs down, over all outputs."""
        return sum(len(one.up) for one in self.answers), sum(len(one.down) for one in self.answers)

    @property
    def reports(self) -> frozenset[str]:
        """The keys of all reports."""
        return frozenset(key for one in self.answers for key in (*one.up, *one.down))

    def check(self, output: str, **options: Any) -> Verdict:
        """Assert that ``output`` is what people asked for; see `pytest_llm.assert_feedback`."""
        from pytest_llm.feedback.check import assert_feedback

        return assert_feedback(self, output, **options)

    def merged(self, newer: FeedbackCase) -> FeedbackCase:
        """Return both as one case; a report that is in both counts as ``newer`` has it."""
        known = newer.reports
        answers = {one.text: (set(one.up) - known, set(one.down) - known) for one in self.answers}
        for one in newer.answers:
            up, down = answers.setdefault(one.text, (set(), set()))
            up.update(one.up)
            down.update(one.down)
        corrections = {one.text: set(one.reports) - known for one in self.corrections}
        for other in newer.corrections:
            corrections.setdefault(other.text, set()).update(other.reports)
        return dataclasses.replace(
            self,
            answers=tuple(
                Answer(t, _sorted(up), _sorted(down)) for t, (up, down) in sorted(answers.items()) if up | down
            ),
            corrections=tuple(Correction(t, _sorted(keys)) for t, keys in sorted(corrections.items()) if keys),
            models=_sorted({*self.models, *newer.models}),
            tags=_sorted({*self.tags, *newer.tags}),
            pinned=self.pinned or newer.pinned,
            ignored=self.ignored or newer.ignored,
        )

    def __repr__(self) -> str:
        up, down = self.votes
        return f"<FeedbackCase {self.id}: {up} up, {down} down>"


def single(turns: tuple[dict[str, str], ...]) -> bool:
    """Whether the question is one text of a user's, and no conversation."""
    return len(turns) == 1 and turns[0]["role"] == "user"


def normalised(text: str) -> str:
    """Return ``text`` as duplicates are told by: Unicode NFC, case folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def case_id(turns: tuple[dict[str, str], ...]) -> str:
    """Return the id of the question: words of its last text to read, and a digest that tells it from all others.

    Letters, digits and hyphens only, so that it is safe in node ids, shells and file names.
    """
    asked = [[turn["role"], normalised(turn["content"])] for turn in turns]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_ID_DIGITS]
    plain = unicodedata.normalize("NFKD", asked[-1][1]).encode("ascii", "ignore").decode()
    slug = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    cut = slug if len(slug) <= _SLUG else slug[: _SLUG + 1].rpartition("-")[0] or slug[:_SLUG]
    return f"{cut or 'case'}-{digest}"


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(values))
