"""The engine for OpenAI-compatible services, against a real server with a real model: same answers, every failure."""

from __future__ import annotations

import math
import socket
import sys
import time

import pytest

from pytest_llm.engines import openai as module
from pytest_llm.engines import openai_connection
from pytest_llm.engines.openai import OpenAIEngine
from pytest_llm.errors import InvalidInputError, MissingExtraError, ModelNotFoundError, ServiceError
from pytest_llm.requests import Activations, Embed, FillMask, Generate, Logprobs, Loss, Score, Tokenize
from tests.engines.conftest import answers, first
from tests.engines.service import error

PROMPTS = ("The capital of France is", "Once upon a time", "def add(a, b):", "Water boils at", "2 + 2 =", "Naïve café:")
CHAT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of Italy?"})


@pytest.fixture
def engine(service):
    engine = OpenAIEngine("smol", service.url, timeout=600)
    yield engine
    engine.close()


def same(found, expected):
    """The answer of a service is the model's own; the ids of its tokens are made up, and it has no end token."""
    n = len(found["tokens"])
    assert found["text"] == expected["text"]
    assert found["finish_reason"] == expected["finish_reason"]
    assert n >= len(expected["tokens"]) - 1
    assert found["tokens"] == expected["tokens"][:n]
    for name in ("logprobs", "margins"):
        assert found[name] == pytest.approx(expected[name][:n], abs=2e-4)
    assert len(found["token_ids"]) == len(found["runner_ups"]) == n
    assert all(a != b for a, b in zip(found["token_ids"], found["runner_ups"], strict=True))


def test_completions_are_those_of_the_model(engine, smol):
    requests = [Generate(prompt, max_new_tokens=12) for prompt in PROMPTS]
    for found, expected in zip(answers(engine, requests), answers(smol, requests), strict=True):
        same(first(found), first(expected))
        assert found["environment"] == {"system_fingerprint": "fp_1"}


def test_chat_is_that_of_the_model(engine, smol):
    request = Generate(CHAT, max_new_tokens=24)
    (found,), (expected,) = answers(engine, [request]), answers(smol, [request])
    same(first(found), first(expected))


def test_equal_texts_have_equal_ids(engine):
    one, two = answers(engine, [Generate("a b c a b c a b", max_new_tokens=8), Generate("a b c a b", max_new_tokens=8)])
    ids = {}
    for sequence in (first(one), first(two)):
        for token, number in zip(sequence["tokens"], sequence["token_ids"], strict=True):
            assert ids.setdefault(token, number) == number
    assert len(set(ids.values())) == len(ids) > 1


def test_sampling_is_asked_for_as_said(engine, service, smol):
    request = Generate(
        PROMPTS[1], max_new_tokens=6, do_sample=True, temperature=0.8, top_p=0.9, top_k=40, num_return_sequences=3, seed=7,
        stop=("\n\n",),
    )  # fmt: skip
    (found,), (expected,) = answers(engine, [request]), answers(smol, [request])
    ((path, body),) = service.asked
    assert path == "/completions"
    del body["prompt"]
    assert body == {
        "model": "smol", "max_tokens": 6, "temperature": 0.8, "top_p": 0.9, "seed": 7, "n": 3, "stop": ["\n\n"],
        "logprobs": 2, "top_k": 40,
    }  # fmt: skip
    assert [one["text"] for one in found["sequences"]] == [one["text"] for one in expected["sequences"]]


