"""Tools and structured outputs: what a service is sent, what comes of its answers, and what a local model makes of them."""

from __future__ import annotations

import json

import pytest

from pytest_llm.argument_rules import as_prompt, generate_request
from pytest_llm.engines.openai import OpenAIEngine
from pytest_llm.errors import InvalidInputError, ServiceError
from tests.engines.conftest import answers, first

CHAT = ({"role": "user", "content": "What is the weather in Rome?"},)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": CITY}} for name in ("get_weather", "get_time")]
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": CITY}}
NAMED = {"type": "function", "function": {"name": "get_time"}}


@pytest.fixture
def engine(service):
    engine = OpenAIEngine("smol", service.url, timeout=600)
    yield engine
    engine.close()


def asked(engine, prompt=CHAT, **arguments):
    return first(*answers(engine, [generate_request(as_prompt(prompt), {"max_new_tokens": 8, **arguments})]))


def test_they_are_sent_as_they_are(engine, service):
    asked(engine, tools=TOOLS, tool_choice=NAMED, response_format=FORMAT, template={"enable_thinking": False})
    asked(engine, tools=tuple(TOOLS))
    asked(engine, response_format={"type": "json_object"})
    common = {"model": "smol", "messages": list(CHAT), "max_tokens": 8, "temperature": 0.0, "logprobs": True,
              "top_logprobs": 2}  # fmt: skip
    assert [body for _, body in service.asked] == [
        {**common, "tools": TOOLS, "tool_choice": NAMED, "response_format": FORMAT,
         "chat_template_kwargs": {"enable_thinking": False}},
        {**common, "tools": TOOLS},
        {**common, "response_format": {"type": "json_object"}},
    ]  # fmt: skip


def test_tools_are_one_request_whichever_way_they_are_given(engine, service):
    one, other = (generate_request(CHAT, given) for given in ({"tools": TOOLS}, {"template": {"tools": TOOLS}}))
    assert one.digest == other.digest
    assert one.to_json() == other.to_json()
    answers(engine, [other])
    assert service.asked[0][1]["tools"] == TOOLS


def test_they_are_part_of_the_request_where_they_are_given():
    plain = generate_request(CHAT, {"tools": None, "tool_choice": None, "response_format": None})
    assert not {"tools", "tool_choice", "response_format"} & plain.to_json().keys()
    assert plain.digest == generate_request(CHAT, {}).digest
    given = [{"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "required"}, {"response_format": FORMAT}]
    given += [
        {"response_format": dict(reversed(FORMAT.items()))}
    ]  # a service may answer in the order of a schema's keys
    assert len({generate_request(CHAT, one).digest for one in [{}, *given]}) == 5


def test_a_call_is_an_answer(engine, smol):
    text = asked(smol, tools=TOOLS)["text"]
    for choice, name in ((None, "get_weather"), ("required", "get_weather"), (NAMED, "get_time")):
        found = asked(engine, tools=TOOLS, tool_choice=choice, stop=["}"])  # which ends a text, not JSON
        assert json.loads(found["text"]) == {"tool_calls": [{"name": name, "arguments": {"text": text}}]}
        assert found["finish_reason"] == "tool_calls"
        assert len(found["tokens"]) == len(found["margins"]) > 0
    assert asked(engine, tools=TOOLS, tool_choice="none")["text"] == text


def calls(*functions, **message):
    made = [{"id": "1", "type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": None, "tool_calls": made, **message}


def call(arguments, name="f"):
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("message", "reason", "text", "end"),
    [
        (calls(call('{"b": 1, "a": "é"}')), "tool_calls", '{"tool_calls":[{"arguments":{"a":"é","b":1},"name":"f"}]}',
         "tool_calls"),
        (calls(call("{}"), call("{}", "g")), "stop",
         '{"tool_calls":[{"arguments":{},"name":"f"},{"arguments":{},"name":"g"}]}', "tool_calls"),
        (calls(call("{}"), content="Let me look."), "stop",
         '{"content":"Let me look.","tool_calls":[{"arguments":{},"name":"f"}]}', "tool_calls"),
        (calls(call("{}"), content=""), None, '{"tool_calls":[{"arguments":{},"name":"f"}]}', "tool_calls"),
        (calls(call({"a": 1})), "stop", '{"tool_calls":[{"arguments":{"a":1},"name":"f"}]}', "tool_calls"),
        (calls(call('{"a": "Ro')), "length", r'{"tool_calls":[{"arguments":"{\"a\": \"Ro","name":"f"}]}', "length"),
        (calls(call('{"a": 1, "a": 2}')), "stop",
         r'{"tool_calls":[{"arguments":"{\"a\": 1, \"a\": 2}","name":"f"}]}', "tool_calls"),
        (calls(call('{"a": NaN}')), "stop", r'{"tool_calls":[{"arguments":"{\"a\": NaN}","name":"f"}]}', "tool_calls"),
        (calls(call("[1e999]")), "stop", '{"tool_calls":[{"arguments":"[1e999]","name":"f"}]}', "tool_calls"),
        ({"content": None, "function_call": call("{}")}, "function_call",
         '{"tool_calls":[{"arguments":{},"name":"f"}]}', "tool_calls"),
        ({"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]}, "stop",
         '{"tool_calls":[{"input":"x","name":"f"}]}', "tool_calls"),
        ({"content": "It rains."}, "stop", "It rains.", "stop"),
    ],
)  # fmt: skip
def test_what_an_answer_is_when_tools_were_offered(engine, service, message, reason, text, end):
    body = {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    service.before = lambda path, asked: (200, body)
    found = asked(engine, tools=TOOLS)
    assert (found["text"], found["finish_reason"]) == (text, end)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"content": "Let me look."}, r"finish_reason tool_calls\): no tool is called in its message"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "a call of a tool that says no function: {'id': '1'"),
    ],
)
def test_a_call_that_is_none_is_said(engine, service, message, what):
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    service.before = lambda path, asked: (200, body)
    with pytest.raises(ServiceError, match=what):
        asked(engine, tools=TOOLS)


