"""What stands between the tests and a service: the key, time, tries, proxies. The services here have no model."""

from __future__ import annotations

import datetime
import email.utils
import gzip
import itertools
import json
import os
import re
import socketserver
import threading
import time
from html import unescape

import pytest

from pytest_llm.engines import openai as module
from pytest_llm.engines import openai_connection, openai_failures
from pytest_llm.engines.openai import OpenAIEngine
from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError, ServiceError, UnavailableError
from pytest_llm.requests import Embed, Generate, Loss
from pytest_llm.weights.spec import service_spec
from tests.engines.conftest import answers, first
from tests.engines.service import Service, error

CHAT = ({"role": "user", "content": "Q"},)
KEY = "sk-SECRETKEY999"


def said(text, /, **fields):
    """A response of ``/chat/completions``."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **fields}
    return 200, {"choices": [choice], "model": "m1"}


@pytest.fixture
def service(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    service = Service(None, "m1")
    service.before = lambda path, body: said("Paris.")
    yield service
    service.close()


@pytest.fixture
def engine(service):
    engine = OpenAIEngine("m1", service.url, timeout=30)
    yield engine
    engine.close()


@pytest.fixture
def quick(monkeypatch):
    """Tries that follow each other at once."""
    monkeypatch.setattr(openai_failures, "PAUSE", 0.001)


@pytest.fixture
def suite(pytester, service, cache_dir):
    """A project whose model is behind the service."""
    pytester.makeini(f"[pytest]\nllm_model = openai:m1\nllm_base_url = {service.url}\n")
    pytester.makeconftest("from pytest_llm.engines import openai_failures\n\nopenai_failures.PAUSE = 0.001\n")

    def run(body, *arguments):
        pytester.makepyfile(body)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    return run


def test_space_around_the_key_is_no_part_of_it(engine, service, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    answers(engine, [Generate(CHAT)])
    assert service.headers[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-é", "sk-a\nb", "sk-\x7f"])
def test_a_key_that_is_none_is_refused_before_it_is_sent(engine, service, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ServiceError, match="OPENAI_API_KEY holds what no key has") as raised:
        answers(engine, [Generate(CHAT)])
    assert key not in str(raised.value)
    assert not service.asked


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_a_key_that_the_service_repeats_is_in_no_message(engine, service, monkeypatch, quick, status):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service.before = lambda path, body: error(status, f"Incorrect API key provided: Bearer {KEY}" + "x" * 430 + KEY)
    with pytest.raises(LLMError, match=r"Incorrect API key provided: Bearer \*\*\*") as raised:
        answers(engine, [Generate(CHAT)])
    assert "SECRET" not in str(raised.value)
    assert "sk-S" not in str(raised.value)  # cut in its middle by the length of a message


def test_a_key_that_the_service_repeats_is_in_no_file(suite, service, monkeypatch, cache_dir, pytester):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service.before = lambda path, body: error(401, f"Incorrect API key provided: {KEY}")
    files = ("--llm-record=r.json", "--llm-report=r.html", "--llm-markdown=r.md", "--junitxml=j.xml")
    result = suite('def test_k(llm): llm.chat("Q")', *files)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *Incorrect API key provided: [*][*][*]"])
    assert "SECRET" not in result.stdout.str() + result.stderr.str()
    written = [path for folder in (pytester.path, cache_dir) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not [path for path in written if b"SECRET" in path.read_bytes()]


def test_a_key_that_the_service_repeats_is_in_no_log(suite, service, monkeypatch):
    """Of an agent that catches everything and logs it, with the errors behind it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service.before = lambda path, body: error(400, f"header Bearer {KEY}")
    test = """
        import logging

        def test_agent(llm):
            try:
                llm.chat("Q")
            except Exception:
                logging.exception("failed")
            assert False
        """
    result = suite(test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["pytest_llm.errors.InvalidInputError: openai:m1 *: Error code: 400 - header Bearer [*]*"]
    )
    assert "SECRET" not in result.stdout.str()


def test_what_keeps_a_service_from_being_asked_is_no_failure_of_its_answers(suite, service, pytester):
    """As pytest-socket does, whose error is none of the client's; xfail expects a wrong answer, and there is none."""
    test = """
        import socket

        import pytest

        @pytest.mark.xfail(reason="the model is bad at this")
        def test_a(llm, monkeypatch):
            def blocked(*arguments, **options):
                raise RuntimeError("A test tried to use socket.getaddrinfo.")

            monkeypatch.setattr(socket, "getaddrinfo", blocked)
            assert llm.chat("Q") == "Hello"
        """
    result = suite(test)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *UnavailableError: openai:m1 at *: RuntimeError: A test tried to use socket*"])


@pytest.mark.parametrize("kept", [0, 60, -1])
def test_an_answer_that_breaks_off_is_a_lost_connection(service, quick, kept):
    """Of one without a Content-Length nothing else tells that it is not whole."""
    whole = json.dumps(said("Paris.")[1]).encode()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            head = iter(self.rfile.readline, b"\r\n")
            (length,) = (int(line.split()[1]) for line in head if line.lower().startswith(b"content-length"))
            self.rfile.read(length)
            asked.append(1)
            body = whole if len(asked) == 3 else whole[:kept]
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body)

    asked = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        engine = OpenAIEngine("m1", f"http://127.0.0.1:{server.server_address[1]}/v1", timeout=30)
        assert first(*answers(engine, [Generate(CHAT)]))["text"] == "Paris."
        asked += [1]
        with pytest.raises(UnavailableError, match=r"no connection \(its answer breaks off .*, after 5 more tries"):
            answers(engine, [Generate(CHAT)])
        engine.close()
        server.shutdown()


