"""What raters said, test by test: `pytest-llm ratings`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llm.golden.pending import list_pending
from pytest_llm.human import file
from pytest_llm.human.agreement import alpha_interval, cohen_kappa, krippendorff_alpha
from pytest_llm.human.file import Rating
from pytest_llm.human.goldens import Texts, folders, new_texts, texts
from pytest_llm.metrics.inputs import mean
from pytest_llm.stats.binary import clustered_wilson


@dataclasses.dataclass(frozen=True)
class Compared:
    """How one candidate did against its golden, in the eyes of people who did not know which was which.

    Attributes:
        candidate: ``waiting`` for review, ``accepted`` (the golden has its text now), or ``""``, another one.
        model: digest of the weights; ``""`` where it is unknown, or of several.
        preferred, tied, compared: blind comparisons won by the candidate, undecided, all. ``not_blind`` are apart.
        pairs, judges: how many pairs of outputs the decided ones are of, and by how many people.
        win_rate, win_interval: of the decided ones, and its 95 % interval; see `clustered_wilson`.
    """

    candidate: str
    model: str
    preferred: int = 0
    tied: int = 0
    compared: int = 0
    not_blind: int = 0
    pairs: int = 0
    judges: int = 0
    win_rate: float | None = None
    win_interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What raters said of one test.

    Attributes:
        test: its node id.
        raters: their names, as each was typed last.
        outputs: texts in its goldens, 0 without one; ``rated`` of them (of all rated, without a golden: it is not known
            which of those the test has now) have a rating, ``rated_twice`` of two people or more.
        mean: of the rated outputs' means, 1 to 5; ``None`` without ratings.
        alpha, alpha_interval: Krippendorff's, ordinal; a bootstrap over outputs at 95 %. ``None`` where undefined.
        kappa, kappa_quadratic: Cohen's, the mean over pairs of raters (Light 1971) with an output in common.
        compared: one for each candidate that was compared with a golden that holds, or became it.
        untold: comparisons of several other candidates of unknown models, which cannot be told apart, in none of these.
        earlier: ratings of outputs that are in no golden of the test any more, which count for nothing above.
    """

    test: str
    raters: tuple[str, ...]
    outputs: int
    rated: int
    rated_twice: int = 0
    mean: float | None = None
    alpha: float | None = None
    alpha_interval: tuple[float, float] | None = None
    kappa: float | None = None
    kappa_quadratic: float | None = None
    compared: tuple[Compared, ...] = ()
    untold: int = 0
    earlier: int = 0


def summaries(root: Path, cache_dir: Path) -> list[Summary]:
    """Return what was said of each test below ``root`` that has ratings, by node id.

    Raises:
        GoldenError: a file of ratings, or a candidate in the cache, is damaged.
    """
    waiting = _models(map(new_texts, list_pending(cache_dir, root)))
    found = []
    for folder in folders(root):
        by_test: dict[str, list[Rating]] = {}
        for one in file.current(file.read(folder / file.NAME)):
            by_test.setdefault(one.test, []).append(one)
        if not by_test:
            continue
        goldens = _models(map(texts, sorted(folder.glob("*.json"))))
        found += [summary(test, some, goldens.get(test, {}), waiting.get(test, {})) for test, some in by_test.items()]
    return sorted(found, key=lambda one: one.test)


def summary(test: str, ratings: Sequence[Rating], now: Mapping[str, str], waiting: Mapping[str, str]) -> Summary:
    """Return what ``ratings``, which hold, say of ``test``.

    ``now`` has the digests of the texts in its goldens, each with that of its model; ``waiting`` those of candidates.
    """
    held = [one for one in ratings if not now or one.output in now or one.against in now]
    stars: dict[tuple[str, str, str], dict[str, int]] = {}
    for one in held:
        if one.rating is not None:
            stars.setdefault(one.subject, {})[one.person] = one.rating
    items = [list(by_rater.values()) for by_rater in stars.values()]
    sides: dict[tuple[str, str], list[Rating]] = {("waiting", ""): [], ("accepted", ""): []}
    models = {"waiting": {*waiting.values()}, "accepted": {*now.values()}}
    for one in held:
        if one.preference:
            state = "waiting" if one.output in waiting else "accepted" if one.output in now else ""
            if state:
                sides[state, ""].append(one)
            if not state or one.model not in {"", *models[state]}:  # another model said the same
                sides.setdefault(("", one.model), []).append(one)
    untold = () if _may_be_one(sides.get(("", ""), ())) else sides.pop(("", ""))
    return Summary(
        test=test,
        raters=tuple(sorted({one.person: one.rater for one in held}.values())),
        outputs=len(now),
        rated=len({output for output, _, _ in stars}),
        rated_twice=sum(len(item) > 1 for item in items),
        mean=mean([mean(item) for item in items]) if items else None,
        alpha=_known(krippendorff_alpha(items)),
        alpha_interval=alpha_interval(items),
        kappa=_pairwise(stars, ""),
        kappa_quadratic=_pairwise(stars, "quadratic"),
        compared=tuple(
            _compared(state, models.get(state, {model}), some) for (state, model), some in sides.items() if some
        ),
        untold=len(untold),
        earlier=len(ratings) - len(held),
    )


def _models(found: Iterable[Texts | None]) -> dict[str, dict[str, str]]:
    """Return the digest of each text, and of the model that it is of, by test."""
    models: dict[str, dict[str, str]] = {}
    for one in filter(None, found):
        models.setdefault(one.nodeid, {}).update((output.digest, output.model) for output in one.outputs)
    return models


def _may_be_one(comparisons: Iterable[Rating]) -> bool:
    """Return whether all may be of one candidate: none has two texts in one place."""
    texts: dict[Any, set[str]] = {}
    for one in comparisons:
        texts.setdefault((one.golden, one.where, *one.subject[1:]), set()).add(one.output)
    return all(len(some) == 1 for some in texts.values())


def _compared(candidate: str, models: Collection[str], comparisons: Sequence[Rating]) -> Compared:
    blind = [one for one in comparisons if one.blind]
    decided = [one for one in blind if one.preference != "tie"]
    votes: dict[tuple[str, str, str], list[bool]] = {}
    for one in decided:
        votes.setdefault(one.subject, []).append(one.preference == "output")
    won, given = [sum(some) for some in votes.values()], [len(some) for some in votes.values()]
    return Compared(
        candidate=candidate,
        model="".join(models) if len(models) == 1 else "",
        preferred=sum(won),
        tied=len(blind) - len(decided),
        compared=len(blind),
        not_blind=len(comparisons) - len(blind),
        pairs=len(votes),
        judges=len({one.person for one in decided}),
        win_rate=sum(won) / len(decided) if decided else None,
        win_interval=clustered_wilson(won, given) if decided else None,
    )


def _pairwise(stars: dict[Any, dict[str, int]], weights: Any) -> float | None:
    raters = sorted({rater for by_rater in stars.values() for rater in by_rater})
    kappas = []
    for a, b in itertools.combinations(raters, 2):
        both = [(item[a], item[b]) for item in stars.values() if a in item and b in item]
        if both:
            kappas.append(cohen_kappa([x for x, _ in both], [y for _, y in both], weights))
    known = [kappa for kappa in kappas if math.isfinite(kappa)]
    return mean(known) if known else None


def _known(x: float) -> float | None:
    return x if math.isfinite(x) else None
