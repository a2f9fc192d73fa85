"""``pytest-llm monitor``: two files in, a table and an exit code out."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from importlib import resources

import jsonschema
import numpy as np
import pytest
from scipy.stats import binomtest

from pytest_llm.errors import InvalidInputError
from pytest_llm.monitoring import checks, wording
from pytest_llm.monitoring.panel import compare
from pytest_llm.monitoring.window import Window
from tests.conftest import COMMAND, MINILM
from tests.monitoring.conftest import Writer
from tests.reports.conftest import HOSTILE

SCHEMA = json.loads(resources.files("pytest_llm.monitoring").joinpath("monitor-report.schema.json").read_text("utf-8"))


def good(n, seed):
    writer = Writer(seed)
    return [writer.good() for _ in range(n)]


def bad(n, seed):
    writer = Writer(seed)
    return [writer.bad() for _ in range(n)]


def test_no_drift(monitor, write, reference):
    code, out, err = monitor(write("now.jsonl", good(250, "now")), f"--reference={reference}")
    assert (code, err) == (0, "")
    assert out == NO_DRIFT


def test_drift_is_named_and_shown(monitor, write, reference, tmp_path):
    code, out, _ = monitor(write("now.jsonl", bad(250, "now")), f"--reference={reference}", "--json=out.json")
    assert code == 1
    assert out == DRIFT
    data = json.loads((tmp_path / "out.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert data["drift"] is True
    assert {check["name"]: check["status"] for check in data["checks"]} == {
        "characters": "drift", "empty": "drift", "refusals": "drift", "ends midway": "drift", "repetition": "drift",
        "language": "drift", "vocabulary": "drift",
    }  # fmt: skip


def test_where_the_output_is_ascii_an_arrow_is_too(write, reference):
    now = write("now.jsonl", bad(250, "now"))
    command = [COMMAND, "monitor", str(now), f"--reference={reference}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (1, "")
    assert "language: fr 0.0% -> 8.8%" in done.stdout
    assert "\\u" not in done.stdout


def test_the_same_figures_every_time(monitor, write, reference):
    now = write("now.jsonl", bad(100, 5))
    first, again = (monitor(now, f"--reference={reference}", f"--json={name}") for name in ("a.json", "b.json"))
    assert first == again
    assert (now.parent / "a.json").read_bytes() == (now.parent / "b.json").read_bytes()


def test_small_windows_do_not_alarm(monitor, write, reference):
    # Thirty outputs are far from three hundred by a PSI alone, whatever they are.
    code, _, _ = monitor(write("now.jsonl", good(30, 9)), f"--reference={reference}", "--json=out.json")
    length = json.loads((reference.parent / "out.json").read_text("utf-8"))["checks"][0]
    assert length["statistic"] > 0.1
    assert (code, length["status"]) == (0, "none")


def test_false_alarms_are_as_rare_as_alpha_says():
    alarms, random = 0, np.random.default_rng(0)
    for i in range(60):
        texts = tuple(good(120, f"null {i}"))
        ended = tuple(random.choice(["stop", "length", "content_filter"], 120, p=[0.8, 0.1, 0.1]))
        windows = Window("a", texts[:70], ended=ended[:70]), Window("b", texts[70:], ended=ended[70:])
        alarms += bool(compare(*windows, alpha=0.1).drifted)
    assert binomtest(alarms, 60, 0.1, alternative="greater").pvalue > 0.001


def test_segments_show_a_group_that_fares_worse(monitor, write):
    writer = Writer(3)
    markets = ["uk", "us", "fr"]
    then = [{"text": writer.good(), "meta": {"market": markets[i % 3]}} for i in range(360)]
    now = [
        {"text": writer.bad() if i % 3 == 2 else writer.good(), "meta": {"market": markets[i % 3]}} for i in range(360)
    ]
    now += [{"text": writer.good(), "meta": {"market": "<new>"}} for _ in range(4)]
    code, out, _ = monitor(
        write("now.jsonl", now), f"--reference={write('then.jsonl', then)}", "--field=text", "--by=meta.market",
        "--json=out.json",
    )  # fmt: skip
    assert code == 1
    checks = json.loads((write("x", []).parent / "out.json").read_text("utf-8"))["checks"]
    drifted = {(check["name"], check["segment"]) for check in checks if check["status"] == "drift"}
    assert ("refusals", "fr") in drifted
    assert not {segment for _, segment in drifted} & {"uk", "us"}
    assert [c["status"] for c in checks if c["name"] == "meta.market"] == ["none"]
    assert "note: meta.market compared by their share only, for few outputs or many values:" in out
    assert "<new> (0 and 4)" in out


def test_outputs_of_one_conversation_count_as_one(monitor, write, tmp_path):
    def week(seed):  # of 60 conversations, each about one place
        said = good(60, seed)
        return [{"output": text, "chat": i} for i, text in enumerate(said) for _ in range(5)]

    then, now = write("then.jsonl", week(1)), write("now.jsonl", week(2))
    assert monitor(now, f"--reference={then}")[0] == 1
    code, out, _ = monitor(now, f"--reference={then}", "--one-per=chat", "--json=out.json", "--html=out.html")
    assert code == 0
    note = "left out of the current window, 240 of 300 outputs: one per chat counts"
    assert f"note: {note}" in out
    assert note in (tmp_path / "out.html").read_text("utf-8")
    data = json.loads((tmp_path / "out.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    assert (data["one_per"], data["current"]["outputs"], data["current"]["related"]) == ("chat", 60, 240)


def test_by_language_of_the_output(monitor, write, reference):
    code, out, _ = monitor(write("now.jsonl", good(250, 4)), f"--reference={reference}", "--by=language")
    assert code == 0
    assert "and 5 checks of single segments without drift" in out


def test_a_field_called_language_is_preferred(monitor, write, tmp_path):
    rows = [{"output": text, "language": ["xx", "yy"][i % 2]} for i, text in enumerate(good(80, 2))]
    now = write("now.jsonl", rows)
    then = tmp_path / "then.jsonl"
    then.write_text("\n" + now.read_text("utf-8"), "utf-8")  # its first line is blank
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(then.read_bytes()))
    writer.start()  # a pipe can be read once
    for reference in (then, pipe):
        code, _, err = monitor(now, f"--reference={reference}", "--by=language", "--json=out.json")
        assert (code, err) == (0, "")
        data = json.loads((tmp_path / "out.json").read_text("utf-8"))
        assert data["reference"]["outputs"] == 80
        assert {check["segment"] for check in data["checks"]} == {"", "xx", "yy"}
    writer.join()
    write("then.jsonl", [*rows, {"output": "x"}])
    assert monitor(now, f"--reference={then}", "--by=language")[2] == (
        "pytest-llm monitor: then.jsonl: line 81 has no field 'language' (--skip-bad=1 leaves out as many)\n"
    )


def test_finish_reasons_and_token_counts_where_every_line_has_them(monitor, write):
    random = np.random.default_rng(0)

    def rows(n, cut, tokens):
        return [
            {"output": text, "finish_reason": "length" if random.random() < cut else "stop", "tokens": int(count)}
            for text, count in zip(good(n, n), random.poisson(tokens, n), strict=True)
        ]

    code, _, _ = monitor(
        write("now.jsonl", rows(200, 0.3, 60)), f"--reference={write('then.jsonl', rows(210, 0.02, 40))}", "--json=j"
    )
    checks = {c["name"]: c for c in json.loads((write("x", []).parent / "j").read_text("utf-8"))["checks"]}
    assert code == 1
    drifted = {name for name, check in checks.items() if check["status"] == "drift"}
    assert drifted == {"cut short", "finish reason", "tokens"}


@pytest.mark.parametrize(
    ("reason", "also"),
    [
        ("content_filter", []),
        ("error", []),
        ("tool_calls", []),
        ("model_context_window_exceeded", ["cut short"]),
        ("\ud83d\n::error::", []),
    ],
)
def test_outputs_that_stop_midway_are_seen_whatever_reason_is_given(monitor, write, reason, also):
    def rows(n, share):
        texts = [(text, i < share * n) for i, text in enumerate(good(n, n))]
        return [
            {"output": text.rstrip(".") if stopped else text, "finish_reason": reason if stopped else "stop"}
            for text, stopped in texts
        ]

    then = write("then.jsonl", rows(210, 0))
    code, out, err = monitor(write("now.jsonl", rows(200, 0.2)), f"--reference={then}", "--json=out.json")
    assert (code, err) == (1, "")
    assert out[-1] == f"drift in {', '.join(['ends midway', *also, 'finish reason'])}"
    assert all(line.isprintable() for line in out)
    checks = json.loads((then.parent / "out.json").read_text("utf-8"))["checks"]
    assert {check["name"] for check in checks if check["status"] == "drift"} == {"ends midway", *also, "finish reason"}


def test_an_answer_of_the_responses_api_says_why_it_is_incomplete(monitor, write):
    def row(text, why):
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        details = {
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
        }
        return {"object": "response", **details, "output": [message], "usage": {"output_tokens": len(text.split())}}

    def rows(n, cut, why):
        return [row(text, why if i < cut * n else None) for i, text in enumerate(good(n, n))]

    def found(now, then):
        reference = f"--reference={write('then.jsonl', then)}"
        code, _, err = monitor(write("now.jsonl", now), reference, "--field=output.0.content.0.text", "--json=j")
        assert (code in (0, 1), err) == (True, "")
        return {c["name"]: c for c in json.loads((write("x", []).parent / "j").read_text("utf-8"))["checks"]}

    cut = found(rows(200, 0.3, "max_output_tokens"), rows(210, 0.02, "max_output_tokens"))
    assert cut["cut short"]["status"] == "drift"
    assert "tokens" in cut
    assert found(rows(200, 0.3, "content_filter"), rows(210, 0.02, "content_filter"))["cut short"]["status"] == "none"


@pytest.mark.parametrize("count", ["1" + "0" * 400, "-3", "true"])
def test_a_count_of_tokens_that_is_none_is_as_if_it_were_not_there(monitor, tmp_path, reference, count):
    rows = [f'{{"output": {json.dumps(text)}, "tokens": {count}}}' for text in good(40, 3)]
    (tmp_path / "now.jsonl").write_text("\n".join(rows))
    code, _, err = monitor("now.jsonl", "--reference=now.jsonl", "--json=out.json")
    assert (code, err) == (0, "")
    assert "tokens" not in {check["name"] for check in json.loads((tmp_path / "out.json").read_text("utf-8"))["checks"]}


def test_lines_without_a_finish_reason_are_counted_and_the_others_compared(monitor, write, tmp_path):
    def rows(cut, silent, n=200):
        found = [
            {"output": text, "finish_reason": "length" if i < cut else "stop"} for i, text in enumerate(good(n, 1))
        ]
        for row in found[n - silent :]:
            del row["finish_reason"]
        return found

    def found(now, then):
        code, out, _ = monitor(write("now.jsonl", now), f"--reference={write('then.jsonl', then)}", "--json=out.json")
        return code, out[-1], " ".join(out)

    # One line that does not say is no reason to look away from a hundred outputs that were cut short.
    code, last, said = found(rows(100, 1), rows(2, 0))
    assert (code, last) == (1, "drift in cut short, finish reason")
    assert (
        "why outputs ended was compared where lines say it: 200 of 200 reference and 199 of 200 current lines do"
        in said
    )
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text("utf-8")), SCHEMA)
    assert found(rows(2, 60), rows(2, 0))[:2] == (1, "drift in no finish reason")
    assert found(rows(2, 200), rows(2, 0))[:2] == (1, "drift in no finish reason")
    code, last, said = found(rows(2, 0), rows(2, 200))  # a log that says more than it did
    assert (code, last) == (0, "no drift in 7 checks")
    assert "why outputs ended was not compared: no reference line has a finish reason" in said
    assert "note: tokens were not compared: no line has a count of them" in said


def test_outputs_without_a_text_are_a_kind_of_their_own(monitor, write, tmp_path):
    def rows(calls):
        texts = good(100, 1)
        return [{"output": None if i < calls else text, "market": "uk", "tokens": 5} for i, text in enumerate(texts)]

    then = write("then.jsonl", rows(2))
    code, out, _ = monitor(write("now.jsonl", rows(3)), f"--reference={then}", "--by=market", "--json=out.json")
    assert code == 0
    data = json.loads((tmp_path / "out.json").read_text("utf-8"))
    jsonschema.validate(data, SCHEMA)
    found = {check["name"]: check for check in data["checks"] if not check["segment"]}
    assert found["no text"]["sizes"] == found["tokens"]["sizes"] == [100, 100]
    assert [found["no text"][side] for side in ("reference", "current")] == ["2.0%", "3.0%"]
    assert {found[name]["sizes"][1] for name in ("characters", "empty", "refusals", "language", "vocabulary")} == {97}
    assert data["current"]["outputs"] == 100
    code, out, _ = monitor(write("now.jsonl", rows(40)), f"--reference={then}", "--by=language")
    assert (code, out[-1]) == (1, "drift in no text")
    code, out, _ = monitor(write("now.jsonl", rows(100)), f"--reference={then}", "--by=market")
    assert (code, out[-1]) == (1, "drift in no text, no text (uk)")


def test_a_sure_shift_of_little_size_is_small():
    random = np.random.default_rng(0)
    then, now = (["x" * int(n) for n in random.normal(mean, 60, 6000).clip(1)] for mean in (300, 312))
    length = compare(Window("a", tuple(then)), Window("b", tuple(now))).checks[0]
    assert length.p_adjusted <= 0.01
    assert (length.status, length.statistic < 0.1) == ("small", True)


def test_among_very_many_outputs_a_shift_that_nobody_would_notice_is_small(monitor, write):
    def rows(n, uk, cut):
        return [
            {
                "output": "",
                "market": "uk" if i % 1000 < uk else "us",
                "finish_reason": "length" if i * 7 % 1000 < cut else "stop",
            }
            for i in range(n)
        ]

    then = write("then.jsonl", rows(50_000, 333, 10))
    code, out, _ = monitor(write("now.jsonl", rows(50_000, 350, 13)), f"--reference={then}", "--by=market")
    assert code == 0
    assert any(re.match("market +small +us 67%", line) for line in out)
    assert " checks; small shifts in cut short, finish reason, market" in " ".join(out)
    code, out, _ = monitor(write("now.jsonl", rows(50_000, 333, 16)), f"--reference={then}", "--by=market")
    assert code == 1
    assert "drift in cut short" in " ".join(out)


def test_the_costly_checks_sample_large_windows():
    windows = [Window(name, tuple(good(3000, name))) for name in "ab"]
    vocabulary = compare(*windows).checks[-1]
    assert vocabulary.sizes == (1000, 1000)
    assert vocabulary.note == "of each window at most 1000 outputs, a seeded sample, were compared"


def test_outputs_that_are_all_alike_or_empty():
    alike = Window("a", ("yes",) * 40)
    found = compare(alike, dataclasses.replace(alike, texts=("yes",) * 50))
    assert {check.p for check in found.checks} == {1.0}
    assert [(bar.label, bar.reference, bar.current) for bar in found.checks[0].bars] == [("to 3", 1.0, 1.0)]
    empty = Window("b", ("", " \n") * 30)
    found = compare(alike, empty)
    assert {check.name for check in found.drifted} == {"characters", "empty", "ends midway"}
    assert "not compared: vocabulary: a window has no words" in found.notes
    # One output with a word among many without: chance deals it out as often to either side.
    rare = Window("c", ("",) * 59 + ("yes",))
    vocabulary = compare(rare, dataclasses.replace(rare, texts=rare.texts[::-1])).checks[-1]
    assert (vocabulary.name, vocabulary.sizes, vocabulary.p) == ("vocabulary", (1, 1), 1.0)


def test_without_the_extra_languages_are_left_out_and_said_so(monitor, write, reference, monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    now = write("now.jsonl", good(250, 4))
    code, out, _ = monitor(now, f"--reference={reference}")
    assert code == 0
    assert "note: language was not compared: py3langid is not installed: pip install" in out
    code, _, err = monitor(now, f"--reference={reference}", "--by=language")
    assert code == 2
    assert err == ("pytest-llm monitor: py3langid is not installed: pip install 'pytest-llm-regression[monitor]'\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"output": "a"}\n{"text": "b"}\n', "line 2 has no field 'output'"),
        (b'{"output": "a"}\n\n{"output": 3}\n', "line 3: output is 3, not text"),
        (b"1\n", "line 1: not a JSON object"),
        (b'[{"output": "a"}]', "a JSON array, where one object a line is wanted: jq -c '.[]' FILE"),
        (b'\xef\xbb\xbf[\n  {\n    "output": "a"\n  }\n]\n',
         "a JSON array, where one object a line is wanted: jq -c '.[]' FILE"),
        (b'{"output": "a"\n', "line 1: Expecting ',' delimiter (character 15)"),
        (b'{"output": "\xff"}\n', "line 1: 'utf-8' codec can't decode byte 0xff in position 12: invalid start byte"),
        (b"", "0 outputs are too few to compare: at least 30 are needed"),
        (b'{"output": "a"}\n' * 12, "12 outputs are too few to compare: at least 30 are needed"),
        (b"{}\n" * 8, "line 1 has no field 'output'; line 2 has no field 'output'; line 3 has no field 'output'; "
                      "line 4 has no field 'output'; line 5 has no field 'output', and 3 more"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(monitor, reference, tmp_path, content, why):
    (tmp_path / "now.jsonl").write_bytes(content)
    assert monitor("now.jsonl", f"--reference={reference}") == (2, [], f"pytest-llm monitor: now.jsonl: {why}\n")


def test_files_and_arguments_that_are_not_there(monitor, reference, write):
    now = write("now.jsonl", good(40, 1))
    assert monitor("gone.jsonl", f"--reference={reference}")[2] == (
        "pytest-llm monitor: gone.jsonl: the outputs cannot be read: No such file or directory\n"
    )
    assert monitor(now, f"--reference={reference}", "--by=market")[2].startswith(
        "pytest-llm monitor: ref.jsonl: line 1 has no field 'market'"
    )
    assert monitor(now, f"--reference={reference}", "--alpha=2")[2] == (
        "pytest-llm monitor: alpha is a probability between 0 and 1, not 2.0\n"
    )
    assert monitor(now, f"--reference={reference}", "--alpha=1e-6")[::2] == (
        2,
        "pytest-llm monitor: alpha 1e-06 takes 25,999,999 permutations of every check, more than 1,000,000: give one "
        "of at least 3e-05\n",
    )
    for few in ("-3", "1", "many"):
        with pytest.raises(SystemExit):
            monitor(now, f"--reference={reference}", f"--min-outputs={few}")


def test_an_error_nobody_foresaw_is_no_drift(monitor, write, reference, monkeypatch):
    def compare(*windows, **terms):
        raise MemoryError

    monkeypatch.setattr("pytest_llm.monitoring.panel.compare", compare)
    code, _, err = monitor(write("now.jsonl", good(40, 1)), f"--reference={reference}")
    assert code == 2
    assert err.endswith("MemoryError\npytest-llm monitor: could not be done, by the error above\n")


def test_a_file_that_cannot_be_written_takes_nothing_else_away(monitor, write, reference, tmp_path):
    now = write("now.jsonl", bad(40, 1))
    code, out, err = monitor(now, f"--reference={reference}", "--html=.", "--json=out.json")
    assert code == 2
    assert out[-1].startswith("drift in refusals")
    assert err == "pytest-llm monitor: .: the report could not be written: Is a directory\n"
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["drift"] is True


def test_no_flag_writes_over_a_window_or_another_flags_file(monitor, write, reference, tmp_path):
    now = write("now.jsonl", good(40, 1))
    before = now.read_bytes()
    (tmp_path / "link.html").symlink_to(reference)
    for flags, why in (
        (["--json=./now.jsonl"], "--json=now.jsonl is what is read: it would be overwritten"),
        (["--html=link.html"], "--html=link.html is what is read: it would be overwritten"),
        (["--html=a", "--json=a"], "--json=a is what --html writes: it would be overwritten"),
    ):
        assert monitor(now, f"--reference={reference}", *flags) == (2, [], f"pytest-llm monitor: {why}\n")
    assert now.read_bytes() == before
    assert monitor(now, f"--reference={reference}", "--html=/dev/null", "--json=/dev/null")[0] == 0


def test_hostile_outputs_stay_text(monitor, write, reference):
    rows = [{"output": HOSTILE + "x" * (1_000_000 if i == 0 else i)} for i in range(60)]
    code, out, _ = monitor(write("now.jsonl", rows), f"--reference={reference}", "--json=out.json", "--html=out.html")
    assert code == 1
    assert all(line.isprintable() for line in out)
    text = (reference.parent / "out.json").read_text("utf-8")
    assert all(c.isprintable() or c == "\n" for c in text)
    page = (reference.parent / "out.html").read_text("utf-8")
    assert "<script" not in page
    assert "\u202e" not in page
    rows = [{**row, "by": f"{'a' * 70} x\x1b[2J\ny"} for row in rows]
    before = [{"output": text, "by": rows[0]["by"]} for text in good(80, 1)]
    code, out, _ = monitor(write("now.jsonl", rows), f"--reference={write('before.jsonl', before)}", "--by=by")
    assert code == 1
    assert all(line.isprintable() for line in out)


def test_embeddings_come_from_the_store_the_second_time(monitor, write, monkeypatch, tmp_path):
    topic = [f"The interest rate on loan number {i} was raised by the central bank." for i in range(40)]
    arguments = (
        write("now.jsonl", topic), f"--reference={write('then.jsonl', good(60, 1))}", f"--embedding-model={MINILM}",
        "--json=out.json",
    )  # fmt: skip
    code, said, _ = monitor(*arguments)
    assert code == 1
    assert sum(line.startswith("embeddings: least like the reference: The interest rate") for line in said) == 3
    first = json.loads((tmp_path / "out.json").read_text("utf-8"))
    (check,) = (c for c in first["checks"] if c["name"] == "embeddings")
    assert (check["status"], check["sizes"]) == ("drift", [60, 40])
    jsonschema.validate(first, SCHEMA)
    monkeypatch.setenv("PYTEST_LLM_OFFLINE", "1")  # an answer that is not in the store would be an error
    assert monitor(*arguments)[:2] == (code, said)
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == first


def test_an_encoder_of_ones_own_sees_a_change_of_topic_only():
    class Topics:
        def embed(self, texts):
            return [[text.count("loan") + i % 7 / 10, i % 5 / 10] for i, text in enumerate(texts)]

    then, now = (Window(name, tuple(good(80, name))) for name in "ab")
    found = {c.name: c for c in compare(then, now, encoder=Topics()).checks}
    assert found["embeddings"].status == "none"
    loans = dataclasses.replace(now, texts=tuple(f"The loan {i} is due." for i in range(40)) + now.texts[:40])
    found = {c.name: c for c in compare(then, loans, encoder=Topics()).checks}
    assert found["embeddings"].status == "drift"
    assert all("loan" in text for text in found["embeddings"].examples)


def test_where_outputs_are_too_long_for_an_encoder_less_of_them_is_embedded():
    class Short:
        def embed(self, texts):
            if max(map(len, texts)) > 128:
                raise InvalidInputError("too long")
            return [[len(text), 1.0] for text in texts]

    then, now = (Window(name, tuple(text * 20 for text in good(20, name))) for name in "ab")
    (check,) = (c for c in compare(then, now, encoder=Short()).checks if c.name == "embeddings")
    assert check.note == "the first 100 characters of an output are embedded"


def test_a_narrow_terminal_breaks_no_word(monitor, write, reference, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = monitor(write("now.jsonl", bad(250, "now")), f"--reference={reference}")
    assert out[3:10] == NARROW
    # A word that is longer than a line has to break; the others do not.
    rows = [{"output": text, "by": ["x" * 60, "y"][i % 2]} for i, text in enumerate(good(80, 1))]
    now = write("now.jsonl", rows)
    _, out, _ = monitor(now, f"--reference={now}", "--by=by")
    assert {"characters", "repetition", "vocabulary"} <= {line.split()[0] for line in out if line.strip()}
    assert max(map(len, out[3:])) <= 60


def test_words_are_counted_and_shares_rounded_as_they_are():
    one = Window("a", ("yes",) * 40)
    assert compare(one, one).checks[-1].reference == "1 word"
    few = Window("b", tuple("de" if i < 1 else "en" for i in range(999)))
    found = checks.labels("language", few.texts, few.texts[1:], checks.Dealing(19))
    assert (found.reference, found.current) == ("en >99% de <1%", "en 100%")


def test_a_figure_of_nothing_has_no_sign():
    check = checks.Check("embeddings", "mmd", -1e-9, -1e-9, 1.0, "", "", (9, 9))
    assert (wording.apart(check), wording.chance(check)) == ("MMD² 0.0000", "0.0000")


NARROW = """\
check        result   reference   current    apart    Holm p
────────────────────────────────────────────────────────────
characters   drift    median      median     PSI      0.0012
                      187.5       146        1.266
