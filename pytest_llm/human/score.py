"""The mean rating of the answers a test holds, as a metric and as an assertion."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llm import lifecycle
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.human import asked, file
from pytest_llm.human.file import Rating
from pytest_llm.human.outputs import Output, of_answer
from pytest_llm.metrics.inputs import Examples, Texts, mean, read_outputs
from pytest_llm.metrics.score import Score
from pytest_llm.record import settle
from pytest_llm.verdicts import Outcome, Verdict

__tracebackhide__ = measured

NAME = "human_rating"
COMMAND = "pytest-llm review --web"


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
    return _measure(predictions, ratings, ids, raters_at_least).score()


def assert_human_rating(
    outputs: Texts,
    *,
    at_least: float,
    raters_at_least: int = 1,
    agreement_at_least: float | None = None,
    **options: Any,
) -> Score:
    """Assert the mean rating (1 to 5) that people gave these very answers.

    Args:
        outputs: one answer, or one an example. An answer that changed since it was rated has no rating.
        at_least: the bound on the mean.
        raters_at_least: how many people must have rated every answer.
        agreement_at_least: the least Krippendorff's alpha (ordinal) of the ratings, at most 1: a mean of raters who do
            not agree measures little.
        options: ``ids=`` and ``ratings=``, as `human_rating` has them.

    Raises:
        AssertionError: the mean is below the bound.
        InvalidInputError: could not measure: answers without ratings, too few raters, or raters who do not agree.
    """
    from pytest_llm.metrics import registry
    from pytest_llm.metrics.threshold import judge, threshold

    known = registry.find(NAME)
    bound = threshold(known, at_least, None)
    if agreement_at_least is not None and not -1 <= agreement_at_least <= 1:
        raise InvalidInputError(f"{NAME}: agreement_at_least is at most 1, not {agreement_at_least!r}")
    unknown = sorted(set(options) - {"ids", "ratings"})
    if unknown:
        raise InvalidInputError(f"{NAME} has no option {unknown[0]!r}; it has ids and ratings")
    found = _measure(outputs, options.get("ratings"), options.get("ids"), raters_at_least, settled=True)
    score = found.score()
    verdict = found.described(judge(score, bound))
    if agreement_at_least is not None:
        verdict = _with_agreement(verdict, found, agreement_at_least)
    settle(verdict)
    return score


@dataclasses.dataclass(frozen=True)
class _Rated:
    """Answers with the ratings that hold of each."""

    examples: Examples
    outputs: tuple[Output, ...]
    ratings: tuple[tuple[Rating, ...], ...]

    def score(self) -> Score:
        return self.examples.score(name=NAME, per_example=[mean(values) for values in self.values], references=())

    @property
    def values(self) -> list[list[int]]:
        return [[one.rating or 0 for one in some] for some in self.ratings]

    @property
    def alpha(self) -> float:
        from pytest_llm.human.agreement import krippendorff_alpha

        return krippendorff_alpha(list(dict(zip(self._items, self.values, strict=True)).values()))

    @property
    def _items(self) -> list[tuple[str, str]]:
        # The same answer to the same prompt is one item, however often the test asked.
        return [(output.digest, output.question) for output in self.outputs]

    def described(self, verdict: Verdict) -> Verdict:
        """Return ``verdict`` with who rated, the interval of the mean by items, and what raters said of the worst."""
        figures = dict(verdict.figures)
        figures["raters"] = len({one.rater for some in self.ratings for one in some})
        figures["ratings"] = sum(map(len, dict(zip(self._items, self.ratings, strict=True)).values()))
        interval = self._interval(figures)
        if interval:
            figures["interval"] = [float(f"{end:.3g}") for end in interval]
        if math.isfinite(self.alpha):
            figures["alpha"] = float(f"{self.alpha:.3g}")
        shown = {example.id for example in verdict.examples}
        said = [
            f"[{id}] {one.rater} gave {one.rating}: {one.comment}"
            for id, some in zip(self.examples.ids, self.ratings, strict=True)
            for one in some
            if one.comment and id in shown
        ]
        return dataclasses.replace(verdict, figures=figures, notes=(*verdict.notes, *said[:6]))

    def _interval(self, figures: dict[str, Any]) -> tuple[float, float] | None:
        """Return the 95 % t interval of the mean, clustered by item; put its standard error in place of the plain one.

        Raters are taken as they are: it says how the mean would move with other items, not with other people.
        """
        from scipy.special import stdtrit

        from pytest_llm.stats.clustered import standard_error, weighted_mean

        if len(set(self._items)) < 2:
            return None
        center, influence = weighted_mean([mean(values) for values in self.values])
        error, clusters = standard_error(influence, self._items)
        if "standard error" in figures:
            figures["standard error"] = error
        half = float(stdtrit(clusters - 1, 0.975)) * error
        return max(file.LOWEST, center - half), min(file.HIGHEST, center + half)


def _measure(predictions: Any, ratings: Any, ids: Any, raters_at_least: int, *, settled: bool = False) -> _Rated:
    if isinstance(raters_at_least, bool) or not isinstance(raters_at_least, int) or raters_at_least < 1:
        raise InvalidInputError(f"{NAME}: raters_at_least counts people from 1, not {raters_at_least!r}")
    examples = read_outputs(NAME, predictions, ids)
    outputs = tuple(
        of_answer(answer, f"[{id}]" if len(examples.ids) > 1 else "")
        for id, answer in zip(examples.ids, examples.outputs, strict=True)
    )
    place = lifecycle.here()
    if ratings is None:
        if place is None:
            raise InvalidInputError(f"{NAME}: outside a test, say which file: ratings='.../{file.NAME}'")
        from pytest_llm.golden.file import module_folder

        ratings = module_folder(place[0].file) / file.NAME
    path, nodeid = Path(ratings), place[0].nodeid if place else ""
    stars = [one for one in file.current(file.read(path)) if one.rating is not None]
    found = tuple(tuple(one for one in stars if is_of(one, output, nodeid)) for output in outputs)
    short = tuple(output for output, some in zip(outputs, found, strict=True) if len(some) < raters_at_least)
    if place is not None:
        location, settings = place
        asked.ask(settings.cache_dir, settings.root, asked.Asked(path.parent, location.nodeid, short))
    if short:
        error = _unrated(short, found, raters_at_least)
        if settled:
            settle(error)
        raise InvalidInputError("\n".join([error.headline, *(f"  note: {note}" for note in error.notes)]))
    return _Rated(examples, outputs, found)


def is_of(rating: Rating, output: Output, nodeid: str) -> bool:
    """Whether ``rating`` is of ``output``: the same text, to the same prompt; in the same test, if that is unknown."""
    if rating.output != output.digest:
        return False
    known = rating.prompt and output.question
    return rating.prompt == output.question if known else rating.test == nodeid


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
            "nothing was measured, so this is an error and not a regression: a changed output has to be rated anew",
            f"rate them, each rater under their own name: {COMMAND} --mode=rate --rater=NAME",
        ),
    )


def _with_agreement(verdict: Verdict, found: _Rated, least: float) -> Verdict:
    verdict = dataclasses.replace(verdict, figures={**verdict.figures, "agreement_at_least": least})
    alpha = found.alpha
    if alpha >= least:
        return verdict
    if math.isnan(alpha) and any(len(some) > 1 for some in found.ratings):
        note = "every rating is the same: whether raters agree cannot be told from chance"
        outcome: Outcome = "warn" if verdict.outcome == "pass" else verdict.outcome
        return dataclasses.replace(verdict, outcome=outcome, notes=(*verdict.notes, note))
    said = "is not known: nobody rated what another did" if math.isnan(alpha) else f"{alpha:.3g} is below {least:g}"
    return dataclasses.replace(
        verdict,
        status="invalid",
        outcome="error",
        headline=f"mean human rating: the raters' agreement (Krippendorff's alpha) {said}",
        notes=(
            *verdict.notes,
            "a mean of raters who do not agree means little: say in words what each rating stands for",
        ),
    )
