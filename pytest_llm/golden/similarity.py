"""How alike two texts are, in [0, 1]. Only reached when a check asks for it."""

from __future__ import annotations

import math
from typing import Any


def chrf(golden: str, new: str) -> float:
    """Return chrF2 / 100 (Popović 2015, with sacrebleu's defaults: character 6-grams, beta 2)."""
    import sacrebleu

    return float(sacrebleu.sentence_chrf(new, [golden]).score) / 100


def cosine(pairs: list[tuple[str, str]], encoder: Any) -> list[float]:
    """Return the cosine of each pair's two vectors; ``encoder.embed(texts)`` gives one vector a text."""
    vectors = [[float(x) for x in vector] for vector in encoder.embed([text for pair in pairs for text in pair])]
    return [_cosine(vectors[i], vectors[i + 1]) for i in range(0, len(vectors), 2)]


def _cosine(a: list[float], b: list[float]) -> float:
    norm = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else math.nan
