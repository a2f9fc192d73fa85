"""What a JUnit file says of a run."""

import xml.etree.ElementTree as ET

import pytest


def run(suite, *arguments):
    suite.runpytest("--junitxml=junit.xml", "-o", "junit_logging=all", *arguments)
    root = ET.parse(suite.path / "junit.xml").getroot()  # fails on anything that is no XML
    return root.find("testsuite"), {case.get("name"): case for case in root.iter("testcase")}


@pytest.fixture
def cases(suite):
    return run(suite)


def properties(case):
    return {one.get("name"): one.get("value") for one in case.iter("property")}


def test_each_test_carries_its_verdicts_as_properties(cases):
    _, named = cases
    assert properties(named["test_same"])["llm.golden.1"] == "identical"
    drifted = properties(named["test_drifted"])
    assert drifted["llm.golden.1"] == "drifted"
    assert drifted["llm.golden.1.golden token"] == "' Paris'"
    assert drifted["llm.golden.1.verdict"].startswith("golden '1': in another environment (torch 2.13 → 2.14), drifted")
    gate = properties(named["test_gate"])
    assert {name: gate[f"llm.baseline.accuracy{name}"] for name in ("", ".value", ".baseline", ".margin", ".n")} == {
        "": "fail", ".value": "0.25", ".baseline": "0.916667", ".margin": "0.05", ".n": "12",
    }  # fmt: skip
    low, high = map(float, gate["llm.baseline.accuracy.interval"].split(", "))
    assert low < -0.66 < high < -0.05
    assert properties(named["test_unrelated"]) == {}


def test_could_not_measure_is_an_error_and_a_regression_a_failure(cases):
    suite, named = cases
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped"), suite.get("tests")) == (
        "4",
        "1",
        "1",
        "10",
    )
    (error,) = named["test_unmeasured"].findall("error")
    assert error.get("type") == "could not measure"
    assert "nothing to measure\\x00 <b>here</b>" in error.get("message")
    assert named["test_unmeasured"].find("failure") is None
    assert named["test_drifted"].find("error") is None
    assert named["test_drifted"].find("failure") is not None


def test_hostile_output_stays_text_in_valid_xml(cases):
    _, named = cases
    printed = named["test_hostile"].find("system-out").text
    assert "<script>document.title='owned'</script></script><img src=x onerror=alert(1)>" in printed
    assert "#x1B[31mred#x1B[0m" in printed
    verdict = properties(named["test_hostile"])["llm.golden.1.verdict"]
    assert "drifted at token 0: 'calm' → \"<script>document.title='owned'</script></script><img" in verdict
    whole = "".join(named["test_hostile"].itertext()) + verdict
    assert not set(whole) & {"\x00", "\x1b", "\ud800"}


def test_under_xdist_it_is_the_same(suite):
    alone, together = run(suite)[1], run(suite, "-n2")[1]
    assert alone.keys() == together.keys()
    for name, case in alone.items():
        assert properties(case) == properties(together[name])
        assert {one.tag for one in case} == {one.tag for one in together[name]}