def test_greedy_decoding_says_so_and_no_more(engine, service):
    answers(engine, [Generate("Hello", max_new_tokens=2), Generate(CHAT, max_new_tokens=2)])
    bodies = dict(service.asked)
    assert bodies["/completions"] == {
        "model": "smol", "prompt": "Hello", "max_tokens": 2, "temperature": 0.0, "logprobs": 2,
    }  # fmt: skip
    assert bodies["/chat/completions"] == {
        "model": "smol", "messages": list(CHAT), "max_tokens": 2, "temperature": 0.0, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip


def test_further_arguments_have_the_names_that_servers_know(engine, service):
    request = Generate(
        CHAT, max_new_tokens=4, min_new_tokens=2, repetition_penalty=1.1, do_sample=True, min_p=0.1, template={"x": 1}
    )
    answers(engine, [request])
    ((_, body),) = service.asked
    further = {"min_tokens": 2, "repetition_penalty": 1.1, "min_p": 0.1, "chat_template_kwargs": {"x": 1}}
    assert {name: body[name] for name in further} == further


def test_loss_logprobs_and_scores_are_those_of_the_model(engine, smol):
    texts = ("The quick brown fox jumps over the lazy dog.", "Zwölf Boxkämpfer jagen Viktor.", "x")
    requests = [Loss(text) for text in texts[:2]] + [Logprobs(text, top_k=3) for text in texts]
    requests += [Score("The capital of France is", (" Paris", " Berlin", " the moon"))]
    for request, found, expected in zip(requests, answers(engine, requests), answers(smol, requests), strict=True):
        if isinstance(request, Loss):
            assert found["token_logprobs"] == pytest.approx(expected["token_logprobs"], abs=2e-4)
            assert found["tokens"] == expected["tokens"]
        elif isinstance(request, Logprobs):
            for one, other in zip(found["positions"], expected["positions"], strict=True):
                assert one["token"] == other["token"]
                assert one["logprob"] == pytest.approx(other["logprob"], abs=2e-4)
                assert [(text, pytest.approx(p, abs=2e-4)) for _, text, p in other["top"]] == [
                    (text, p) for _, text, p in one["top"]
                ]
        else:
            for one, other in zip(found["scores"], expected["scores"], strict=True):
                assert one == {**other, "logprob": pytest.approx(other["logprob"], abs=1e-3)}
            assert [one["is_greedy"] for one in found["scores"]].count(True) == 1


def test_a_token_that_lies_on_both_sides_belongs_to_the_continuation(engine):
    (found,) = answers(engine, [Score("It is", ("n't",))])  # read as "It", " isn", "'t"
    assert found["scores"][0]["tokens"] == 2


@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_are_those_of_the_model(engine, smol, normalize):
    request = Embed("A sentence.", normalize=normalize)
    (found,), (expected,) = answers(engine, [request]), answers(smol, [request])
    assert found["vector"] == pytest.approx(expected["vector"], abs=1e-4)
    assert (math.dist(found["vector"], [0] * len(found["vector"])) == pytest.approx(1)) is normalize


def test_several_are_under_way_at_once_but_no_more_than_allowed(service):
    service.pause = 0.05
    service.before = lambda path, body: (200, {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})
    for size in (1, 3):
        service.most = 0
        with_limit = OpenAIEngine("smol", service.url, batch_size=size, timeout=600)
        answers(with_limit, [Generate(f"{size} {i}") for i in range(9)])
        with_limit.close()
        assert service.most == size
    assert OpenAIEngine("smol", service.url, batch_size=64, timeout=600)._in_flight == module.IN_FLIGHT


def test_a_service_without_logprobs_answers_without_evidence(engine, service):
    def refuse(path, body):
        return error(400, "logprobs is not supported by this model") if "logprobs" in body else None

    service.before = refuse
    for _ in range(2):
        (found,) = answers(engine, [Generate(CHAT, max_new_tokens=4)])
        assert first(found)["text"]
        assert first(found)["token_ids"] == first(found)["margins"] == []
    assert len(service.asked) == 3  # what it refuses is learnt once
    assert not {"logprobs", "top_logprobs"} & set(service.asked[-1][1])


def test_the_newer_name_of_the_length_is_learnt(engine, service):
    def refuse(path, body):
        if "max_tokens" in body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        body["max_tokens"] = body["max_completion_tokens"]
        return None

    service.before = refuse
    for _ in range(2):
        (found,) = answers(engine, [Generate(CHAT, max_new_tokens=3)])
    assert len(first(found)["tokens"]) == 3
    assert len(service.asked) == 3


def test_alternatives_that_are_missing_leave_margins_out(engine, service):
    content = [{"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    message = {"role": "assistant", "content": "Hi"}
    body = {"choices": [{"index": 0, "message": message, "logprobs": {"content": content}, "finish_reason": "stop"}]}
    service.before = lambda path, asked: (200, body)
    (found,) = answers(engine, [Generate(CHAT)])
    assert first(found)["logprobs"] == [-0.1]
    assert first(found)["runner_ups"] == first(found)["margins"] == []


@pytest.mark.parametrize("bad", [None, float("-inf")])
def test_a_logprob_that_is_no_number_leaves_the_evidence_out(engine, service, bad):
    logprobs = {"tokens": ["x", "y"], "token_logprobs": [-1.0, bad], "top_logprobs": None}
    body = {"choices": [{"index": 0, "text": "xy", "finish_reason": "stop", "logprobs": logprobs}]}
    service.before = lambda path, asked: (200, body)
    found = first(*answers(engine, [Generate("a")]))
    assert found["text"] == "xy"
    assert [found[name] for name in ("tokens", "token_ids", "logprobs", "margins")] == [[], [], [], []]


def test_a_logprob_that_is_nan_is_kept_for_the_check_that_names_it(engine, service):
    logprobs = {"tokens": ["x"], "token_logprobs": [float("nan")], "top_logprobs": [{"x": None, "y": -1.0}]}
    body = {"choices": [{"index": 0, "text": "x", "finish_reason": "stop", "logprobs": logprobs}]}
    service.before = lambda path, asked: (200, body)
    (kept,) = first(*answers(engine, [Generate("a")]))["logprobs"]
    assert math.isnan(kept)


@pytest.mark.parametrize("token", [{"bytes": 10**13}, {"logprob": -(10**400)}])
def test_a_token_that_no_service_has_is_said(engine, service, token):
    content = [{"token": "x", "bytes": None, "logprob": -1.0, "top_logprobs": [], **token}]
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": content}}
    service.before = lambda path, asked: (200, {"choices": [choice]})
    with pytest.raises(ServiceError, match="what it answered to generate cannot be read"):
        answers(engine, [Generate(CHAT)])


@pytest.mark.parametrize("request_", [Generate("a"), Generate(CHAT), Loss("a b"), Embed("a")])
@pytest.mark.parametrize(
    "said", [{"error": {"message": "model overloaded", "code": 529}}, {"error": "model overloaded"}]
)
def test_an_error_with_the_status_of_success_is_said(engine, service, monkeypatch, request_, said):
    monkeypatch.setattr(openai_connection, "RETRIES", 0)
    service.before = lambda path, asked: (200, said)
    with pytest.raises(ServiceError, match=r"openai:smol at [^ ]*: it failed while it answered: model overloaded"):
        answers(engine, [request_])


def test_a_page_in_place_of_an_answer_is_said(engine, service, monkeypatch):
    monkeypatch.setattr(service, "content_type", "text/html")
    service.before = lambda path, asked: (200, b"<html>Please sign in</html>")
    with pytest.raises(ServiceError, match="no choices, but <html>Please sign in</html>"):
        answers(engine, [Generate("a")])


def test_a_refusal_is_an_answer(engine, service):
    message = {"role": "assistant", "content": None, "refusal": "I cannot help."}
    service.before = lambda path, body: (
        200, {"choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]}
    )  # fmt: skip
    (found,) = answers(engine, [Generate(CHAT)])
    assert first(found)["text"] == "I cannot help."


SAMPLED = Generate("x", do_sample=True, seed=5, num_return_sequences=3)


def test_a_service_that_gives_one_answer_is_asked_again_with_other_seeds(engine, service):
    service.before = lambda path, body: (
        200, {"choices": [{"index": 0, "text": str(body["seed"]), "finish_reason": "stop"}]}
    )  # fmt: skip
    (found,) = answers(engine, [SAMPLED])
    assert [body["n"] for _, body in service.asked] == [3, 1, 1]
    seeds = [one["text"] for one in found["sequences"]]
    assert seeds[0] == "5"
    assert len(set(seeds)) == 3
    assert answers(engine, [SAMPLED]) == [found]


@pytest.mark.parametrize(("given", "total"), [([0], 0), ([1, 0], 1), ([1, 1, 0], 2), ([4], 4), ([1, 5], 6)])
def test_more_or_fewer_answers_than_asked_for(engine, service, given, total):
    counts = iter(given)
    service.before = lambda path, body: (
        200, {"choices": [{"index": i, "text": "x", "finish_reason": "stop"} for i in range(next(counts))]}
    )  # fmt: skip
    with pytest.raises(ServiceError, match=f"it gave {total} of 3 answers"):
        answers(engine, [SAMPLED])


def test_a_stop_string_that_a_service_leaves_in_is_cut(engine, service):
    service.before = lambda path, body: (
        200, {"choices": [{"index": 0, "text": "a, b. c", "finish_reason": "length"}]}
    )  # fmt: skip
    (found,) = answers(engine, [Generate("x", stop=(".", ","))])
    assert (first(found)["text"], first(found)["finish_reason"]) == ("a", "stop")
    (found,) = answers(engine, [Generate("x", stop=("!",))])
    assert (first(found)["text"], first(found)["finish_reason"]) == ("a, b. c", "length")


def test_what_was_answered_before_a_failure_is_kept(service):
    service.before = lambda path, body: error(400, "too long") if body["prompt"] == "bad" else None
    engine = OpenAIEngine("smol", service.url, batch_size=1, timeout=600)
    requests = [Generate(prompt, max_new_tokens=1) for prompt in ("one", "two", "bad", "three")]
    found = []
    with pytest.raises(
        InvalidInputError, match=r"openai:smol at http://.*: it refuses this generate request: .*too long"
    ):
        found.extend(index for index, _ in engine.answer(requests))
    engine.close()
    assert found == [0, 1]
    assert [body["prompt"] for _, body in service.asked][:3] == ["one", "two", "bad"]


def test_an_interrupt_waits_for_nobody(service):
    def slow(path, body):
        if body["prompt"] != "0":
            time.sleep(30)
        return 200, {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}

    service.before = slow
    running = OpenAIEngine("smol", service.url, timeout=600).answer([Generate(str(i)) for i in range(40)])
    assert next(running)[0] == 0
    start = time.monotonic()
    running.close()  # as Ctrl-C does in the middle of a loop over the answers
    assert time.monotonic() - start < 10
    assert len(service.asked) <= module.IN_FLIGHT + 1


@pytest.mark.parametrize(
    ("status", "kind", "what"),
    [
        (400, InvalidInputError, "it refuses this generate request: .*no .*way"),
        (422, InvalidInputError, "it refuses this generate request: .*no .*way"),
        (401, ServiceError, "it refuses the key in OPENAI_API_KEY: .*no .*way"),
        (403, ServiceError, "it refuses the key in OPENAI_API_KEY"),
        (404, InvalidInputError, "has the model, but no answer to generate: .*no .*way"),
        (429, ServiceError, "too many requests: .*no .*way; --llm-batch-size says how many"),
        (500, ServiceError, "Error code: 500 - no .*way"),
    ],
)
def test_what_a_service_refuses_is_said(engine, service, monkeypatch, status, kind, what):
    monkeypatch.setattr(openai_connection, "RETRIES", 0)
    service.before = lambda path, body: error(status, "no \x1b[31m way")
    with pytest.raises(kind, match=what) as raised:
        answers(engine, [Generate("x")])
    assert "\x1b" not in str(raised.value)


def test_what_may_pass_is_tried_again(engine, service):
    times = iter(range(9))
    service.before = lambda path, body: error(503, "busy") if next(times) < 2 else None
    (found,) = answers(engine, [Generate("x", max_new_tokens=1)])
    assert first(found)["tokens"]
    assert len(service.asked) == 3


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": null}', b"[]", b"[" * 100_000])
def test_what_cannot_be_read_is_said(engine, service, body):
    service.before = lambda path, asked: (200, body)
    for request in (Generate("x"), Generate(CHAT), Loss("x y"), Embed("x")):
        with pytest.raises(ServiceError, match=f"openai:smol at .*: what it answered to {request.kind} cannot be read"):
            answers(engine, [request])


@pytest.mark.parametrize("request_", [Generate("x"), Generate(CHAT)])
def test_a_choice_without_a_text_is_no_answer(engine, service, request_):
    service.before = lambda path, asked: (200, {"choices": [{"index": 0}]})
    with pytest.raises(ServiceError, match="what it answered to generate cannot be read"):
        answers(engine, [request_])


def test_no_service_there(monkeypatch):
    monkeypatch.setattr(openai_connection, "RETRIES", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        engine = OpenAIEngine("smol", f"http://127.0.0.1:{taken.getsockname()[1]}/v1", timeout=600)
        with pytest.raises(
            ServiceError, match=r"no connection \(.*refused.*\): is the service up, and is --llm-base-url"
        ):
            answers(engine, [Generate("x")])


def test_a_model_it_does_not_have(service):
    engine = OpenAIEngine("other", service.url, timeout=600)
    with pytest.raises(ModelNotFoundError, match="openai:other at .*: not found: .*does not exist.*; it offers smol"):
        answers(engine, [Generate("x")])
    with pytest.raises(ModelNotFoundError, match="it offers smol"):
        engine.check()
    OpenAIEngine("smol", service.url, timeout=600).check()
    engine.close()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("x y", []), ("", ["!"]), ("x ", ["x", " "]), ("x y!", ["x", "!"])],
)
def test_a_service_that_does_not_say_its_prompt_again(engine, service, text, tokens):
    logprobs = {"tokens": tokens, "token_logprobs": [-1.0] * len(tokens), "top_logprobs": None, "text_offset": []}
    service.before = lambda path, body: (
        200, {"choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": "length"}]}
    )  # fmt: skip
    with pytest.raises(
        InvalidInputError, match=r"gives no logprobs of a prompt, which loss\(\) needs: serve the model"
    ):
        answers(engine, [Loss("x y")])


def test_special_tokens_and_halves_of_characters_in_an_echo(engine, service):
    """vLLM lists the token that begins a text, and tokens that are half a character, which have no text of their own."""
    given = {"tokens": ["<s>", "h", "i", "!"], "token_logprobs": [None, -1.0, -2.0, -9.0], "top_logprobs": None}
    halves = {"tokens": ["h", "�", "�", "!"], "token_logprobs": [None, -1.0, -2.0, -9.0], "top_logprobs": None,
              "text_offset": [0, 1, 1, 2]}  # fmt: skip
    for text, logprobs in (("hi", {**given, "text_offset": [0, 0, 1, 2]}), ("hé", halves)):
        body = {"choices": [{"index": 0, "text": text + "!", "logprobs": logprobs, "finish_reason": "length"}]}
        service.before = lambda path, asked, body=body: (200, body)
        (found,) = answers(engine, [Loss(text)])
        assert found["token_logprobs"] == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("hi", ["h", "i", "<|endoftext|>"], [0, 1, 2]),  # vLLM, which adds lengths up
        ("hi", ["<s>", "h", "i", "</s>"], [0, 3, 4, 5]),
        ("hi", ["h", "i", "</s>"], [-1, -1, -1]),  # SGLang
        ("hi", ["h", "i", ""], [0, 1, 2]),  # the first half of a character
        ("h\u00e9", ["h", "\ufffd", "\ufffd", "</s>"], [0, 1, 1, 2]),
    ],
)
def test_the_end_token_after_an_echo_is_no_part_of_it(engine, service, text, tokens, offsets):
    given = [float(-i) if i else None for i in range(len(tokens))]
    logprobs = {"tokens": tokens, "token_logprobs": given, "top_logprobs": None, "text_offset": offsets}
    body = {"choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": "stop"}]}
    service.before = lambda path, asked: (200, body)
    (found,) = answers(engine, [Loss(text)])
    assert found["token_logprobs"] == given[1:-1]


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("h\u00e9!", ["h", "\ufffd", "\ufffd", "!", "?"], [0, 1, 2, 3, 4]),
        ("the cat is in", ["<s>", "the", "cat", "is", "in", "?"], [0, 3, 6, 9, 11, 13]),  # each without its space
    ],
)
def test_offsets_that_only_add_up_the_tokens_place_nothing(engine, service, text, tokens, offsets):
    given = [None, *[-1.0] * (len(tokens) - 1)]
    logprobs = {"tokens": tokens, "token_logprobs": given, "top_logprobs": None, "text_offset": offsets}
    body = {"choices": [{"index": 0, "text": text + "?", "logprobs": logprobs, "finish_reason": "length"}]}
    service.before = lambda path, asked: (200, body)
    with pytest.raises(InvalidInputError, match="gives no logprobs of a prompt"):
        answers(engine, [Loss(text)])


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Loss("the"), "'the' is a single token, which nothing before it predicts"),
        (Score("the", (" cat", "")), "the continuation '' has no token, or a first one that nothing"),
        (Score("", ("the cat",)), "the continuation 'the cat' has no token, or a first one that nothing"),
    ],
)
def test_what_nothing_predicts_has_no_score(engine, request_, what):
    with pytest.raises(InvalidInputError, match=what):
        answers(engine, [request_])


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Generate("x", num_beams=2), "OpenAI's API has no num_beams"),
        (Generate("x", no_repeat_ngram_size=3), "no no_repeat_ngram_size"),
        (Generate("x", options={"suppress_tokens": [1]}), "no options"),
        (Generate("x", add_special_tokens=False), "no add_special_tokens"),
        (Loss("x", source="y"), r"loss\(\) of a service takes no sources=, window= or stride="),
        (Loss("x", window=8), "takes no sources="),
        (Generate("x", tgt_lang="fr_XX"), "a service takes no src_lang= or tgt_lang=: name languages in the prompt"),
        (Score(CHAT, ("a",)), "a service scores no chat messages"),
        (Score("x", ("a",), {}, 5), r"score\(\) of a service takes no forced_bos_token_id="),
        (Embed("x", pooling="cls"), "pools as the service does"),
        (FillMask("x"), "cannot answer 'fill_mask': a service answers embed, generate, logprobs, loss, score"),
        (Activations("x"), "cannot answer 'activations'"),
        (Tokenize("x"), "cannot answer 'tokenize'"),
    ],
)
def test_what_a_service_cannot_do_is_said_before_it_is_asked(engine, service, request_, what):
    with pytest.raises(InvalidInputError, match=what):
        answers(engine, [Generate("fine"), request_])
    assert not service.asked


def test_the_key_goes_to_the_service_and_nowhere_else(engine, service, monkeypatch):
    answers(engine, [Generate("x", max_new_tokens=1)])
    assert service.headers[-1]["authorization"] == "Bearer none"
    engine.close()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    answers(engine, [Generate("y", max_new_tokens=1)])
    assert service.headers[-1]["authorization"] == "Bearer sk-secret"
    assert "secret" not in f"{engine}"
    choice = {"index": 0, "text": "x", "finish_reason": "stop", "logprobs": None}
    said = {"choices": [choice], "system_fingerprint": "fp sk-secret", "model": "served sk-secret"}
    service.before = lambda path, body: (200, said)
    (kept,) = answers(engine, [Generate("z")])
    assert kept["environment"] == {"system_fingerprint": "fp ***", "served_model": "served ***"}


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ServiceError, match="no key: set OPENAI_API_KEY, or --llm-base-url"):
        answers(OpenAIEngine("gpt", "https://api.openai.com/v1", timeout=600), [Generate("x")])


def test_the_extra_that_is_missing_is_named(service, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llm-regression\[openai\]'"):
        answers(OpenAIEngine("smol", service.url, timeout=600), [Generate("x")])
