"""The mean rating that people gave the answers a test holds."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llm import lifecycle
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.golden.file import module_folder
from pytest_llm.human import asked, file
from pytest_llm.human.file import Rating
from pytest_llm.human.outputs import Output, of_answer
from pytest_llm.metrics.inputs import Examples, Texts, mean, read_outputs
from pytest_llm.metrics.score import Score
from pytest_llm.record import settle
from pytest_llm.reports.text import render, shorten
from pytest_llm.verdicts import Outcome, Verdict

__tracebackhide__ = measured

NAME = "human_rating"
COMMAND = "pytest-llm review --web"
#: How far raters agree cannot be told from fewer outputs (of more) that two or more people rated.
FEWEST = 5
#: Share of ratings that differ from all others, or one, up to which agreement cannot be told from chance.
RARE = 0.05


def human_rating(
    predictions: Texts, ratings: Any = None, *, ids: Iterable[Any] | None = None, raters_at_least: int = 1
) -> Score:
    """Return the mean rating (1 to 5) that people gave these very answers: the mean over answers of each one's mean.

    Args:
        predictions: one answer, or one an example. A rating counts where text and prompt are the ones that were rated;
            the prompt of plain text is not known, and then the rating must be of this test.
        ratings: the file to look in, a path; by default the one beside the goldens of the test that runs.
        ids: unique names of the examples.
        raters_at_least: how many people must have rated every answer.

    Raises:
        InvalidInputError: an answer lacks ratings; the message has the command by which people give them.
    """
    return measure(predictions, ratings, ids, raters_at_least).score()


@dataclasses.dataclass(frozen=True)
class Rated:
    """Answers with the ratings that hold of each, one or more."""

    examples: Examples
    outputs: tuple[Output, ...]
    ratings: tuple[tuple[Rating, ...], ...]

    def score(self) -> Score:
        """Return the mean over answers; a gate takes those with the same ratings for one."""
        first = dict(zip(reversed(self._items), reversed(self.examples.ids), strict=True))
        return self.examples.score(
            name=NAME,
            per_example=[mean(values) for values in self.values],
            references=(),
            groups=[first[item] for item in self._items] if len(first) < len(self._items) else (),
            raters=self._raters,
        )

    @property
    def values(self) -> list[list[int]]:
        """The ratings of each answer."""
        return [[one.rating or 0 for one in some] for some in self.ratings]

    @functools.cached_property
    def alpha(self) -> float:
        """Krippendorff's ordinal alpha, NaN when undefined."""
        from pytest_llm.human.agreement import krippendorff_alpha

        return krippendorff_alpha(self._twice)

    @property
    def _raters(self) -> list[str]:
        return sorted({one.person for some in self.ratings for one in some})

    @property
    def _items(self) -> list[tuple[str, str]]:
        # The same answer to the same prompt is one item, however often the test asked.
        return [(output.digest, output.question) for output in self.outputs]

    @property
    def _twice(self) -> list[list[int]]:
        """The ratings of each item that has two or more."""
        return [some for some in dict(zip(self._items, self.values, strict=True)).values() if len(some) > 1]

    def described(self, verdict: Verdict) -> Verdict:
        """Return ``verdict`` with who rated, the mean's 95 % t interval, and what raters said of the worst.

        The interval is clustered by item and takes the raters as they are: it says how the mean would move with other
        items, not with other people. Where n items all have one mean there is no spread, but others need not have it:
        up to a share of ``1 - 0.025 ** (1 / n)`` may be off (Clopper and Pearson 1934, of none in n), by a point.
        """
        from scipy.special import stdtrit

        from pytest_llm.stats.clustered import standard_error, weighted_mean

        figures = dict(verdict.figures)
        figures["raters"] = len(self._raters)
        figures["ratings"] = sum(map(len, dict(zip(self._items, self.ratings, strict=True)).values()))
        figures["rated twice"] = len(self._twice)
        if len(set(self._items)) > 1:
            center, influence = weighted_mean([mean(values) for values in self.values])
            error, clusters = standard_error(influence, self._items)
            if "standard error" in figures:
                figures["standard error"] = error
            half = float(stdtrit(clusters - 1, 0.975)) * error
            if math.isclose(error, 0, abs_tol=1e-9):
                half = 1 - 0.025 ** (1 / clusters)
                figures.pop("standard error", None)
            ends = max(file.LOWEST, center - half), min(file.HIGHEST, center + half)
            figures["interval"] = [float(f"{end:.3g}") for end in ends]
        if math.isfinite(self.alpha):
            figures["alpha"] = float(f"{self.alpha:.3g}")
        shown = {example.id for example in verdict.examples}
        said = [
            f"[{id}] {one.rater} gave {one.rating}: {shorten(one.comment)}"
            for id, some in zip(self.examples.ids, self.ratings, strict=True)
            for one in some
            if one.comment and id in shown
        ]
        return dataclasses.replace(verdict, figures=figures, notes=(*verdict.notes, *said[:6]))

    def agreeing(self, verdict: Verdict, least: float) -> Verdict:
        """Return ``verdict``, or that nothing was measured where the raters' alpha is below ``least`` or not known.

        It is a warning where hardly a rating differs from the others, which says nothing of agreement, and where the
        test has fewer than `FEWEST` outputs, all of them rated twice or more.
        """
        from pytest_llm.human.agreement import same_share

        alpha, twice, items = self.alpha, self._twice, len(set(self._items))
        same = same_share(twice)
        figures = {**verdict.figures, "agreement_at_least": least}
        if twice:
            figures["same rating"] = float(f"{same:.3g}")
        verdict = dataclasses.replace(verdict, figures=figures)
        counts = Counter(rating for some in twice for rating in some)
        differ = counts.total() - max(counts.values(), default=0)
        said, doubt, cure = "", "", ""
        needed = min(FEWEST, items)
        if len(twice) < needed:
            said = f"is not known: {len(twice) or 'none'} of {items} outputs rated twice, and it takes {needed}"
            cure = f"have them rated by somebody else too: {COMMAND} --mode=rate --rater=NAME"
        elif not alpha >= least and differ <= max(1, RARE * counts.total()):
            those = f"all but {differ} of {counts.total()} ratings are" if differ else "every rating is"
            doubt = f"{those} the same: whether raters agree cannot be told from chance ({same:.3g} of pairs do)"
        elif not alpha >= least:
            said = f"{alpha:.3g} is below {least:g}"
            cure = "a mean of raters who do not agree means little: say in words what each rating stands for"
        elif len(twice) < FEWEST:
            doubt = f"of {len(twice)} outputs little can be said of how far raters agree"
        if doubt:
            outcome: Outcome = "warn" if verdict.outcome == "pass" else verdict.outcome
            return dataclasses.replace(verdict, outcome=outcome, notes=(*verdict.notes, doubt))
        if not said:
            return verdict
        return dataclasses.replace(
            verdict,
            status="invalid",
            outcome="error",
            headline=f"mean human rating: the raters' agreement (Krippendorff's alpha) {said}",
            notes=(*verdict.notes, cure),
        )


