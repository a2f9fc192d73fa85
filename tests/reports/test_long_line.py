"""A model that runs on: a line of a megabyte in every report."""

import json
import re
import xml.etree.ElementTree as ET

from pytest_llm.reports.markdown import LIMIT


def test_a_line_of_a_megabyte_is_shown_around_the_place_where_it_differs(pytester, cache_dir, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(
        """
        import os

        def test_a(llm_snapshot):
            line = "word " * 200_000
            if "NEW" in os.environ:
                line = line.replace("word " * 3, "word other word ", 1)
            assert line[::-1] == llm_snapshot
        """
    )
    pytester.runpytest("--llm-update=new")
    monkeypatch.setenv("NEW", "1")
    result = pytester.runpytest("--llm-report=r.html", "--llm-markdown=r.md", "--llm-record=r.json", "--junitxml=r.xml")
    result.assert_outcomes(failed=1)
    assert max(map(len, result.outlines)) < 5_000

    pair = json.loads((pytester.path / "r.json").read_text())["verdicts"][0]["evidence"]["pairs"][0]
    for side, word in (("golden", "drow"), ("actual", "rehto")):
        assert len(pair[side]["text"]) <= 20_000
        assert pair[side]["start"] > 900_000
        assert word in pair[side]["text"]
    assert (pair["golden"]["length"], pair["actual"]["length"]) == (1_000_000, 1_000_001)
    page = (pytester.path / "r.html").read_text("utf-8")
    assert len(page) < 200_000
    assert re.search("rehto", page)
    assert len((pytester.path / "r.md").read_text("utf-8")) <= LIMIT
    failure = ET.parse(pytester.path / "r.xml").getroot().find(".//failure")
    assert "rehto" in failure.text
    assert len(failure.text) < 20_000
