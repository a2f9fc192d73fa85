"""Arguments that no model is asked with: each is refused by name before anything is computed."""

import enum

import numpy as np
import pytest
from pandas import DataFrame

from pytest_llm.argument_rules import as_prompt, generate_request
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
        (
            lambda llm: llm.chat([{"role": "user"}]),
            "a chat message is a dict with 'role' and 'content', not {'role': 'user'}",
        ),
        (lambda llm: llm.chat([{"role": "user", "content": None}]), "a chat message is .*, not {.*'content': None}"),
        (lambda llm: llm.chat([5]), "a prompt is text or a non-empty list of chat messages, not 5"),
        (lambda llm: llm.chat(["Hello", MESSAGE]), "a prompt is text or a non-empty list of chat messages, not {"),
        (lambda llm: llm.generate({"a": "x"}), "a prompt or a list of them is needed, not a dict$"),
        (lambda llm: llm.generate(MESSAGE), r"generate\(\): these are chat messages: ask with llm.chat\(...\)"),
        (lambda llm: llm.generate([MESSAGE]), "these are chat messages: ask with llm.chat"),
        (lambda llm: llm.generate([[MESSAGE]]), "these are chat messages: ask with llm.chat"),
        (lambda llm: llm.generate(one for one in ("x", [MESSAGE])), "these are chat messages: ask with llm.chat"),
        (lambda llm: llm.generate(["x", 5]), "text 1 is not a string but int: 5"),
        (lambda llm: llm.generate(b"abc"), "a prompt or a list of them is needed, not a bytes: decode them"),
        (lambda llm: llm.chat(DataFrame({"a": ["x"]})), "a conversation .*, not a DataFrame: give one of its columns"),
        (lambda llm: llm.loss({"a": "x"}), "a text or a list of them is needed, not a dict$"),
        (lambda llm: llm.loss("x", sources={"a": "x"}), "a source or a list of them is needed, not a dict"),
        (lambda llm: llm.loss(5), "a text or a list of them is needed, not 5"),
        (lambda llm: llm.loss(["x", b"y"]), "text 1 is not a string but bytes: b'y'"),
        (lambda llm: llm.tokenize(frozenset("x")), "a text or a list of them is needed, not a frozenset"),
        (lambda llm: llm.score("x", {"a", "b"}), "a continuation or a list of them is needed, not a set"),
        (lambda llm: llm.score("x", [1, 2]), "continuation 0 is not a string but int: 1"),
        (lambda llm: llm.score("x", "y"), r"score\(\) needs a list of continuations"),
        (lambda llm: llm.score("x", []), "the list of continuations is empty"),
        (lambda llm: llm.score("x", [["y"]]), r"continuation 0 is not a string but list: \['y'\]"),
        (lambda llm: llm.score(["x", "z"], ["y", "y"]), r"score\(\) needs a list of continuations for each prompt$"),
        (lambda llm: llm.score(["x", "z"], [["y"]]), "a list of continuations for each prompt: it got 1 for 2"),
        (lambda llm: llm.score(["x", MESSAGE], [["y"]] * 2), "a prompt is text or a non-empty list of chat messages"),
        (lambda llm: Distribution(llm, {"a": "x"}, 5, {}), "a text or a list of them is needed, not a dict"),
        (lambda llm: LayerStatesCheck(llm, {"a"}, None, 0.1), "a text or a list of them is needed, not a set"),
    ],
)
def test_what_is_no_list_of_questions(llm, ask, message):
    with pytest.raises(InvalidInputError, match=message):
        ask(llm)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda llm: llm.generate("x", stop=""), "stop strings must be non-empty text"),
        (lambda llm: llm.generate("x", stop=5), r"generate\(\): stop must be text, or a list of texts, not 5"),
        (lambda llm: llm.generate("x", stop=["a", 5]), r"stop must be text, or a list of texts, not \('a', 5\)"),
        (lambda llm: llm.generate("x", do_sample="no"), "do_sample must be True or False, not 'no'"),
        (lambda llm: llm.generate("x", add_special_tokens=0), "add_special_tokens must be True or False, not 0"),
        (
            lambda llm: llm.generate("x", early_stopping="yes"),
            "early_stopping must be True, False or 'never', not 'yes'",
        ),
        (lambda llm: llm.generate("x", temperature=True), "temperature must be a finite number, not True"),
        (lambda llm: llm.generate("x", max_new_tokens=2.0), "max_new_tokens must be an integer, not 2.0"),
        (lambda llm: llm.generate("x", typical_p=float("nan")), "options holds nan, which is no text, finite number"),
        (lambda llm: llm.generate("x", sequence_bias={(1,): 2.0}), r"options has the key \(1,\): the keys of a dict"),
        (lambda llm: llm.chat("x", template=5), r"chat\(\): template must be a dict, not 5"),
        (lambda llm: llm.chat("x", template=5, tools=[{}]), "template must be a dict, not 5"),
        (
            lambda llm: llm.chat("x", tools={"type": "function"}),
            r"chat\(\): tools must be a list of dicts, each as Open",
        ),
        (lambda llm: llm.chat("x", tools=[]), "tools must be a list of dicts, .*, not \\[\\]"),
        (
            lambda llm: llm.chat("x", tools=[len]),
            r"tools must be .* \(transformers.utils.get_json_schema makes one of a",
        ),
        (
            lambda llm: llm.chat("x", tools=[{}], template={"tools": []}),
            "tools are given twice, the other time in temp",
        ),
        (lambda llm: llm.chat("x", tool_choice="auto"), "tool_choice chooses of the tools: give them as tools="),
        (lambda llm: llm.chat("x", tools=[{}], tool_choice=1), "tool_choice must be text, or a dict that names a tool"),
        (
            lambda llm: llm.chat("x", response_format=dict),
            r"chat\(\): response_format must be a dict, not <class 'dict'>",
        ),
        (lambda llm: llm.chat("x", tols=[{}]), r"chat\(\) does not know the argument 'tols'; did you mean 'tools'\?"),
        (
            lambda llm: llm.generate("x", tools=[{}]),
            r"generate\(\) does not know .* 'tools', which is for a conversation",
        ),
        (
            lambda llm: llm.generate("x", response_format={}),
            r"'response_format', which is .*: ask with llm.chat\(...\)",
        ),
        (lambda llm: llm.chat("x", system=5), r"chat\(\): system must be text, not 5"),
        (lambda llm: llm.chat([{"role": "user", "content": {1}}]), r"prompt holds \{1\}, which is no text"),
        (lambda llm: llm.logprobs("x", top_k=-1), r"logprobs\(\): top_k cannot be negative \(-1\)"),
        (lambda llm: llm.logprobs("x", top_k=2.5), "top_k must be an integer, not 2.5"),
        (lambda llm: llm.fill_mask("x", top_k=-1), r"fill_mask\(\): top_k cannot be negative"),
        (lambda llm: llm.fill_mask("x", top_k=True), "top_k must be an integer, not True"),
        (lambda llm: llm.classify(["x", "y"], pairs="z"), r"classify\(\) needs one pair a text: it got 1 for 2"),
        (lambda llm: llm.classify(["x"], pairs=[None]), "pair 0 is not a string but NoneType"),
        (lambda llm: llm.answer("x?", contexts=["y", "z"]), r"answer\(\) needs one context a question: it got 2 for 1"),
        (lambda llm: llm.answer([5], contexts=["y"]), "question 0 is not a string but int: 5"),
        (lambda llm: llm.answer("x?", contexts=None), r"a context or a list of them is needed, not None"),
        (lambda llm: llm.answer("\n", contexts="y"), r"answer\(\): a question is empty"),
        (lambda llm: llm.answer("x?", contexts=" "), r"answer\(\): a context is empty, so there is nothing to answer"),
        (lambda llm: llm.answer("x?", contexts="y", max_answer_len=0), "max_answer_len must be at least 1"),
        (lambda llm: llm.answer("x?", contexts="y", max_answer_len=1.5), "max_answer_len must be an integer, not 1.5"),
        (lambda llm: llm.answer("x?", contexts="y", doc_stride=0), "doc_stride must be at least 1"),
        (
            lambda llm: llm.answer("x?", contexts="y", max_seq_len=100),
            "doc_stride=128, the tokens that two windows share, must be smaller than max_seq_len=100, the tokens of a",
        ),
        (
            lambda llm: llm.answer("x?", contexts="y", handle_impossible_answer=1),
            "handle_impossible_answer must be True or False, not 1",
        ),
        (lambda llm: llm.loss(["x", "y"], ids=["a"]), "loss: 2 examples but 1 id; give one id an example"),
        (lambda llm: llm.perplexity(["x", "y"], ids=["a", "a"]), "ids must be unique, and 'a' stands 2 times"),
        (lambda llm: llm.loss("x", window=-8), r"loss\(\): window cannot be negative \(-8\)"),
        (lambda llm: llm.loss("x", sources="y", tgt_lang=5), r"loss\(\): tgt_lang must be text, not 5"),
        (lambda llm: llm.loss("x", stride="8"), "stride must be an integer, not '8'"),
        (
            lambda llm: llm.embed("x", pooling="mean", normalize="no"),
            r"embed\(\): normalize must be True or False, not 'no'",
        ),
        (lambda llm: llm.tokenize("x", add_special_tokens="no"), "add_special_tokens must be True or False, not 'no'"),
        (lambda llm: llm.score([MESSAGE], ["y"], name=object()), r"template holds <object .*>, which is no text"),
        (lambda llm: llm.score("x", ["y"], forced_bos_token=5), r"score\(\): a .* no.* read forced_bos_token; did"),
        (
            lambda llm: llm.score("x", [" y"], target_lang="fr"),
            r"nothing would read target_lang; did you mean 'tgt_lang'",
        ),
        (lambda llm: llm.generate("x", template={"a": 1, "b": 2}), r"generate\(\): a .* nothing would read a, b$"),
        (lambda llm: llm.score([MESSAGE], ["y"], seed=1), r"score\(\): seed is for generate\(\); a further argument"),
    ],
)
def test_a_wrong_argument_is_named(llm, ask, message):
    with pytest.raises(InvalidInputError, match=message):
        ask(llm)


