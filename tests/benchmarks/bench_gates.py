"""How often gates cry wolf, and how often they see the wolf: seeded simulations, and the time of a BLEU gate.

``python tests/benchmarks/bench_gates.py [runs]`` prints a table and exits non-zero when a bar is missed:

- no change, margin 0: fails at most alpha + 2 standard errors;
- a true drop of exactly the margin: passes at most alpha + 2 standard errors;
- a true drop of what the gate says it can detect: fails within 5 points of the 80 % it says;
- 10,000 resamples of corpus BLEU on 2,000 sentences: under 1 s of CPU on one core, and faster than sacrebleu's own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
import time
from collections.abc import Callable

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    if __name__ == "__main__":
        os.environ[_variable] = "1"  # one core, as the bar says; read when numpy loads

import numpy as np  # noqa: E402

from pytest_llm.metrics.sacre import bleu_from_statistics  # noqa: E402
from pytest_llm.metrics.score import Score  # noqa: E402
from pytest_llm.stats.gate import gate  # noqa: E402

ALPHA, POWER = 0.05, 0.8
_bleu = functools.partial(bleu_from_statistics, order=4, method="exp", smooth=None, effective=False)


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of gate, with a world to draw scores from.

    ``draw(rng, drop)`` gives a new and a base score whose expectations differ by ``drop``. ``still_only`` cases are
    about crying wolf: there a drop would change the spread of the differences, and the power said assumes it does not.
    """

    name: str
    n: int
    margin: float
    draw: Callable[..., tuple[Score, Score]]
    method: str = "auto"
    groups: tuple[int, ...] | None = None
    still_only: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Rates over ``runs`` simulations."""

    false_fail: float
    runs: int
    false_pass: float = math.nan
    power: float = math.nan
    margin_power: float = math.nan

    @property
    def bar(self) -> float:
        """The highest rate of false alarms that is no worse than alpha by more than chance."""
        return ALPHA + 2 * (ALPHA * (1 - ALPHA) / self.runs) ** 0.5


def _score(values, **fields):
    return Score(
        float(np.average(values, weights=fields.get("weights"))),
        name="simulated",
        n=len(values),
        per_example=values,
        **fields,
    )


def draw_accuracy(rng, drop, n=300, flips=0.1):
    """Right-or-wrong answers of which a tenth flip whatever the drop."""
    flip = max(flips, drop)
    u = rng.random(n)
    worse, better = u < (flip + drop) / 2, u > 1 - (flip - drop) / 2
    base = np.where(worse, 1, np.where(better, 0, rng.random(n) < 0.7)).astype(float)
    return _score(np.where(worse, 0.0, np.where(better, 1.0, base))), _score(base)


def draw_mean(rng, drop, n=100, changed=1.0):
    """Graded answers (as ROUGE), of which a share changed; harm harms some far more than others."""
    base, new = rng.beta(2, 3, n) + 0.1 * rng.exponential(1, (2, n))
    new = new - drop / changed * rng.exponential(1, n)
    return _score(np.where(rng.random(n) < changed, new, base)), _score(base)


def draw_clustered(rng, drop, clusters=20, size=10):
    """Twenty documents of ten questions, whose changes go together within a document."""
    base = rng.beta(2, 3, clusters * size)
    change = np.repeat(rng.normal(0, 0.1, clusters), size) + rng.normal(0, 0.1, clusters * size)
    return _score(base - drop + change), _score(base)


def draw_loss(rng, drop, n=100):
    """Nats a token of texts of very unequal lengths; shorter texts are noisier."""
    tokens = rng.lognormal(4, 0.8, n).round() + 1
    base = rng.normal(3, 0.5, n)
    new = base + drop + rng.normal(0, 1, n) / np.sqrt(tokens)
    return tuple(_score(x, weights=tokens, higher_is_better=False) for x in (new, base))


def _sentences(rng, n, rate, difficulty=None):
    """BLEU statistics of sentences of 20 words whose words are each right with a probability about ``rate``."""
    difficulty = rng.normal(0, 0.5, n) if difficulty is None else difficulty
    right = rng.random((n, 20)) < 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + difficulty)))[:, None]
    matched, grams = [], right
    for order in range(1, 5):
        matched.append(grams.sum(axis=1))
        grams = grams[:, :-1] & right[:, order:]
    total = np.tile([20, 19, 18, 17], (n, 1))
    return np.column_stack([np.full((n, 2), 20), np.column_stack(matched), total]).astype(float)


@functools.cache
def _bleu_curve():
    """BLEU by rate, on one large sample: the same luck at every rate, which leaves the differences exact."""
    rates = np.linspace(0.55, 0.8, 11)
    rows = [_sentences(np.random.default_rng(0), 20_000, rate) for rate in rates]
    return rates, [float(_bleu(r.sum(0, keepdims=True))[0]) for r in rows]


def draw_bleu(rng, drop, n=200, rate=0.75, changed=1.0):
    """Corpus BLEU of two systems on the same sentences, of which a share changed, ``drop`` points apart in the long run."""
    rates, values = _bleu_curve()
    lower = float(np.interp(np.interp(rate, rates, values) - drop / changed, values, rates))
    difficulty = rng.normal(0, 0.5, n)
    new, base = (_sentences(rng, n, r, difficulty) for r in (lower, rate))
    rows = [np.where(rng.random((n, 1)) < changed, new, base), base]
    return tuple(
        Score(float(_bleu(r.sum(0, keepdims=True))[0]), name="bleu", n=n, unit="points", statistics=r, aggregate=_bleu)
        for r in rows
    )


CASES = (
    Case("accuracy: exact McNemar, Tango", 300, 0.05, draw_accuracy),
    Case("mean: paired t", 100, 0.02, draw_mean),
    Case("mean, 1 in 5 examples changed", 100, 0.02, functools.partial(draw_mean, changed=0.2), still_only=True),
    Case("mean: percentile bootstrap", 100, 0.02, draw_mean, "percentile"),
    Case("mean: BCa bootstrap", 100, 0.02, draw_mean, "bca"),
    Case("mean: 20 groups of 10", 200, 0.05, draw_clustered, groups=tuple(np.repeat(range(20), 10))),
    Case("loss: ratio estimator", 100, 0.02, draw_loss),
    Case("corpus BLEU: bootstrap", 200, 2.0, draw_bleu),
    Case("corpus BLEU, 1 in 5 changed", 200, 1.0, functools.partial(draw_bleu, changed=0.2), still_only=True),
)


def simulate(case: Case, runs: int, resamples: int = 10_000, seed: int = 1) -> Outcome:
    """Measure the rates of ``case``."""
    rng = np.random.default_rng(seed)

    def results(drop, margin):
        terms = {"margin": margin, "alpha": ALPHA, "power": POWER, "groups": case.groups, "method": case.method}
        return [gate(*case.draw(rng, drop), resamples=resamples, seed=i, **terms) for i in range(runs)]

    def share(found, status):
        return sum(f.status == status for f in found) / runs

    def seen(found):  # what the gates say they can see, where nothing changed
        return float(np.mean([f.mde for f in found if f.mde is not None]))

    still = results(0.0, 0.0)
    if case.still_only:
        return Outcome(share(still, "fail"), runs)
    still_margin = results(0.0, case.margin)
    return Outcome(
        false_fail=share(still, "fail"),
        runs=runs,
        false_pass=share(results(case.margin, case.margin), "pass"),
        power=share(results(seen(still), 0.0), "fail"),
        margin_power=share(results(seen(still_margin), case.margin), "fail"),
    )


def time_bleu(sentences: int = 2000, resamples: int = 10_000) -> tuple[float, float]:
    """Return CPU seconds of our gate and of sacrebleu's paired bootstrap, on the same texts and resamples."""
    import sacrebleu
    from sacrebleu.significance import PairedTest

    from pytest_llm.metrics import bleu

    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(500)])
    references = [list(rng.choice(words, 20)) for _ in range(sentences)]
    texts = [
        [" ".join(w if rng.random() > p else str(rng.choice(words)) for w in r) for r in references]
        for p in (0.2, 0.22)
    ]
    joined = [" ".join(r) for r in references]
    base, new = (bleu(t, joined) for t in texts)
    gate(new, base, margin=1.0, resamples=10)  # import scipy before the clock starts
    start = time.process_time()
    gate(new, base, margin=1.0, resamples=resamples)
    ours = time.process_time() - start
    metric = sacrebleu.BLEU()
    test = PairedTest([("base", texts[0]), ("new", texts[1])], {"BLEU": metric}, [joined], "bs", resamples)
    # Only its resampling is timed, not the scoring of the texts that both need.
    metric._extract_corpus_statistics = lambda *_: [list(row) for row in new.statistics]
    start = time.process_time()
    test()
    return ours, time.process_time() - start


