"""``pytest-llm ratings``: the table and the JSON, from goldens and ratings on disk."""

import itertools
import json
import os

import krippendorff
import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from pytest_llm.human import file
from pytest_llm.human.file import Rating
from pytest_llm.human.goldens import texts
from pytest_llm.human.outputs import of_answer
from pytest_llm.options import settings_from
from pytest_llm.review.session import Session
from tests.conftest import COMMAND

STARS = {"ann": [5, 4, 4, 2, 1, 3], "bob": [5, 5, 4, 1, 1, None], "cy": [4, 4, None, 2, 2, 3]}


def reference_kappa(first, second, weights):
    table = np.zeros((5, 5))
    for a, b in zip(first, second, strict=True):
        if a and b:
            table[a - 1, b - 1] += 1
    return cohens_kappa(table, wt=weights, return_results=False)


@pytest.fixture
def suite(pytester, cache_dir):
    pytester.makepyfile(
        test_poems="def test_poems(llm_snapshot): assert [f'poem {i}' for i in range(8)] == llm_snapshot"
    )
    pytester.runpytest("--llm-update=new").assert_outcomes(passed=1)
    return pytester


@pytest.fixture
def rated(suite, cache_dir):
    (path,) = suite.path.rglob("*--1.json")
    golden = texts(path)

    def say(rater, output, **said):
        one = Rating(test=golden.nodeid, golden="1", output=output.digest, rater=rater, **said)
        file.append(path.parent / file.NAME, one, cache_dir)

    for rater, stars in STARS.items():
        for output, rating in zip(golden.outputs, stars, strict=False):
            if rating:
                say(rater, output, rating=rating)
    say("ann", of_answer("a poem that is gone"), rating=1)
    for i, preference in enumerate(["output"] * 5 + ["against", "tie"]):
        against = golden.outputs[i].digest
        say("ann", of_answer(f"new poem {i}"), against=against, preference=preference, blind=True)
    say("bob", of_answer("new poem 0"), against=golden.outputs[0].digest, preference="against", blind=False)
    return suite


def test_what_a_person_reads(rated):
    result = rated.run(COMMAND, "ratings")
    assert result.ret == 0
    assert result.outlines == [
        "test_poems.py::test_poems",
        "  rated      6 of 8 outputs by ann, bob, cy: mean 3.17",
        "  agreement  alpha 0.86, kappa 0.32, weighted 0.86; 6 outputs rated twice",
        "  compared   model unknown: new preferred 5 of 6 (6 pairs, 1 rater): 0.83 [0.44, 0.97]; 1 tie; 1 not blind, left out",
        "  left out   1 of outputs that are in no golden now",
    ]


def test_the_figures_as_json(rated):
    (found,) = json.loads(rated.run(COMMAND, "ratings", "--json").stdout.str())
    table = [[float("nan") if x is None else x for x in stars] for stars in STARS.values()]
    low, high = proportion_confint(5, 6, method="wilson")
    assert found["test"] == "test_poems.py::test_poems"
    assert (found["raters"], found["outputs"], found["rated"]) == (["ann", "bob", "cy"], 8, 6)
    assert found["mean"] == pytest.approx((14 / 3 + 13 / 3 + 4 + 5 / 3 + 4 / 3 + 3) / 6)
    assert found["alpha"] == pytest.approx(krippendorff.alpha(table, level_of_measurement="ordinal"))
    assert found["alpha_interval"] is None, "fewer than eight outputs"
    for name, weights in (("kappa", None), ("kappa_quadratic", "fc")):
        pairs = itertools.combinations(STARS.values(), 2)
        assert found[name] == pytest.approx(np.mean([reference_kappa(a, b, weights) for a, b in pairs]))
    assert (found["rated_twice"], found["untold"], found["earlier"]) == (6, 0, 1)
    (compared,) = found["compared"]
    assert compared.pop("win_rate") == pytest.approx(5 / 6)
    assert compared.pop("win_interval") == pytest.approx([low, high])
    assert compared == {
        "candidate": "", "model": "", "preferred": 5, "tied": 1, "compared": 7, "not_blind": 1, "pairs": 6, "judges": 1
    }  # fmt: skip