def test_an_answer_that_does_not_come_has_an_end_and_is_not_asked_for_again(engine, service):
    engine = OpenAIEngine("m1", service.url, timeout=0.3)
    service.before = lambda path, body: time.sleep(2) or said("late")
    start = time.monotonic()
    with pytest.raises(ServiceError, match=r"no answer within 0\.3 s \(--llm-timeout\)"):
        answers(engine, [Generate(CHAT)])
    assert time.monotonic() - start < 1.5
    assert len(service.asked) == 1


def test_the_limit_is_on_the_whole_answer_not_on_each_of_its_bytes(service):
    engine = OpenAIEngine("m1", service.url, timeout=0.4)
    service.trickle = 0.1
    start = time.monotonic()
    with pytest.raises(ServiceError, match=r"no answer within 0\.4 s \(--llm-timeout\)"):
        answers(engine, [Generate(CHAT)])
    assert time.monotonic() - start < 1.5
    engine.close()


def test_tries_end_with_the_time_that_a_request_has(service, monkeypatch):
    monkeypatch.setattr(openai_failures, "PAUSE", 0.2)
    service.before = lambda path, body: error(503, "busy")
    start = time.monotonic()
    with pytest.raises(ServiceError, match="busy"):
        answers(OpenAIEngine("m1", service.url, timeout=0.4), [Generate(CHAT)])
    assert time.monotonic() - start < 1.5
    assert len(service.asked) == 2  # a third try would come after 0.15 to 0.2 s and 0.3 to 0.4 s more


def test_long_silence_is_said_once(service, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    service.pause = 0.5
    told = []
    engine = OpenAIEngine("m1", service.url, timeout=30, tell=told.append)
    (found,) = answers(engine, [Generate(CHAT)])
    assert first(found)["text"] == "Paris."
    assert told == [
        f"pytest_llm: openai:m1 at {service.url} has answered nothing for 0.1 s; waiting up to 30 s (--llm-timeout)"
    ]
    engine.close()


def test_the_limit_is_an_option_and_the_wait_is_told(suite, service, pytester):
    service.before = lambda path, body: time.sleep(3)
    pytester.makeconftest("from pytest_llm.engines import openai\n\nopenai.PATIENCE = 0.3\n")
    result = suite('def test_k(llm): llm.chat("Q")', "--llm-timeout=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            f"pytest_llm: openai:m1 at {service.url} has answered nothing for 0.3 s; waiting up to 1 s (--llm-timeout)",
            "E *openai:m1 at *: no answer within 1 s (--llm-timeout)",
        ]
    )


def test_after_a_failure_that_all_would_meet_there_is_one_try_until_it_goes_well(engine, service, quick):
    service.before = lambda path, body: error(503, "busy")
    for asked in (6, 7, 8):
        with pytest.raises(UnavailableError, match="busy"):
            answers(engine, [Generate(CHAT)])
        assert len(service.asked) == asked
    service.before = lambda path, body: said("Paris.")
    answers(engine, [Generate(CHAT)])
    service.before = lambda path, body: error(503, "busy")
    with pytest.raises(UnavailableError, match="busy"):
        answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 9 + 6


def test_a_rate_limit_has_all_its_tries_for_a_minute(engine, service, quick, monkeypatch):
    service.before = lambda path, body: error(429, "slow down")
    for quiet, asked in ((60, 6), (60, 12), (0, 13)):
        monkeypatch.setattr(openai_connection, "QUIET", quiet)
        with pytest.raises(UnavailableError, match="slow down"):
            answers(engine, [Generate(CHAT)])
        assert len(service.asked) == asked


def test_a_list_ends_though_the_service_takes_fewer_at_once_than_are_asked(engine, service, quick):
    """Whoever is refused for good gives its question back, and asks no more: fewer are under way."""
    free = threading.Semaphore(2)

    def respond(path, body):
        if not free.acquire(blocking=False):
            return error(429, "slow down")
        time.sleep(0.05)
        free.release()
        return said("Paris.")

    service.before = respond
    requests = [Generate(({"role": "user", "content": f"Q {i}"},)) for i in range(40)]
    assert len(answers(engine, requests)) == 40
    service.before = lambda path, body: error(429, "never")
    with pytest.raises(UnavailableError, match="too many requests: .*never"):
        answers(engine, requests)


def test_a_service_that_was_silent_twice_is_left_alone_for_a_while(service, monkeypatch):
    engine = OpenAIEngine("m1", service.url, timeout=0.2)
    service.before = lambda path, body: time.sleep(1)
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
            answers(engine, [Generate(CHAT)])
    start = time.monotonic()
    with pytest.raises(
        UnavailableError,
        match=r"it did not answer \d+ s ago \(no answer within 0\.2 s .*\), and is left alone for a while",
    ):
        answers(engine, [Generate(CHAT)])
    assert time.monotonic() - start < 0.1
    assert len(service.asked) == 2
    monkeypatch.setattr(engine.connection, "_quiet_until", 0.0)
    service.before = lambda path, body: said("Paris.")
    answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 3


def test_a_question_that_takes_too_long_alone_does_not_stop_the_others(service):
    engine = OpenAIEngine("m1", service.url, timeout=0.5)
    service.before = lambda path, body: time.sleep(1 if body["max_tokens"] == 999 else 0) or said("Paris.")
    for _ in range(3):
        with pytest.raises(UnavailableError):
            answers(engine, [Generate(CHAT, max_new_tokens=999)])
        answers(engine, [Generate(CHAT)])


