"""A suite that has something of everything to report, made without a model, and the run record it leaves."""

import json

import pytest

from tests.browser import browser, open_page  # noqa: F401

#: A model's output is untrusted: markup, the end of a script, terminal and bidirectional controls, NUL, a lone
#: surrogate, workflow commands, Markdown.
HOSTILE = (
    "<script>document.title='owned'</script></script><img src=x onerror=alert(1)>\n"
    "\x1b[31mred\x1b[0m \u202egnitset\u202c \x00 \ud800 ]]> & \u2028 zero\u200bwidth\n"
    "::error file=x::injected\n##[error]injected\n```\n# not a heading\n@org/team [x](http://x.invalid) |cell|\r"
)

SUITE = """
    import os, pytest
    from pytest_llm import Generation, InvalidInputError, assert_metric
    from pytest_llm.metrics.score import Score
    from pytest_llm.results import Origin

    NEW = os.environ.get("SIDE") == "new"
    HOSTILE = {hostile!r}

    def answer(text, tokens, margins, prompt="What is the capital of France?"):
        request = {{"kind": "generate", "prompt": [{{"role": "user", "content": prompt}}], "do_sample": False,
                   "num_beams": 1}}
        origin = Origin(request, {{"source": "tiny", "digest": "0" * 64}}, {{"torch": "2.14" if NEW else "2.13"}})
        return Generation(text, token_ids=[sum(map(ord, t)) % 999 for t in tokens], tokens=tokens,
                          logprobs=[-0.5] * len(tokens), runner_ups=[0] * len(tokens), margins=margins, origin=origin)

    def test_same(llm_snapshot):
        assert answer("Rome it is.", ["Rome", " it", " is", "."], [3.5, 2, 1, .2]) == llm_snapshot

    def test_drifted(llm_snapshot):
        city = "Lyon" if NEW else "Paris"
        assert answer(f"The capital is {{city}}.", ["The", " capital", " is", " " + city, "."],
                      [4, .01, .3, 2, 1]) == llm_snapshot

    def test_format(llm_snapshot):
        text = "Hello  World" if NEW else "hello world"
        llm_snapshot.check(text, levels={{"format-only": "warn"}})

    def test_hostile(llm_snapshot):
        print(HOSTILE)
        assert answer((HOSTILE if NEW else "calm"), [HOSTILE if NEW else "calm"], [.1], prompt=HOSTILE) == llm_snapshot

    def test_gate(llm_baseline):
        values = [0.0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0] if NEW else [1.0] * 11 + [0]
        score = Score(sum(values) / 12, name="accuracy", n=12, per_example=values,
                      predictions=["no"] * 12, references=["yes"] * 12)
        llm_baseline.check("accuracy", score, margin=0.05)

    def test_loss(llm_baseline):
        values = [2.5 + 0.01 * i + (0.5 if NEW else 0) for i in range(12)]
        score = Score(sum(values) / 12, name="loss", n=12, per_example=values, higher_is_better=False,
                      unit="nats/token")
        llm_baseline.check("loss", score, margin=0.1)

    def test_threshold():
        assert_metric(lambda p, r: float(p == r), ["a", "b", "c"], ["a", "b", "c"], at_least=0.5)

    def test_unmeasured():
        if NEW:
            raise InvalidInputError("nothing to measure\\x00 <b>here</b>")

    @pytest.mark.xfail(reason="known")
    def test_known(llm_snapshot):
        assert ("b" if NEW else "a") == llm_snapshot

    def test_unrelated():
        pass
"""


@pytest.fixture
def suite(pytester, cache_dir, monkeypatch):
    """The suite with its goldens and baselines written; its model then says other things."""
    pytester.makepyfile(test_report=SUITE.format(hostile=HOSTILE))
    monkeypatch.delenv("SIDE", raising=False)
    pytester.runpytest("-q", "--llm-update=new")
    monkeypatch.setenv("SIDE", "new")
    return pytester


_made = []


@pytest.fixture
def run_record(request):
    """The record of a run of the suite, as data. The suite runs once."""
    if not _made:
        suite = request.getfixturevalue("suite")
        suite.runpytest("--llm-record=run.json")
        _made.append((suite.path / "run.json").read_text("utf-8"))
    return json.loads(_made[0])
