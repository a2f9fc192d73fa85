"""What a case expects, and what `assert_feedback` makes of an output."""

import pytest

from pytest_llm import InvalidInputError, assert_feedback
from pytest_llm.feedback.cases import Answer, Correction, FeedbackCase, case_id

TURNS = ({"role": "user", "content": "What is the capital of France?"},)
PARIS, LYON = "The capital of France is Paris.", "The capital of France is Lyon."


def case(*answers, corrections=(), pinned="", turns=TURNS):
    return FeedbackCase(
        case_id(turns),
        turns,
        tuple(
            Answer(text, tuple(f"{text}u{i}" for i in range(up)), tuple(f"{text}d{i}" for i in range(down)))
            for text, up, down in answers
        ),
        tuple(Correction(text, tuple(f"{text}c{i}" for i in range(n))) for text, n in corrections),
        pinned=pinned,
    )


def test_what_a_case_expects():
    one = case(("a", 3, 1), ("b", 5, 1), ("c", 1, 1), ("d", 0, 2), ("e", 1, 2), corrections=[("y", 1), ("x", 2)])
    assert one.goldens == ("b", "a")
    assert one.golden == "b"
    assert one.rejected == ("d", "e")
    assert one.reference == "x"
    assert one.expected == ("x", "b", "a")
    assert one.votes == (10, 7)
    assert case(("a", 1, 0), corrections=[("x", 2)], pinned="z").expected == ("z",)
    assert case(("a", 0, 1)).golden is None
    assert case(("a", 0, 1)).reference is None
    assert repr(one) == "<FeedbackCase what-is-the-capital-of-france-42a8b89ddb: 10 up, 7 down>"


def test_questions():
    one = case(("a", 1, 0))
    assert one.prompt == "What is the capital of France?"
    assert one.messages == [{"role": "user", "content": "What is the capital of France?"}]
    one.messages[0]["content"] = "changed"
    assert one.prompt == "What is the capital of France?"
    chat = case(("a", 1, 0), turns=({"role": "system", "content": "s"}, {"role": "user", "content": "u"}))
    assert len(chat.messages) == 2
    with pytest.raises(InvalidInputError, match=r"u-\w{10} is a conversation of 2: use .messages"):
        chat.prompt  # noqa: B018


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Hello,  World!", "hello-world"),
        ("Où est l'Éléphant?", "ou-est-l-elephant"),
        ("法国的首都是哪里？", "case"),
        ("../../etc/passwd\x00[x]::y", "etc-passwd-x-y"),
        ("word " * 40, "word-word-word-word-word-word-word-word"),
        ("x" * 90, "x" * 40),
    ],
)
def test_ids_are_readable_stable_and_safe(text, slug):
    turns = ({"role": "user", "content": text},)
    assert case_id(turns).rpartition("-")[0] == slug
    assert case_id(turns) == case_id(({"role": "user", "content": f" {text.upper()}\n"},))
    assert case_id(turns) != case_id(({"role": "user", "content": f"{text} not"},))


def test_a_verdict_says_what_it_found():
    verdict = case((PARIS, 2, 0)).check("Paris is the capital of France.")
    assert (verdict.kind, verdict.name, verdict.status) == ("threshold", "feedback", "pass")
    assert verdict.headline == "feedback: chrF 74.2497 to a golden is at least 50"
    assert verdict.figures == {"value": pytest.approx(74.25, abs=0.01), "at_least": 50.0}
    assert verdict.evidence.pairs[0].golden.text == PARIS


