"""The single comparisons of two windows. Each gives a `Check` whose p is not yet corrected for how many there are."""

from __future__ import annotations

import dataclasses
import statistics as summary
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_llm.errors import InvalidInputError
from pytest_llm.monitoring import features, statistics
from pytest_llm.reports.text import counted

if TYPE_CHECKING:
    from pytest_llm.metrics.similarity import Encoder

#: Bins of a PSI, the usual ten: deciles of both windows together.
BINS = 10
#: Outputs a window that the costly checks look at: words, and embeddings.
WORDS_SAMPLE, EMBEDDING_SAMPLE = 1_000, 500
#: Words that the vocabulary tells apart; all others are one.
VOCABULARY = 2_000
#: Characters of an output that are embedded: any encoder of 512 tokens can read them. They are halved, down to the
#: least, where one that reads fewer cannot.
EMBEDDED, EMBEDDED_AT_LEAST = 400, 50
#: Outputs shown that are least like the reference, and characters of each.
SHOWN, SHOWN_WIDTH = 3, 300
#: Parts of a check shown, and characters of the name of one.
_BARS, LABEL_WIDTH = 12, 60

Test = Literal["psi", "rate", "js", "mmd"]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A part of what was compared, with its share (0 to 1) of each window."""

    label: str
    reference: float
    current: float


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison.

    ``statistic`` is a PSI, a difference of rates (current minus reference), a Jensen-Shannon divergence in bits or a
    squared MMD; ``chance`` is its mean where nothing drifted, for a rate 0. ``reference`` and ``current`` say in words
    how the windows are. ``sizes`` are the outputs compared. ``p_adjusted`` and ``status`` are set when all are there.
    """

    name: str
    test: Test
    statistic: float
    chance: float
    p: float
    reference: str
    current: str
    sizes: tuple[int, int]
    segment: str = ""
    bars: tuple[Bar, ...] = ()
    examples: tuple[str, ...] = ()
    note: str = ""
    p_adjusted: float = 1.0
    status: str = ""


@dataclasses.dataclass(frozen=True)
class Dealing:
    """How chance is drawn: ``permutations``, and the ``seed`` that every check makes its own from."""

    permutations: int
    seed: int = 0

    def of(self, name: str) -> dict[str, int]:
        """Return the arguments for the check ``name``."""
        return {"permutations": self.permutations, "seed": zlib.crc32(f"{self.seed} {name}".encode())}


def numbers(name: str, reference: Sequence[float], current: Sequence[float], dealing: Dealing) -> Check:
    """Compare two sets of numbers by the PSI of their deciles."""
    import numpy as np

    both = np.concatenate([np.asarray(reference, float), np.asarray(current, float)])
    edges = np.unique(np.quantile(both, np.linspace(0, 1, BINS + 1)[1:-1]))
    binned = [
        np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1) for x in (reference, current)
    ]
    used = binned[0] + binned[1] > 0
    counts = [one[used] for one in binned]
    value, chance, p = statistics.counts_p(statistics.psi, *counts, **dealing.of(name))
    marks = [f"{edge:g}" for edge in edges]
    labels = np.array([f"to {marks[0]}", *(f"to {mark}" for mark in marks[1:]), f"over {marks[-1]}"])[used]
    shares = [one / one.sum() for one in counts]
    bars = tuple(Bar(str(label), float(x), float(y)) for label, x, y in zip(labels, *shares, strict=True))
    words = [f"median {summary.median(values):g}" for values in (reference, current)]
    return Check(name, "psi", value, chance, p, words[0], words[1], (len(reference), len(current)), bars=bars)


def rate(name: str, reference: Sequence[bool], current: Sequence[bool]) -> Check:
    """Compare how many of each window are of a kind, by Fisher's exact test."""
    a, n, b, m = sum(reference), len(reference), sum(current), len(current)
    bar = Bar(name, a / n, b / m)
    words = [f"{count / size:.1%}" for count, size in ((a, n), (b, m))]
    return Check(
        name, "rate", b / m - a / n, 0.0, statistics.fisher(a, n, b, m), words[0], words[1], (n, m), bars=(bar,)
    )


def labels(name: str, reference: Sequence[str], current: Sequence[str], dealing: Dealing) -> Check:
    """Compare two sets of labels (languages, segments) by the Jensen-Shannon divergence of their shares."""
    counts = [Counter(reference), Counter(current)]
    known = sorted(counts[0] | counts[1])
    rows = [[one[label] for label in known] for one in counts]
    value, chance, p = statistics.counts_p(statistics.jensen_shannon, *rows, **dealing.of(name))
    bars = _most_moved(known, *rows)
    top = [
        " ".join(f"{label[:LABEL_WIDTH]} {_whole(n / sum(one.values()))}" for label, n in _common(one, 2))
        for one in counts
    ]
    return Check(name, "js", value, chance, p, top[0], top[1], (len(reference), len(current)), bars=bars)


