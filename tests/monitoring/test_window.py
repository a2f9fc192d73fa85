"""What is read of a log: the shapes of the APIs, bad lines, packed files, encodings."""

import gzip
import json

import pytest

from pytest_llm.errors import InvalidInputError
from pytest_llm.monitoring import logs
from pytest_llm.monitoring.window import read

OPENAI = {
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "length", "stop_reason": None}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("output", {"output": "Hi", "finish_reason": "length", "tokens": 2}),
        ("output", {"output": "Hi", "finish_reason": "length", "usage": {"completion_tokens": 2}}),
        ("choices.0.message.content", OPENAI),
        ("response.body.choices.0.message.content", {"response": {"status_code": 200, "body": OPENAI}}),
        ("content.0.text", {"content": [{"text": "Hi"}], "stop_reason": "max_tokens", "usage": {"output_tokens": 2}}),
        (
            "candidates.0.content.parts.0.text",
            {
                "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "MAX_TOKENS"}],
                "usageMetadata": {"candidatesTokenCount": 2},
            },
        ),
        ("message.content", {"message": {"content": "Hi"}, "done_reason": "length", "eval_count": 2}),
        (
            "output.message.content.0.text",
            {
                "output": {"message": {"content": [{"text": "Hi"}]}},
                "stopReason": "max_tokens",
                "usage": {"outputTokens": 2},
            },
        ),
    ],
)
def test_why_an_output_ended_and_its_tokens_are_found_beside_it(write, field, row):
    window = read(write("now.jsonl", [row]), field=field)
    assert (window.texts, window.tokens) == (("Hi",), (2,))
    assert set(window.ended) <= set(logs.CUT)


def test_the_nearest_is_taken(write):
    choices = [{"text": "a", "finish_reason": "stop"}, {"text": "b", "finish_reason": "length"}]
    row = {"choices": choices, "finish_reason": "stop", "tokens": 9, "usage": {"output_tokens": [3]}}
    path = write("now.jsonl", [row, {"choices": choices}, {"choices": [{"text": "c"}] * 2}])
    window = read(path, field="choices.1.text")
    assert (window.ended, window.tokens) == (("length", "length", None), (9, None, None))
    assert read(path, field="choices.0.text").ended == ("stop", "stop", None)


def test_bad_lines_are_left_out_up_to_a_number(tmp_path):
    path = tmp_path / "now.jsonl"
    path.write_text('{"output": "a"}\n{"text": "b"}\n\n{"output": null}\n{"output": "c"}\n{"output": "cut of')
    window = read(path, skip_bad=2)
    assert window.texts == ("a", None, "c")
    assert window.told == ("a", "c")
    assert [line.split(":")[0] for line in window.left_out] == ["line 2 has no field 'output'", "line 6"]
    with pytest.raises(InvalidInputError, match=r"line 2 has no .*; line 6: .* \(--skip-bad=2 leaves out as many\)$"):
        read(path, skip_bad=1)
    with pytest.raises(InvalidInputError, match=r"3 outputs are too few"):
        read(path, skip_bad=2, minimum=4)


def test_a_line_that_no_output_is_as_long_as_is_not_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LONGEST", 1 << 20)
    path = tmp_path / "now.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"output": "x"}\n' + b" " * (2 << 20)))
    with pytest.raises(InvalidInputError, match=r"now\.jsonl\.gz:2: a line of more than 1 MB"):
        read(path)


def test_one_output_of_each_value_counts_whatever_it_says(write):
    rows = [{"output": f"{word} {i}", "chat": {"id": i // 5}} for word in "ab" for i in range(100)]
    path = write("now.jsonl", rows)
    window = read(path, one_per="chat.id")
    assert (len(window), window.related) == (20, 180)
    assert window.texts == read(path, one_per="chat.id").texts
    drawn = [int(text.split()[1]) for text in window.texts]
    assert sorted(i // 5 for i in drawn) == [*range(20)]
    assert len({i % 5 for i in drawn}) > 2, "not always the first"
    other = write("other.jsonl", [{**row, "output": row["output"].upper()} for row in rows])
    assert read(other, one_per="chat.id").texts == tuple(text.upper() for text in window.texts)
    write("now.jsonl", [*rows, {"output": "c"}])
    with pytest.raises(
        InvalidInputError, match=r"line 201 has no field 'chat\.id' \(--skip-bad=1 leaves out as many\)$"
    ):
        read(path, one_per="chat.id")
    with pytest.raises(InvalidInputError, match=r"20 outputs are too few .* \(of 200, one per chat\.id\)$"):
        read(path, one_per="chat.id", minimum=30, skip_bad=1)


def test_packed_files_and_other_encodings(tmp_path):
    text = "".join(json.dumps({"output": f"{i} é"}, ensure_ascii=False) + "\n" for i in range(500))
    path = tmp_path / "now.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode("utf-8")))
    assert len(read(path)) == 500
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidInputError, match=r"now\.jsonl\.gz: the outputs cannot be read: Compressed file ended"):
        read(path)
    path.write_bytes(text.encode("utf-8-sig"))
    assert read(path).texts[0] == "0 é"
    for encoding in ("utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding))
        with pytest.raises(InvalidInputError, match=f"the outputs are {encoding.upper()} by their byte order mark"):
            read(path)