WRONG = {
    "far": (case((PARIS, 1, 0)), "Bananas.", "chrF 6.02259 to a golden is below 50"),
    "again": (case((PARIS, 1, 0), (LYON, 0, 1)), LYON.upper() + " ", "an output that was turned down came back"),
    "nearer": (
        case((LYON, 0, 1), corrections=[(PARIS, 1)]),
        "It is Lyon, the capital of France.",
        "chrF 63.0173 to the reference, but 77.9005 to what was turned down",
    ),
    "only rejected": (case(("Yes.", 0, 1)), "yes.", "an output that was turned down came back"),
    "almost again": (
        case((LYON, 0, 1)),
        "The capital of France is Lyon!",
        "chrF 95.5297 to what was turned down is at least 90",
    ),
    "empty": (case((PARIS, 1, 0)), "", "chrF 0 to a golden is below 50"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_people_would_not_like_fails(name):
    one, output, why = WRONG[name]
    with pytest.raises(AssertionError) as raised:
        assert_feedback(one, output)
    assert str(raised.value).splitlines()[0] == f"feedback: {why}"


def test_a_failure_shows_both_sides():
    with pytest.raises(AssertionError) as raised:
        case((LYON, 0, 2), corrections=[(PARIS, 1)]).check("It is Lyon, the capital of \x1b[31mFrance.")
    assert [line for line in str(raised.value).splitlines()[1:] if not line.startswith("  ?")] == [
        "  value 49.9313   at_least 63.7523",
        "  @@ first difference: line 1, column 1 @@",
        "  - The capital of France is Paris.",
        r"  + It is Lyon, the capital of \x1b[31mFrance.",
        "  note: 0 thumbs up, 2 thumbs down, 1 corrected",
        "  note: turned down: The capital of France is Lyon.",
    ]


def test_anything_else_passes_where_only_a_bad_answer_is_known():
    assert case((LYON, 0, 1)).check("I do not know.").headline == (
        "feedback: chrF 5.29084 to what was turned down is below 90"
    )


def test_an_answer_both_liked_and_disliked_under_two_spellings_passes():
    case((PARIS, 2, 0), (PARIS.upper(), 0, 1)).check(PARIS)


@pytest.mark.parametrize(
    ("rejected", "corrected", "options"),
    [
        ("I like it alot.", "I like it a lot.", {}),
        ("paris", "Paris", {}),
        ("5", "$5", {"metric": "rougeL", "at_least": 0.5}),
        ("1.5", "15", {"metric": "f1", "at_least": 0.5}),
        ("The cat!", "A cat.", {"metric": "exact_match", "at_least": 1.0}),
    ],
)
def test_what_was_turned_down_fails_though_the_metric_cannot_tell_it_from_its_correction(rejected, corrected, options):
    one = case((rejected, 0, 1), corrections=[(corrected, 1)])
    for output in (rejected, f" {rejected}\n"):
        with pytest.raises(AssertionError, match="^feedback: an output that was turned down came back\n"):
            one.check(output, **options)
    for output in (corrected, f" {corrected}\n"):
        assert one.check(output, **options).ok
    pinned = case((rejected, 0, 1), pinned=rejected)
    assert pinned.check(rejected, **options).ok  # a reviewer overrules


def test_a_metric_that_cannot_read_what_was_turned_down_says_so_but_of_no_word_at_all():
    options = {"metric": "rougeL", "at_least": 0.5}
    one = case(("...", 0, 1), corrections=[(PARIS, 1)])
    assert one.check(PARIS, **options).ok
    with pytest.raises(AssertionError, match="an output that was turned down came back"):
        one.check("...", **options)
    with pytest.raises(InvalidInputError, match="'Не знаю'.* cannot be read by ROUGE"):
        case(("Не знаю", 0, 1), corrections=[(PARIS, 1)]).check(PARIS, **options)


class ByLength:
    def embed(self, texts):
        return [[float(len(text)), 10.0] for text in texts]


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"metric": "rougeL", "at_least": 0.4}, "ROUGE-L"),
        ({"metric": "exact_match", "at_least": 1.0}, "exact match"),
        ({"metric": "f1", "at_least": 0.5}, "token F1"),
        ({"metric": "similarity", "at_least": 0.9, "encoder": ByLength()}, "similarity"),
    ],
)
def test_other_metrics(options, label):
    one = case((PARIS, 1, 0), ("No.", 0, 1))
    assert one.check("the capital of France is Paris", **options).headline.startswith(f"feedback: {label} ")
    with pytest.raises(AssertionError, match=label):
        one.check("Perhaps", **options)


class Vocabulary:
    """Counts the words it knows: a text without one has no direction."""

    def embed(self, texts):
        return [[float(text.count("Paris")), float(text.count("Lyon"))] for text in texts]


@pytest.mark.parametrize("liked", [(), ((PARIS, 1, 0),)])
@pytest.mark.parametrize(("rejected", "output"), [("Bananas.", PARIS), (LYON, "Apples.")])
def test_a_similarity_that_is_not_known_is_an_error_and_no_pass(liked, rejected, output):
    with pytest.raises(InvalidInputError, match=r"^feedback case what-\S+: similarity to '[TB].*\.' is nan$"):
        case(*liked, (rejected, 0, 1)).check(output, metric="similarity", at_least=0.9, encoder=Vocabulary())


def test_what_is_no_case():
    with pytest.raises(
        InvalidInputError, match=r"assert_feedback takes a case that feedback_cases\(...\) gave, not None"
    ):
        assert_feedback(None, "x")


def test_what_cannot_be_checked():
    one = case((PARIS, 1, 0))
    for wrong, why in {
        ("x", "ter", None): "'ter' is no similarity of two texts",
        ("x", "rougel", None): "did you mean 'rougeL'",
        ("x", "rougeL", None): "give one bound, at_least= or at_most=",
        ("x", "rougeL", 50): "did you mean 0.5?",
    }.items():
        with pytest.raises(InvalidInputError, match=why.replace("?", r"\?")):
            assert_feedback(one, wrong[0], metric=wrong[1], at_least=wrong[2])
    with pytest.raises(InvalidInputError, match="an output is one text, not list"):
        assert_feedback(one, ["x"])
    with pytest.raises(InvalidInputError, match="as many thumbs up as down, and no correction: nothing to check"):
        case(("a", 1, 1)).check("x")
