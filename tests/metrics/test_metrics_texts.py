"""ROUGE, exact match, token F1, accuracy and the checks of a text, against their references."""

import collections
import json
import re
import string

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import Series
from rouge_score.rouge_scorer import RougeScorer

from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import accuracy, bleu, contains, exact_match, f1, matches, rouge, valid_json
from pytest_llm.metrics.inputs import spaced
from tests.conftest import LIMITED_DIGITS

CASES = settings(max_examples=200, deadline=None)
WORDS = ["the", "The", "a", "an", "cat", "cats", "sat.", "on", "mat", "42", "theatre", "naïve", "\n", "-"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join) | st.text(max_size=20)
CORPORA = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=5)


def kept(reference):
    """Whether ROUGE reads at least half of the letters, and one."""
    letters = [c for c in reference.lower() if c in string.ascii_lowercase + string.digits]
    return letters and 2 * len(letters) >= sum(map(str.isalnum, reference))


@CASES
@given(CORPORA, st.sampled_from(["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]), st.booleans())
def test_rouge(corpus, kind, stem):
    corpus = [(p, [r if kept(r) else "the cat" for r in some]) for p, some in corpus]
    scorer = RougeScorer([kind], use_stemmer=stem)
    expected = [max(scorer.score(r, p)[kind].fmeasure for r in some) for p, some in corpus]
    score = rouge([p for p, _ in corpus], [r for _, r in corpus], kind=kind, use_stemmer=stem)
    assert score.per_example == pytest.approx(expected, abs=1e-9)
    assert score == pytest.approx(sum(expected) / len(expected), abs=1e-9)
    assert (score.name, score.unit, score.n) == (kind, "", len(corpus))


def test_rouge_does_not_call_another_script_wrong():
    for text in ("北京 是 首都", "Столица России - Москва, 1147", "...", ""):
        with pytest.raises(InvalidInputError) as caught:
            rouge(["It is Paris", text], ["It is Paris", text], ids=["fr", "x"])
        assert str(caught.value) == (
            f"rougeL: 1 reference ([x] {text!r}) cannot be read by ROUGE, whose tokenizer keeps a-z and 0-9 only; give "
            "tokenizer=, an object with tokenize(text), or use chrf"
        )
    with pytest.raises(InvalidInputError, match=r"4 references \(\[0\] 'я', \[1\] 'я', \[1\] 'ты', \.\.\.\)"):
        rouge(["a"] * 3, [["a", "я"], ["я", "ты"], "он"])
    assert rouge("Größe: naïve", "Größe: naïve") == 1.0

    class Spaces:
        def tokenize(self, text):
            return text.split()

    assert rouge(["北京 是 首都"], ["北京 是 首都"], tokenizer=Spaces()) == 1.0
    with pytest.raises(InvalidInputError, match="by Spaces: no token is in it; give tokenizer="):
        rouge(["北京"], [" "], tokenizer=Spaces())


def test_rouge_by_a_tokenizer_that_changed_is_another_measure():
    class Characters:
        def __init__(self, stopwords=""):
            self.stopwords = stopwords

        def tokenize(self, text):
            return [one for one in text if one not in self.stopwords]

    def signature(references, **options):
        return rouge(["北京"] * 2, references, **options).signature

    texts = [["我喜欢吃苹果", "我很喜欢苹果"], "今天天气很好"]
    first = signature(texts, tokenizer=Characters())
    assert re.search(r"\|tok:.*test_metrics_texts\.\S+\.Characters\|tokens:[0-9a-f]{12}\|rouge-score:", first)
    assert signature(texts, tokenizer=Characters("天的")) != first == signature(texts, tokenizer=Characters("的"))
    assert "|tok:DefaultTokenizer|rouge-score:" in signature(["a", "b"])  # as baselines have it


def test_rouge_kinds():
    with pytest.raises(InvalidInputError, match="kind 'rougeX' is none of rouge1"):
        rouge(["a"], ["a"], kind="rougeX")


# The official evaluation script of SQuAD v1.1, as published.
def normalize_answer(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def f1_score(prediction, ground_truth):
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if len(ground_truth_tokens) == 0 or len(prediction_tokens) == 0:  # of the script of v2.0
        return int(ground_truth_tokens == prediction_tokens)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


@CASES
@given(CORPORA)
def test_squad(corpus):
    fine = lambda r: spaced(r) and (normalize_answer(r) or not r.strip())  # noqa: E731
    corpus = [(p, [r if fine(r) else "cat" for r in some]) for p, some in corpus]
    predictions, references = [p for p, _ in corpus], [r for _, r in corpus]
    exact = [max(normalize_answer(p) == normalize_answer(r) for r in some) for p, some in corpus]
    overlap = [max(f1_score(p, r) for r in some) for p, some in corpus]
    assert exact_match(predictions, references).per_example == tuple(exact)
    assert exact_match(predictions, references) == pytest.approx(sum(exact) / len(exact), abs=1e-9)
    assert f1(predictions, references).per_example == pytest.approx(overlap, abs=1e-9)
    assert f1(predictions, references) == pytest.approx(sum(overlap) / len(overlap), abs=1e-9)
    plain = exact_match(predictions, references, normalize=False)
    assert plain.per_example == tuple(p in some for p, some in corpus)


@pytest.mark.parametrize("metric", [exact_match, f1])
def test_a_reference_of_which_nothing_is_left_is_no_reference(metric):
    with pytest.raises(InvalidInputError) as caught:
        metric(["", "the", "..."], ["A", "B", ["-", "x"]])
    assert str(caught.value) == (
        f"{metric.__name__}: 2 references ([0] 'A', [2] '-') would be nothing once articles and punctuation are dropped, "
        "as any answer without words is; compare the texts as they are: exact_match with normalize=False"
    )
    assert exact_match(["", "the", "A"], ["A", "A", "A"], normalize=False) == pytest.approx(1 / 3)
    assert exact_match(["-5", "3.5", ""], ["5", "35", ""]) == 1  # as the official script has it


@CASES
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1), st.booleans())
def test_accuracy(pairs, as_text):
    label = str if as_text else int
    score = accuracy([label(p) for p, _ in pairs], [label(r) for _, r in pairs])
    assert score == pytest.approx(sum(p == r for p, r in pairs) / len(pairs), abs=1e-9)
    assert score.per_example == tuple(p == r for p, r in pairs)


@pytest.mark.parametrize(
    ("references", "named"),
    [
        (["a", None, "c"], "accuracy: 1 reference ([y] None) can be met by no answer; leave out what"),
        (["a", ["b", None], "c"], "[y] None"),
        (Series([1, None, None]), "2 references ([y] nan, [z] nan)"),
        (Series([1, None, 0], dtype="Int64"), "[y] <NA>"),
        (Series(["a", None, "c"], dtype="string"), "[y] <NA>"),
    ],
)
def test_examples_that_nobody_labelled_are_neither_right_nor_wrong(references, named):
    for predictions in (["a", "b", "c"], [None] * 3):
        with pytest.raises(InvalidInputError, match=re.escape(named)):
            accuracy(predictions, references, ids=["x", "y", "z"])


def test_accuracy_of_arrays_alternatives_and_no_answer():
    np = pytest.importorskip("numpy")
    assert accuracy(np.array([1, 2, 3, 3]), np.array([1, 2, 3, 4])) == 0.75
    assert accuracy([None, "B"], ["A", ["A", "B"]]) == 0.5
    assert accuracy(Series(["a", None, "a"], dtype="string"), ["a", "b", "a"]) == pytest.approx(2 / 3)
    assert accuracy(Series(["a", None, "b"]).map({"a": 1.0}), [1, 1, 1]) == pytest.approx(1 / 3)
    with pytest.raises(InvalidInputError, match=r"prediction 1 is '2' \(str\) and its reference 2 \(int\)"):
        accuracy(["1", "2"], ["1", 2])


def test_one_hot_labels_are_not_read_as_alternatives():
    np = pytest.importorskip("numpy")
    hot = np.eye(2, dtype=int)[[0, 1, 0, 1]]
    for rows in (hot, hot.tolist(), list(hot)):
        for sides in (([1, 0, 1, 0], rows), (rows, [1, 0, 1, 0])):
            with pytest.raises(InvalidInputError, match=r"s are rows of numbers, one-hot .*argmax\(-1\)"):
                accuracy(*sides)
    assert accuracy([1, 0, 2], [[1, 0], [0, 1], 1]) == pytest.approx(2 / 3)


def test_an_unanswerable_question():
    assert f1(["", "Paris", ""], ["", "", ["", "Rome"]]).per_example == (1, 0, 1)
    with pytest.raises(InvalidInputError, match='where no answer is right, give ""'):
        f1([""], [[]])


@pytest.mark.parametrize("text", ["上海", "東京です。", "ผมชอบแมว และหมา", "上海 Tower 是一座摩天大楼"])
def test_f1_has_no_words_where_no_spaces_are(text):
    with pytest.raises(InvalidInputError, match=r"\[1\] .* would count as one word, in a script without spaces"):
        f1(["cat", text], ["cat", text])
    assert f1(" ".join(text), " ".join(text)) == 1


@pytest.mark.parametrize("text", ["서울은 한국의 수도이다", "我 喜欢 上海", "tower in 上海", "Москва"])
def test_f1_of_words(text):
    assert f1(text, text) == 1


@pytest.mark.parametrize(
    "words",  # Thai, Burmese, Khmer, Lao: split as for BLEU in shared tasks of translation
    [
        "มนุษย์ ทั้งหลาย เกิด มา มี อิสระ และ เสมอภาค กัน ใน เกียรติศักดิ์ และ สิทธิ",
        "လူ တိုင်း သည် တူညီ လွတ်လပ် သော ဂုဏ်သိက္ခာ ဖြင့် မွေးဖွား လာ သူ များ ဖြစ် သည်",
        "មនុស្ស ទាំងអស់ កើត មក មាន សេរីភាព និង សមភាព ក្នុង ផ្នែក សេចក្ដីថ្លៃថ្នូរ និង សិទ្ធិ",
        "ມະນຸດ ທຸກ ຄົນ ເກີດ ມາ ມີ ກຽດສັກສີ ສິດທິ ເສລີພາບ ແລະ ຄວາມ ສະເໝີພາບ ເທົ່າ ທຽມ ກັນ",
    ],
)
def test_words_of_a_script_without_spaces_are_read_once_they_are_split(words):
    assert f1(words, words) == 1
    assert bleu(words, words) == pytest.approx(100)
    with pytest.raises(InvalidInputError, match="in a script without spaces"):
        bleu(words.replace(" ", ""), words.replace(" ", ""), effective_order=True)


def test_matches():
    score = matches(["id 42", "no id", "x7"], r"\d+")
    assert score.per_example == (1, 0, 1)
    assert score == pytest.approx(2 / 3)
    assert score.references[0] == r"matching \d+"
    assert matches(["42", "x42"], r"\d+", full=True) == 0.5
    assert matches("PARIS", re.compile("paris", re.I)) == 1.0
    for bad in ("[", None):
        with pytest.raises(InvalidInputError, match="is not a regular expression"):
            matches(["a"], bad)
    for bad in (b"a", re.compile(b"a")):
        with pytest.raises(InvalidInputError, match="the pattern b'a' is bytes, and outputs are text"):
            matches(["a"], bad)
    with pytest.raises(InvalidInputError, match="an empty pattern is found in any text"):
        matches(["a"], "")
    assert matches(["", "a"], "", full=True) == 0.5


def test_contains():
    assert contains(["in Paris", "in Rome"], "Paris").per_example == (1, 0)
    assert contains(["in Paris", "in Rome"], ["Paris", ["Roma", "Rome"]]) == 1.0
    assert contains("in paris", "PARIS", ignore_case=True) == 1.0
    with pytest.raises(InvalidInputError, match="2 predictions but 1 references"):
        contains(["a", "b"], ["a"])
    with pytest.raises(InvalidInputError, match="predictions must be a list .* not None"):
        contains(None, "a")
    with pytest.raises(InvalidInputError, match=r"1 reference \(\[1\] ''\) would be found in any text"):
        contains(["rubbish"] * 3, ["a", ["b", ""], "c"])


def test_settings_are_part_of_the_signature():
    assert contains(["a"], "a").signature == matches(["a"], "a").signature == valid_json(["1"]).signature == ""
    assert contains(["a"], "a", ignore_case=True).signature == "contains|ignore_case:True"
    assert matches(["a"], re.compile("a", re.I)).signature == "matches|flags:2"
    one, other = (valid_json(["1"], {"type": kind}).signature for kind in ("integer", "number"))
    assert one.startswith("valid_json|schema:")
    assert one != other


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["age", "b"]), inner, max_size=2),
    max_leaves=6,
)
SCHEMA = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}}