class Vote:
    """Ann votes on what waits, as in the page."""

    def __init__(self, suite):
        self.suite = suite

    def answers(self, what, model="", outcome="failed"):
        """Let the test answer ``what``, of a model whose weights have the digest ``model``."""
        origin = f", origin=Origin(request={{'prompt': f'poem {{i}}'}}, model={{'source': 'm', 'digest': '{model}'}})"
        self.suite.makepyfile(
            test_poems=f"""
            from pytest_llm.results import Generation, Origin

            def test_poems(llm_snapshot):
                assert [Generation(f'{what} {{i}}'{origin if model else ""}) for i in range(8)] == llm_snapshot
            """
        )
        self.suite.runpytest("--llm-update=new").assert_outcomes(**{outcome: 1})

    def votes(self, new):
        """Prefer the new text of each pair, or else the golden's."""
        session = Session(settings_from({}, os.environ, {}, root=self.suite.path), "ann")
        for one in session.items("compare"):
            shown = session.item("compare", one["id"])
            side = "b" if shown["a"]["text"].startswith("old") else "a"
            session.prefer(one["id"], side if new else "ab".replace(side, ""), "")

    def compared(self):
        rows = self.suite.run(COMMAND, "ratings").outlines[1:]
        return [row.partition("(")[0].strip() for row in rows]


@pytest.fixture
def vote(pytester, cache_dir):
    return Vote(pytester)


def test_each_candidate_has_its_own_win_rate(vote):
    worse, better = "a" * 64, "b" * 64
    vote.answers("old", "0" * 64, outcome="passed")
    vote.answers("worse", worse)
    vote.votes(new=False)
    assert vote.compared() == ["compared   waiting, model aaaaaaaaaaaa: new preferred 0 of 8"]
    vote.answers("better", better)
    vote.votes(new=True)
    assert vote.compared() == [
        "compared   waiting, model bbbbbbbbbbbb: new preferred 8 of 8",
        "compared   model aaaaaaaaaaaa: new preferred 0 of 8",
    ]
    vote.suite.run(COMMAND, "review", "accept", "--all")
    assert vote.compared() == [
        "compared   accepted, model bbbbbbbbbbbb: new preferred 8 of 8",
        "left out   8 of outputs that are in no golden now",
    ]


def test_candidates_of_unknown_models_are_not_pooled(vote):
    vote.answers("old", outcome="passed")
    vote.answers("worse")
    vote.votes(new=False)
    vote.answers("better")
    vote.votes(new=True)
    assert vote.compared() == [
        "compared   waiting: new preferred 8 of 8",
        "compared   model unknown: new preferred 0 of 8",
    ]
    vote.answers("old", outcome="passed")  # nothing waits, and who said what is not known
    assert vote.compared() == ["left out   16 comparisons of several other candidates whose models are not known"]


def test_without_a_golden_it_is_said_that_earlier_texts_count(suite, cache_dir):
    folder = suite.path / "__llm_snapshots__" / "test_poems"
    for text, rating in (("old answer", 1), ("new answer", 5)):
        one = Rating(test="test_poems.py::test_plain", output=of_answer(text).digest, rater="Ann", rating=rating)
        file.append(folder / file.NAME, one, cache_dir)
    last = Rating(test="test_poems.py::test_plain", output=of_answer("old answer").digest, rater="ann ", rating=2)
    file.append(folder / file.NAME, last, cache_dir)
    assert suite.run(COMMAND, "ratings").outlines == [
        "test_poems.py::test_plain",
        "  rated      2 outputs by ann : mean 3.50 (of all ever rated: no golden says which texts there are now)",
    ]


def test_nothing_rated(suite):
    result = suite.run(COMMAND, "ratings")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["no ratings below *: give some with pytest-llm review --web"])
    assert json.loads(suite.run(COMMAND, "ratings", "--json").stdout.str()) == []


def test_a_damaged_file_is_named(rated):
    (path,) = rated.path.rglob(file.NAME)
    path.write_text("nonsense\n")
    result = rated.run(COMMAND, "ratings")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["pytest-llm ratings: *ratings.jsonl:1: this rating cannot be read: not JSON*"])
