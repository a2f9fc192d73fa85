"""Two windows against each other: every check, corrected for how many there are, and what came of it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError, MissingExtraError
from pytest_llm.files import digest_of
from pytest_llm.monitoring import checks, features
from pytest_llm.monitoring.checks import Check, Dealing
from pytest_llm.monitoring.logs import CUT
from pytest_llm.monitoring.window import Window, named
from pytest_llm.reports.text import counted
from pytest_llm.stats.correction import adjust_p

if TYPE_CHECKING:
    from pytest_llm.metrics.similarity import Encoder

SCHEMA = 1
#: The usual reading of a PSI.
MODERATE, LARGE = 0.1, 0.25
#: How far apart windows are at least where a shift that chance does not explain is drift, and not small. Of rates and
#: labels it is one output in two hundred: a kind that none had, and so many have now, is 0.0025 bits away.
FLOORS = {"psi": MODERATE, "rate": 0.005, "js": 0.0025}
#: Permutations of a check; they take a core a few minutes.
MOST_PERMUTATIONS = 1_000_000
#: Segments compared one by one: the largest.
MAX_SEGMENTS = 12
#: The value of ``by`` that stands for the language found in the output, where lines have no such field.
LANGUAGE = "language"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found. ``notes`` say what was not compared or left out, and why."""

    reference: Window
    current: Window
    checks: tuple[Check, ...]
    alpha: float
    permutations: int
    by: str
    notes: tuple[str, ...]

    @property
    def drifted(self) -> tuple[Check, ...]:
        """The checks that found drift, surest first."""
        return tuple(sorted((c for c in self.checks if c.status == "drift"), key=lambda c: c.p_adjusted))

    @property
    def headline(self) -> str:
        """What came of it, in a sentence."""
        if self.drifted:
            return f"drift in {_listed(self.drifted)}"
        small = _listed([check for check in self.checks if check.status == "small"])
        return f"no drift in {counted(len(self.checks), 'check')}" + (f"; small shifts in {small}" if small else "")

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON data; ``monitor-report.schema.json`` beside this module describes it."""
        return {
            "schema": SCHEMA,
            "drift": bool(self.drifted),
            "headline": self.headline,
            "alpha": self.alpha,
            "correction": "holm",
            "permutations": self.permutations,
            "by": self.by,
            "one_per": self.reference.one_per,
            **{
                name: {
                    "path": window.path,
                    "outputs": len(window),
                    "related": window.related,
                    "digest": digest_of(list(window.texts)),
                }
                for name, window in (("reference", self.reference), ("current", self.current))
            },
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "notes": list(self.notes),
        }


def compare(
    reference: Window,
    current: Window,
    *,
    alpha: float = 0.01,
    encoder: Encoder | None = None,
    by: str = "",
    refusals: Sequence[str] = (),
    minimum: int = 30,
) -> Comparison:
    """Compare two windows.

    Args:
        reference: outputs of when all was well.
        current: the outputs in question.
        alpha: probability that any check at all calls drift where there is none (Holm 1979 over all checks).
        encoder: embeds outputs; without one their meaning is not compared.
        by: the field that `Window.segments` is of, or `LANGUAGE`; each value is compared by itself too.
        refusals: regular expressions of refusals, beside `features.REFUSALS`.
        minimum: outputs a segment must have in both windows to be compared.

    Raises:
        InvalidInputError: alpha out of range, or a pattern that is no regular expression or matches an empty text.
        MissingExtraError: languages are needed (``by``), and nothing that tells them is installed.
    """
    if not 0 < alpha < 1:
        raise InvalidInputError(f"alpha is a probability between 0 and 1, not {alpha}")
    patterns = features.refusal_patterns(refusals)
    notes: list[str] = []
    for label, window in (("reference", reference), ("current", current)):
        left_out, told = f"left out of the {label} window", len(window) + window.related
        if bad := window.left_out:
            notes.append(f"{left_out}, {len(bad)} of {told + len(bad)} lines: {named(bad)}")
        if window.one_per:
            notes.append(f"{left_out}, {window.related} of {told} outputs: one per {window.one_per} counts")
    reference, current = _known(reference, current, notes)
    languages: list[list[str]] = []
    try:
        languages = [features.languages(window.told) for window in (reference, current)]
    except MissingExtraError as error:
        if by == LANGUAGE and not reference.segments:
            raise
        notes.append(f"language was not compared: {error}")
    detected = by == LANGUAGE and not reference.segments
    if detected:
        reference, current = (
            dataclasses.replace(window, segments=_spread(window, found))
            for window, found in zip((reference, current), languages, strict=True)
        )
    segments = _segments(reference, current, minimum, notes, by) if by else []
    permutations = _permutations(alpha, len(segments))
    dealing = Dealing(permutations)
    found = _small(reference, current, patterns, dealing)
    if languages and all(languages):
        found.append(checks.labels("language", languages[0], languages[1], dealing))
    if by and not detected:
        share = f"{by} field" if by == LANGUAGE else by
        found.append(checks.labels(share, reference.segments, current.segments, dealing))
    found += _or_note(
        checks.vocabulary(reference.told, current.told, dealing), "vocabulary: a window has no words", notes
    )
    if encoder is None:
        notes.append("what the outputs mean was not compared: give --embedding-model")
    else:
        meaning = checks.embeddings(reference.told, current.told, encoder, dealing)
        found += _or_note(meaning, "embeddings: a window has too few outputs that are not empty", notes)
    for segment in segments:
        parts = _small(reference.only(segment), current.only(segment), patterns, dealing)
        found += [dataclasses.replace(check, segment=segment) for check in parts]
    return Comparison(reference, current, _corrected(found, alpha), alpha, permutations, by, tuple(notes))


def _listed(found: Sequence[Check]) -> str:
    names = dict.fromkeys(f"{check.name} ({check.segment})" if check.segment else check.name for check in found)
    return f"{', '.join([*names][:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"


def _permutations(alpha: float, segments: int) -> int:
    """Return how many dealings let Holm call the surest check drift: the smallest p has to be well below its bound.

    Raises:
        InvalidInputError: they would take too long.
    """
    doubled = 2 * (13 + 9 * segments)
    permutations = max(999, math.ceil(doubled / alpha) - 1)
    if permutations > MOST_PERMUTATIONS:
        least = math.ceil(doubled / MOST_PERMUTATIONS * 1e5) / 1e5
        raise InvalidInputError(
            f"alpha {alpha:g} takes {permutations:,} permutations of every check"
            f"{f' of {segments} segments' if segments else ''}, more than {MOST_PERMUTATIONS:,}: "
            f"give one of at least {least:g}"
        )
    return permutations


def _known(reference: Window, current: Window, notes: list[str]) -> tuple[Window, Window]:
    """Return the windows without what no line of the reference says, and note what only some lines say."""
    windows = [reference, current]
    for column, what, one in (
        ("ended", "why outputs ended was", "a finish reason"),
        ("tokens", "tokens were", "a count of them"),
    ):
        known = [sum(value is not None for value in getattr(window, column)) for window in windows]
        counts = [f"{n} of {len(window)}" for n, window in zip(known, windows, strict=True)]
        if not known[0]:
            notes.append(f"{what} not compared: no {'reference ' if known[1] else ''}line has {one}")
            without: dict[str, Any] = {column: ()}
            windows = [dataclasses.replace(window, **without) for window in windows]
        elif known != [len(window) for window in windows]:
            notes.append(f"{what} compared where lines say it: {counts[0]} reference and {counts[1]} current lines do")
    return windows[0], windows[1]


def _spread(window: Window, languages: Sequence[str]) -> tuple[str, ...]:
    """Return the language of each output, from those of the outputs that have a text."""
    following = iter(languages)
    return tuple("(no text)" if text is None else next(following) for text in window.texts)


def _small(reference: Window, current: Window, patterns: Sequence[re.Pattern[str]], dealing: Dealing) -> list[Check]:
    """Return the checks that cost little: of lengths, and of outputs of a kind."""
    windows = (reference, current)
    told = [window.told for window in windows]

    def kind(name: str, is_one: Callable[[str], bool]) -> list[Check]:
        return [checks.rate(name, *([is_one(text) for text in texts] for texts in told))] if all(told) else []

    found = []
    if all(told):
        lengths = [[float(len(text)) for text in texts] for texts in told]
        found.append(checks.numbers("characters", lengths[0], lengths[1], dealing))
    tokens = [[n for n in window.tokens if n is not None] for window in windows]
    if all(tokens):
        found.append(checks.numbers("tokens", tokens[0], tokens[1], dealing))
    found += _silent("no token count", [window.tokens for window in windows])
    if any(None in window.texts for window in windows):
        found.append(checks.rate("no text", *([text is None for text in window.texts] for window in windows)))
    found += kind("empty", lambda text: not text.strip())
    found += kind("refusals", lambda text: features.refuses(text, patterns))
    found += kind("ends midway", features.ends_midway)
    found += _silent("no finish reason", [window.ended for window in windows])
    ended = [[why for why in window.ended if why is not None] for window in windows]
    if all(ended):
        found.append(checks.rate("cut short", *([why in CUT for why in reasons] for reasons in ended)))
        found.append(checks.labels("finish reason", ended[0], ended[1], dealing))
    return found + kind("repetition", lambda text: features.repetition(text) >= features.REPETITION)


def _silent(name: str, columns: Sequence[Sequence[Any]]) -> list[Check]:
    """Return the check of how many lines do not say something, where there are any."""
    silent = [[value is None for value in column] for column in columns]
    return [checks.rate(name, *silent)] if any(map(any, silent)) else []


def _segments(reference: Window, current: Window, minimum: int, notes: list[str], by: str) -> list[str]:
    counts = Counter(reference.segments), Counter(current.segments)
    known = sorted(counts[0] | counts[1], key=lambda name: (-counts[0][name] - counts[1][name], name))
    large = [name for name in known if min(one[name] for one in counts) >= minimum][:MAX_SEGMENTS]
    left = [f"{name} ({counts[0][name]} and {counts[1][name]})" for name in known if name not in large]
    if left:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        notes.append(f"{by} compared by their share only, for few outputs or many values: {', '.join(left[:8])}{more}")
    return large


def _or_note(check: Check | None, why: str, notes: list[str]) -> list[Check]:
    if check is None:
        notes.append(f"not compared: {why}")
    return [check] if check else []


def _corrected(found: Sequence[Check], alpha: float) -> tuple[Check, ...]:
    adjusted = adjust_p([check.p for check in found])
    return tuple(
        dataclasses.replace(check, p_adjusted=p, status=_status(check, p <= alpha))
        for check, p in zip(found, adjusted, strict=True)
    )


def _status(check: Check, sure: bool) -> str:
    if not sure:
        return "none"
    return "small" if abs(check.statistic) < FLOORS.get(check.test, 0.0) else "drift"
