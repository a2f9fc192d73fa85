"""What the heads of fine-tuned models say of texts: a label, what stands in them, the answer to a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from pytest_llm.argument_rules import beside, listed
from pytest_llm.asking import Asker
from pytest_llm.errors import measured
from pytest_llm.labels import Classification
from pytest_llm.requests import Classify, Extract, Request, Tag
from pytest_llm.results import Origin
from pytest_llm.spans import Span, spans

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer

__tracebackhide__ = measured


class Heads(Asker):
    """The methods of `pytest_llm.model.LanguageModel` that need a head of their own on the model."""

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
        items, given = beside("classify", "pair", texts, pairs)
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

    @overload
    def answer(  # type: ignore[overload-overlap]
        self, questions: str, *, contexts: str, max_answer_len: int = 15, handle_impossible_answer: bool = False,
        max_seq_len: int = 384, doc_stride: int = 128, align_to_words: bool = True,
    ) -> Span: ...  # fmt: skip
    @overload
    def answer(
        self, questions: Sequence[str], *, contexts: Sequence[str], max_answer_len: int = 15,
        handle_impossible_answer: bool = False, max_seq_len: int = 384, doc_stride: int = 128,
        align_to_words: bool = True,
    ) -> list[Span]: ...  # fmt: skip
    def answer(
        self,
        questions: Any,
        *,
        contexts: Any,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        max_seq_len: int = 384,
        doc_stride: int = 128,
        align_to_words: bool = True,
    ) -> Any:
        """Return the words of a text that answer a question about it, or of each text of a list its own question.

        Options have the names, and the answer is that, of the question-answering pipeline of transformers 4.

        Args:
            questions: one question or several.
            contexts: the text to each, in which its answer stands.
            max_answer_len: tokens that an answer has at most.
            handle_impossible_answer: there may be none, as in SQuAD 2.0: it is ``""`` then, with start and end 0.
            max_seq_len: tokens of question and context that are read at once, special ones too; at most those of the
                model's context. A context that is longer is read in windows.
            doc_stride: tokens of the context that a window shares with the next one; at most half a window where the
                model's context made it smaller.
            align_to_words: an answer begins and ends with a word of the tokenizer's. That may be a whole sentence where
                there are no spaces (Japanese by XLM-R): there give ``False``.

        Returns:
            A `Span` a question: the answer as a ``str``, with ``start`` and ``end`` in its context, and ``score``.
        """
        items, given = beside("answer", "context", questions, contexts)
        options = (max_answer_len, handle_impossible_answer, max_seq_len, doc_stride, align_to_words)
        requests = [Extract(question, context, *options) for question, context in zip(items, given, strict=True)]
        results = self._ask(requests, lambda answer, origin: Span(**answer["spans"][0], origin=origin))
        return results[0] if isinstance(questions, str) else results

    def _each(self, texts: Any, request: Callable[[str], Request], result: Callable[[Answer, Origin], Any]) -> Any:
        results = self._ask([request(text) for text in listed(texts, "text")], result)
        return results[0] if isinstance(texts, str) else results