TESTS = """
    import pytest

    @pytest.mark.parametrize("n", range(8))
    def test_n(llm, llm_snapshot, n):
        assert llm.chat(f"Q {n}", max_new_tokens=8) == llm_snapshot
"""


def test_a_failure_that_no_question_is_at_fault_for_ends_prefetching(suite, service):
    suite(TESTS, "--llm-update=new").assert_outcomes(passed=8)
    service.reset()
    service.before = lambda path, body: error(503, "down")
    suite(TESTS, "--llm-revision=next").assert_outcomes(errors=8)
    assert len(service.asked) <= 8 * 6 + 8


def test_a_service_that_is_gone_costs_little(suite, service, pytester):
    suite(TESTS, "--llm-update=new").assert_outcomes(passed=8)
    service.close()
    start = time.monotonic()
    result = suite(TESTS, "--llm-revision=next", "-n", "2")
    result.assert_outcomes(errors=8)
    assert time.monotonic() - start < 60
    result.stdout.fnmatch_lines(
        ["E *it did not answer [0-9]* s ago ([[]Errno*refused*), and is left alone for a while"]
    )


def test_one_question_that_is_refused_is_the_only_one_that_is_not_prefetched(suite, service):
    suite(TESTS, "--llm-update=new").assert_outcomes(passed=8)
    service.before = lambda path, body: (
        error(400, "too long") if body["messages"][0]["content"] == "Q 3" else said("Paris.")
    )
    result = suite(TESTS, "--llm-revision=next")
    result.assert_outcomes(errors=1, passed=7)
    result.stdout.fnmatch_lines(["*7 answers: 0 from the store, 7 computed (7 ahead)*"])


TOOLS = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("message", "reason", "what"),
    [
        ({"content": None, **TOOLS}, "tool_calls", "finish_reason tool_calls.: it calls a tool, and none was offered"),
        ({"content": "", **TOOLS}, "stop", "finish_reason stop.: it calls a tool"),
        ({"content": "The order is on its way.", **TOOLS}, "stop", "finish_reason stop.: it calls a tool"),
        ({"content": "Let me look."}, "tool_calls", "finish_reason tool_calls.: it calls a tool"),
        ({"content": "", "function_call": {"name": "f", "arguments": "{}"}}, "stop", "it calls a tool"),
        ({"content": ""}, "content_filter", "finish_reason content_filter.: the service holds it back"),
        ({"content": None}, "content_filter", "finish_reason content_filter"),
        ({"content": ""}, "length", "finish_reason length.: it was cut while the model reasoned; raise max_new_tokens"),
        ({"content": None, "reasoning_content": "I think"}, "stop", "finish_reason stop., only reasoning"),
    ],
)
def test_what_is_no_answer_is_no_empty_text(engine, service, message, reason, what):
    service.before = lambda path, body: said("", message={"role": "assistant", **message}, finish_reason=reason)
    with pytest.raises(ServiceError, match="what it answered to generate cannot be read: no text.*" + what):
        answers(engine, [Generate(CHAT)])


FAILED = {"message": "Provider disconnected", "code": 502}
DISCONNECTED = "it failed while it answered (finish_reason error): Provider disconnected"


@pytest.mark.parametrize("call", ["chat", "generate"])
@pytest.mark.parametrize("text", ["", "The cap"])
@pytest.mark.parametrize(
    ("fields", "top", "what"),
    [
        ({"finish_reason": "error", "error": FAILED}, {}, DISCONNECTED),
        ({"finish_reason": "error"}, {}, "it failed while it answered (finish_reason error)"),
        ({"finish_reason": "abort"}, {}, "it failed while it answered (finish_reason abort)"),
        ({"error": FAILED}, {}, "it failed while it answered (finish_reason stop): Provider disconnected"),
        ({}, {"error": "overloaded"}, "it failed while it answered: overloaded"),
    ],
)
def test_a_failure_inside_an_answer_is_tried_again_as_any_other(engine, service, quick, call, text, fields, top, what):
    request = Generate(CHAT if call == "chat" else "Q")
    failed = {**said(text, text=text, **fields)[1], **top}
    times = itertools.count()
    service.before = lambda path, body: (200, failed) if next(times) < 2 else said("Paris.", text="Paris.")
    assert first(*answers(engine, [request]))["text"] == "Paris."
    assert len(service.asked) == 3
    service.before = lambda path, body: (200, failed)
    with pytest.raises(UnavailableError, match=re.escape(f"openai:m1 at {service.url}: {what}, after 5 more tries")):
        answers(engine, [request])


def test_a_failure_inside_an_answer_that_another_try_does_not_mend(engine, service):
    service.before = lambda path, body: said("", finish_reason="error", error={"message": "too long", "code": 400})
    with pytest.raises(ServiceError, match=r"it failed while it answered \(finish_reason error\): too long$"):
        answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 1