empty        drift    0.0%        6.0%       +6.0     <0.001
                                             pts
refusals     drift    0.0%        16.0%      +16.0    <0.001
""".splitlines()

NO_DRIFT = """\
reference  300 outputs of ref.jsonl
current    250 outputs of now.jsonl

check         result     reference      current        apart       Holm p
─────────────────────────────────────────────────────────────────────────
characters    no drift   median 187.5   median 186.5   PSI 0.024        1
empty         no drift   0.0%           0.0%           +0.0 pts         1
refusals      no drift   0.0%           0.0%           +0.0 pts         1
ends midway   no drift   0.0%           0.0%           +0.0 pts         1
repetition    no drift   0.0%           0.0%           +0.0 pts         1
language      no drift   en 100%        en 100%        JS 0.000         1
vocabulary    no drift   44 words       44 words       JS 0.001         1

note: why outputs ended was not compared: no line has a finish reason
note: tokens were not compared: no line has a count of them
note: what the outputs mean was not compared: give --embedding-model
no drift in 7 checks
""".splitlines()

DRIFT = """\
reference  300 outputs of ref.jsonl
current    250 outputs of now.jsonl

check         result   reference      current        apart       Holm p
───────────────────────────────────────────────────────────────────────
characters    drift    median 187.5   median 146     PSI 1.266   0.0012
empty         drift    0.0%           6.0%           +6.0 pts    <0.001
refusals      drift    0.0%           16.0%          +16.0 pts   <0.001
ends midway   drift    0.0%           6.4%           +6.4 pts    <0.001
repetition    drift    0.0%           6.4%           +6.4 pts    <0.001
language      drift    en 100%        en 85% fr 9%   JS 0.078    0.0012
vocabulary    drift    44 words       77 words       JS 0.118    0.0012

characters: to 88 0.0% → 22.0%, to 106 12.3% → 7.2%, to 183 11.3% → 6.0%, to 230
15.0% → 6.8%
language: fr 0.0% → 8.8%, (short) 0.0% → 6.0%, en 100.0% → 85.2%
vocabulary: old 1.3% → 7.5%, town 1.3% → 7.5%, i 0.0% → 1.2%, the 7.2% → 11.6%
note: why outputs ended was not compared: no line has a finish reason
note: tokens were not compared: no line has a count of them
note: what the outputs mean was not compared: give --embedding-model
drift in refusals, ends midway, repetition, empty, characters, language and 1
more
""".splitlines()
