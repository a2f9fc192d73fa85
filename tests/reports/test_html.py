"""The HTML report as a file; what a browser makes of it is in test_browser."""

import base64
import copy
import hashlib
import json
import re

import pytest

from pytest_llm.reports.html import BUDGET, html
from tests.reports.conftest import HOSTILE


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def many(run_record, n, text=None):
    """The record repeated to ``n`` tests, with answers of 40 tokens."""
    big = copy.deepcopy(run_record)
    tests, verdicts = [], []
    kinds = [("test_same", "passed")] * 9 + [("test_drifted", "failed")]
    for i in range(n):
        name, outcome = kinds[i % 10]
        verdict = copy.deepcopy(next(v for v in run_record["verdicts"] if v["nodeid"].endswith(name)))
        verdict["nodeid"] = f"tests/test_many.py::test_{i}"
        for pair in verdict["evidence"]["pairs"]:
            for side in filter(None, (pair["actual"], pair["golden"])):
                words = [f" word{i}{k}" for k in range(40)]
                side.update(text=text or "".join(words), tokens=words, logprobs=[-0.123] * 40, margins=[1.234] * 40)
        test = {
            "nodeid": verdict["nodeid"],
            "outcome": outcome,
            "seconds": 0.1,
            "file": "t.py",
            "line": 1,
            "message": "",
        }
        tests.append(test)
        verdicts.append(verdict)
    return {**big, "tests": tests, "verdicts": verdicts}


def test_one_file_that_asks_for_nothing_else(suite):
    result = suite.runpytest("--llm-report=deep/report.html")
    result.stdout.fnmatch_lines(["report    deep/report.html"])
    page = (suite.path / "deep/report.html").read_text("utf-8")
    assert not re.search(
        r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page.split('id="data"')[0]
    )
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    script = page.split("<script>")[-1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src &#39;none&#39;; script-src &#39;sha256-{digest}&#39;") or (
        policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'")
    )


def test_hostile_text_is_only_ever_data(run_record):
    run_record["models"] = {"x": {"source": HOSTILE, "digest": HOSTILE, "dtype": "f", "device": "cpu", "adapter": "",
                                  "service": "", "from_store": 0, "computed": 1, "load_seconds": 1.5}}  # fmt: skip
    run_record["git"] = {"commit": HOSTILE, "branch": HOSTILE}
    page = html(run_record)
    assert page.count("<script") == 2
    assert "<img" not in page
    assert not set(page) & {"\x00", "\x1b", "\u202e", "\u2028", "\ud800"}
    page.encode("utf-8")
    texts = [p["actual"]["text"] for row in data_of(page) for v in row["verdicts"] if "evidence" in v
             for p in v["evidence"].get("pairs", ())]  # fmt: skip
    assert HOSTILE in texts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([["torch", "2.13", "2.14"]], "These goldens were made in another environment. Look here before"),
        ([["digest", "aa", "bb"], ["adapter", "none", "lora"]], "Another model made these goldens, in the environment"),
        ([["torch", "2.13", "2.14"], ["digest", "aa", "bb"]], "Either may be why an answer moved"),
    ],
)
def test_what_changed_since_the_goldens_is_called_by_its_name(run_record, changes, said):
    for verdict in run_record["verdicts"]:
        if verdict["evidence"] and verdict["evidence"]["changes"]:
            verdict["evidence"]["changes"] = changes
    lead = html(run_record).split("Changed since the goldens")[1].split("<table>")[0]
    assert said in lead
    assert ("blaming the weights" in lead) == (changes == [["torch", "2.13", "2.14"]])


def test_two_thousand_tests_fit_with_all_their_tokens(run_record):
    page = html(many(run_record, 2000))
    assert len(page.encode()) < 5_000_000
    rows = data_of(page)
    assert len(rows) == 2000
    drifted = next(row for row in rows if row["status"] == "failed")
    assert len(drifted["verdicts"][0]["evidence"]["pairs"][0]["golden"]["tokens"]) == 40


def test_longer_answers_are_cut_to_keep_the_page_small_and_it_says_so(run_record):
    page = html(many(run_record, 2000, text="long " * 3000))
    assert BUDGET / 20 < len(page.encode()) < 5_000_000
    assert re.search(r"texts are cut to \d+ characters", page)
    assert len(data_of(page)) == 2000