@CASES
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_valid_json(values):
    expected = []
    for value in values:
        try:
            jsonschema.validate(value, SCHEMA)
            expected.append(1.0)
        except jsonschema.ValidationError:
            expected.append(0.0)
    texts = [json.dumps(value) for value in values]
    assert valid_json(texts) == 1.0
    assert valid_json(texts, SCHEMA).per_example == tuple(expected)
    assert valid_json([text + "}" for text in texts]) == 0.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Expecting value: line 1 column 1"),
        ('{"age": NaN}', "NaN is not JSON"),
        ('```json\n{"age": 1}\n```', "Expecting value"),
        ('{"age": -1}', "$.age: -1 is less than the minimum of 0"),
        ("[" * 100_000, "while decoding a JSON array"),
        pytest.param("1" * 10_000, "digits", marks=LIMITED_DIGITS),
        ('{"age": 500, "age": 5}', "the key 'age' stands twice in one object"),
        ('[{"a": {"b": 1, "b": 1}}]', "the key 'b' stands twice in one object"),
    ],
)
def test_json_says_why(text, fault):
    score = valid_json([text], SCHEMA)
    assert score == 0.0
    assert fault in score.expected(0)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "the schema is not valid at $.type: 'objekt' is not valid"),
        ({"$ref": "http://example.invalid/schema.json"}, "the schema cannot be applied: "),
        ({"$ref": "#/$defs/none"}, "the schema cannot be applied: "),
        ("object", "a schema is a dict, not str"),
        (
            {"name": "x", "strict": True, "schema": SCHEMA},
            "no keyword that asks for anything, only name, strict, schema; give what is in its 'schema'",
        ),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "schemas; give what is in its 'json_schema'"),
        ({"propertys": {"age": {"type": "integer"}}}, "no keyword that asks for anything, only propertys"),
        ({"title": "Anything"}, "no keyword that asks for anything, only title"),
    ],
)
def test_schemas_that_cannot_be_used(schema, message):
    with pytest.raises(InvalidInputError) as caught:
        valid_json(["{}"], schema)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2026-02-28", "yesterday"),
        ("date", "2028-02-29", "2026-02-29"),
        ("email", "a@b.org", "a.b.org"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", "::x"),
        ("regex", "a+", "a("),
        ("uuid", "01234567-89ab-cdef-0123-456789abcdef", "01234567"),
    ],
)
def test_formats_are_checked(name, good, bad):
    for schema in ({"format": name}, {"$schema": "http://json-schema.org/draft-07/schema#", "format": name}):
        score = valid_json([json.dumps(good), json.dumps(bad), "5"], schema)
        assert score.per_example == (1, 0, 1)
        assert f"is not a '{name}'" in score.expected(1)
    assert valid_json(['"now"'], {"format": "date-time"}) == 1.0  # needs a package that may not be there


def test_every_draft_is_known():
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}
    assert valid_json(["1", "2"], draft4).per_example == (0, 1)
