"""What raters said, test by test: `pytest-llm ratings`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_llm.human import file
from pytest_llm.human.agreement import alpha_interval, cohen_kappa, krippendorff_alpha
from pytest_llm.human.file import Rating
from pytest_llm.human.goldens import folders, texts
from pytest_llm.metrics.inputs import mean
from pytest_llm.stats.binary import clustered_wilson


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
        preferred, tied, compared: blind comparisons won by the new output, undecided, all. ``not_blind`` are apart.
        pairs, judges: how many pairs of outputs the decided ones are of, and by how many people.
        win_rate, win_interval: of the decided ones, and its 95 % interval; see `clustered_wilson`.
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
    preferred: int = 0
    tied: int = 0
    compared: int = 0
    not_blind: int = 0
    pairs: int = 0
    judges: int = 0
    win_rate: float | None = None
    win_interval: tuple[float, float] | None = None
    earlier: int = 0


def summaries(root: Path) -> list[Summary]:
    """Return what was said of each test below ``root`` that has ratings, by node id.

    Raises:
        GoldenError: a file of ratings is damaged.
    """
    found = []
    for folder in folders(root):
        by_test: dict[str, list[Rating]] = {}
        for one in file.current(file.read(folder / file.NAME)):
            by_test.setdefault(one.test, []).append(one)
        if not by_test:
            continue
        goldens: dict[str, dict[str, None]] = {}
        for golden in filter(None, map(texts, sorted(folder.glob("*.json")))):
            goldens.setdefault(golden.nodeid, {}).update(dict.fromkeys(output.digest for output in golden.outputs))
        found += [summary(test, some, goldens.get(test, {})) for test, some in by_test.items()]
    return sorted(found, key=lambda one: one.test)


def summary(test: str, ratings: Sequence[Rating], outputs: Iterable[str] = ()) -> Summary:
    """Return what ``ratings``, which hold, say of ``test``, whose goldens have texts of the digests ``outputs``."""
    now = frozenset(outputs)
    held = [one for one in ratings if not now or now & {one.output, one.against}]
    stars: dict[tuple[str, str, str], dict[str, int]] = {}
    for one in held:
        if one.rating is not None:
            stars.setdefault(one.subject, {})[one.person] = one.rating
    items = [list(by_rater.values()) for by_rater in stars.values()]
    pairs = [one for one in held if one.preference]
    blind = [one for one in pairs if one.blind]
    decided = [one for one in blind if one.preference != "tie"]
    votes: dict[tuple[str, str, str], list[bool]] = {}
    for one in decided:
        votes.setdefault(one.subject, []).append(one.preference == "output")
    won = sum(map(sum, votes.values()))
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
        preferred=won,
        tied=len(blind) - len(decided),
        compared=len(blind),
        not_blind=len(pairs) - len(blind),
        pairs=len(votes),
        judges=len({one.person for one in decided}),
        win_rate=won / len(decided) if decided else None,
        win_interval=_win_interval(votes.values()) if decided else None,
        earlier=len(ratings) - len(held),
    )


def _win_interval(votes: Collection[Sequence[bool]]) -> tuple[float, float]:
    return clustered_wilson([sum(some) for some in votes], [len(some) for some in votes])


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