def vocabulary(reference: Sequence[str], current: Sequence[str], dealing: Dealing) -> Check | None:
    """Compare the words of two windows by the Jensen-Shannon divergence of their shares of all words.

    Outputs are dealt out whole, as the words of one go together; one without words would be no part of any share, and
    is left out. ``None`` when a window has none with words.
    """
    from scipy.sparse import csr_array

    told = [[text for text in texts if features.words(text)] for texts in (reference, current)]
    if not all(told):
        return None
    samples = [_sample(texts, WORDS_SAMPLE) for texts in told]
    said = [Counter(features.words(text)) for sample in samples for text in sample]
    sums = [_sum(said[: len(samples[0])]), _sum(said[len(samples[0]) :])]
    known = [word for word, _ in _common(sums[0] + sums[1], VOCABULARY)]
    column = {word: i for i, word in enumerate(known)}
    cells = [(i, column.get(word, len(known)), n) for i, one in enumerate(said) for word, n in one.items()]
    rows, columns, values = zip(*cells, strict=True)
    # Cells of one place (words beyond the vocabulary) are added up.
    matrix = csr_array((values, (rows, columns)), shape=(len(said), len(known) + 1), dtype=float)
    n = len(samples[0])
    value, chance, p = statistics.rows_p(statistics.jensen_shannon, matrix, n, **dealing.of("vocabulary"))
    bars = _most_moved([*known, "(others)"], matrix[:n].sum(axis=0), matrix[n:].sum(axis=0))
    words = [counted(len(one), "word") for one in sums]
    note = _sampled(WORDS_SAMPLE, samples, told)
    return Check("vocabulary", "js", value, chance, p, words[0], words[1], (n, len(said) - n), bars=bars, note=note)


def embeddings(reference: Sequence[str], current: Sequence[str], encoder: Encoder, dealing: Dealing) -> Check | None:
    """Compare what outputs mean: the MMD of their embeddings. Empty outputs mean nothing and are left out.

    ``None`` when a window has fewer than two outputs to embed.
    """
    import numpy as np

    told = [[text for text in texts if text.strip()] for texts in (reference, current)]
    samples = [_sample(texts, EMBEDDING_SAMPLE) for texts in told]
    if min(map(len, samples)) < 2:
        return None
    vectors, length = _vectors(samples, encoder)
    n = len(samples[0])
    value, chance, p = statistics.mmd_p(vectors, n, **dealing.of("embeddings"))
    gain = statistics.witness(vectors, n)[n:]
    strangest = [samples[1][i] for i in np.argsort(-gain, kind="stable")]
    shown = tuple(text[:SHOWN_WIDTH] + "…" * (len(text) > SHOWN_WIDTH) for text in dict.fromkeys(strangest))[:SHOWN]
    note = f"the first {length} characters of an output are embedded"
    sampled = _sampled(EMBEDDING_SAMPLE, samples, told)
    note = "; ".join(filter(None, [sampled, note]))
    return Check("embeddings", "mmd", value, chance, p, "", "", (n, len(vectors) - n), examples=shown, note=note)


def _vectors(samples: Sequence[Sequence[str]], encoder: Encoder) -> tuple[Any, int]:
    """Return the vectors of how all outputs begin, and of how many characters."""
    import numpy as np

    length = EMBEDDED
    while True:
        try:
            # Windows apart, so that the answers kept for a reference serve every later run.
            found = [np.asarray(encoder.embed([text[:length] for text in sample])) for sample in samples]
        except InvalidInputError:
            length //= 2
            if length < EMBEDDED_AT_LEAST:
                raise
        else:
            return np.concatenate(found), length


def _whole(share: float) -> str:
    """Return a share in whole per cent; what is neither none nor all is not called so."""
    return "<1%" if 0 < share < 0.005 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def _sum(counters: Sequence[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counters:
        total.update(one)
    return total


def _common(counter: Counter[str], n: int) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:n]  # most_common() leaves ties to order


def _most_moved(known: Sequence[str], reference: Any, current: Any) -> tuple[Bar, ...]:
    """Return the parts that give most of a Jensen-Shannon divergence, with their shares."""
    import numpy as np
    from scipy.special import xlogy

    p, q = (np.asarray(x, float) / np.asarray(x).sum() for x in (reference, current))
    part = xlogy(p, p) + xlogy(q, q) - xlogy(p + q, (p + q) / 2)
    return tuple(
        Bar(known[i][:LABEL_WIDTH], float(p[i]), float(q[i])) for i in np.argsort(-part, kind="stable")[:_BARS]
    )


def _sample(texts: Sequence[str], size: int) -> list[str]:
    """Return ``size`` of the texts, in order; which ones is decided by how many there are alone."""
    import numpy as np

    if len(texts) <= size:
        return list(texts)
    chosen = np.random.default_rng(len(texts)).choice(len(texts), size, replace=False)
    return [texts[i] for i in sorted(chosen)]


def _sampled(size: int, samples: Sequence[Sequence[str]], told: Sequence[Sequence[str]]) -> str:
    if all(len(sample) == len(texts) for sample, texts in zip(samples, told, strict=True)):
        return ""
    return f"of each window at most {size} outputs, a seeded sample, were compared"
