"""What every metric asks of its input, checked in one place."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.spelling import option, text, told
from pytest_llm.reports.text import UNSPACED, counted, shorten
from pytest_llm.results import joint_origin

__tracebackhide__ = measured

#: One text (a `Generation` is one), or one text an example.
Texts = str | Sequence[str]

#: One reference an example, or several of which the best counts; for a single text, its references.
References = str | Sequence[str | Sequence[str]]

#: What predictions and references may be: text only; any value but lists (several references have one); or anything.
Kind = Literal["text", "labels", "anything"]

#: Between several references of an example, where they are shown.
_OR = " | "

_UNSPACED = re.compile(f"[{UNSPACED}]")
#: Those of them that are alphabets (Thai, Lao, Tibetan, Burmese, Khmer): a word has five letters and signs or so.
_ALPHABETS = re.compile("[\u0e00-\u109f\u1780-\u17ff]")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Checked input: n predictions, each with one reference or more (none for a metric that needs none).

    ``predictions`` are plain texts to compute with; ``outputs`` are the same as they were given (a `Generation`
    remembers its tokens). ``request`` and ``origin`` say where they come from, as in `Score`.
    """

    predictions: tuple[Any, ...]
    references: tuple[tuple[Any, ...], ...]
    ids: tuple[str, ...]
    request: str
    origin: dict[str, Any]
    outputs: tuple[Any, ...]

    def check_references(self, metric: str, fine: Callable[[Any], bool], why: str) -> None:
        """Refuse references that ``metric`` cannot be measured with, saying ``why``.

        Raises:
            InvalidInputError: naming the examples whose reference, or one of several, is not ``fine``.
        """
        wrong = [(id, one) for id, some in zip(self.ids, self.references, strict=True) for one in some if not fine(one)]
        if wrong:
            named = ", ".join(f"[{id}] {shorten(repr(one), 40)}" for id, one in wrong[:3]) + (
                ", ..." if wrong[3:] else ""
            )
            raise InvalidInputError(f"{metric}: {counted(len(wrong), 'reference')} ({named}) {why}")

    def score(self, value: float | None = None, *, name: str, per_example: Sequence[float], **fields: Any) -> Score:
        """Return a `Score` of these examples; without ``value`` it is the mean of ``per_example``."""
        shown = [list(map(text, some)) for some in self.references]
        gold = [[told(one, self.origin.get("model")) for one in some] for some in self.references]
        plain = gold == shown and all(len(some) == 1 and _OR not in some[0] for some in shown)
        fields = {"references": list(map(_OR.join, shown)), "gold": () if plain else gold} | fields
        return Score(
            mean(per_example) if value is None else value,
            name=name,
            n=len(self.predictions),
            per_example=per_example,
            ids=self.ids,
            predictions=[one if isinstance(one, str) else text(one) for one in self.outputs],
            request=self.request,
            origin=self.origin,
            **fields,
        )


def spaced(text: str) -> bool:
    """Whether spaces part the words of ``text``: not in Chinese or Thai, unless somebody split it into short words."""
    letters = len(_UNSPACED.findall(text))
    if letters < 2 or 2 * letters < sum(map(str.isalnum, text)):
        return True
    words = sum(bool(_UNSPACED.search(word)) for word in text.split())
    return words > 1 and letters <= (6 if _ALPHABETS.search(text) else 4) * words


def words_and_characters(text: str) -> int:
    """Return how many words ``text`` has, where each letter of a script without spaces between words is one."""
    return len(_UNSPACED.sub(" x ", text).split())


def configured(name: str, options: Mapping[str, Any]) -> str:
    """Return the signature of the metric ``name`` with ``options``; ``""`` without any: its name says it all."""
    return "|".join((name, *(f"{key}:{option(options[key])}" for key in sorted(options)))) if options else ""


