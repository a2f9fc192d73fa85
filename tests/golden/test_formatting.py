"""Format or content: what may change without another meaning, and what may not."""

import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llm.golden.formatting import format_difference


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("a b", "a  b\n", ("whitespace",)),
        ("a\n\nb", "a\r\nb", ("whitespace",)),
        ('{"a": 1, "b": [ "x", "y" ]}', '{\n  "a":1,\n  "b":["x","y"]\n}', ("whitespace",)),
        ("Paris", "PARIS", ("case",)),
        ("Straße", "STRASSE", ("case",)),
        ("caf\u00e9", "cafe\u0301", ("Unicode form",)),
        ("ﬁne １２", "fine 12", ("Unicode form",)),
        ("a\u00a0b", "a b", ("Unicode form",)),
        ("It is **Paris**.", "It is Paris.", ("Markdown",)),
        ("It is *Paris*, `yes`.", "It is Paris, yes.", ("Markdown",)),
        ("***-5***", "-5", ("Markdown",)),
        ("- one\n- two", "* one\n* two", ("Markdown",)),
        ("- **one**\n- two", "one\ntwo", ("Markdown",)),
        ("## Title\ntext", "Title\ntext", ("Markdown",)),
        ('```json\n{"a": 1}\n```', '{"a": 1}', ("Markdown",)),
        ("```python\nx = 1\n```", "```\nx = 1\n```", ("Markdown",)),
        ("**Paris**", "paris ", ("Markdown", "case", "whitespace")),
    ],
)
def test_format_only(old, new, kinds):
    assert format_difference(old, new) == kinds
    assert format_difference(new, old) == kinds


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("same", "same"),
        ("1.5", "15"),
        ("1.5", "1 5"),
        ("1. 5", "1.5"),
        ("1, 5", "1,5"),
        ("1 5", "15"),
        ("-5", "5"),
        ("- 5", "5"),
        ("- 5", "-5"),
        ("a\n- 5 items", "a\n5 items"),
        ("+ 3", "3"),
        ("x\n+ y", "x\n- y"),
        ("> 5", "5"),
        ("x^2", "x2"),
        ("x²", "x2"),
        ("½", "1/2"),
        ("①", "1"),
        ("2*3*4", "234"),
        ("2**3", "23"),
        ("2 * 3 * 4", "2 3 4"),
        ("a`b`c", "abc"),
        ("1`5`", "15"),
        ("f(*args)", "f(args)"),
        ("__init__", "init"),
        ("~~yes~~ no", "yes no"),
        ("the rapist", "therapist"),
        ("résumé", "resume"),
        ("yes", "yes!"),
        ("5 %", "5"),
        ("a\u200bb", "ab"),
        ("", "x"),
        ("−5", "-5"),
        ("```\na\n```", "```\nb\n```"),
        ("```cat", ""),
    ],
)
def test_content(old, new):
    assert format_difference(old, new) == ()
    assert format_difference(new, old) == ()


PIECES = st.sampled_from(
    [
        "a",
        "B",
        "1",
        "5",
        ".",
        ",",
        "-",
        "+",
        "*",
        "**",
        "`",
        " ",
        "\n",
        "#",
        "# ",
        "- ",
        "* ",
        "(",
        ")",
        '"',
        "²",
        "é",
        "^",
        ":",
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def words(text):
    """The runs of letters and digits of a text, whatever their case and spelling."""
    text = "".join(
        c if unicodedata.decomposition(c).startswith("<super>") else unicodedata.normalize("NFKC", c) for c in text
    )
    return re.findall(r"[^\W_]+", text.casefold())


def negative(text):
    """How many numbers have a minus before them, marks of Markdown between the two left out."""
    return len(re.findall(r"-\d", re.sub(r"[\s*`#\"()]", "", text)))


@given(TEXTS, st.data())
def test_format_only_never_hides_another_word_or_number(text, data):
    """Whatever is done to a text piece by piece, if it reads as format, the same words are there in the same order."""
    chars = list(text)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(chars)))
        if chars and data.draw(st.booleans()):
            del chars[min(at, len(chars) - 1)]
        else:
            chars.insert(at, data.draw(PIECES))
    other = "".join(chars)
    assume("```" not in text + other)  # a fence's language is no word of the answer
    if format_difference(text, other):
        assert words(text) == words(other)
        assert negative(text) == negative(other)


@given(TEXTS)
def test_a_text_differs_from_itself_in_nothing_and_the_answer_is_symmetric(text):
    assert format_difference(text, text) == ()
    assert bool(format_difference(text, text.upper())) == bool(format_difference(text.upper(), text))


def test_a_long_hostile_text_does_not_hang():
    for piece in ("*a", "`", "**", "* ", "```\n", "(", " ", "*a* ", "\n- "):
        format_difference(piece * 20_000, piece * 20_000 + "x")
