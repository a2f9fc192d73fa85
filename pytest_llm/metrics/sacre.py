"""BLEU, chrF and TER as sacrebleu computes them, with the statistics that let any resample be scored.

Sources: Papineni et al. 2002 (BLEU), Chen and Cherry 2014 (its smoothing), Popović 2015 (chrF),
Snover et al. 2006 (TER), Post 2018 (sacrebleu and its signatures).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import Examples, References, Texts, mean, read, spaced
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import counted, shorten

__tracebackhide__ = measured

#: Tokenizers of BLEU that find no words where no spaces are.
_BY_SPACES = ("13a", "intl", "none")

#: Of so many references one may be without spaces: from there on a language of the corpus is not measured.
_FEW = 20

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]


def bleu(
    predictions: Texts,
    references: References,
    *,
    ids: Iterable[Any] | None = None,
    tokenize: str | None = None,
    lowercase: bool = False,
    smooth_method: str = "exp",
    smooth_value: float | None = None,
    max_ngram_order: int = 4,
    effective_order: bool = False,
    trg_lang: str = "",
    force: bool = False,
) -> Score:
    """Return corpus BLEU in points (0-100). ``per_example`` is sentence BLEU with effective order.

    ``statistics`` are sacrebleu's, K = 2 + 2 * max_ngram_order: prediction length, closest reference length,
    then matched and total n-grams by order. The other arguments are those of ``sacrebleu.BLEU``.

    Raises:
        InvalidInputError: input nothing can be measured with (see `read`), or options sacrebleu refuses; references
            one in twenty of which is in a script without spaces between words, by a tokenizer that needs them; or all
            too short to hold an n-gram of the highest order, so that BLEU is 0 whatever was said (answers of a word).
    """
    options = {
        "tokenize": tokenize, "lowercase": lowercase, "smooth_method": smooth_method, "smooth_value": smooth_value,
        "max_ngram_order": max_ngram_order, "trg_lang": trg_lang, "force": force,
    }  # fmt: skip
    shape: dict[str, Any] = {"order": max_ngram_order, "method": smooth_method, "smooth": smooth_value}
    examples = read("bleu", predictions, references, ids)
    metric = _sacrebleu("bleu", options)
    if metric.tokenizer.signature() in _BY_SPACES:
        _check_spaced("bleu", examples, str.__str__, "tokenize='zh', 'ja-mecab', 'ko-mecab' or 'char'")
    if not effective_order and smooth_method != "add-k":  # which need no n-gram of the highest order
        _check_ngrams(examples, metric, max_ngram_order)
    return _corpus(
        "bleu",
        examples,
        {**options, "effective_order": effective_order},
        aggregate=functools.partial(bleu_from_statistics, **shape, effective=effective_order),
        sentence=functools.partial(bleu_from_statistics, **shape, effective=True),
    )


def _check_ngrams(examples: Examples, metric: Any, order: int) -> None:
    lengths = (len(metric._preprocess_segment(text).split()) for some in examples.references for text in some)
    if not any(n >= order for n in lengths):
        raise InvalidInputError(
            f"bleu: no reference has {order} tokens under tokenize={metric.tokenizer.signature()!r}, so no {order}-gram"
            " can match, and BLEU is 0 even of equal texts. For short answers, give effective_order=True; or use chrf"
        )


def _check_spaced(name: str, examples: Examples, prepare: Callable[[str], str], remedy: str) -> None:
    texts = [(id, text) for id, some in zip(examples.ids, examples.references, strict=True) for text in some]
    without = [f"[{id}] {shorten(text, 40)!r}" for id, text in texts if not spaced(prepare(text))]
    if without and _FEW * len(without) >= len(texts):
        named = ", ".join(without[:3]) + ", ..." * (len(without) > 3)
        raise InvalidInputError(
            f"{name}: {len(without)} of {counted(len(texts), 'reference')} ({named}) are in a script without spaces "
            f"between words, and each would count as a word or two; give {remedy}, or use chrf; of several languages, "
            "score each by itself"
        )


def sentence_bleu(
    predictions: Texts,
    references: References,
    *,
    ids: Iterable[Any] | None = None,
    tokenize: str | None = None,
    lowercase: bool = False,
    smooth_method: str = "exp",
    smooth_value: float | None = None,
    max_ngram_order: int = 4,
) -> Score:
    """Return the mean of sentence BLEU with effective order, in points; the arguments are those of `bleu`."""
    corpus = bleu(
        predictions, references, ids=ids, tokenize=tokenize, lowercase=lowercase, smooth_method=smooth_method,
        smooth_value=smooth_value, max_ngram_order=max_ngram_order, effective_order=True,
    )  # fmt: skip
    return Score(
        mean(corpus.per_example),
        name="sentence_bleu",
        **{k: v for k, v in vars(corpus).items() if k not in ("name", "statistics", "aggregate")},
    )


def chrf(
    predictions: Texts,
    references: References,
    *,
    ids: Iterable[Any] | None = None,
    char_order: int = 6,
    word_order: int = 0,
    beta: int = 2,
    lowercase: bool = False,
    whitespace: bool = False,
    eps_smoothing: bool = False,
) -> Score:
    """Return corpus chrF in points (0-100); chrF++ with ``word_order=2``. ``per_example`` is sentence chrF.

    ``statistics`` are sacrebleu's, K = 3 * (char_order + word_order): n-grams in the prediction, in the best
    reference, and in both, by order. The other arguments are those of ``sacrebleu.CHRF``.
    """
    aggregate = functools.partial(chrf_from_statistics, beta=beta, eps_smoothing=eps_smoothing)
    options = {
        "char_order": char_order, "word_order": word_order, "beta": beta, "lowercase": lowercase,
        "whitespace": whitespace, "eps_smoothing": eps_smoothing,
    }  # fmt: skip
    return _corpus("chrf", read("chrf", predictions, references, ids), options, aggregate)


def ter(
    predictions: Texts,
    references: References,
    *,
    ids: Iterable[Any] | None = None,
    normalized: bool = False,
    no_punct: bool = False,
    asian_support: bool = False,
    case_sensitive: bool = False,
) -> Score:
    """Return corpus TER in points: edits for 100 reference words, from 0 without a limit; lower is better.

    ``statistics`` are sacrebleu's, K = 2: edits and average reference length. The other arguments are those of
    ``sacrebleu.TER``.

    Raises:
        InvalidInputError: input nothing can be measured with (see `read`), or references one in twenty of which is in a
            script without spaces between words, and was not split (Chinese and Japanese: ``normalized``,
            ``asian_support``).
    """
    options = {
        "normalized": normalized, "no_punct": no_punct, "asian_support": asian_support,
        "case_sensitive": case_sensitive,
    }  # fmt: skip
    examples, metric = read("ter", predictions, references, ids), _sacrebleu("ter", options)
    _check_spaced("ter", examples, metric._preprocess_segment, "normalized=True, asian_support=True (not for Thai)")
    return _corpus("ter", examples, options, ter_from_statistics, higher_is_better=False)


def _corpus(
    name: str,
    examples: Examples,
    options: dict[str, Any],
    aggregate: Callable[[Any], Any],
    sentence: Callable[[Any], Any] | None = None,
    higher_is_better: bool = True,
) -> Score:
    import numpy as np

    metric = _sacrebleu(name, options)
    # sacrebleu takes one list a reference position, with None where an example has fewer.
    width = max(map(len, examples.references))
    padded = [some + (None,) * (width - len(some)) for some in examples.references]
    # sacrebleu's own significance tests go through these two methods; they spare a second pass over the text.
    rows = metric._extract_corpus_statistics(list(examples.predictions), list(zip(*padded, strict=True)))
    value = metric._aggregate_and_compute(rows).score
    statistics = np.array(rows, dtype=np.float64)
    return examples.score(
        value,
        name=name,
        per_example=(sentence or aggregate)(statistics).tolist(),
        statistics=statistics.tolist(),
        aggregate=aggregate,
        unit="points",
        higher_is_better=higher_is_better,
        signature=metric.get_signature().format(),
    )


def _sacrebleu(name: str, options: dict[str, Any]) -> Any:
    import sacrebleu

    for option, least in (("max_ngram_order", 1), ("char_order", 1), ("word_order", 0)):
        if option in options and not (isinstance(options[option], int) and options[option] >= least):
            raise InvalidInputError(f"{name}: {option} must be an integer of at least {least}, not {options[option]!r}")
    smooth = options.get("smooth_value")
    if smooth is not None and not (isinstance(smooth, (int, float)) and 0 <= smooth < math.inf):
        raise InvalidInputError(f"{name}: smooth_value must be a finite number of at least 0, not {smooth!r}")
    choices = {"tokenize": sacrebleu.BLEU.TOKENIZERS, "smooth_method": sacrebleu.BLEU.SMOOTH_DEFAULTS}
    for option, known in choices.items():
        if options.get(option) is not None and options[option] not in known:
            raise InvalidInputError(f"{name}: {option}={options[option]!r} is none of {', '.join(known)}")
    try:
        return getattr(sacrebleu, {"bleu": "BLEU", "chrf": "CHRF", "ter": "TER"}[name])(**options)
    except Exception as error:  # a tokenizer that needs a package or a download
        raise InvalidInputError(f"{name}: sacrebleu refuses these options: {error}") from error


def bleu_from_statistics(sums: Any, *, order: int, method: str, smooth: float | None, effective: bool) -> Array:
    """Return BLEU for each row of summed statistics [R, 2 + 2 * order], as ``sacrebleu.BLEU.compute_bleu`` does."""
    import numpy as np

    sums = np.array(sums, dtype=np.float64)  # a copy: add-k changes it
    length, target = sums[:, 0], sums[:, 1]
    matched, total = sums[:, 2 : 2 + order], sums[:, 2 + order :]
    anything = matched.any(axis=1)  # without one match the score is 0, whatever the smoothing
    if method == "add-k":
        matched[:, 1:] += 1.0 if smooth is None else smooth
        total[:, 1:] += 1.0 if smooth is None else smooth
    # An order without n-grams, and every order above it, has precision 0.
    counted = np.logical_and.accumulate(total > 0, axis=1)
    none = counted & (matched == 0)
    numerator = matched.copy()
    if method == "exp":
        numerator[none] = 0.5 ** np.cumsum(none, axis=1)[none]
    elif method == "floor":
        numerator[none] = 0.1 if smooth is None else smooth
    precision = np.where(counted, numerator / np.where(counted, total, 1.0), 0.0)
    used = counted if effective else np.ones_like(counted)
    logs = np.where(used, np.log(100 * precision, out=np.full_like(precision, -1e10), where=precision > 0), 0.0)
    score = np.exp(logs.sum(axis=1) / np.maximum(used.sum(axis=1), 1))
    brevity = np.exp(1 - np.maximum(target / np.where(length > 0, length, 1.0), 1.0))
    return np.asarray(np.where(anything, brevity * score, 0.0))


def chrf_from_statistics(sums: Any, *, beta: int, eps_smoothing: bool) -> Array:
    """Return chrF for each row of summed statistics [R, 3 * orders], as ``sacrebleu.CHRF`` does."""
    import numpy as np

    sums = np.asarray(sums, dtype=np.float64)
    predicted, target, matched = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    precision = np.where(predicted > 0, matched / np.where(predicted > 0, predicted, 1.0), 1e-16)
    recall = np.where(target > 0, matched / np.where(target > 0, target, 1.0), 1e-16)
    if eps_smoothing:
        return np.asarray(100 * _f_score(precision, recall, beta, otherwise=1e-16).mean(axis=1))
    counted = (predicted > 0) & (target > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    average_precision = np.where(counted, precision, 0.0).sum(axis=1) / orders
    average_recall = np.where(counted, recall, 0.0).sum(axis=1) / orders
    return 100 * _f_score(average_precision, average_recall, beta, otherwise=0.0)


def _f_score(precision: Array, recall: Array, beta: int, otherwise: float) -> Array:
    import numpy as np

    factor = float(beta) ** 2
    below = factor * precision + recall
    above = (1 + factor) * precision * recall
    return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1.0), otherwise))


def ter_from_statistics(sums: Any) -> Array:
    """Return TER for each row of summed statistics [R, 2]; edits against an empty reference count as 100."""
    import numpy as np

    sums = np.asarray(sums, dtype=np.float64)
    edits, words = sums[:, 0], sums[:, 1]
    return np.asarray(100 * np.where(words > 0, edits / np.where(words > 0, words, 1.0), (edits > 0) * 1.0))