def test_what_a_called_tool_gave_goes_back(engine, service):
    """OpenAI's own form: the message that calls has no content."""
    called = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call("{}")}]}
    chat = [*CHAT, called, {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    service.before = lambda path, body: (
        200, {"choices": [{"index": 0, "message": {"content": "It is sunny."}, "finish_reason": "stop"}]}
    )  # fmt: skip
    assert asked(engine, chat, tools=TOOLS)["text"] == "It is sunny."
    assert service.asked[0][1]["messages"] == chat


def test_a_local_model_reads_tools_in_its_chat_template_and_has_no_format(smol):
    one, other = (answers(smol, [generate_request(CHAT, {"max_new_tokens": 4, **given})]) for given in (
        {"tools": TOOLS}, {"template": {"tools": TOOLS}}))  # fmt: skip
    assert one == other
    for given in ({"response_format": FORMAT}, {"tools": TOOLS, "tool_choice": "required"}):
        with pytest.raises(InvalidInputError, match="(response_format|tool_choice) is for a service, which holds its"):
            answers(smol, [generate_request(CHAT, given)])


@pytest.mark.parametrize("name", ["response_format", "tool_choice"])
def test_template_is_no_way_to_ask_a_service_for_them(engine, service, name):
    with pytest.raises(
        InvalidInputError, match=rf"template= is for the chat template: give chat\(\) {name}= by itself"
    ):
        asked(engine, template={name: FORMAT})
    assert not service.asked


def test_goldens_and_assertions_of_calls_and_of_structured_outputs(pytester, service, cache_dir):
    pytester.makeini(f"[pytest]\nllm_model = openai:smol\nllm_base_url = {service.url}\n")
    pytester.makepyfile(
        f"""
        from pytest_llm import assert_json

        TOOLS = {TOOLS}
        CALLS = {{"required": ["tool_calls"], "additionalProperties": False, "properties": {{
            "tool_calls": {{"items": {{"properties": {{"name": {{"enum": ["get_weather"]}}}}}}}}}}}}
        ANSWER = {{"type": "object", "properties": {{"answer": {{"type": "string"}}}}, "required": ["answer"]}}

        def test_call(llm, llm_snapshot):
            answer = llm.chat("What is the weather in Rome?", max_new_tokens=8, tools=TOOLS, tool_choice="required")
            assert_json(answer, CALLS)
            assert answer == llm_snapshot

        def test_format(llm, llm_snapshot):
            form = {{"type": "json_schema", "json_schema": {{"name": "answer", "schema": ANSWER}}}}
            answer = llm.chat("What is the capital of France?", max_new_tokens=8, response_format=form)
            assert_json(answer, ANSWER)
            assert answer == llm_snapshot
        """
    )
    run = pytester.runpytest_subprocess
    run("--llm-update=new").assert_outcomes(passed=2)
    golden = json.loads(next(pytester.path.rglob("test_call--1.json")).read_text())
    assert golden["output"]["finish_reason"] == "tool_calls"
    assert golden["request"]["tool_choice"] == "required"
    run().stdout.fnmatch_lines(["*2 answers: 2 from the store*", "goldens   2 identical"])
    run("--llm-cache=refresh").stdout.fnmatch_lines(["goldens   2 identical"])  # ids, which change, are left out
    written = {"content": "\n".join(golden["output"]["lines"])}
    plain = 200, {"choices": [{"index": 0, "message": written, "finish_reason": "stop"}]}
    service.before = lambda path, body: plain
    result = run("--llm-cache=refresh", "-k=test_call")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*drifted: the same words, as a tool call and as plain text"])
    service.before = lambda path, body: body.update(messages=[{"role": "user", "content": "Hello"}])
    result = run("--llm-cache=refresh")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["goldens   2 drifted"])