def missing(value: Any) -> bool:
    """Whether ``value`` stands for none: ``None``, NaN or ``pandas.NA``, which is not even unequal to itself."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def mean(values: Sequence[float]) -> float:
    """Return the mean, summed without rounding error: nine of ten is 0.9 in whatever order.

    It is infinite where the sum is more than a float holds, and no verdict is made of it.
    """
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.inf


def read(
    metric: str, predictions: Any, references: Any, ids: Iterable[Any] | None = None, *, kind: Kind = "text"
) -> Examples:
    """Check the input of ``metric``.

    Args:
        metric: its name, for messages.
        predictions: one text, or one text an example.
        references: one reference an example or a list of them; for one text, its references.
        ids: unique names of the examples; by default "0", "1", ...
        kind: what predictions and references may be.

    Raises:
        InvalidInputError: nothing to measure, unequal lengths, something that is not text, an example
            without a reference, ids that are not unique.
    """
    if references is None:
        raise InvalidInputError(f"{metric}: it needs references to compare the predictions with")
    examples = read_outputs(metric, predictions, ids, kind=kind)
    if isinstance(predictions, str):
        references = [references]
    return dataclasses.replace(examples, references=_references(metric, len(examples.ids), references, kind))


def read_outputs(metric: str, predictions: Any, ids: Iterable[Any] | None = None, *, kind: Kind = "text") -> Examples:
    """Check the input of a ``metric`` without references; otherwise as `read`."""
    if isinstance(predictions, str):  # one answer, as llm.generate("...") gives
        predictions = [predictions]
    given = predictions
    predictions = listed(metric, "predictions", given)
    if not predictions:
        raise InvalidInputError(f"{metric}: there are no predictions, so there is nothing to measure")
    for i, prediction in enumerate(predictions):
        _check_one(metric, f"prediction {i}", prediction, kind)
    request, origin = joint_origin(predictions)
    if not request:  # vectors have one origin
        request, origin = joint_origin([given])
    values = tuple(map(plain, predictions))
    return Examples(values, (), read_ids(metric, len(values), ids), request, origin, tuple(predictions))


def plain(value: Any) -> Any:
    """Return a text as a `str` alone, whatever its class; any other value as it is."""
    return str.__str__(value) if isinstance(value, str) else value  # str() of an enum is its name


def read_ids(metric: str, n: int, ids: Iterable[Any] | None) -> tuple[str, ...]:
    """Return the ids as text, one for each of ``n`` examples."""
    names = tuple(map(str, range(n) if ids is None else listed(metric, "ids", ids)))
    if len(names) != n:
        raise InvalidInputError(
            f"{metric}: {counted(n, 'example')} but {counted(len(names), 'id')}; give one id an example"
        )
    if len(set(names)) < n:
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"{metric}: ids must be unique, and {twice!r} stands {names.count(twice)} times")
    return names


def listed(metric: str, what: str, values: Any, need: str = "a list with one entry an example") -> list[Any]:
    """Return ``values`` as a list; arrays and tensors give plain Python values.

    Raises:
        InvalidInputError: they are none: ``what`` must be ``need``.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if hasattr(values, "columns"):  # whose iteration gives their names
        raise InvalidInputError(f"{metric}: {what} must be a list, not {_kind(values)}: give one of its columns")
    if isinstance(values, (str, bytes, dict, set, frozenset)) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{metric}: {what} must be {need}, not {_kind(values)}")
    return list(values)


def _references(metric: str, n: int, references: Any, kind: Kind) -> tuple[tuple[Any, ...], ...]:
    references = listed(metric, "references", references)
    if len(references) != n:
        hint = "give one reference, or one list of references, an example"
        if references and all(isinstance(r, (list, tuple)) and len(r) == n for r in references):
            hint = "these look like sacrebleu's transposed lists: " + hint
        raise InvalidInputError(f"{metric}: {n} predictions but {len(references)} references; {hint}")
    kept: list[tuple[Any, ...]] = []
    for i, some in enumerate(references):
        several = tuple(some) if isinstance(some, (list, tuple)) else (some,)
        if not several and kind != "anything":
            raise InvalidInputError(
                f'{metric}: example {i} has an empty list of references; where no answer is right, give ""'
            )
        for reference in several:
            if isinstance(reference, (list, tuple)) and kind != "anything":
                raise InvalidInputError(
                    f"{metric}: a reference of example {i} is a list of {len(reference)}, one list too many: one text "
                    'has a reference, "a", or a list of them, ["a", "b"]; several texts have a list of such'
                )
            _check_one(metric, f"reference {i}", reference, kind)
        kept.append(several)
    return tuple(kept)


def _check_one(metric: str, what: str, value: Any, kind: Kind) -> None:
    if isinstance(value, (list, tuple)) and kind != "anything":
        raise InvalidInputError(
            f"{metric}: {what} is a list of {len(value)}; when a model returned several sequences a prompt, choose "
            "one of each, for example [answers[0] for answers in outputs]"
        )
    if kind == "text" and not isinstance(value, str):
        raise InvalidInputError(f"{metric}: {what} is {_kind(value)}, not text")


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