def _percent(x: float, width: int) -> str:
    return f"{'-' if math.isnan(x) else format(x, '.1%'):>{width}}"


def main(runs: int = 1000) -> int:
    """Print the table; return 1 when a bar is missed."""
    missed = []
    print(f"Gates over {runs} simulated runs each, alpha {ALPHA}, 10,000 resamples")
    print(f"{'gate':<32}{'n':>5}{'no change':>12}{'at margin':>12}{'bar':>8}{'power':>9}{'with margin':>13}{'said':>7}")
    for case in CASES:
        found = simulate(case, runs)
        cells = [f"{case.name:<32}{case.n:>5}{_percent(found.false_fail, 10)} F{_percent(found.false_pass, 10)} P"]
        cells += [_percent(x, width) for x, width in ((found.bar, 8), (found.power, 9), (found.margin_power, 13))]
        print("".join(cells) + f"{POWER:>7.0%}", flush=True)
        missed += [f"{case.name}: false alarms" for rate in (found.false_fail, found.false_pass) if rate > found.bar]
        missed += [f"{case.name}: power" for p in (found.power, found.margin_power) if abs(p - POWER) > 0.05]
    print("F fails without a change (margin 0); P passes with a true drop of exactly the margin;")
    print("power: fails at the drop it says it can detect, without and with the margin")
    ours, theirs = time_bleu()
    print(
        f"corpus BLEU gate, 2,000 sentences x 10,000 resamples: {ours:.2f} s CPU; sacrebleu's paired bootstrap {theirs:.1f} s"
    )
    missed += ["BLEU gate: time"] if ours >= 1 or ours >= theirs else []
    print("every bar held" if not missed else "MISSED: " + "; ".join(missed))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
