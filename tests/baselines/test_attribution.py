"""What a failed gate says it comes from: sentences by what they cost, documents, tokens, words."""

import json
import shutil

import numpy as np
import pytest

from pytest_llm.baselines import entry
from pytest_llm.baselines.attribution import short
from pytest_llm.baselines.entry import Entry
from pytest_llm.errors import GoldenError
from pytest_llm.golden.diff import word_diff
from pytest_llm.metrics import bleu, chrf, f1, rouge, ter
from pytest_llm.metrics.score import Score

REFERENCES = [f"the {colour} fox jumps over the lazy dog number {i}" for i, colour in enumerate(["red", "blue"] * 10)]
SPOILED = [
    text.replace("lazy", "sleepy old") if i in (4, 7, 11, 17) else "" if i == 13 else text
    for i, text in enumerate(REFERENCES)
]


def fail(project, metric, score, **terms):
    with pytest.raises(AssertionError) as caught:
        project.run().check(metric, score, margin=0.01, **terms)
    return str(caught.value)


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
def test_sentences_that_all_broke_alike_are_shown(project, metric):
    project.create(metric.__name__, metric(REFERENCES, REFERENCES))
    now = [text.replace("fox jumps", "xxx yyy") for text in REFERENCES]
    said = fail(project, metric.__name__, metric(now, REFERENCES))
    assert "  worst 3:\n    [0: " in said
    assert "      changed:  the red [-fox-]{+xxx+} [-jumps-]{+yyy+} over the lazy dog number 0\n" in said


def test_sentences_that_cost_most_with_what_was_said_before(project):
    before = [text.replace("jumps", "leaps") for text in REFERENCES]
    project.create("chrf", chrf(before, REFERENCES))
    now = [b if s == r else s.replace("jumps", "leaps") for b, s, r in zip(before, SPOILED, REFERENCES, strict=True)]
    lines = fail(project, "chrf", chrf(now, REFERENCES)).splitlines()
    start = lines.index("  worst 3:") + 1
    assert lines[start].startswith("    [13: 8")
    assert "-> 0.0, cost" in lines[start]
    assert lines[start + 1 : start + 5] == [
        "      expected: the blue fox jumps over the lazy dog number 13",
        "      actual:   ",
        "      before:   the blue fox leaps over the lazy dog number 13",
        "      changed:  [-the blue fox leaps over the lazy dog number 13-]",
    ]
    assert lines[start + 9] == "      changed:  the red fox leaps over the [-lazy-]{+sleepy old+} dog number 4"


def test_an_answer_that_the_baseline_cut_is_compared_as_far_as_it_goes(project):
    long = [f"answer {i}: " + " ".join(f"word{(i * 7 + j) % 50}" for j in range(80)) for i in range(12)]
    project.create("f1", f1(long, long))
    for now, changed in (
        ([text.replace("answer", "wrong") for text in long], "[-answer-]{+wrong+} 0: word0 word1"),
        ([text[:400] for text in long], "nothing in the part that the baseline keeps"),
    ):
        said = fail(project, "f1", f1(now, long))
        assert f"      changed:  {changed}" in said
        assert "{+…" not in said
        assert "(+1 characters)" not in said


def test_without_the_old_answers_the_reference_is_the_measure(project):
    project.create("bleu", bleu(REFERENCES, REFERENCES))
    project.edit("bleu", predictions=None)
    said = fail(project, "bleu", bleu([t.replace("lazy", "fat") if "1" in t else t for t in REFERENCES], REFERENCES))
    assert "      differs:  the blue fox jumps over the [-lazy-]{+fat+} dog number 1\n" in said
    assert "before:" not in said


def test_a_mean_metric_shows_its_worst_examples(project):
    project.create("rougeL", rouge(REFERENCES, REFERENCES, kind="rougeL"))
    now = [t.replace("fox jumps over the lazy", "cat") if i % 2 else t for i, t in enumerate(REFERENCES)]
    said = fail(project, "rougeL", rouge(now, REFERENCES, kind="rougeL"))
    assert "    [1: 1.0 -> 0." in said
    assert "      changed:  the blue [-fox jumps over the lazy-]{+cat+} dog number 1\n" in said


