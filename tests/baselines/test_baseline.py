import json
import math
import re
from fractions import Fraction

import numpy as np
import pandas
import pytest
import torch

from pytest_llm.environment import version
from pytest_llm.errors import GoldenError, InvalidInputError
from pytest_llm.metrics import bleu, chrf, custom, exact_match, rouge, ter
from pytest_llm.metrics.score import Score
from pytest_llm.results import Generation
from pytest_llm.stats.power import power_of_mcnemar

SENTENCES = [
    f"the {('old', 'red', 'big', 'wet', 'sad')[i % 5]} {('cat', 'dog', 'owl', 'cow')[i % 4]} sat on the "
    f"{('mat', 'hill', 'roof')[i % 3]} and looked at the {('sun', 'moon')[i % 2]} for a long time"
    for i in range(60)
]


def spoiled(rate, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(w if rng.random() > rate else "blah" for w in s.split()) for s in SENTENCES]


def accuracy(values, **fields):
    values = [float(v) for v in values]
    return Score(sum(values) / len(values), name="accuracy", n=len(values), per_example=values, **fields)


def graded(values, **fields):
    return Score(float(np.mean(values)), name="quality", n=len(values), per_example=values, **fields)


RIGHT = [1] * 40


def test_missing_fails_and_prints_the_command(project):
    with pytest.raises(AssertionError) as caught:
        project.run('test_bleu[$x-"y"]').check("bleu", Score(28.0, name="bleu", n=1), margin=1.0)
    assert str(caught.value) == (
        "bleu 28.0 has no baseline to be compared with\n"
        "  value 28   n 1\n"
        "  note: create it: pytest 'tests/test_quality.py::test_bleu[$x-\"y\"]' --llm-update=new"
    )
    assert not project.file.exists()


def test_create_pass_fail_update_pass(project):
    good, bad = bleu(spoiled(0.05), SENTENCES), bleu(spoiled(0.3), SENTENCES)
    created = project.create("bleu", good)
    assert (created.status, created.outcome) == ("created", "pass")
    assert (
        project.run().check("bleu", good, margin=0.0).headline
        == f"bleu {good:.3f} equals its baseline in every example"
    )
    with pytest.raises(AssertionError) as caught:
        project.run().check("bleu", bad, margin=1.0)
    drop = good - bad
    assert str(caught.value).startswith(
        f"bleu {bad:.1f} is worse than its baseline {good:.1f} by {drop:.1f} points (margin 1.0)\n"
    )
    for shown in ("delta", "interval [", "confidence 0.9", "   p ", "n 60", "detectable drop", "paired bootstrap"):
        assert shown in str(caught.value)
    assert str(caught.value).count("      expected: the ") == str(caught.value).count("      actual:   ") == 3
    with pytest.raises(AssertionError, match="is worse"):  # new leaves what is there
        project.run(update="new").check("bleu", bad, margin=1.0)
    moved = project.run(update="all").check("bleu", bad, margin=1.0)
    assert (moved.status, moved.outcome) == ("updated", "pass")
    assert moved.headline == f"bleu {bad:.1f}: baseline updated, it was {good:.1f}"
    assert moved.notes == (f"the new baseline is worse than the old one by {drop:.1f}",)
    assert project.run().check("bleu", bad, margin=0.0).status == "pass"
    assert project.run(update="all").check("bleu", bad, margin=0.0).status == "pass"  # nothing to move


def test_improvement_offers_to_ratchet(project):
    project.create("bleu", bleu(spoiled(0.3), SENTENCES))
    verdict = project.run().check("bleu", bleu(spoiled(0.05), SENTENCES), margin=1.0)
    assert (verdict.status, verdict.outcome) == ("improved", "pass")
    assert "is better than its baseline" in verdict.headline
    assert verdict.notes == (
        'if you know why it improved, make it the baseline, to hold this level: pytest "tests/test_quality.py::test_bleu" --llm-update=all',
    )


def test_inconclusive_warns_or_fails_when_strict(project):
    rng = np.random.default_rng(1)
    base = rng.random(20)
    project.create("quality", graded(base))
    noisy = graded(base + rng.normal(0, 0.2, 20))
    verdict = project.run().check("quality", noisy, margin=0.02)
    assert (verdict.status, verdict.outcome) == ("inconclusive", "warn")
    assert verdict.notes[0].startswith("this gate sees a drop of ")
    assert verdict.notes[0].endswith("or more with probability 0.8")
    assert verdict.notes[1].startswith("about ")
    with pytest.raises(AssertionError, match="against its baseline"):
        project.run(strict_gates=True).check("quality", noisy, margin=0.02)
    wide = project.run(alpha=0.4, power=0.5).check("quality", noisy, margin=0.02)
    assert wide.figures["confidence"] == 0.2
    assert wide.figures["detectable drop"] < verdict.figures["detectable drop"]


@pytest.mark.parametrize("name", ["accuracy", "my own"])
def test_no_gate_sees_a_drop_that_cannot_be(project, name):
    def score(values):
        return Score(sum(values) / 6, name=name, n=6, per_example=values)

    project.create(name, score([1, 1, 1, 0, 1, 1]))
    groups = ["a", "b", "c"] * 2
    verdict = project.run().check(name, score([1, 1, 0, 1, 1, 0]), margin=0.05, groups=groups)
    assert verdict.status == "inconclusive"
    assert "detectable drop" not in verdict.figures
    assert verdict.notes[0] == "these are too few groups to see any drop, which takes at least 5"


