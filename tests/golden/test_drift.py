"""What a comparison calls a difference, and the evidence it gives."""

import math

import numpy as np
import pytest
import sacrebleu

from pytest_llm.errors import InvalidInputError
from pytest_llm.golden.drift import Rules, compare
from pytest_llm.golden.file import Golden
from pytest_llm.metrics.score import Score
from pytest_llm.results import Generation

from .conftest import ENVIRONMENT, MODEL, answer, token_id


def drift(old, new, **rules):
    return compare(Golden.of(old, "t"), Golden.of(new, "t"), Rules(**rules))


def parted(*, golden_margin=0.01, new_margin=0.02, golden_runner="bat", new_runner="cat", **request):
    """Two answers that part at token 1, "cat" against "bat", and go on differently."""
    return (
        answer("the cat sat", margins=[2, golden_margin, 2], runner_ups=[0, token_id(golden_runner), 0],
               logprobs=[-0.1, -0.70, -0.2], **request),
        answer("the bat flew off", margins=[2, new_margin, 2, 2], runner_ups=[0, token_id(new_runner), 0, 0],
               logprobs=[-0.1, -0.69, -0.2, -0.3], **request),
    )  # fmt: skip


def test_the_same_text_is_identical():
    found = drift(answer("the cat"), answer("the cat", logprobs=[-3.0, -3.0]))
    assert (found.status, found.figures, found.notes, found.diff) == ("identical", {}, (), ())


def test_a_tie_on_both_sides_is_a_near_tie_with_its_evidence():
    found = drift(*parted())
    assert found.status == "near-tie"
    assert found.headline == "near-tie at token 1: ' cat' → ' bat', within 0.05 nats on both sides"
    assert found.figures == {
        "token": 1, "golden token": "' cat'", "new token": "' bat'", "golden logprob": -0.70, "golden margin": 0.01,
        "new logprob": -0.69, "new margin": 0.02, "mean shift before": 0.0, "bound": 0.05,
    }  # fmt: skip
    assert found.diff[0] == "@@ first difference: line 1, column 5 @@"


@pytest.mark.parametrize(
    ("sides", "reason"),
    [
        ({"golden_margin": 0.06}, "no tie: the golden preferred its token by 0.06 nats (bound 0.05)"),
        ({"new_margin": 5.0}, "no tie: the new answer preferred its token by 5 nats (bound 0.05)"),
        ({"golden_margin": math.nan}, "no tie: the golden preferred its token by nan nats (bound 0.05)"),
        ({"golden_runner": "dog"}, "no tie: the golden had another runner-up than the other side's choice"),
        ({"new_runner": "dog"}, "no tie: the new answer had another runner-up than the other side's choice"),
        ({"do_sample": True}, "only a greedy answer can part at a tie; this one was sampled"),
        ({"num_beams": 4}, "only a greedy answer can part at a tie; this one was sampled, searched by beams"),
    ],
)
def test_without_a_tie_on_both_sides_it_drifted_and_says_why(sides, reason):
    found = drift(*parted(**sides))
    assert found.status == "drifted"
    assert found.headline == "drifted at token 1: ' cat' → ' bat'"
    assert found.notes[0].startswith(reason)
    assert found.figures["token"] == 1


def test_two_tokens_of_one_text_are_told_apart_by_their_ids():
    golden, new = answer("a \ufffd", ids=[7, 12]), answer("a \ufffd", ids=[7, 15])
    found = drift(golden, Generation("b", token_ids=new.token_ids, tokens=new.tokens, origin=new.origin))
    assert found.headline == "drifted at token 1: ' \ufffd' (id 12) → ' \ufffd' (id 15)"


def test_the_bound_of_a_tie_is_the_checks():
    sides = parted(golden_margin=0.2, new_margin=0.2)
    assert drift(*sides).status == "drifted"
    assert drift(*sides, logprob_margin=0.2).status == "near-tie"
    assert drift(*parted(golden_margin=0.0, new_margin=0.0), logprob_margin=0.0).status == "near-tie"


def test_an_answer_that_is_cut_short_is_no_tie():
    found = drift(answer("the cat sat"), answer("the cat"))
    assert found.status == "drifted"
    assert found.headline == "drifted at token 2: ' sat' → (end)"
    assert found.notes == ("one answer ends where the other goes on",)