@pytest.mark.parametrize(
    ("ask", "where"),
    [
        (lambda llm, text: llm.generate(["x", text]), r"generate\(\): prompt"),
        (lambda llm, text: llm.generate("x", stop=text), r"generate\(\): stop"),
        (lambda llm, text: llm.chat(text), r"chat\(\): prompt"),
        (lambda llm, text: llm.loss("x", sources=text), r"loss\(\): source"),
        (lambda llm, text: llm.score("x", [text]), r"score\(\): continuations"),
        (lambda llm, text: llm.classify("x", pairs=text), r"classify\(\): pair"),
        (lambda llm, text: llm.answer("x", contexts=text), r"answer\(\): context"),
        (lambda llm, text: llm.tokenize(text), r"tokenize\(\): text"),
    ],
)
def test_half_a_surrogate_pair_is_no_text(llm, ask, where):
    with pytest.raises(
        InvalidInputError, match=where + r" holds '\\ud800', half of a surrogate pair.*decode the bytes"
    ):
        ask(llm, "a\ud800b")


def test_numbers_of_numpy_are_numbers():
    plain = generate_request("x", {"max_new_tokens": 3, "do_sample": True, "temperature": 0.5, "top_p": 1, "seed": 7})
    same = generate_request("x", {
        "max_new_tokens": np.int64(3), "do_sample": True, "temperature": np.float32(0.5), "top_p": np.int8(1),
        "seed": np.uint8(7),
    })  # fmt: skip
    assert same == plain
    assert same.digest == plain.digest
    assert [type(x) for x in (same.max_new_tokens, same.temperature, same.top_p)] == [int, float, float]
    with pytest.raises(InvalidInputError, match="max_new_tokens must be an integer, not np.float64"):
        generate_request("x", {"max_new_tokens": np.float64(2.0)})


class Word(str, enum.Enum):
    """Members whose ``str()`` is their name."""

    ROLE = "user"
    ASK = "Hello"
    KEY = "day"


def test_members_of_text_enums_are_their_texts():
    assert generate_request(as_prompt(Word.ASK), {}).prompt == "Hello"
    assert f"{generate_request(as_prompt(Word.ASK), {}).prompt}" == "Hello"
    given = {"template": {Word.KEY: [Word.ASK, (np.int64(3), np.float32(0.5))]}, "stop": [Word.ASK]}
    chat = generate_request(as_prompt([{"content": Word.ASK, "role": Word.ROLE}]), given)
    assert repr(chat.prompt) == repr(({"role": "user", "content": "Hello"},))
    assert repr(chat.template) == repr({"day": ["Hello", [3, 0.5]]})
    assert repr(chat.stop) == repr(("Hello",))


def test_a_request_is_its_own():
    message, template = {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"x": [1]}
    request = generate_request(as_prompt([message]), {"template": template})
    before = request.digest
    message["content"][0]["text"] = "b"
    template["x"].append(2)
    assert request.digest == before