def losses(rows, name="loss", **fields):
    weights = [len(row) for row in rows]
    means = [float(np.mean(row)) for row in rows]
    value = float(np.average(means, weights=weights))
    if name == "perplexity":
        means, value = [float(np.exp(x)) for x in means], float(np.exp(value))
    tokens = [[f" w{i}" for i in range(len(row))] for row in rows]
    return Score(
        value, name=name, n=len(rows), higher_is_better=False, unit="nats/token" if name == "loss" else "",
        per_example=means, weights=weights, ids=[f"doc{i}" for i in range(len(rows))],
        **{"tokens": tokens, "token_logprobs": [[-x for x in row] for row in rows], **fields},
    )  # fmt: skip


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    return [list(rng.uniform(0, 4, 15 + i)) for i in range(12)]


def worse(rows):
    rng = np.random.default_rng(3)
    new = [[x + rng.uniform(0.05, 0.15) for x in row] for row in rows]
    new[3][9] = rows[3][9] + 6
    new[8][0] = rows[8][0] + 3
    return new


def test_a_loss_names_documents_and_tokens(project, rows):
    project.create("loss", losses(rows))
    new = worse(rows)
    said = fail(project, "loss", losses(new, predictions=["a text\nof two lines, cut off after fifty characters"] * 12))
    lines = said.splitlines()
    start = lines.index("  documents that worsened most, of 12:")
    rise, whole = sum(new[3]) - sum(rows[3]), sum(map(sum, new)) - sum(map(sum, rows))
    mean_old, mean_new = np.mean(rows[3]), np.mean(new[3])
    assert lines[start + 1] == (
        f"    [doc3] {mean_old:.4g} -> {mean_new:.4g} nats/token over 18 tokens, {rise / whole:.0%} of the rise  "
        "a text\\nof two lines, cut off after fifty character…"
    )
    assert [line.split()[0] for line in lines[start + 1 : start + 4]][:2] == ["[doc3]", "[doc8]"]
    assert lines[start + 4 :] == [
        "  tokens that worsened most, in nats:",
        f"    +6.00  {rows[3][9]:>6.2f} -> {new[3][9]:<6.2f}[doc3] … w3 w4 w5 w6 w7 w8 »w9« w10 w11 w12…",
        f"    +3.00  {rows[8][0]:>6.2f} -> {new[8][0]:<6.2f}[doc8]  »w0« w1 w2 w3…",
    ]


def test_a_perplexity_ranks_by_nats(project, rows):
    project.create("perplexity", losses(rows, "perplexity"))
    said = fail(project, "perplexity", losses(worse(rows), "perplexity"))
    assert f"    [doc3] {np.exp(np.mean(rows[3])):.4g} -> " in said
    assert "[doc3] … w3 w4 w5 w6 w7 w8 »w9« w10 w11 w12…" in said


@pytest.mark.parametrize("missing", ["baseline", "score", "texts"])
def test_without_tokens_documents_are_named(project, rows, missing):
    nothing = {"tokens": [], "token_logprobs": []}
    project.create("loss", losses(rows, **nothing if missing == "baseline" else {}))
    now = nothing if missing == "score" else {"tokens": [[]] * 12} if missing == "texts" else {}
    said = fail(project, "loss", losses(worse(rows), **now))
    assert "documents that worsened most" in said
    assert ("tokens that worsened most" in said) == (missing == "texts")
    assert ("[doc3] token 9" in said) == (missing == "texts")


def test_documents_of_another_order_are_paired_by_id(project, rows):
    project.create("loss", losses(rows))
    turned = losses(worse(rows)[::-1])
    turned.ids = turned.ids[::-1]
    said = fail(project, "loss", turned)
    assert "[doc3] … w3 w4 w5 w6 w7 w8 »w9« w10 w11 w12…" in said