def measure(
    predictions: Any, ratings: Any = None, ids: Any = None, raters_at_least: int = 1, *, note: bool = False
) -> Rated:
    """Return the answers with their ratings; arguments and errors as of `human_rating`.

    With ``note`` the verdict that there are not enough is recorded.
    """
    if isinstance(raters_at_least, bool) or not isinstance(raters_at_least, int) or raters_at_least < 1:
        raise InvalidInputError(f"{NAME}: raters_at_least counts people from 1, not {raters_at_least!r}")
    examples = read_outputs(NAME, predictions, ids)
    outputs = tuple(
        of_answer(answer, f"[{id}]" if len(examples.ids) > 1 else "")
        for id, answer in zip(examples.ids, examples.outputs, strict=True)
    )
    place = lifecycle.here()
    if ratings is None and place is None:
        raise InvalidInputError(f"{NAME}: outside a test, say which file: ratings='.../{file.NAME}'")
    folder = module_folder(place[0].file) if ratings is None and place else None
    of_text: dict[str, list[Rating]] = {}
    for one in file.current(file.read(folder / file.NAME if folder else Path(ratings))):
        if one.rating is not None:
            of_text.setdefault(one.output, []).append(one)
    nodeid = place[0].nodeid if place else ""
    found = tuple(_of_each_rater(of_text.get(output.digest, ()), output, nodeid) for output in outputs)
    short = tuple(output for output, some in zip(outputs, found, strict=True) if len(some) < raters_at_least)
    if folder and place:
        asked.ask(place[1].cache_dir, place[1].root, asked.Asked(folder, nodeid, short))
    if short:
        error = _unrated(short, found, raters_at_least)
        if note:
            settle(error)
        raise InvalidInputError(render(error))
    return Rated(examples, outputs, found)


def _of_each_rater(ratings: Iterable[Rating], output: Output, nodeid: str) -> tuple[Rating, ...]:
    """Return those to the same prompt as ``output``; of the same test, where either prompt is unknown."""
    last = {}
    for one in ratings:
        known = one.prompt and output.question
        if one.prompt == output.question if known else one.test == nodeid:
            last[one.person] = one
    return tuple(last.values())


def _unrated(short: tuple[Output, ...], found: tuple[tuple[Rating, ...], ...], needed: int) -> Verdict:
    n, places = len(short), ", ".join(output.where for output in short[:10] if output.where)
    what = "no rating" if needed == 1 else f"fewer than {needed} ratings"
    return Verdict(
        kind="threshold",
        name=NAME,
        status="invalid",
        outcome="error",
        headline=f"mean human rating: {n} of {len(found)} outputs {'has' if n == 1 else 'have'} {what}"
        + (f": {places}{', ...' if n > 10 else ''}" if places else ""),
        figures={"n": len(found), "rated": len(found) - n, "raters_at_least": needed},
        notes=(
            "an error and not a regression: a changed output has to be rated anew",
            f"rate them: {COMMAND} --mode=rate --rater=NAME",
        ),
    )