def test_without_logprobs_no_tie_is_claimed():
    golden, new = parted()
    bare = Generation(str(new), token_ids=new.token_ids, tokens=new.tokens, origin=new.origin)
    assert drift(golden, bare).notes == ("the new answer holds no logprobs, so a tie cannot be told",)
    plain = drift(golden, str(new))
    assert (plain.status, plain.figures) == ("drifted", {})


def test_a_shift_before_the_parting_is_shown():
    golden, new = parted()
    moved = answer(str(new), margins=new.margins, runner_ups=new.runner_ups, logprobs=[-0.6, -0.69, -0.2, -0.3])
    assert drift(golden, moved).figures["mean shift before"] == pytest.approx(0.5)


# --- the question, the environment, the model ---


def test_another_question_is_stale_and_says_which_fields():
    found = drift(answer("yes", prompt="Is it?"), answer("yes", prompt="Is it so?", max_new_tokens=8))
    assert found.status == "stale"
    assert found.headline == "stale: the question changed (max_new_tokens, prompt)"
    assert found.diff == (
        "max_new_tokens: 64 → 8",
        "prompt:",
        "@@ first difference: line 1, column 6 @@",
        "- Is it?",
        "+ Is it so?",
        "?      ^^^",
    )


def test_one_changed_question_of_a_batch_is_named():
    old = [answer("a", prompt="1"), answer("b", prompt="2")]
    found = drift(old, [answer("a", prompt="1"), answer("b", prompt="3")])
    assert found.status == "stale"
    assert found.diff[0] == "[1].prompt:"
    assert drift(old, old[:1]).status == "stale"


def test_a_field_that_came_with_a_newer_version_does_not_make_goldens_stale():
    old = Golden.of(answer("yes"), "t")
    del old.request["min_p"]
    assert compare(old, Golden.of(answer("yes"), "t"), Rules()).status == "identical"
    assert compare(old, Golden.of(answer("yes", min_p=0.1), "t"), Rules()).status == "stale"


def test_chat_messages_and_options_compare_as_they_read_from_a_file():
    value = answer(
        "yes", prompt=({"role": "user", "content": "Hi"},), options={"bad_words_ids": ((1, 2),)}, stop=("x",)
    )
    golden = Golden.of(value, "t")
    golden.request["options"] = {"bad_words_ids": [[1, 2]]}
    assert compare(golden, Golden.of(value, "t"), Rules()).status == "identical"


def test_another_environment_and_another_model_are_both_named():
    found = drift(
        answer("the cat"),
        answer("the dog", environment={**ENVIRONMENT, "torch": "2.14.0"}, model={**MODEL, "digest": "b" * 64}),
    )
    assert found.status == "drifted"
    assert found.headline.startswith(
        "with another model and in another environment (torch 2.13.0 → 2.14.0), drifted at token 1"
    )
    assert found.notes[1:] == (
        "neither model nor environment is the golden's: ask its model here to tell which moved it",
        "the golden was made with another model: model files aaaaaaaaaaaa… → bbbbbbbbbbbb…",
    )
    found = drift(answer("the cat"), answer("the dog", model={**MODEL, "digest": "b" * 64}))
    assert found.headline.startswith("with another model, drifted at token 1")
    found = drift(answer("the cat"), answer("the dog", model={**MODEL, "source": "/a/copy/of/it"}))
    assert found.headline.startswith("drifted at token 1")
    assert "another model" not in " ".join(found.notes)


def test_a_metric_over_other_questions_is_stale():
    def bleu(n):
        return Score(30.0, name="bleu", n=n, signature="s", request="q")

    assert drift(bleu(2), bleu(2)).status == "identical"
    assert drift(bleu(2), bleu(3)).status == "stale"


# --- numbers, arrays, trees ---


@pytest.mark.parametrize(
    ("old", "new", "rules", "status"),
    [
        (1.0, 1.0 + 1.9e-5, {}, "identical"),
        (1.0, 1.0 + 2.1e-5, {}, "drifted"),
        (1.0, 1.1, {"rtol": 0.2}, "identical"),
        (0.0, 1e-6, {}, "identical"),
        (0.0, 1e-6, {"atol": 0.0}, "drifted"),
        (1e-6, 1e-6 + 1e-13, {"atol": 0.0, "rtol": 1e-6}, "identical"),
        (3, 3.0, {}, "identical"),
        (10**20, 10**20 + 1, {}, "drifted"),
        (True, 1, {}, "drifted"),
        (None, 0, {}, "drifted"),
        ("1", 1, {}, "drifted"),
        ([1, 2], [1, 2, 3], {}, "drifted"),
        ({"a": 1}, {"b": 1}, {}, "drifted"),
        ({"a": [1.0, "x"]}, {"a": [1.0 + 1e-9, "x"]}, {}, "identical"),
        ({"a": [1.0, "x"]}, {"a": [1.0, "X"]}, {}, "format-only"),
    ],
)
def test_numbers_and_trees(old, new, rules, status):
    assert drift(old, new, **rules).status == status
    assert drift(new, old, **rules).status == status


