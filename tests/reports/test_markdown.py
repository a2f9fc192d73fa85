"""The comment on a pull request."""

import copy
import html
import re

from pytest_llm.reports.markdown import LIMIT, block, literal, markdown
from tests.reports.conftest import HOSTILE


def test_it_says_what_matters_first(run_record):
    text = markdown(run_record)
    assert text.startswith(
        "## ❌ Model regression: 4 failed, 1 could not be measured, 1 passed with a warning, 2 passed, 1 skipped\n"
    )
    plain = html.unescape(text)
    assert "| torch | 2.13 | 2.14 | 3 |" in plain
    assert "| accuracy | 0.25 | baseline 0.916667 | fail | test_report.py::test_gate |" in plain
    assert "<summary>❌ test_report.py::test_drifted: failed</summary>" in plain
    assert "\n  - The capital is Paris.\n" in text
    assert "nothing to measure\\x00 <b>here</b>" in text
    assert "test_same" not in plain


def test_nothing_of_a_model_becomes_markup(run_record):
    run_record["models"] = {
        "m": {"source": HOSTILE, "adapter": HOSTILE, "digest": "@org <script", "dtype": HOSTILE, "device": HOSTILE,
              "service": HOSTILE, "from_store": "@org", "computed": "[c](http://d)", "load_seconds": 1.0}
    }  # fmt: skip
    text = markdown(run_record)
    assert "](http" not in text.partition("<details>")[0]
    outside = "".join(re.split(r"(?ms)^(`{3,})\n.*?^\1\n", text)[::2])
    assert "<script" not in outside
    assert "@org" not in outside
    assert set(re.findall(r"<(/?\w+)", outside)) == {"details", "/details", "summary", "/summary"}
    said = literal(HOSTILE, 1000)
    assert set(re.sub(r"&#\d+;", "", said)) & set("!#$&*:<>@[\\]^_`{|}~.") == set()
    assert "\n" not in said
    assert (
        html.unescape(literal("a|b `c` *d* [e](f) @g <h> www.i.com 1.5")) == "a|b `c` *d* [e](f) @g <h> www.i.com 1.5"
    )
    assert literal("1.5-x") == "1.5-x"


def test_a_block_cannot_be_ended_from_within():
    fence, *_, end, last = block("```\nx\n`````\n").split("\n")
    assert (fence, end, last) == ("`" * 6, "`" * 6, "")


def test_it_fits_into_a_comment(run_record):
    many = copy.deepcopy(run_record)
    test, verdict = many["tests"][0], next(v for v in many["verdicts"] if v["nodeid"].endswith("test_hostile"))
    gate = next(v for v in many["verdicts"] if v["kind"] == "baseline")
    long = [f"{i}{{{{question}}}}" * 20 for i in range(200)]
    use = dict.fromkeys(("adapter", "digest", "dtype", "device", "service"), "")
    use |= {"from_store": 0, "computed": 1, "load_seconds": 0}
    many["models"] = {name: {**use, "source": name} for name in long}
    many["verdicts"][0]["evidence"]["changes"] = [["torch", "1", name] for name in long]
    for i in range(3000):
        many["tests"].append({**test, "nodeid": f"t.py::t{i}", "outcome": "failed"})
        many["verdicts"] += [
            {**verdict, "nodeid": f"t.py::t{i}"},
            {**gate, "nodeid": f"t.py::t{i}[{{{{a}}}}{{{{question}}}}]"},
        ]
    text = markdown(many)
    assert LIMIT - 10_000 < len(text) <= LIMIT
    assert re.search(r"…and \d{4} more; the HTML report and the run record have all of them", text)
    assert len(re.findall(r"(?m)^…and \d+ more\.$", text)) == 3, "of models, of changes and of gates"


def test_a_green_run_is_short(run_record):
    run_record["tests"] = [one for one in run_record["tests"] if one["nodeid"].endswith("test_threshold")]
    run_record["verdicts"] = [one for one in run_record["verdicts"] if one["nodeid"].endswith("test_threshold")]
    text = markdown(run_record)
    assert text.startswith("## ✅ Model regression: 1 passed\n")
    assert "<details>" not in text