def test_what_is_kept_is_bounded():
    texts = ["x" * 1000] * 500
    kept = Entry.of(Score(0.5, name="f1", n=500, per_example=[0.5] * 500, predictions=texts)).predictions
    assert kept == ("x" * entry.ANSWER + "…",) * (entry.CHARACTERS // (entry.ANSWER + 1))
    many = Entry.of(Score(0.5, name="f1", n=500, per_example=[0.5] * 500, predictions=["y"] * 500)).predictions
    assert many == ("y",) * entry.ANSWERS
    other = Score(0.5, name="parsed", n=2, per_example=[0, 1], predictions=[None, {"a": 1}])
    assert Entry.of(other).predictions == ("None", "{'a': 1}"), "as a failure shows them"
    tokens = Entry.of(losses([[1.234567] * 1500] * 6)).token_nll
    assert [len(row) for row in tokens] == [1500, 1500]
    assert tokens[0][0] == 1.23
    assert Entry.of(losses([[1.0] * 3], predictions=["the test's own text"])).predictions == ()


def test_the_file_hides_nothing_and_wraps(project, rows):
    hidden = "a\u202eb\u2028=======\u200bc"
    project.create("loss", losses([[float(i) for i in range(50)], *rows]))
    project.create("f1", Score(0.5, name="f1", n=2, per_example=[0, 1], predictions=[hidden, "plain"]), "test_f1")
    text = project.file.read_text(encoding="utf-8")
    assert r'"a\u202eb\u2028=======\u200bc"' in text
    assert "            40, 41, 42, 43, 44, 45, 46, 47, 48, 49\n          ],\n          [" in text
    assert max(map(len, text.splitlines())) < 250
    entries = json.loads(text)["tests"]
    assert entries["test_f1"]["f1"]["predictions"] == [hidden, "plain"]
    assert (
        project.run("test_f1")
        .check("f1", Score(0.5, name="f1", n=2, per_example=[0, 1], predictions=[hidden, "plain"]), margin=0.1)
        .ok
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("predictions", ["a"] * 3, "predictions must hold one entry an example at most"),
        ("predictions", [1], "predictions must be texts"),
        ("token_nll", [["a"]], "token_nll must hold rows of finite numbers"),
        ("raters", ["a", 1], "raters must be texts"),
        ("token_nll", "a", "token_nll must hold one entry"),
    ],
)
def test_a_damaged_field_is_named(project, field, value, message):
    score = Score(0.5, name="f1", n=2, per_example=[0, 1])
    project.create("f1", score)
    project.edit("f1", **{field: value})
    with pytest.raises(GoldenError, match=message):
        project.run().check("f1", score, margin=0.1)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("the red hat", "the blue hat", "the [-red-]{+blue+} hat"),
        ("", "new", "{+new+}"),
        ("gone", "", "[-gone-]"),
        ("a\x1b[31m", "a", "a[-\\x1b[31m-]"),
        ("one two " * 20 + "x", "one two " * 20 + "y", "…two one two one two [-x-]{+y+}"),
        ("x " + "one two " * 20, "y " + "one two " * 20, "[-x-]{+y+} one two one two one…"),
    ],
)
def test_word_diff(old, new, shown):
    assert word_diff(old, new) == shown


@pytest.mark.parametrize("metric", [chrf, ter])
def test_the_groups_that_lost_most_are_named(project, metric):
    groups, broken = ["de", "hi", "zh", "fr"] * 5, {"hi": "dog", "zh": "a cat or two"}
    now = [t.replace("the lazy dog", broken.get(g, "the lazy dog")) for t, g in zip(REFERENCES, groups, strict=True)]
    project.create(metric.__name__, metric(REFERENCES, REFERENCES))
    verdict = project.run().check(metric.__name__, metric(now, REFERENCES), margin=0.01, groups=groups)
    assert verdict.status == "inconclusive"
    best, zh, hi = (
        short(metric(now[start::4], REFERENCES[start::4])) for start in (0, groups.index("zh"), groups.index("hi"))
    )
    assert f"groups that lost most, of 4: zh {best} -> {zh}, hi {best} -> {hi}" in verdict.notes