def test_a_number_shows_how_far_it_went():
    found = drift(2.0, 2.5)
    assert found.headline == "drifted from 2.0 to 2.5"
    assert found.figures == {"golden": 2.0, "new": 2.5, "relative": 0.25, "rtol": 1e-5, "atol": 1e-5}
    assert drift(0.0, 1.0).figures["relative"] == "inf"


def test_the_worst_part_of_a_batch_leads_and_the_others_are_counted():
    old = [answer(word) for word in ("a", "b c", "d", "e", "f")]
    new = [answer(word) for word in ("a", "B c", "x", "y", "z")]
    found = drift(old, new)
    assert found.status == "drifted"
    assert found.headline == "[2]: drifted at token 0: 'd' → 'x'"
    assert found.figures["parts that differ"] == 4
    assert [row for row in found.diff if row.startswith("[")] == ["[2]:", "[3]:", "[4]:"]
    assert found.diff[-1] == "… (+1 parts that differ)"


def test_arrays_show_their_largest_errors():
    old = np.array([[1.0, 2.0], [0.0, 4.0]])
    found = drift(old, np.array([[1.0, 2.2], [0.1, 4.0]]))
    assert found.status == "drifted"
    assert found.headline == "array drifted, most at [0, 1]: 2.0 → 2.2"
    assert found.figures["entries"] == "2 of 4"
    assert found.figures["max abs error"] == pytest.approx(0.2)
    assert found.figures["max rel error"] == "inf"
    assert drift(old, old + 1e-6).status == "identical"
    assert drift(old, old + 1e-6, atol=0.0).status == "drifted"
    assert drift(old, old[0]).headline == "shape (2, 2) became (2,)"


@pytest.mark.filterwarnings("error")
def test_arrays_of_whole_numbers_compare_exactly_and_infinities_with_themselves():
    big = np.array([1, 2**60])
    assert drift(big, big + [0, 1]).headline == f"array drifted, most at [1]: {2**60} → {2**60 + 1}"
    assert drift(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])).status == "identical"
    assert drift(np.array([np.inf, 1.0]), np.array([np.inf, 2.0])).figures["max abs error"] == 1.0
    assert drift(np.array([np.inf, 1.0]), np.array([-np.inf, 1.0])).status == "drifted"
    assert drift(np.array([np.inf, 1.0]), np.array([9.0, 1.0]), rtol=1.0).status == "drifted"
    assert drift(np.array([1.0], np.float32), np.array([1.0])).status == "identical"
    assert drift(np.array([1 + 1j]), np.array([1 + 2j])).status == "drifted"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_array_of_bools_is_none_of_numbers_as_elsewhere(project, size):
    mask = np.arange(size) % 2 == 0
    for in_golden, numbers in ((mask, mask.astype(int)), (mask.astype(float), mask), ({"m": mask}, {"m": mask * 1})):
        assert in_golden == project.snapshot("all")
        assert in_golden == project.snapshot()
        assert (numbers == project.snapshot()) is False
    assert drift(mask, mask * 1).headline == "an array of bool became one of int64"
    assert mask[:0] == project.snapshot("all")
    assert mask[:0] == project.snapshot()


# --- similarity ---


class Letters:
    """An encoder whose vectors count the letters a and b."""

    def __init__(self):
        self.calls = []

    def embed(self, texts):
        self.calls.append(list(texts))
        return np.array([[text.count("a"), text.count("b")] for text in texts])


def test_chrf_makes_a_text_close_only_when_asked():
    old, new = "The quick brown fox jumps over the lazy dog.", "The quick brown fox jumped over the lazy dog."
    reference = sacrebleu.sentence_chrf(new, [old]).score / 100
    assert 0.8 < reference < 1
    assert drift(old, new).status == "drifted"
    found = drift(old, new, similarity=0.8)
    assert found.status == "close"
    assert found.figures == {"chrF": pytest.approx(reference, abs=1e-12), "at least": 0.8}
    found = drift(old, new, similarity=0.99)
    with pytest.raises(InvalidInputError, match="similarity lies in"):
        drift(old, new, similarity=True)
    assert found.status == "drifted"
    assert found.figures["chrF"] == pytest.approx(reference, abs=1e-12)


