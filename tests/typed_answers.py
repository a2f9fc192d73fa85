"""What the types of `LanguageModel` say of its answers: mypy reads this file, nothing runs it."""

from typing_extensions import assert_type

from pytest_llm import Classification, Generation, LanguageModel, Span
from pytest_llm.results import Scores

CONVERSATION = [{"role": "user", "content": "Hi"}]


def generate(llm: LanguageModel) -> None:
    assert_type(llm.generate("a", max_new_tokens=8, stop="x"), Generation)
    assert_type(llm.generate(["a", "b"], max_new_tokens=8), list[Generation])
    assert_type(llm.generate("a", **{"max_new_tokens": 8, "stop": "x"}), Generation)
    _draws: list[Generation] = llm.generate("a", do_sample=True, num_return_sequences=3)
    _same: Generation = llm.generate("a", **{"max_new_tokens": 8})


def chat(llm: LanguageModel) -> None:
    assert_type(llm.chat("a", system="Be kind."), Generation)
    assert_type(llm.chat(CONVERSATION), Generation)
    assert_type(llm.chat(["a", "b"]), list[Generation])
    assert_type(llm.chat(["a", CONVERSATION], max_new_tokens=8), list[Generation])
    _draws: list[list[Generation]] = llm.chat(["a"], do_sample=True, num_return_sequences=3)


def score(llm: LanguageModel) -> None:
    assert_type(llm.score("a", ["b"]), Scores)
    assert_type(llm.score(CONVERSATION, ("b",)), Scores)
    assert_type(llm.score(["a", "b"], [["c"], ["d"]]), list[Scores])
    assert_type(llm.score([CONVERSATION], [["c"]]), list[Scores])


def classify(llm: LanguageModel) -> None:
    assert_type(llm.classify("a", pairs="b"), Classification)
    assert_type(llm.classify(["a", "b"]), list[Classification])


def answer(llm: LanguageModel) -> None:
    assert_type(llm.answer("a", contexts="b", max_answer_len=3), Span)
    assert_type(llm.answer(["a"], contexts=("b",), handle_impossible_answer=True), list[Span])