def test_the_groups_of_a_mean_are_named_and_many_are_not(project):
    def quality(broken):
        return Score(
            1 - 0.05 * broken, name="quality", n=200, per_example=[0.0] * (10 * broken) + [1.0] * (200 - 10 * broken)
        )

    project.create("quality", quality(0), higher_is_better=True)
    few, many = ([i // size for i in range(200)] for size in (10, 2))
    said = fail(project, "quality", quality(12), groups=few)
    assert "note: groups that lost most, of 20: 0 1.0 -> 0.0, 1 1.0 -> 0.0, 2 1.0 -> 0.0" in said
    assert "groups that lost" not in fail(project, "quality", quality(12), groups=many)


@pytest.mark.filterwarnings("error")
def test_a_group_in_which_there_is_nothing_to_count_is_none_that_lost(project):
    def share(sums):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], 0.0)

    def precision(right):
        rows = [[right, 1]] * 20 + [[1, 1]] * 20 + [[0, 0]] * 20
        terms = {"statistics": rows, "aggregate": share}
        return Score((right + 1) / 2, name="precision", n=60, **terms, per_example=[x for x, _ in rows])

    project.create("precision", precision(1))
    said = fail(project, "precision", precision(0), groups=[*range(10)] * 4 + [10] * 20)
    assert "is worse than its baseline 1.00 by 0.50" in said


def test_length_band_counts_the_tokens_of_a_metric_on_generations(project):
    from pytest_llm.results import Generation

    def answers(tokens):
        return [Generation(text, token_ids=range(tokens)) for text in REFERENCES]

    project.create("bleu", bleu(answers(10), REFERENCES))
    verdict = project.run().check("bleu", bleu(answers(16), REFERENCES), margin=1.0)
    assert "16.0 tokens a piece, were 10.0" in verdict.notes[0]


MODEL_SUITE = """
    TEXTS = {texts!r}

    def test_loss(llm, llm_baseline):
        llm_baseline.check("loss", llm.loss(TEXTS), margin=0.01)

    def test_embedding(llm, llm_snapshot):
        assert llm.embed(TEXTS[:2]) == llm_snapshot
        assert llm.embed(TEXTS[0])[:3] == llm_snapshot(name="first")
"""


def test_a_damaged_model_shows_its_documents_and_tokens(pytester, cache_dir, tiny_gpt2):
    """The whole way: the engine's tokens, through the store, into the baseline, and out in a failure."""
    from safetensors.torch import load_file, save_file

    from tests.tiny_models import sentences

    model = pytester.path / "model"
    shutil.copytree(tiny_gpt2, model)
    texts = sentences()[:8]
    file = pytester.makepyfile(test_model=MODEL_SUITE.format(texts=texts))
    pytester.runpytest(f"--llm-model={model}", "--llm-update=new").assert_outcomes(passed=2)
    stored = json.loads((pytester.path / "__llm_baselines__/test_model.json").read_text())["tests"]["test_loss"]["loss"]
    assert [len(row) for row in stored["token_nll"]] == stored["weights"]
    golden = json.loads((pytester.path / "__llm_snapshots__/test_model/test_embedding--first.json").read_text())
    assert golden["request"]["text"] == texts[0]
    assert golden["model"]["digest"]
    assert golden["environment"]["dtype"] == "float32"

    weights = load_file(model / "model.safetensors")
    name = next(n for n in weights if n.endswith("mlp.c_fc.weight"))
    weights[name] = weights[name] + 2 * weights[name].std() * (weights[name] * 1e4).sin()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    result = pytester.runpytest(f"--llm-model={model}", "-k", "loss")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["E*documents that worsened most, of 8:", "E*tokens that worsened most, in nats:", "E*»*«*"]
    )

    # A text that changed is another question, also for an embedding.
    file.write_text(file.read_text().replace(repr(texts[0]), repr(texts[0] + " indeed")))
    result = pytester.runpytest(f"--llm-model={model}", "-k", "embedding")
    result.stdout.fnmatch_lines(["E*golden '1': stale: the question changed (text)"])