def test_a_failure_inside_an_answer_is_neither_stored_nor_a_golden(suite, service, pytester):
    test = 'def test_k(llm, llm_snapshot): assert llm.chat("Q") == llm_snapshot'
    service.before = lambda path, body: said("", finish_reason="error", error=FAILED)
    result = suite(test, "--llm-update=new")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *it failed while it answered (finish_reason error): Provider disconnected, *"])
    assert not list(pytester.path.rglob("test_k--1.json"))
    service.before = lambda path, body: said("Paris.")
    suite(test, "--llm-update=new").assert_outcomes(passed=1)
    (golden,) = pytester.path.rglob("test_k--1.json")
    assert "Paris." in golden.read_text()


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": [{"type": "text", "text": "Par"}, {"type": "text", "text": "is."}]}},
        {"message": {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris."}]}},
        {"message": {"content": "Paris."}},
    ],
)
def test_a_text_in_parts_and_one_answer_without_an_index_are_read(engine, service, choice):
    service.before = lambda path, body: (200, {"choices": [{"finish_reason": "stop", **choice}]})
    assert first(*answers(engine, [Generate(CHAT)]))["text"] == "Paris."


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        ({"finish_reason": "content_filter"}, r"no text \(finish_reason content_filter\): the service holds it back"),
        ({"finish_reason": "stop"}, r"an answer without a message \(finish_reason stop\)"),
        ({"message": {"content": [{"type": "thinking"}]}}, "no text in any part of its message"),
    ],
)
def test_an_answer_without_a_message_is_said(engine, service, choice, what):
    service.before = lambda path, body: (200, {"choices": [{"index": 0, **choice}]})
    with pytest.raises(ServiceError, match=f"what it answered to generate cannot be read: {what}$"):
        answers(engine, [Generate(CHAT)])


def vectors(*rows):
    return 200, {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]}


def test_an_embedding_in_base64_is_read(engine, service):
    service.before = lambda path, body: vectors("AACAPwAAAEAAAABA")
    (found,) = answers(engine, [Embed("x", normalize=False)])
    assert found["vector"] == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ((), "0 vectors in answer"),
        (([1.0], [1.0]), "2 vectors in answer"),
        (("AAAA",), "no row of float32"),
        (([1.0, float("nan")],), "an embedding with nan at place 1, which is no number of float32"),
        (([float("-inf"), 1.0],), "an embedding with -inf at place 0"),
        (([1.0, 1e300],), "an embedding with 1e.300 at place 1"),
    ],
)
def test_what_is_no_embedding_is_said(engine, service, rows, what):
    service.before = lambda path, body: vectors(*rows)
    with pytest.raises(ServiceError, match=f"what it answered to embed cannot be read: .*{what}"):
        answers(engine, [Embed("x")])


def test_vectors_of_several_lengths_cannot_be_measured(suite, service):
    service.before = lambda path, body: vectors([1.0] * len(body["input"][0]))
    result = suite("def test_k(llm): llm.embed(['abc', 'def', 'ab'])")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *embed(): text 0 has a vector of 3 numbers, and text 2 one of 2: openai:m1 *"])


def test_logprobs_of_a_completion_in_the_form_of_chats_are_read(engine, service):
    """As the server of llama.cpp gives them."""
    best = [{"token": "x", "logprob": -0.5, "bytes": [120]}, {"token": "y", "logprob": -1.0, "bytes": [121]}]
    content = [{**best[0], "top_logprobs": best}]
    service.before = lambda path, body: said("", text="x", logprobs={"content": content})
    found = first(*answers(engine, [Generate("Q")]))
    assert (found["tokens"], found["logprobs"], found["margins"]) == (["x"], [-0.5], [0.5])


def test_a_broken_compression_is_no_lost_connection(engine, service):
    service.headers_back = {"Content-Encoding": "gzip"}
    service.before = lambda path, body: (200, b"nonsense")
    with pytest.raises(ServiceError, match="what it answered to generate cannot be read: .*decompressing"):
        answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 1


@pytest.mark.parametrize("content", ["", None])
def test_an_answer_that_stops_at_once_is_an_empty_text(engine, service, content):
    """SGLang gives an empty text as null."""
    service.before = lambda path, body: said(content)
    assert first(*answers(engine, [Generate(CHAT)]))["text"] == ""


def test_how_an_answer_ended_is_in_its_golden_and_compared(suite, service, pytester):
    test = 'def test_k(llm, llm_snapshot): assert llm.chat("Q") == llm_snapshot'
    suite(test, "--llm-update=new").assert_outcomes(passed=1)
    (golden,) = pytester.path.rglob("test_k--1.json")
    assert '"finish_reason": "stop"' in golden.read_text()
    service.before = lambda path, body: said("Par", finish_reason="length")
    result = suite(test, "--llm-cache=refresh")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it did not end as the golden did: finish_reason stop → length"])


def test_an_answer_that_reads_as_its_golden_and_ended_otherwise_is_a_warning(suite, service, pytester):
    test = 'def test_k(llm, llm_snapshot): assert llm.chat("Q") == llm_snapshot'
    suite(test, "--llm-update=new").assert_outcomes(passed=1)
    service.before = lambda path, body: said("Paris.", finish_reason="content_filter")
    result = suite(test, "--llm-cache=refresh", "--llm-markdown=r.md")
    result.assert_outcomes(passed=1)
    note = "it did not end as the golden did: finish_reason stop → content_filter"
    result.stdout.fnmatch_lines([f"*identical   test_*::test_k (1): {note}", "next      1 candidate waits for you: *"])
    assert note in (pytester.path / "r.md").read_text()
    suite(test, "--llm-update=all").assert_outcomes(passed=1)
    (golden,) = pytester.path.rglob("test_k--1.json")
    assert '"finish_reason": "content_filter"' in golden.read_text()
    suite(test).stdout.no_fnmatch_line("*finish_reason*")