def test_more_groups_would_help_not_more_examples(project):
    project.create("accuracy", accuracy([1] * 200))
    groups = ["chat"] * 100 + ["law"] * 100
    found = project.run().check("accuracy", accuracy([0] * 9 + [1] * 191), margin=0.05, groups=groups)
    assert found.status == "inconclusive"
    assert found.notes[0] == "these are too few groups to see any drop, which takes at least 5"
    assert found.notes[1].endswith(" groups would show a drop of twice the margin as reliably")


@pytest.mark.parametrize("given", [True, False], ids=["groups=", "of the score"])
@pytest.mark.parametrize("lost", [4, 60])
def test_one_group_is_no_pass_and_no_failure_by_the_margin_alone(project, given, lost):
    one = ["doc"] * 100
    own, asked = ((), one) if given else (one, None)
    project.create("accuracy", accuracy([1] * 100, groups=own))
    now = accuracy([0] * lost + [1] * (100 - lost), groups=own)
    found = project.run().check("accuracy", now, margin=0.05, groups=asked)
    assert (found.status, found.outcome) == ("inconclusive", "warn")
    assert "of one group, which says nothing about another" in found.headline
    assert found.notes[0] == "these are too few groups to see any drop, which takes at least 5"
    assert not any("plain comparison" in note for note in found.notes)
    with pytest.raises(AssertionError, match="of one group"):
        project.run(strict_gates=True).check("accuracy", now, margin=0.05, groups=asked)


