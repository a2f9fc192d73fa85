"""What models with a fine-tuned head answer: classifiers and token classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from pytest_llm.argument_rules import Texts, listed
from pytest_llm.asking import Asker
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.labels import Classification
from pytest_llm.requests import Classify, Request, Tag
from pytest_llm.results import Origin
from pytest_llm.spans import Span, spans

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer

__tracebackhide__ = measured


class Heads(Asker):
    """The methods of a `LanguageModel` that ask its head."""

    @overload
    def classify(self, texts: str, *, pairs: str | None = None) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: Sequence[str], *, pairs: Sequence[str] | None = None) -> list[Classification]: ...
    def classify(self, texts: Any, *, pairs: Any = None) -> Any:
        """Return the label that a classifier gives to a text, or to each of a list of texts.

        Args:
            texts: one text or several.
            pairs: for a classifier of pairs, the second text of each: the hypothesis to a premise, the passage to a
                question.

        Returns:
            A `Classification` a text: the label as a ``str``, with ``scores``, ``logits``, ``margin``.
        """
        items, given = self._beside("classify", "pair", texts, pairs)
        requests = [Classify(text, pair) for text, pair in zip(items, given, strict=True)]
        results = self._ask(requests, Classification.from_json)
        return results[0] if isinstance(texts, str) else results

    @overload
    def tag(  # type: ignore[overload-overlap]
        self, texts: str, *, aggregation_strategy: str = "simple", stride: int = 0
    ) -> list[Span]: ...
    @overload
    def tag(
        self, texts: Sequence[str], *, aggregation_strategy: str = "simple", stride: int = 0
    ) -> list[list[Span]]: ...
    def tag(self, texts: Any, *, aggregation_strategy: str = "simple", stride: int = 0) -> Any:
        """Return the spans that a token classifier finds in a text (named entities, parts of speech), in its order.

        Args:
            texts: one text or several.
            aggregation_strategy: how tokens are joined, as in the token-classification pipeline of transformers, whose
                code does it: ``simple`` joins neighbours by their B- and I- labels; ``first``, ``average`` and ``max``
                also give the tokens of a word one label; ``none`` returns tokens.
            stride: tokens that windows share, where a text is longer than the model's context; 0 takes no such text.

        Returns:
            A list of `Span` a text: the stretch as a ``str``, with ``start``, ``end``, ``label``, ``score``. What is
            labelled ``O`` is left out.
        """
        return self._each(texts, lambda t: Tag(t, aggregation_strategy, stride), spans)

    def _beside(self, method: str, what: str, texts: Texts, others: Texts | None) -> tuple[list[Any], list[Any]]:
        items = listed(texts, "text")
        given = [None] * len(items) if others is None else listed(others, what)
        if len(given) != len(items):
            raise InvalidInputError(f"{method}() needs one {what} a text: it got {len(given)} for {len(items)}")
        return items, given

    def _each(self, texts: Any, request: Callable[[str], Request], result: Callable[[Answer, Origin], Any]) -> Any:
        results = self._ask([request(text) for text in listed(texts, "text")], result)
        return results[0] if isinstance(texts, str) else results