def test_a_change_of_format_is_close_where_it_is_similar_enough():
    old, new = "The capital is Paris.", "The capital is **Paris**."
    assert drift(old, new).status == "format-only"
    assert drift(old, new, similarity=0.5).status == "close"
    assert drift(old, old.upper(), similarity=0.5).status == "format-only"


def test_of_parts_the_one_leads_whose_status_does_the_worst(project):
    old, new = ["YES", "The capital is Paris."], ["yes", "The capital is Lyon."]
    found = drift(old, new, similarity=0.5)
    assert (found.status, found.headline) == ("format-only", "[0]: differs in format only (case)")
    project.commit(old)
    levels = {"format-only": "pass", "close": "warn"}
    verdict = project.snapshot().check(new, similarity=0.5, levels=levels)
    assert (verdict.status, verdict.outcome) == ("close", "warn")


def test_the_name_of_a_model_is_no_encoder():
    with pytest.raises(InvalidInputError, match=r"not 'org/minilm': encoder=llm_loader\('org/minilm'\)"):
        drift(["a"], ["a"], similarity=0.9, encoder="org/minilm")


def test_an_encoder_measures_the_cosine_of_all_texts_at_once():
    encoder = Letters()
    found = drift(["a", "ab", "ba"], ["a", "aab", "b"], similarity=0.9, encoder=encoder)
    assert encoder.calls == [["aab", "b", "ab", "ba"]]
    assert found.status == "drifted"
    assert found.headline.startswith("[2]: drifted")
    assert found.figures["embedding cosine"] == pytest.approx(1 / math.sqrt(2))
    close = drift("ab", "aab", similarity=0.9, encoder=encoder)
    assert close.status == "close"
    assert close.figures["embedding cosine"] == pytest.approx(3 / math.sqrt(10))


def test_a_similarity_that_is_nan_is_an_error():
    with pytest.raises(InvalidInputError, match="similarity is NaN"):
        drift("ab", "xyz", similarity=0.5, encoder=Letters())


@pytest.mark.parametrize(
    "rules",
    [
        {"similarity": 80},
        {"similarity": 0},
        {"similarity": math.nan},
        {"encoder": Letters()},
        {"rtol": -1},
        {"logprob_margin": math.inf},
    ],
)
def test_a_tolerance_out_of_range_is_refused(rules):
    with pytest.raises(InvalidInputError):
        Rules(**rules)


def test_an_answer_that_no_longer_ends_by_itself_is_noted():
    def ended(text, reason):
        return [Generation(text, finish_reason=reason)]

    note = "it did not end as the golden did: finish_reason stop → content_filter"
    found = drift(ended("a", "stop"), ended("a", "content_filter"))
    assert (found.status, found.notes) == ("identical", (note,))
    found = drift({"x": ended("a b", "stop")}, {"x": ended("a", "content_filter")})
    assert (found.status, found.notes[-1]) == ("drifted", note)
    for old, new in (("", "length"), ("stop", ""), ("length", "stop"), ("length", "length")):
        assert drift(ended("a", old), ended("a", new)).notes == ()
    note = "it did not end as the golden did: finish_reason tool_calls → length"
    found = drift(ended("a", "tool_calls"), ended("a", "length"))
    assert (found.status, found.notes) == ("identical", (note,))


@pytest.mark.parametrize("reasons", [("tool_calls", "stop"), ("stop", "tool_calls")])
def test_the_same_words_as_a_tool_call_and_as_plain_text_have_drifted(reasons):
    found = drift(*([Generation('{"tool_calls":[]}', finish_reason=reason)] for reason in reasons), similarity=0.5)
    assert (found.status, found.headline) == (
        "drifted",
        "[0]: drifted: the same words, as a tool call and as plain text",
    )
    assert found.notes == (f"it did not end as the golden did: finish_reason {reasons[0]} → {reasons[1]}",)


def test_an_integer_beyond_all_floats_is_compared_with_one(project):
    project.commit([10**400])
    assert project.snapshot() == [10**400]
    assert (project.snapshot() == [1.5]) is False
    (candidate,) = project.pending()
    assert candidate.verdict.status == "drifted"
