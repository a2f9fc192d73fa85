"""ROUGE (Lin 2004) as Google's rouge-score computes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pytest_llm.environment import version
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.files import digest_of
from pytest_llm.metrics.inputs import References, Texts, read
from pytest_llm.metrics.score import Score

__tracebackhide__ = measured


def rouge(
    predictions: Texts,
    references: References,
    *,
    kind: str = "rougeL",
    ids: Iterable[Any] | None = None,
    use_stemmer: bool = False,
    split_summaries: bool = False,
    tokenizer: Any = None,
) -> Score:
    """Return the mean ROUGE F-measure, a ratio in [0, 1]; the best of several references counts.

    Args:
        predictions: the texts to score.
        references: one reference an example, or a list of them.
        kind: ``rouge1`` to ``rouge9``, ``rougeL``, or ``rougeLsum`` (sentences on lines of their own, or split
            by ``split_summaries``, which needs nltk's punkt data).
        ids: unique names of the examples.
        use_stemmer: strip suffixes with the Porter stemmer (English).
        split_summaries: split sentences for ``rougeLsum``.
        tokenizer: an object with ``tokenize(text) -> list of str``. The default keeps ``a-z`` and ``0-9`` only.
            A baseline holds its name and a digest of what it makes of the references.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), an unknown kind, or a reference
            in which the tokenizer finds no token, or the default one less than half of the letters (another script
            than Latin): of ``Москва, 1147`` the number alone would be compared.
    """
    check_kind(kind)
    examples = read(kind, predictions, references, ids)
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    default = tokenizer is None
    name = type(tokenizer).__name__
    tokenizer = DefaultTokenizer(use_stemmer) if default else tokenizer

    def read_by_tokenizer(text: str) -> bool:
        letters = sum(map(str.isalnum, text)) if default else 0
        return bool(tokenizer.tokenize(text)) and len(re.findall("[a-z0-9]", text.lower())) >= letters / 2

    examples.check_references(
        kind,
        read_by_tokenizer,
        "cannot be read by "
        + ("ROUGE, whose tokenizer keeps a-z and 0-9 only" if default else f"{name}: no token is in it")
        + "; give tokenizer=, an object with tokenize(text), or use chrf",
    )
    if default:
        name = DefaultTokenizer.__name__
    else:  # its options, dictionaries and version show in what it makes of the references, if anywhere
        tokens = [[list(map(str, tokenizer.tokenize(text))) for text in some] for some in examples.references]
        name = f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}|tokens:{digest_of(tokens)[:12]}"
    scorer = RougeScorer([kind], split_summaries=split_summaries, tokenizer=tokenizer)
    try:
        found = [
            scorer.score_multi(some, prediction)[kind].fmeasure
            for prediction, some in zip(examples.predictions, examples.references, strict=True)
        ]
    except LookupError as error:
        raise InvalidInputError(
            f"{kind}: split_summaries needs nltk's sentence data, which is not installed; run "
            "python -m nltk.downloader punkt_tab, or put each sentence on a line of its own"
        ) from error
    return examples.score(
        name=kind,
        per_example=found,
        signature=f"{kind}|stem:{_yes(use_stemmer)}|split:{_yes(split_summaries)}"
        f"|tok:{name}|rouge-score:{version('rouge-score')}",
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def check_kind(kind: Any) -> None:
    """Refuse what is no ROUGE.

    Raises:
        InvalidInputError: naming those there are.
    """
    if not isinstance(kind, str) or not re.fullmatch(r"rouge([1-9]|L|Lsum)", kind):
        raise InvalidInputError(f"rouge: kind {kind!r} is none of rouge1 ... rouge9, rougeL, rougeLsum")