def test_answers_without_logprobs_are_probed_by_their_texts(suite, service):
    number = itertools.count()
    texts = {"fixed": lambda: "Paris.", "random": lambda: f"r{next(number)}", "empty": lambda: ""}
    service.before = lambda path, body: said(texts[body["messages"][0]["content"].split()[0]]())
    result = suite(
        """
        import pytest
        from pytest_llm import assert_deterministic

        @pytest.mark.parametrize("kind", ["fixed", "random", "empty"])
        def test_k(llm, kind):
            assert_deterministic(llm, [[{"role": "user", "content": f"{kind} {n}"}] for n in range(2)])
        """,
        "-rA",
        "-v",
    )
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "E *InvalidInputError: 2 prompts computed 2 times: every answer is empty, so nothing was compared",
            "E *AssertionError: 2 prompts computed 2 times are not deterministic: of 2 answers there are no logprobs, only "
            "texts, and 2 answers parted (0 at a tie)",
            "E *prompt 0, run 2: 'r[0-9]' → 'r[0-9]'",
        ]
    )


@pytest.fixture
def proxied(monkeypatch):
    """Set a variable of a proxy, with no other in the way."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("ALL_PROXY", "socks5://127.0.0.1:9", "SOCKS"), ("HTTP_PROXY", "foo://x:1", "proxy")],
)
def test_a_proxy_that_is_none_is_named(engine, proxied, variable, value, said):
    proxied(variable, value)
    with pytest.raises(
        UnavailableError, match=f"it cannot be asked: .*{said}.*; is what {variable} says the address of"
    ):
        answers(engine, [Generate(CHAT)])


def test_a_proxy_that_is_down_is_named_and_how_to_go_without(engine, service, proxied, quick):
    proxied("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(
        UnavailableError,
        match=r"no connection \(.*, after 5 more tries\) through the proxy in HTTP_PROXY: is the proxy up\? "
        r"NO_PROXY=127\.0\.0\.1 goes without it",
    ):
        answers(engine, [Generate(CHAT)])
    proxied("NO_PROXY", "127.0.0.1")
    answers(OpenAIEngine("m1", service.url, timeout=600), [Generate(CHAT)])


PAGE = b"<html><head><title>502 Bad\n Gateway</title></head><body>" + b"<p>x</p>" * 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (PAGE, "Error code: 502 - 502 Bad Gateway, after 5 more tries"),
        (b"<h1>Oh &amp; no</h1>", "Error code: 502 - Oh & no, after 5 more tries"),
        (b"upstream died", "Error code: 502 - upstream died, after"),
        (b'{"detail": "no GPU"}', "Error code: 502 - no GPU, after"),
        (b"", "Error code: 502, after"),
    ],
)
def test_what_a_gateway_says_is_said_shortly(engine, service, quick, body, said):
    service.before = lambda path, asked: (502, body)
    with pytest.raises(UnavailableError, match=f"openai:m1 at http://[^ ]*: {said}"):
        answers(engine, [Generate(CHAT)])


def test_a_quota_that_is_used_up_is_not_tried_again(engine, service):
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    service.before = lambda path, asked: (429, body)
    with pytest.raises(
        UnavailableError, match="what the key in OPENAI_API_KEY may spend is used up: .*exceeded"
    ) as raised:
        answers(engine, [Generate(CHAT)])
    assert "batch-size" not in str(raised.value)
    assert len(service.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_logprobs_are_left_out_whatever_the_status_of_their_refusal(engine, service, status):
    service.before = lambda path, body: (
        error(status, "You are not allowed to request logprobs") if "logprobs" in body else said("Paris.")
    )
    assert first(*answers(engine, [Generate(CHAT)]))["text"] == "Paris."
    assert len(service.asked) == 2
    with pytest.raises(InvalidInputError, match="it refuses this loss request: .* not allowed to request logprobs"):
        answers(engine, [Loss("a b")])


def test_a_refusal_of_logprobs_is_learnt_and_said_once(service):
    told = []
    engine = OpenAIEngine("m1", service.url, tell=told.append, timeout=600)
    service.before = lambda path, body: error(400, "no logprobs here") if "logprobs" in body else said("Paris.")
    answers(engine, [Generate(CHAT, max_new_tokens=n) for n in range(1, 9)])
    answers(engine, [Generate(CHAT)])
    assert "logprobs" not in service.asked[-1][1]
    assert told == [
        f"pytest_llm: openai:m1 at {service.url} refuses logprobs, so its goldens know no near-ties: "
        "Error code: 400 - no logprobs here"
    ]
    engine.close()


@pytest.mark.parametrize("status", [400, 422, 500])
def test_an_error_that_repeats_the_request_refuses_no_logprobs(service, quick, status):
    told = []
    engine = OpenAIEngine("m1", service.url, tell=told.append, timeout=600)
    service.before = lambda path, body: (
        error(status, f"max_tokens or max_completion_tokens is too large: {body}")
        if 999 in body.values()
        else said("Paris.")
    )
    with pytest.raises(LLMError, match="is too large"):
        answers(engine, [Generate(CHAT, max_new_tokens=999)])
    answers(engine, [Generate(CHAT)])
    assert (service.asked[-1][1]["logprobs"], service.asked[-1][1]["max_tokens"]) == (True, 64)
    assert told == []
    engine.close()


def test_a_model_with_a_temperature_of_its_own(engine, service):
    service.before = lambda path, body: (
        said("Paris.")
        if body["temperature"] == 1
        else error(400, "'temperature' does not support 0 with this model. Only the default (1) value is supported.")
    )
    with pytest.raises(
        InvalidInputError, match="temperature of its own, .*; ask with do_sample=True and temperature=1.0"
    ):
        answers(engine, [Generate(CHAT)])
    answers(engine, [Generate(CHAT, do_sample=True)])


@pytest.mark.parametrize(
    ("status", "text", "refused"),
    [
        (400, "Unsupported parameter: '{}' is not supported with this model.", ("temperature", "top_p")),  # o3-mini
        (400, "Unsupported parameter: '{}' is not supported with this model.", ("top_p",)),  # gpt-5
        (422, "Input validation error: `{}` must be > 0.0 and < 1.0", ("top_p",)),  # TGI
    ],
)
def test_what_leaves_sampling_as_it_is_may_be_refused(service, status, text, refused):
    def refuse(path, body):
        given = [name for name in refused if name in body]
        return error(status, text.format(given[0])) if given else said("Paris.")

    told, tries = [], len(refused)
    engine = OpenAIEngine("m1", service.url, timeout=30, tell=told.append)
    service.before = refuse
    for seed in (1, 2):
        answers(engine, [Generate(CHAT, do_sample=True, seed=seed)])
        assert len(service.asked) == tries + seed
    assert (service.asked[-1][1]["seed"], told) == (2, [])
    with pytest.raises(InvalidInputError, match="it refuses this generate request: .*top_p"):
        answers(engine, [Generate(CHAT, do_sample=True, top_p=0.9)])
    if "temperature" in refused:
        with pytest.raises(InvalidInputError, match="temperature of its own, .*; ask with do_sample=True and temp"):
            answers(engine, [Generate(CHAT)])
    engine.close()


def test_an_empty_text_has_no_loss(engine, service):
    with pytest.raises(InvalidInputError, match=r"loss\(\) of a service needs a text; this one is empty"):
        answers(engine, [Loss("")])
    assert not service.asked


def later(seconds):
    return email.utils.format_datetime(
        datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    )


@pytest.mark.parametrize("header", [lambda: "3600", lambda: later(3600)], ids=["seconds", "date"])
def test_a_service_that_wants_to_be_asked_later_than_there_is_time_is_not_asked_again(engine, service, header):
    service.headers_back = {"Retry-After": header()}
    service.before = lambda path, body: error(429, "slow down")
    with pytest.raises(UnavailableError, match=r"too many requests: .*slow down, to be asked again in 3[56]\d\d s; "):
        answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 1


def test_a_time_that_a_service_asks_for_is_given(engine, service, quick):
    service.headers_back = {"Retry-After": "0.3"}
    times = itertools.count()
    service.before = lambda path, body: error(429, "slow down") if next(times) < 1 else said("Paris.")
    start = time.monotonic()
    answers(engine, [Generate(CHAT)])
    assert time.monotonic() - start > 0.3


def test_tries_that_a_service_schedules_end_with_the_time_of_the_request(service, quick):
    service.headers_back = {"Retry-After": "0.02"}
    times = itertools.count()
    service.before = lambda path, body: error(429, "slow down") if next(times) < 9 else said("Paris.")
    answers(OpenAIEngine("m1", service.url, timeout=30), [Generate(CHAT)])
    assert len(service.asked) == 10
    service.before = lambda path, body: error(429, "slow down")
    with pytest.raises(UnavailableError, match="slow down, after|no answer within 1 s"):
        answers(OpenAIEngine("m1", service.url, timeout=1), [Generate(CHAT)])


def test_not_all_that_were_refused_together_come_again_together(engine, service):
    service.headers_back = {"Retry-After": "0.1"}
    waves = [[], []]

    def refuse(path, body):
        first_time = sum(one[1] == body for one in service.asked) == 1
        waves[not first_time].append(time.monotonic())
        return error(429, "slow down") if first_time else said("Paris.")

    service.before = refuse
    answers(engine, [Generate(CHAT, max_new_tokens=n) for n in range(1, 17)])
    spread = [max(wave) - min(wave) for wave in waves]
    assert spread[1] > spread[0] / 2 + 0.2  # half a second of chance
    assert min(waves[1]) - min(waves[0]) > 0.1


@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        ("m1", None), (None, None), ("m1-2025", "m1-2025"), ("org/m1", "org/m1"),
        ("/srv/m1.gguf", "m1.gguf"), ("C:\\models\\m1.gguf", "m1.gguf"),
    ],
)  # fmt: skip
def test_what_an_alias_stands_for_is_kept(engine, service, reported, kept):
    service.before = lambda path, body: (200, {**said("Paris.")[1], "model": reported})
    (found,) = answers(engine, [Generate(CHAT)])
    assert found.get("environment") == ({"served_model": kept} if kept else None)


def test_another_model_behind_an_alias_is_named_where_its_answer_drifts(suite, service):
    test = 'def test_k(llm, llm_snapshot): assert llm.chat("Q") == llm_snapshot'
    service.before = lambda path, body: (200, {**said("Paris.")[1], "model": "m1-2025"})
    suite(test, "--llm-update=new").assert_outcomes(passed=1)
    service.before = lambda path, body: (200, {**said("London.")[1], "model": "m1-2026"})
    result = suite(test, "--llm-cache=refresh")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*in another environment (served_model m1-2025 → m1-2026), *drifted*"])


def test_space_around_an_address_is_no_part_of_it():
    assert service_spec("openai:m1", None, " http://host/v1/ \n", None).base_url == "http://host/v1"


FORM = "the address of its service is of the form http://host:8000/v1, not "
MORE = "the address of its service (http://host) holds more than an address "


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("localhost:8000", FORM + "'localhost:8000'"),
        ("", FORM + "''"),  # a variable that CI does not set; OpenAI's own service is not asked in its place
        (" ", FORM + "''"),
        ("http://[::1/v1", FORM + "'http://[::1/v1'"),
        ("http://host:port/v1", FORM + "'http://host:port/v1'"),
        ("bob:hunter2@host/v1", FORM + "'***@host/v1'"),
        ("http://bob:hun/ter2@host/v1", FORM + "'***@host/v1'"),
        ("host/v1?key=hunter2", FORM + "'host/v1'"),
        ("http://bob:hunter2@host/v1", MORE + "(a user name or password): leave that out; a key goes into OPENAI_"),
        ("http://host/v1?key=hunter2#ter2", MORE + "(a query, from ? on, a fragment, from # on): leave that out; "),
    ],
)
def test_an_address_that_is_none_is_refused_and_no_password_is_shown(
    suite, service, pytester, monkeypatch, address, what
):
    def run(*arguments):
        result = suite(tests, "--junitxml=j.xml", "--llm-report=r.html", *arguments)
        assert "ter2" not in result.stdout.str() + result.stderr.str()
        assert not [path for path in pytester.path.glob("[jr].*ml") if "ter2" in path.read_text()]
        return result.stdout.str() + result.stderr.str()

    tests = "def test_k(llm): llm.chat('Q')"
    assert f"ERROR: --llm-base-url: {what}" in run(f"--llm-base-url={address}")
    monkeypatch.setenv("PYTEST_LLM_BASE_URL", address)
    assert f"ERROR: PYTEST_LLM_BASE_URL: {what}" in run() or not address
    monkeypatch.delenv("PYTEST_LLM_BASE_URL")
    tests = """
        import pathlib
        import pytest

        ADDRESS = pathlib.Path("address").read_text()

        @pytest.mark.llm(base_url=ADDRESS)
        def test_marked(llm): llm.chat("Q")

        def test_loaded(llm_loader): llm_loader("openai:m1", base_url=ADDRESS).chat("Q")
        """
    (pytester.path / "address").write_text(address)
    assert run().count(f"InvalidInputError: openai:m1: {what}") == 2
    assert len(service.asked) == (not address)  # an empty variable is one that is not set


@pytest.mark.parametrize("path", ["", "/v1/chat/completions"])
def test_an_address_without_its_v1_or_with_more_is_asked_about(service, path):
    service.before = lambda path, body: error(404, "Not Found")
    engine = OpenAIEngine("m1", service.url.removesuffix("/v1") + path, timeout=600)
    with pytest.raises(ModelNotFoundError, match="is --llm-base-url the address with the /v1, and nothing after it"):
        answers(engine, [Generate(CHAT)])


def test_a_redirect_is_named(engine, service):
    service.headers_back = {"Location": "/login"}
    service.before = lambda path, body: (301, {})
    with pytest.raises(LLMError, match=r"Not Found, from http://127\.0\.0\.1:\d+/login, where it was redirected to"):
        answers(engine, [Generate(CHAT)])


def test_a_redirect_to_another_service_is_not_followed(suite, service):
    other = Service(None, "m1")
    other.before = lambda path, body: said("Rome.")
    service.headers_back = {"Location": f"{other.url}/chat/completions"}
    service.before = lambda path, body: (307, {})
    result = suite("def test_a(llm): llm.chat('Q')")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*UnavailableError: openai:m1 at {service.url}: it sends the request on to {other.url}, *"]
    )
    other.close()
    assert (len(service.asked), other.asked) == (1, [])


def test_an_answer_that_unpacks_without_end_is_not_read_to_it(engine, service, monkeypatch):
    monkeypatch.setattr(openai_connection, "LARGEST", 1 << 20)
    service.headers_back = {"Content-Encoding": "gzip"}
    service.before = lambda path, body: (200, gzip.compress(b" " * (64 << 20), 1))
    with pytest.raises(ServiceError, match="its answer is larger than 1 MB, and is not read to its end"):
        answers(engine, [Generate(CHAT)])
    assert len(service.asked) == 1


def test_two_services_of_one_model_are_told_apart(suite, service, pytester):
    other = Service(None, "m1")
    other.before = lambda path, body: said("Rome.")
    test = f"""
        import pytest

        @pytest.mark.llm(base_url="{other.url}")
        def test_a(llm): llm.chat("Q")

        def test_b(llm): llm.chat("Q")
        """
    result = suite(test, "--llm-report=r.html", "--llm-markdown=r.md", "--llm-record=r.json")
    result.assert_outcomes(passed=2)
    other.close()
    hosts = [url.removeprefix("http://").removesuffix("/v1") for url in (other.url, service.url)]
    result.stdout.fnmatch_lines([f"model     openai:m1  service at {host}  1 answer: *" for host in hosts])
    markdown, page = ((pytester.path / name).read_text() for name in ("r.md", "r.html"))
    assert all(f"service at {host}" in unescape(markdown) for host in hosts)
    assert all(f"service at {host}" in page for host in hosts)
    assert sorted(
        use["service"] for use in json.loads((pytester.path / "r.json").read_text())["models"].values()
    ) == sorted(hosts)


def test_repeats_that_a_service_answers_alike_are_a_warning(suite, service):
    """Whether it samples cannot be seen: one draw that is counted five times has no interval."""
    test = """
        import pytest

        @pytest.mark.llm_repeat(5)
        def test_animal(llm):
            assert llm.chat("Name one.", do_sample=True)
        """
    result = suite(test)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["gates *  warn  *", "*the service gave 1 distinct answer of 5, each to another seed: it"]
    )
    assert len({body["seed"] for _, body in service.asked}) == 5
    service.before = lambda path, body: said("Cat." if body["seed"] else "Dog.")
    result = suite(test, "--llm-cache=refresh")
    result.assert_outcomes(passed=1)
    assert "distinct" not in result.stdout.str()


def test_workers_refresh_an_answer_once(suite, service):
    test = """
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_n(llm, n):
            assert llm.chat("Q") == llm.chat("Q")
        """
    service.pause = 0.3
    suite(test, "-n", "2").assert_outcomes(passed=8)
    assert len(service.asked) == 1
    for asked in (2, 3):
        suite(test, "-n", "2", "--llm-cache=refresh").assert_outcomes(passed=8)
        assert len(service.asked) == asked


@pytest.mark.parametrize("path", ["", "/without-a-list"])
def test_a_model_that_is_not_listed_is_asked_for_a_token(service, path):
    engine = OpenAIEngine("other", service.url + path, timeout=30)
    assert engine.check() is False
    service.before = lambda path, body: error(404, "no such model")
    with pytest.raises(ModelNotFoundError, match="openai:other at .*: not found"):
        engine.check()
    engine.close()


def keys(service):
    """What was asked, with the key that came along."""
    given = [one["authorization"].removeprefix("Bearer ") for one in service.headers]
    return sorted((body["messages"][0]["content"], key) for (_, body), key in zip(service.asked, given, strict=True))


def test_each_service_gets_the_key_that_was_named_for_it(suite, service, monkeypatch):
    other = Service(None, "m1")
    other.before = service.before
    monkeypatch.setenv("OPENAI_API_KEY", "agent")
    monkeypatch.setenv("JUDGE_KEY", "judge")
    tests = f"""
        import pytest

        @pytest.fixture
        def judge(llm_loader):
            return llm_loader("openai:m1", base_url="{other.url}", api_key_env="JUDGE_KEY")

        def test_loader(llm, judge):
            judge.chat("a")
            llm.chat("b")

        @pytest.mark.llm(base_url="{other.url}", api_key_env="JUDGE_KEY")
        def test_marker(llm):
            llm.chat("c")

        @pytest.mark.llm(api_key_env="JUDGE_KEY")
        class TestMarkers:
            @pytest.mark.llm(base_url="{other.url}")
            def test_the_nearest_address_has_no_key_beside_it(self, llm):
                llm.chat("d")
        """
    for asked_ahead in (False, True):
        service.reset(), other.reset()
        service.before = other.before = lambda path, body: said("Paris.")
        suite(tests, "--llm-cache=refresh").assert_outcomes(passed=3)
        assert keys(other) == [("a", "judge"), ("c", "judge"), ("d", "agent")], asked_ahead
        assert keys(service) == [("b", "agent")]
    suite(tests, "--llm-api-key-env=RUNS_KEY", "--llm-offline").assert_outcomes(passed=3)  # no part of an answer's key
    # A run's own address takes the run's own key, and none that was named for another.
    monkeypatch.setenv("RUNS_KEY", "run")
    service.reset(), other.reset()
    service.before = other.before = lambda path, body: said("Paris.")
    given = (f"--llm-base-url={service.url}", "--llm-api-key-env=RUNS_KEY", "--llm-cache=refresh")
    suite(tests, *given).assert_outcomes(passed=3)
    assert keys(other) == [("a", "judge")]
    assert keys(service) == [("b", "run"), ("c", "run"), ("d", "run")]
    monkeypatch.delenv("JUDGE_KEY")
    result = suite(tests, "-k", "test_marker", "--llm-cache=refresh")
    result.assert_outcomes(errors=1, deselected=2)
    result.stdout.fnmatch_lines(["E *openai:m1 at http:*: no key: set JUDGE_KEY"])
    other.close()


def test_a_key_that_a_fixture_sets_goes_to_nobody(suite, service, monkeypatch):
    tests = """
        import pytest

        @pytest.fixture(autouse=True)
        def key(monkeypatch):
            monkeypatch.setenv("OPENAI_API_KEY", "judge")

        def test_a(llm):
            llm.chat("a")
        """
    monkeypatch.setenv("OPENAI_API_KEY", "agent")
    result = suite(tests)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *OPENAI_API_KEY was changed after the tests began*api_key_env='NAME'"])
    monkeypatch.delenv("OPENAI_API_KEY")
    suite(tests).assert_outcomes(passed=1)
    assert keys(service) == [("a", "none")]


@pytest.mark.parametrize("given", ["sk-proj-SECRET", ""])
def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(suite, given):
    result = suite("def test_a(llm): llm.chat('Q')", f"--llm-api-key-env={given}")
    result.stderr.fnmatch_lines(["ERROR: --llm-api-key-env: api_key_env is the name of an environment variable *"])
    assert "SECRET" not in result.stdout.str() + result.stderr.str()


def test_another_model_under_test_is_asked_where_the_run_says(suite, service):
    tests = """
        import pytest

        @pytest.mark.llm(model="openai:m0", base_url="http://127.0.0.1:9/v1", api_key_env="NO_KEY")
        def test_marked(llm):
            llm.chat("a")

        def test_plain(llm):
            llm.chat("b")
        """
    result = suite(tests, "--llm-model=openai:m1")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["model     openai:m1  service at *  2 answers: *"])
    assert len(service.asked) == 2