@pytest.mark.parametrize(("groups", "said"), [(None, "66 examples"), ([i // 2 for i in range(40)], "66 groups")])
def test_the_examples_that_are_said_to_show_a_drop_do_so(project, groups, said):
    n = 20 if groups is None else 40
    project.create("accuracy", accuracy([1] * n))
    found = project.run().check("accuracy", accuracy([0] * (n // 20) + [1] * (n - n // 20)), margin=0.05, groups=groups)
    assert found.status == "inconclusive"
    assert found.notes[1] == f"about {said} would show a drop of twice the margin as reliably"
    assert power_of_mcnemar(66, 0.1, 0.0, margin=0.05) >= 0.8, "where all flips are for the worse"


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: list(torch.tensor(x)), pandas.Series])
def test_groups_are_told_by_what_their_labels_hold(project, kind):
    labels = [i // 10 for i in range(600)]
    project.create("accuracy", accuracy([1] * 600))
    found = project.run().check("accuracy", accuracy([0] * 10 + [1] * 590), margin=0.04, groups=kind(labels))
    assert found.status == "inconclusive"
    assert found.figures["method"] == "exact McNemar, Tango bounds, 600 examples in 60 groups taken for 60"


def test_what_outweighs_the_rest_is_said_of_what_is_no_pass(project):
    groups = [0] * 200 + [1 + i // 10 for i in range(200)]
    project.create("quality", graded([0.5] * 400))
    now = graded([0.5 + (-1) ** g * 0.1 + 0.01 * (i % 3) for i, g in enumerate(groups)])
    found = project.run().check("quality", now, margin=0.01, groups=groups)
    assert found.status == "inconclusive"
    assert found.notes[-1] == (
        "the largest group holds 50% of the weight: 21 groups tell about as much as 3.2 equal ones"
    )


def test_a_long_text_outweighs_the_short_ones_of_a_corpus_metric(project):
    texts = ["alpha beta gamma delta epsilon zeta eta theta iota kappa"] * 20 + [" ".join(f"w{i}" for i in range(1500))]
    project.create("ter", ter(texts, texts))
    short = texts[0].replace("kappa", "x")
    now = [short, short, *texts[2:20], texts[20].replace("w1", "q1")]
    found = project.run().check("ter", ter(now, texts), margin=1)
    assert found.status == "inconclusive"
    assert (
        found.notes[-1] == "the largest example holds 88% of the weight: 21 examples tell about as much as 2 equal ones"
    )


def test_of_too_few_sentences_no_more_is_said_than_that(project):
    texts = [
        "the cat sat on the mat today",
        "a dog ran over the green hill",
        "rain fell on the old roof",
        "we eat bread",
    ]
    project.create("bleu", bleu(texts, texts))
    verdict = project.run().check("bleu", bleu(["zz yy xx ww vv"] * 4, texts), margin=1)
    assert verdict.status == "inconclusive"
    assert verdict.notes[0] == "these are too few examples to see any drop, which takes at least 5"
    assert not any(note.startswith("about ") for note in verdict.notes)
    assert "detectable drop" not in verdict.figures
    assert verdict.figures["interval"] == [-100, 0], "BLEU lies between 0 and 100"
    assert verdict.figures["p"] >= 0.5**4
    strict = project.run(alpha=0.01).check("bleu", bleu(["zz yy xx ww vv"] * 4, texts), margin=1)
    assert strict.notes[0].endswith("which takes at least 7")


def test_a_margin_that_leaves_no_room_is_said(project):
    project.create("accuracy", accuracy([1] * 12 + [0] * 28))
    cannot = "nothing can be worse than 0.3 by more than 0.3, so this check cannot fail; with a smaller margin it can"
    same = project.run().check("accuracy", accuracy([1] * 12 + [0] * 28), margin=0.3)
    assert (same.status, same.outcome, same.notes) == ("pass", "warn", (cannot,))
    broken = project.run().check("accuracy", accuracy([0] * 40), margin=0.3)
    assert (broken.status, broken.outcome) == ("inconclusive", "warn")
    assert broken.headline == f"accuracy 0.00 against its baseline 0.30: {cannot} (margin 0.3)"
    assert not any("too few" in note for note in broken.notes)
    with pytest.raises(AssertionError, match="cannot fail"):
        project.run(strict_gates=True).check("accuracy", accuracy([0] * 40), margin=0.3)
    assert project.run(strict_gates=True).check("accuracy", accuracy([1] * 12 + [0] * 28), margin=0.3).ok
    better = project.run().check("accuracy", accuracy([1] * 36 + [0] * 4), margin=0.3)
    assert (better.status, better.outcome) == ("improved", "pass")
    guarded = project.run().check("accuracy", accuracy([1] * 12 + [0] * 28), margin=0.3, max_broken=3)
    assert (guarded.outcome, guarded.notes) == ("pass", ())
    every = project.run().check("accuracy", accuracy([0] * 40), margin=0.3, max_broken=12)
    assert (every.status, every.outcome) == ("inconclusive", "warn")
    assert "only 12 examples can still break (12 may), so this check cannot fail" in every.headline
    with pytest.raises(AssertionError, match=r"12 examples broke \(11 may\)"):
        project.run().check("accuracy", accuracy([0] * 40), margin=0.3, max_broken=11)


def test_a_gate_on_too_few_examples_to_fail_is_said(project):
    cannot = "no drop can be told from 4 examples, so this check cannot fail; with 5 or more it can"
    created = project.create("accuracy", accuracy([1] * 4))
    assert (created.status, created.outcome, created.notes) == ("created", "warn", (cannot,))
    same = project.run().check("accuracy", accuracy([1] * 4), margin=0.05)
    assert (same.status, same.outcome, same.notes) == ("pass", "warn", (cannot,))
    broken = project.run().check("accuracy", accuracy([0] * 4), margin=0.05)
    assert (broken.status, broken.outcome) == ("inconclusive", "warn")
    for terms, settings in (({"max_broken": 1}, {}), ({"alpha": 0.1}, {}), ({}, {"strict_gates": True})):
        can = project.run(**settings).check("accuracy", accuracy([1] * 4), margin=0.05, **terms)
        assert (can.outcome, can.notes) == ("pass", ())
    grouped = project.create("bleu", bleu(["a b c d"] * 6, ["a b c d"] * 6), groups=["x", "y"] * 3)
    assert grouped.notes == ("no drop can be told from 2 groups, so this check cannot fail; with 5 or more it can",)
    one = project.create("all of one group", accuracy([1] * 20), groups=["x"] * 20)
    assert one.notes == ("no drop can be told from 1 group, so this check cannot fail; with 5 or more it can",)
    assert not project.create("groups told apart", accuracy([1] * 20), groups=["x", "y"] * 10).notes
    weights = [9, 9, 9, 9, 0, 0]  # as texts without a token that is scored
    weighted = project.create("loss", Score(2.0, name="loss", n=6, per_example=[2] * 6, weights=weights))
    assert weighted.notes == (cannot,)


@pytest.mark.parametrize(
    "score",
    [
        accuracy([1]),
        accuracy([1] * 5),
        Score(0.9, name="accuracy", n=3),
        Score(0.9, name="accuracy", n=3, per_example=[0.9] * 3, weights=[1, 0, 0]),
    ],
)
def test_one_example_five_and_a_figure_without_any_can_fail(project, score):
    assert project.create("accuracy", score).outcome == "pass"
    assert not any("cannot fail" in note for note in project.run().check("accuracy", score, margin=0.05).notes)


def test_graded_examples_that_cannot_break_do_not_keep_a_check_from_failing(project):
    values = [0.3] * 20 + [0.9] * 3 + [0.0] * 17

    def f1(values):
        return Score(float(np.mean(values)), name="f1", n=40, per_example=values)

    project.create("f1", f1(values))
    terms = {"margin": 0.5, "broken_by": 0.4}
    assert project.run().check("f1", f1(values), max_broken=2, **terms).outcome == "pass"
    blind = project.run().check("f1", f1(values), max_broken=3, **terms)
    assert (blind.outcome, len(blind.notes)) == ("warn", 1)
    assert "only 3 examples can still break (3 may)" in blind.notes[0]
    # of a metric without a range any example can get worse
    project.create("quality", graded(values))
    assert project.run().check("quality", graded(values), max_broken=39, **terms).outcome == "pass"


def test_a_baseline_that_nothing_can_fail_against_is_a_warning_when_it_is_written(project):
    created = project.run(update="new").check("bleu", 0.0, margin=1.0)
    assert (created.status, created.outcome) == ("created", "warn")
    assert created.notes[0].startswith("nothing can be worse than 0 by more than 1,")
    collapsed = project.run().check("bleu", 0.0, margin=1.0)
    assert (collapsed.status, collapsed.outcome, collapsed.notes[0]) == ("pass", "warn", created.notes[0])
    assert project.run(update="all").check("bleu", 20.0, margin=1.0).outcome == "pass"


def test_a_pass_tells_how_many_broke_where_more_did_than_the_margin(project):
    project.create("accuracy", accuracy([1] * 20 + [0] * 20 + [1] * 360))
    churned = project.run().check("accuracy", accuracy([0] * 20 + [1] * 20 + [1] * 360), margin=0.04)
    assert churned.status == "pass"
    assert (churned.figures["broke"], churned.figures["mended"]) == (20, 20)
    few = project.run().check("accuracy", accuracy([0] * 2 + [1] * 18 + [0] * 20 + [1] * 360), margin=0.04)
    assert few.status == "pass"
    assert "broke" not in few.figures


def test_accuracy_names_what_flipped(project):
    ids = [f"q{i}" for i in range(40)]
    project.create("accuracy", accuracy(RIGHT, ids=ids))
    now = accuracy([0] * 8 + [1] * 32, ids=ids, references=["Paris"] * 40, predictions=["Lyon"] * 8 + ["Paris"] * 32)
    with pytest.raises(AssertionError, match="the reference texts changed"):
        project.run().check("accuracy", now, margin=0.05)
    now = accuracy([0] * 8 + [1] * 32, ids=ids)
    with pytest.raises(AssertionError) as caught:
        project.run().check("accuracy", now, margin=0.05)
    assert str(caught.value).startswith("accuracy 0.80 is worse than its baseline 1.00 by 0.20 (margin 0.05)\n")
    assert "flip rate 0.2" in str(caught.value)
    assert "newly failing: q0, q1, q2, q3, q4, q5, q6, q7" in str(caught.value)
    assert "  [q0: 1.0 -> 0.0]\n" in str(caught.value)


def test_examples_are_shown_side_by_side(project):
    references = ["Paris"] * 40
    project.create("accuracy", accuracy(RIGHT, references=references, predictions=references))
    now = accuracy([0] * 8 + [1] * 32, references=references, predictions=["Lyon\x1b[31m"] * 8 + ["Paris"] * 32)
    with pytest.raises(AssertionError) as caught:
        project.run().check("accuracy", now, margin=0.05)
    assert "    [0: 1.0 -> 0.0]\n      expected: Paris\n      actual:   Lyon\\x1b[31m\n" in str(caught.value)


def test_max_broken_guards_single_examples(project):
    base = [0.9, 0.8] * 50
    project.create("quality", graded(base))
    now = [x + 0.02 for x in base]
    now[3], now[7] = 0.1, 0.2  # two broken, and the mean barely moves
    assert project.run().check("quality", graded(now), margin=0.1).ok
    assert project.run().check("quality", graded(now), margin=0.1, max_broken=2, broken_by=0.5).ok
    with pytest.raises(AssertionError) as caught:
        project.run().check("quality", graded(now), margin=0.1, max_broken=1, broken_by=0.5)
    assert str(caught.value).startswith("quality: 2 examples broke (1 may): 3, 7\n")
    assert "note: quality 0.8" in str(caught.value)
    with pytest.raises(InvalidInputError, match="needs broken_by=AMOUNT"):
        project.run().check("quality", graded(now), margin=0.1, max_broken=1)


@pytest.mark.parametrize("kind", [Fraction, np.float32])
def test_terms_are_numbers_of_any_kind(project, kind):
    project.create("accuracy", accuracy(RIGHT))
    terms = {"margin": kind(1) / 20, "alpha": kind(1) / 20, "max_broken": 9, "broken_by": kind(1) / 2}
    with pytest.raises(AssertionError, match=r"is worse than its baseline 1\.00 by 0\.20 \(margin 0\.05"):
        project.run().check("accuracy", accuracy([0] * 8 + [1] * 32), **terms)


def test_an_example_that_got_worse_by_no_more_than_broken_by_is_not_broken(project):
    def score(values):
        return Score(float(np.mean(values)), name="f1", n=40, per_example=values)

    project.create("f1", score([0.4] * 40))
    assert 0.1 - 0.4 < -0.3
    now = score([0.1] * 3 + [0.4] * 37)
    assert project.run().check("f1", now, margin=0.2, max_broken=2, broken_by=0.3).status == "pass"


@pytest.mark.parametrize(
    "text",
    ["今天天气很好，我们去公园玩，然后回家吃饭。", "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะ", "今日は天気がとても良い"],
)
def test_length_band_of_a_script_without_spaces(project, text):
    def score(text):
        return accuracy(RIGHT, predictions=[text] * 40, references=["x"] * 40)

    project.create("accuracy", score(text))
    for other in (text[: len(text) // 3], "It is a fine day"):
        with pytest.raises(AssertionError, match=r"answers are 0\.\d+ times .* words and characters a piece"):
            project.run().check("accuracy", score(other), margin=0.1, length_level="fail")
    # Made of answers in words, as the rest of the suite's may be.
    project.edit("accuracy", length_unit="words", length=1)
    same = project.run().check("accuracy", score(text), margin=0.1, length_level="fail")
    assert (same.outcome, same.figures["length ratio"]) == ("pass", 1.0)


def test_length_band(project):
    def score(text):
        return accuracy(RIGHT, predictions=[text] * 40, references=["x"] * 40)

    project.create("accuracy", score("one two three four five six seven eight nine ten"))
    same = project.run().check("accuracy", score("a b c d e f g h i j"), margin=0.1)
    assert (same.outcome, same.figures["length ratio"]) == ("pass", 1.0)
    longer = score("a b c d e f g h i j k l")
    verdict = project.run().check("accuracy", longer, margin=0.1)
    assert (verdict.status, verdict.outcome, verdict.figures["length ratio"]) == ("pass", "warn", 1.2)
    assert verdict.notes == (
        "answers are 1.20 times as long as the baseline's (12.0 words a piece, were 10.0; the band is 0.9 to 1.1)",
    )
    assert project.run().check("accuracy", longer, margin=0.1, length_band=(0.5, 1.5)).outcome == "pass"
    assert "length ratio" not in project.run().check("accuracy", longer, margin=0.1, length_band=None).figures
    with pytest.raises(AssertionError, match="accuracy: answers are 1.20 times as long"):
        project.run().check("accuracy", longer, margin=0.1, length_level="fail")
    with pytest.raises(AssertionError, match="answers are 0.00 times as long"):
        project.run().check("accuracy", score(""), margin=0.1, length_level="fail")


def test_length_counts_tokens_of_generations(project):
    def score(tokens):
        texts = [Generation("x", token_ids=range(tokens), tokens=["x"] * tokens) for _ in range(40)]
        return accuracy(RIGHT, predictions=texts)

    project.create("accuracy", score(10))
    verdict = project.run().check("accuracy", score(16), margin=0.1)
    assert "16.0 tokens a piece, were 10.0" in verdict.notes[0]
    empty = accuracy(RIGHT, predictions=[Generation("x", token_ids=range(10)), *[Generation("")] * 39])
    verdict = project.run().check("accuracy", empty, margin=0.1)
    assert "0.2 tokens a piece, were 10.0" in verdict.notes[0], "of an empty answer a service sends no tokens"
    assert project.run().check("accuracy", accuracy(RIGHT, predictions=["x"] * 40), margin=0.1).notes == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"request": "other"}, "the prompts or generation settings changed"),
        ({"signature": "v:2"}, r"the metric is another, or configured differently \(v:1 -> v:2\)"),
        ({"references": ["z"] * 40}, "the reference texts changed"),
        ({"ids": [f"n{i}" for i in range(40)]}, r"the examples changed \(40 added, 40 removed, 0 kept\)"),
    ],
)
def test_a_changed_question_is_stale_not_worse(project, change, why):
    fields = {"request": "q", "signature": "v:1", "references": ["r"] * 40}
    project.create("accuracy", accuracy(RIGHT, **fields))
    for values in (RIGHT, [0] * 40):
        with pytest.raises(
            AssertionError, match=r"(?s)the question changed since the baseline was made.*" + why
        ) as caught:
            project.run(update="new").check("accuracy", accuracy(values, **{**fields, **change}), margin=0.1)
        assert "--llm-update=all" in str(caught.value)
    assert (
        project.run(update="all").check("accuracy", accuracy(RIGHT, **{**fields, **change}), margin=0.1).status
        == "updated"
    )


def test_a_baseline_without_a_signature_is_an_older_version_s(project):
    project.create("accuracy", accuracy(RIGHT))
    project.edit("accuracy", signature=None)
    with pytest.raises(AssertionError, match=r"which an older pytest_llm did not say ->"):
        project.run().check("accuracy", accuracy(RIGHT), margin=0.1)


def test_json_that_broke_is_worse_and_no_other_question(project):
    from pytest_llm.metrics import valid_json

    project.create("json", valid_json(["{}"] * 40))
    with pytest.raises(AssertionError, match=r"(?s)json 0\.75 is worse.*expected: valid JSON \(Expecting value"):
        project.run().check("json", valid_json(["no"] * 10 + ["{}"] * 30), margin=0.1)


def test_another_number_of_examples_is_stale(project):
    project.create("accuracy", accuracy(RIGHT))
    with pytest.raises(AssertionError, match=r"1 added, 0 removed, 40 kept"):
        project.run().check("accuracy", accuracy([*RIGHT, 1]), margin=0.1)


def test_the_order_of_examples_does_not_matter(project):
    values, ids = np.linspace(0, 1, 40), [f"e{i}" for i in range(40)]
    project.create("quality", graded(values, ids=ids))
    verdict = project.run().check("quality", graded(values[::-1], ids=ids[::-1]), margin=0.0)
    assert verdict.figures["method"] == "every example"


def test_another_reference_is_stale_in_whatever_order_the_examples_stand(project):
    ids = [str(i) for i in range(40)]
    texts = [f"gold {i}" for i in range(40)]
    project.create("em", exact_match(texts, texts))
    rows = list(zip(ids, texts, strict=True))
    ids, texts = zip(*rows[::-1], strict=True)
    assert project.run().check("em", exact_match(texts, texts, ids=ids), margin=0.1).status == "pass"
    for others in (texts[::-1], ["made up", *texts[1:]]):
        with pytest.raises(AssertionError, match="the reference texts changed"):
            project.run().check("em", exact_match(others, others, ids=ids), margin=0.1)


def test_several_references_are_not_one_that_looks_like_them(project):
    either, table, cut = [["Paris", "London"]] * 40, ["Paris | London"] * 40, [["a |", "b"]] * 40
    project.create("em", exact_match(["Paris"] * 40, either))
    with pytest.raises(AssertionError, match="the reference texts changed"):
        project.run().check("em", exact_match(table, table), margin=0.1, length_band=None)
    project.create("cut", exact_match(["b"] * 40, cut, normalize=False))
    with pytest.raises(AssertionError, match="the reference texts changed"):
        project.run().check("cut", exact_match(["b"] * 40, [["a", "| b"]] * 40, normalize=False), margin=1 - 1e-9)


def test_another_version_of_a_library_is_noted_and_no_other_question(project):
    says, wants = ["the red cat sees the dog", "a blue fox"], ["the red cat sees a dog", "the blue fox"]

    def own(outputs, references, **options):
        return bleu(outputs, references)

    for score, library in (
        (bleu(says, wants), "sacrebleu"), (chrf(says, wants), "sacrebleu"), (ter(says, wants), "sacrebleu"),
        (rouge(says, wants), "rouge-score"), (custom(own, says, wants, version=2), "sacrebleu"),
    ):  # fmt: skip
        project.create("m", score)
        older = re.sub(r"\b(version|rouge-score):[\d.]+", r"\1:0.9", score.signature, count=1)
        project.edit("m", signature=older)
        verdict = project.run().check("m", score, margin=0.5)
        assert verdict.status == "pass"
        assert verdict.figures["environment"] == f"{library} 0.9 -> {version(library)}"
        project.file.unlink()
    project.create("m", custom(own, says, wants, version=1))
    with pytest.raises(AssertionError, match="configured differently"):
        project.run().check("m", custom(own, says, wants, version=2), margin=0.5)


def test_environment_is_noted_before_the_model(project):
    def made_by(torch, digest, values):
        origin = {"model": {"source": "org/m", "digest": digest * 20}, "environment": {"torch": torch, "device": "cpu"}}
        return accuracy(values, origin=origin)

    project.create("accuracy", made_by("2.12", "a", RIGHT))
    assert project.run().check("accuracy", made_by("2.13", "b", RIGHT), margin=0.1).notes == ()
    with pytest.raises(AssertionError) as caught:
        project.run().check("accuracy", made_by("2.13", "b", [0] * 10 + [1] * 30), margin=0.1)
    notes = [part.strip() for part in str(caught.value).split("note: ")[1:]]
    assert notes[0] == "the environment changed since the baseline, which may explain this: torch 2.12 -> 2.13"
    assert notes[1].startswith("the baseline was made by org/m (aaaaaaaaaaaa), this score by org/m (bbbbbbbbbbbb)")


@pytest.mark.parametrize(
    ("value", "terms", "message"),
    [
        (math.nan, {}, "is nan"),
        (accuracy([1, math.nan, *RIGHT[2:]]), {}, "is nan"),
        (Score(0.5, name="accuracy", n=40, per_example=[math.nan] * 40), {}, "not finite"),
        (Score(0.5, name="accuracy", n=0), {}, "no examples"),
        (accuracy(RIGHT, ids=["a"] * 40), {}, "repeated"),
        ("0.5", {}, "a number or a Score"),
        (True, {}, "a number or a Score"),
        (accuracy(RIGHT), {"margin": -1.0}, "margin"),
        (accuracy(RIGHT), {"margin": math.nan}, "margin"),
        (accuracy(RIGHT), {"alpha": 0.7}, "alpha"),
        (accuracy(RIGHT), {"higher_is_better": False}, "contradicts"),
        (accuracy(RIGHT), {"broken_by": 0.1}, "needs max_broken"),
        (accuracy(RIGHT), {"max_broken": -1}, "max_broken"),
        (graded([0.5, 0.7]), {"max_broken": 1}, "max_broken needs broken_by=AMOUNT"),
        (accuracy(RIGHT), {"max_broken": 1.5}, "max_broken counts examples: it cannot be 1.5"),
        (accuracy(RIGHT), {"margin": "calibrate"}, "at least 0, or \"calibrated\", not 'calibrate'"),
        (accuracy(RIGHT), {"length_band": (1.1, 0.9)}, "length_band"),
        (accuracy(RIGHT), {"length_level": "error"}, "length_level"),
        (accuracy(RIGHT), {"groups": ["a"]}, "one label an example"),
        (accuracy(RIGHT), {"groups": (g for g in "ab")}, "one label an example"),
        (accuracy(RIGHT), {"groups": "a" * 40}, "in their order"),
        (accuracy(RIGHT), {"groups": [["a"]] * 40}, "a label of groups is text or a number"),
        (accuracy(RIGHT), {"groups": [math.nan] * 40}, "a label of groups is text or a number"),
        (accuracy(RIGHT), {"groups": [pandas.NA] * 40}, "a label of groups is text or a number, not <NA>"),
        (accuracy(RIGHT), {"groups": [object() for _ in RIGHT]}, "text or a number, not <object object at"),
        (accuracy(RIGHT), {"groups": torch.eye(40)}, "a label of groups is text or a number, not \\[1.0, 0.0"),
        (accuracy(RIGHT), {"groups": 3}, "in their order"),
        (accuracy(RIGHT), {"margin": "0.1"}, "margin must be a finite number"),
        (accuracy(RIGHT), {"alpha": "0.05"}, "alpha must lie"),
        (accuracy(RIGHT), {"margin": 5}, "margin=5 can never be exceeded: accuracy lies between 0 and 1"),
        (accuracy(RIGHT), {"max_broken": math.nan}, "max_broken counts examples"),
        (accuracy(RIGHT), {"max_broken": "2"}, "max_broken counts examples"),
        (accuracy(RIGHT), {"max_broken": 2, "broken_by": "1"}, "broken_by is a positive amount"),
        (accuracy(RIGHT), {"length_band": 0.9}, "length_band is"),
        (accuracy(RIGHT), {"method": "percentiles"}, "method must be one of 'auto', 't', 'percentile', 'bca'"),
        (60.0, {}, "accuracy: no value can be 60, it is between 0 and 1; did you mean 0.6?"),
        (60.0, {"higher_is_better": False}, "higher_is_better=False contradicts the metric of that name"),
        (Score(1e308, name="mine", n=1), {}, r"a figure beyond 1e\+100, which cannot be kept"),
        (Score(0.5, name="mine", n=1, unit=None), {}, "it cannot be kept: unit must be text"),
    ],
)
@pytest.mark.parametrize("update", ["none", "new", "all"])
def test_what_cannot_be_measured_never_passes_nor_is_written(project, recorded, value, terms, message, update):
    project.create("accuracy", accuracy(RIGHT))
    before = project.file.read_bytes()
    with pytest.raises(InvalidInputError, match=message):
        project.run(update=update).check("accuracy", value, **{"margin": 0.1, **terms})
    assert project.file.read_bytes() == before
    assert (recorded[-1].status, recorded[-1].outcome) == ("invalid", "error")


def test_another_metric_or_tokenizer_cannot_pass(project):
    project.create("m", graded([0.5] * 3, unit="points"))
    with pytest.raises(InvalidInputError, match="the baseline is in points, higher is better, this score in no unit"):
        project.run().check("m", graded([0.5] * 3), margin=1)
    with pytest.raises(InvalidInputError, match="lower is better"):
        project.run().check("m", graded([0.5] * 3, unit="points", higher_is_better=False), margin=1)

    def loss(tokens):
        return Score(
            2.0, name="loss", n=2, per_example=[2, 2], weights=tokens, unit="nats/token", higher_is_better=False
        )

    project.create("perplexity", 12.0)
    with pytest.raises(InvalidInputError, match=r"no value can be 0\.5, it is never below 1; is this the loss"):
        project.run().check("perplexity", 0.5, margin=1)
    project.edit("perplexity", value=0.5)
    with pytest.raises(InvalidInputError, match=r"in the baseline, perplexity: no value can be 0\.5"):
        project.run().check("perplexity", 1.5, margin=1)

    project.create("loss", loss([10, 20]))
    with pytest.raises(InvalidInputError, match="31 tokens here and 30 in the baseline: the tokenizer changed"):
        project.run().check("loss", loss([10, 21]), margin=1)


def test_a_score_of_numpy_values_can_be_read_again(project):
    def score(values, **fields):
        n = np.int64(len(values))
        return Score(np.mean(values), name="cost", n=n, per_example=np.array(values), ids=np.arange(n), **fields)

    for direction in (np.bool_(False), 0, False):
        project.run(update="all").check("cost", score([3.0] * 40, higher_is_better=direction), margin=0.1)
        assert project.run().check("cost", score([3.0] * 40, higher_is_better=False), margin=0.1).status == "pass"
        assert project.run(update="new").check("x", 1.0, margin=0.1, higher_is_better=direction).ok
        with pytest.raises(AssertionError, match="is worse than its baseline"):
            project.run().check("x", 2.0, margin=0.1, higher_is_better=False)
    with pytest.raises(InvalidInputError, match="higher_is_better is True or False, not 'lower'"):
        project.run(update="new").check("y", 1.0, margin=0.1, higher_is_better="lower")
    assert list(json.loads(project.file.read_text())["tests"]["test_bleu"]) == ["cost", "x"]


def test_plain_numbers_are_compared_by_the_margin(project):
    for metric, worse, better, terms in (
        ("latency", 1.3, 0.5, {"higher_is_better": False}),
        ("bleu", 27.0, 30.0, {}),
        ("loss", 1.3, 0.5, {}),
    ):
        middle = 28.0 if metric == "bleu" else 1.0
        project.create(metric, middle, **terms)
        assert project.run().check(metric, middle, margin=0.2, **terms).status == "pass"
        assert project.run().check(metric, better, margin=0.2, **terms).status == "improved"
        with pytest.raises(
            AssertionError, match=f"{metric} .* is worse than its baseline .*(?s:.*)carries no interval"
        ):
            project.run().check(metric, worse, margin=0.2, **terms)
    assert project.run().check("bleu", 28.0, margin=0.2, higher_is_better=True).status == "pass", "said or known"
    blind = project.run(update="new").check("chrf", 0.28, margin=1.0, higher_is_better=True)
    assert blind.notes[0].startswith("nothing can be worse than 0.28 by more than 1"), "whoever says the direction"
    with pytest.raises(InvalidInputError, match="say higher_is_better"):
        project.run().check("my own", 0.5, margin=0.1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.8996, "plain 0.8996 is worse than its baseline 0.9500 by 0.0504 (margin 0.05)"),
        (0.8999996, "plain 0.8999996 is worse than its baseline 0.9500000 by 0.0500004 (margin 0.05)"),
        (0.95 - 0.2, "plain 0.75 is worse than its baseline 0.95 by 0.20 (margin 0.05)"),
    ],
)
def test_a_drop_is_shown_apart_from_the_margin_it_exceeds(project, value, said):
    project.create("plain", 0.95, higher_is_better=True)
    with pytest.raises(AssertionError) as caught:
        project.run().check("plain", value, higher_is_better=True, margin=0.05)
    assert str(caught.value).startswith(said + "\n")
    assert "delta -0.05 " not in str(caught.value)


def test_a_tiny_drop_is_shown(project):
    project.create("plain", 2e-12, higher_is_better=True)
    with pytest.raises(AssertionError, match="plain 1e-12 is worse than its baseline 2e-12 by 1e-12"):
        project.run().check("plain", 1e-12, higher_is_better=True, margin=0.0)


def test_a_drop_of_the_margin_is_within_it_whatever_the_rounding(project):
    project.create("plain", 0.9, higher_is_better=True)
    assert 0.85 - 0.9 < -0.05
    assert project.run().check("plain", 0.85, higher_is_better=True, margin=0.05).status == "pass"
    project.create("quality", 0.85, higher_is_better=True)
    assert project.run().check("quality", 0.9, higher_is_better=True, margin=0.05).status == "pass"


def test_loss_gate(project):
    rng = np.random.default_rng(3)
    tokens, base = rng.integers(20, 90, 50), rng.normal(3, 0.4, 50)

    def loss(values):
        value = float(np.average(values, weights=tokens))
        return Score(value, name="loss", n=50, per_example=values, weights=tokens, unit="nats/token",
                     higher_is_better=False, ids=[f"doc{i}" for i in range(50)])  # fmt: skip

    project.create("loss", loss(base), "test_loss")
    assert (
        project.run("test_loss").check("loss", loss(base * (1 + 2e-6)), margin=0.0).figures["method"] == "every example"
    )
    worse = base + 0.05 + rng.normal(0, 0.02, 50)
    worse[17] += 1
    with pytest.raises(
        AssertionError, match=r"loss \d\.\d+ is worse than its baseline \d\.\d+ by 0\.0\d+ nats/token \(margin 0.01\)"
    ) as caught:
        project.run("test_loss").check("loss", loss(worse), margin=0.01)
    assert "\n    [doc17] " in str(caught.value)


@pytest.mark.parametrize("large", [1, 60])
def test_examples_of_large_values_hide_no_change_of_the_others(project, large):
    def size(small):
        return graded([1e6] * large + [small] * (100 - large), higher_is_better=False)

    project.create("quality", size(0.1))
    assert project.run().check("quality", size(0.1 + 2e-8), margin=0.0).figures["method"] == "every example"
    with pytest.raises(AssertionError, match="is worse than its baseline"):
        project.run().check("quality", size(0.9), margin=0.1)


def test_a_metric_is_checked_once_a_test(project):
    project.create("accuracy", accuracy(RIGHT))
    baseline = project.run()
    baseline.check("accuracy", accuracy(RIGHT), margin=0.1)
    with pytest.raises(InvalidInputError, match="checked twice in this test"):
        baseline.check("accuracy", accuracy(RIGHT), margin=0.1)


def test_a_baseline_that_was_merged_or_edited_is_refused_and_measured_again_on_request(project):
    project.create("accuracy", accuracy(RIGHT))
    project.create("quality", graded([0.5, 0.7]))
    digest = json.loads(project.file.read_text())["tests"]["test_bleu"]["accuracy"]["digest"]
    project.edit("accuracy", value=0.5, digest=digest)
    for update in ("none", "new"):
        with pytest.raises(GoldenError, match=r"merged, or edited by hand; .*measure again with --llm-update=all"):
            project.run(update=update).check("accuracy", accuracy(RIGHT), margin=0.1)
    assert project.run().check("quality", graded([0.5, 0.7]), margin=0.1).status == "pass"
    assert project.run(update="all").check("accuracy", accuracy(RIGHT), margin=0.1).status == "created"
    assert project.run().check("accuracy", accuracy(RIGHT), margin=0.1).status == "pass"
    assert project.run().check("quality", graded([0.5, 0.7]), margin=0.1).status == "pass"


def test_tests_and_metrics_live_side_by_side(project):
    project.create("accuracy", accuracy(RIGHT), "test_a")
    project.create("quality", graded([0.5, 0.7]), "test_a")
    project.create("accuracy", accuracy([0] * 40), "test_b[x]")
    tests = json.loads(project.file.read_text())["tests"]
    assert {test: sorted(metrics) for test, metrics in tests.items()} == {
        "test_a": ["accuracy", "quality"], "test_b[x]": ["accuracy"],
    }  # fmt: skip
    assert [p.name for p in project.file.parent.iterdir()] == ["test_quality.json"]
    assert str(project.folder) not in project.file.read_text()


def test_a_file_that_cannot_be_read_is_an_error_and_is_recorded(project, recorded):
    project.create("accuracy", accuracy(RIGHT))
    project.file.write_text("<<<<<<< HEAD\n" + project.file.read_text())
    for update in ("none", "new", "all"):
        with pytest.raises(GoldenError, match="test_quality.json:1: merge-conflict marker"):
            project.run(update=update).check("accuracy", accuracy(RIGHT), margin=0.1)
    assert (recorded[-1].status, recorded[-1].outcome) == ("invalid", "error")


def test_verdicts_are_recorded_as_plain_data(project, recorded):
    project.create("accuracy", accuracy(RIGHT))
    verdict = project.run().check("accuracy", accuracy([0] + [1] * 39), margin=0.2)
    assert recorded[-1] == verdict
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["figures"] == verdict.figures
    assert list(verdict.figures) == [
        "value", "baseline", "delta", "margin", "interval", "confidence", "p", "n", "detectable drop", "flip rate",
        "method",
    ]  # fmt: skip


def test_the_fixture_in_a_run(pytester, cache_dir):
    pytester.makepyfile(
        test_gate="""
        import os
        from pytest_llm.metrics.score import Score

        def score(right):
            return Score(right / 40, name="accuracy", n=40, per_example=[1] * right + [0] * (40 - right))

        def test_gate(llm_baseline):
            llm_baseline.check("accuracy", score(int(os.environ["RIGHT"])), margin=0.05)
        """
    )

    def run(right, *arguments):
        pytester._monkeypatch.setenv("RIGHT", str(right))
        return pytester.runpytest("-p", "no:cacheprovider", *arguments)

    run(40).stdout.fnmatch_lines(['*create it: pytest "test_gate.py::test_gate" --llm-update=new*'])
    run(40, "--llm-update=new").assert_outcomes(passed=1)
    run(40).assert_outcomes(passed=1)
    result = run(30)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*accuracy 0.75 is worse than its baseline 1.00 by 0.25 (margin 0.05)"])
    run(30, "--llm-update=all").assert_outcomes(passed=1)
    run(30).assert_outcomes(passed=1)
