"""Arguments that no model is asked with: each is refused by name before anything is computed."""

import pytest

from pytest_llm.errors import InvalidInputError
from pytest_llm.golden.activations import LayerStatesCheck
from pytest_llm.golden.distribution import Distribution
from pytest_llm.model import LanguageModel
from pytest_llm.weights.spec import ModelSpec


@pytest.fixture
def llm():
    """A model that would fail if it were asked."""
    return LanguageModel(ModelSpec("nothing"), None)


MESSAGE = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda llm: llm.chat(MESSAGE), "a conversation .* is needed, not a dict: put one message in a list"),
        (lambda llm: llm.chat({"Hello", "Bye"}), "a conversation or a list of them is needed, not a set"),
        (lambda llm: llm.chat([]), "the list of conversations is empty"),
        (lambda llm: llm.chat([5]), "a prompt is text or a non-empty list of chat messages, not 5"),
        (lambda llm: llm.chat(["Hello", MESSAGE]), "a prompt is text or a non-empty list of chat messages, not {"),
        (lambda llm: llm.generate({"a": "x"}), "a prompt or a list of them is needed, not a dict$"),
        (lambda llm: llm.loss({"a": "x"}), "a text or a list of them is needed, not a dict$"),
        (lambda llm: llm.loss("x", sources={"a": "x"}), "a source or a list of them is needed, not a dict"),
        (lambda llm: llm.loss(5), "a text or a list of them is needed, not 5"),
        (lambda llm: llm.loss(["x", b"y"]), "text 1 is not a string but bytes: b'y'"),
        (lambda llm: llm.tokenize(frozenset("x")), "a text or a list of them is needed, not a frozenset"),
        (lambda llm: llm.score("x", {"a", "b"}), "a continuation or a list of them is needed, not a set"),
        (lambda llm: llm.score("x", [1, 2]), "continuation 0 is not a string but int: 1"),
        (lambda llm: llm.score("x", "y"), r"score\(\) needs a list of continuations"),
        (lambda llm: llm.score("x", []), "the list of continuations is empty"),
        (lambda llm: Distribution(llm, {"a": "x"}, 5, {}), "a text or a list of them is needed, not a dict"),
        (lambda llm: LayerStatesCheck(llm, {"a"}, None, 0.1), "a text or a list of them is needed, not a set"),
    ],
)
def test_what_is_no_list_of_questions(llm, ask, message):
    with pytest.raises(InvalidInputError, match=message):
        ask(llm)
