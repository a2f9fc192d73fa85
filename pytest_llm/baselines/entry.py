"""One baseline: the score of one metric in one test, as it is committed."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pytest_llm.baselines import questions
from pytest_llm.errors import InvalidInputError
from pytest_llm.files import digest_of
from pytest_llm.metrics.inputs import spaced, words_and_characters
from pytest_llm.metrics.score import Score
from pytest_llm.results import Generation
from pytest_llm.stats.pairs import BY_TOKEN

#: What is kept of answers and of tokens, so that a failure can show what was before: a committed file stays readable.
#: Characters of one answer, answers, characters of all; tokens of all documents. The first examples are kept.
ANSWER, ANSWERS, CHARACTERS, TOKENS = 300, 200, 20_000, 4_000

#: Scores whose texts are the test's own, and no answers.
LIKELIHOODS = (*BY_TOKEN, "bits_per_byte")

#: The unit of lengths where an answer is in a script without spaces between words.
_UNSPACED = "words and characters"

#: Significant digits kept. A float32 has seven: more would record noise, and every update would touch every line.
DIGITS = 7

#: No figure that is larger can be summed up and squared.
LARGEST = 1e100


@dataclasses.dataclass(frozen=True)
class Entry:
    """A score with what is needed to compare another with it, pair by pair.

    Attributes:
        ids: example ids, empty for the default "0", "1", ...
        signature: how the metric was configured, or its name alone.
        request, references: digests of the questions and of the references in the order of the ids, "" when unknown.
        predictions: the answers to the first examples, cut to `ANSWER` characters.
        tokens: digest of the tokens that the texts of a loss were read as, "" when unknown.
        token_nll: the NLL in nats of every token of the first documents, a row a document, rounded to two decimals.
        raters: who gave the values, where people did.
        length, length_unit: mean length of the answers, in a unit of `answer_length`; "" when there are no answers.
    """

    value: float
    higher_is_better: bool
    unit: str
    n: int
    ids: tuple[str, ...] = ()
    per_example: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    statistics: tuple[tuple[float, ...], ...] = ()
    signature: str = ""
    request: str = ""
    references: str = ""
    tokens: str = ""
    predictions: tuple[str, ...] = ()
    token_nll: tuple[tuple[float, ...], ...] = ()
    raters: tuple[str, ...] = ()
    length: float = 0.0
    length_unit: str = ""
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, score: Score) -> Entry:
        """Take from ``score`` what is kept, rounded to `DIGITS`."""
        length, unit = answer_length(score)
        default_ids = tuple(str(i) for i in range(score.n))
        return cls(
            value=_tidy(score),
            higher_is_better=score.higher_is_better,
            unit=score.unit,
            n=score.n,
            ids=() if score.ids == default_ids else score.ids,
            per_example=tuple(map(_tidy, _counted(score))),
            weights=tuple(map(_tidy, score.weights)),
            statistics=tuple(tuple(map(_tidy, row)) for row in score.statistics),
            signature=score.signature or score.name,
            request=score.request,
            references=questions.held_to(score, score.ids),
            tokens=questions.read_as(score, score.ids),
            predictions=_kept_answers(score),
            token_nll=_kept_tokens(score),
            raters=score.raters,
            length=length,
            length_unit=unit,
            model=dict(score.origin.get("model", {})),
            environment=dict(score.origin.get("environment", {})),
        )

    @property
    def order(self) -> tuple[str, ...]:
        """The ids of the examples, in the order in which they stand here."""
        return self.ids or tuple(map(str, range(self.n)))

    def check(self) -> None:
        """Refuse what could not be read again.

        Raises:
            InvalidInputError: a figure is too large to be computed with, or a field is none that a file can hold.
        """
        figures = (self.value, *self.per_example, *self.weights, *itertools.chain(*self.statistics))
        if not all(map(_is_number, figures)):
            raise InvalidInputError(f"it holds a figure beyond {LARGEST:g}, which cannot be kept")
        try:
            Entry.from_json(self.to_json())
        except ValueError as error:
            raise InvalidInputError(f"it cannot be kept: {error}") from None

    def score(self, name: str, aggregate: Callable[[Any], Any] | None) -> Score:
        """Rebuild a score; ``aggregate`` is the metric's, which a file cannot hold."""
        return Score(
            self.value,
            name=name,
            n=self.n,
            higher_is_better=self.higher_is_better,
            unit=self.unit,
            per_example=self.per_example,
            weights=self.weights,
            statistics=self.statistics,
            ids=self.ids,
            aggregate=aggregate,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON data, without what is empty, and its digest.

        Two branches that each changed an entry conflict in the digest, whatever lines they touched: merged, their
        values and examples would be of no model.
        """
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data = {name: _lists(value) for name, value in data.items() if value not in ((), "", {})}
        if not self.length_unit:
            del data["length"]
        return {**data, "digest": digest_of(data)[:16]}

    @classmethod
    def from_json(cls, data: Any) -> Entry:
        """Rebuild what `to_json` gave.

        Raises:
            ValueError: it does not hold together, saying how.
        """
        _need(isinstance(data, dict), "not an object")
        data = dict(data)
        digest = data.pop("digest", None)
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(data) - fields), sorted({"value", "higher_is_better", "n"} - set(data))
        _need(not unknown, f"unknown field {', '.join(unknown)}: if a newer pytest_llm wrote it, upgrade this one")
        _need(not missing, f"{', '.join(missing)} is missing")
        n = data["n"]
        _need(isinstance(n, int) and not isinstance(n, bool) and n > 0, f"n must be a positive integer, not {n!r}")
        _need(isinstance(data["higher_is_better"], bool), "higher_is_better must be true or false")
        for name in ("value", "length"):
            _need(_is_number(data.get(name, 0)), f"{name} must be a finite number, not {data.get(name)!r}")
        for name in ("unit", "signature", "request", "references", "tokens", "length_unit"):
            _need(isinstance(data.get(name, ""), str), f"{name} must be text")
        for name in ("model", "environment"):
            _need(isinstance(data.get(name, {}), dict), f"{name} must be an object")
        for name in ("ids", "per_example", "weights", "statistics"):
            rows = data.get(name, [])
            _need(isinstance(rows, list) and len(rows) in (0, n), f"{name} must hold one entry an example ({n})")
        for name in ("predictions", "token_nll"):
            rows = data.get(name, [])
            _need(isinstance(rows, list) and len(rows) <= n, f"{name} must hold one entry an example at most ({n})")
        texts, tokens, raters = data.get("predictions", []), data.get("token_nll", []), data.get("raters", [])
        _need(all(isinstance(text, str) for text in texts), "predictions must be texts")
        _need(isinstance(raters, list) and all(isinstance(one, str) for one in raters), "raters must be texts")
        _need(
            all(isinstance(row, list) and all(map(_is_number, row)) for row in tokens),
            "token_nll must hold rows of finite numbers",
        )
        ids, table = data.get("ids", []), data.get("statistics", [])
        _need(all(isinstance(id, str) for id in ids) and len(set(ids)) == len(ids), "ids must be texts, each once")
        _need(all(map(_is_number, data.get("per_example", []))), "per_example must hold finite numbers")
        _need(all(map(_is_number, data.get("weights", []))), "weights must hold finite numbers")
        _need(
            all(isinstance(row, list) and len(row) == len(table[0]) and all(map(_is_number, row)) for row in table),
            "statistics must hold rows of finite numbers, equally long",
        )
        _need(digest in (None, digest_of(data)[:16]), "its parts are not of one run: it was merged, or edited by hand")
        sequences = {
            name: tuple(data.get(name, ())) for name in ("ids", "per_example", "weights", "predictions", "raters")
        }
        tables = {name: tuple(map(tuple, data.get(name, ()))) for name in ("statistics", "token_nll")}
        return cls(**{"unit": "", **data, **sequences, **tables})


def answer_length(score: Score, unit: str = "") -> tuple[float, str]:
    """Return the mean length of a score's answers and its unit: "tokens" of generations, else "words".

    Where an answer is in a script without spaces each of its letters counts: "words and characters". To compare with
    another length, give its ``unit``. A service sends no tokens of an empty answer.
    """
    if not score.predictions or score.name in LIKELIHOODS:
        return 0.0, ""
    answers = [text for text in score.predictions if isinstance(text, Generation) and (text.token_ids or not text)]
    if unit in ("", "tokens") and len(answers) == score.n:
        return _tidy(sum(len(text.token_ids) for text in answers) / score.n), "tokens"
    texts = list(map(str, score.predictions))
    if unit == _UNSPACED or (unit != "words" and not all(map(spaced, texts))):
        return _tidy(sum(map(words_and_characters, texts)) / score.n), _UNSPACED
    return _tidy(sum(len(text.split()) for text in texts) / score.n), "words"


def nats(logprobs: Iterable[float]) -> list[float]:
    """Return the NLL of logprobs as it is kept: two decimals, enough to see which token got worse."""
    return [round(-x, 2) + 0.0 for x in logprobs]


def _kept_answers(score: Score) -> tuple[str, ...]:
    if score.name in LIKELIHOODS:
        return ()
    kept: list[str] = []
    for text in map(str, score.predictions[:ANSWERS]):
        kept.append(text if len(text) <= ANSWER else f"{text[:ANSWER]}…")
        if sum(map(len, kept)) > CHARACTERS:
            return tuple(kept[:-1])
    return tuple(kept)


def _kept_tokens(score: Score) -> tuple[tuple[float, ...], ...]:
    kept: list[tuple[float, ...]] = []
    for row in score.token_logprobs:
        if sum(map(len, kept)) + len(row) > TOKENS or not all(map(math.isfinite, row)):
            break
        kept.append(tuple(map(_tidy, nats(row))))
    return tuple(kept) if any(kept) else ()


def _counted(score: Score) -> Sequence[float]:
    """Return the per-example values; one without weight (a text without a scored token) may be NaN, and is filled."""
    if not score.weights:
        return score.per_example
    return [x if w else float(score) for x, w in zip(score.per_example, score.weights, strict=False)]


def _tidy(x: float) -> float:
    """Round to `DIGITS` significant digits, whole numbers (counts) kept exactly and written without a point."""
    x = float(x)
    if x.is_integer() and abs(x) < 2**53:
        return int(x)
    return float(f"{x:.{DIGITS}g}")


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise ValueError(what)
