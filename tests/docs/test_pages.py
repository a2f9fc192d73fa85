"""Every code block of every page is run, and the checker that runs them finds what is wrong."""

import pytest
import yaml

from tests.conftest import SMOLLM2
from tests.docs.pages import ROOT, Page, PageError, blocks, environment, mismatch

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: The model that a page's examples are about.
TRAINED = {
    "classifiers.md": "tiny_classifier",
    "token-classifiers.md": "tiny_tagger",
    "question-answering.md": "tiny_extractive",
}
#: Every block that is not run, by page, with its reason.
NOT_RUN = [
    ("README.md", "they install packages"),
    ("README.md", "there is no checkpoint here"),
    ("README.md", "make demo shows it"),
    ("README.md", "make demo shows it"),
    ("cluster.md", "it installs packages"),
    ("cluster.md", "it needs a cluster"),
    ("drift.md", "it takes four minutes"),
    ("feedback.md", "jq is no part of this"),
    ("history.md", "a history of weeks"),
    ("history.md", "a history of weeks"),
    ("history.md", "it needs a run of CI"),
    ("history.md", "it installs packages"),
    ("monitoring.md", "a line of a crontab"),
    ("review.md", "it waits for a person"),
    ("sampling.md", "another CPU rounds otherwise"),
    ("services.md", "it installs packages"),
    ("services.md", "it needs a service"),
    ("tutorial.md", "it installs packages"),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_of_a_page(path, request, tmp_path, cache_dir):
    folder = tmp_path / "project"
    folder.mkdir()
    trained = TRAINED.get(path.name)
    model = SMOLLM2 if path.name == "README.md" else trained and str(request.getfixturevalue(trained))
    Page(path, folder, environment(cache_dir, **({"PYTEST_LLM_MODEL": model} if model else {}))).run()


def test_what_is_not_run_is_listed():
    found = [(path.name, block.reason) for path in PAGES for block in blocks(path.read_text("utf-8")) if block.reason]
    assert found == NOT_RUN


@pytest.mark.parametrize("name", ["README.md", "docs/ci.md", "docs/monitoring.md"])
def test_workflows_keep_what_a_failing_run_computed_and_take_what_is_there(name):
    """`actions/cache` saves after success only; an artifact is had by the name with which it was uploaded."""
    flows = [yaml.safe_load(one.text) for one in blocks((ROOT / name).read_text("utf-8")) if "workflows" in one.title]
    steps = [step for flow in flows for job in flow["jobs"].values() for step in job["steps"]]
    uses = [
        (step["uses"].partition("@")[0], step.get("with", {}), step.get("if", "")) for step in steps if "uses" in step
    ]
    assert [action for action, _, _ in uses if action.startswith("actions/cache")] == [
        "actions/cache/restore", "actions/cache/save",
    ]  # fmt: skip
    assert all(when in ("always()", "${{ !cancelled() }}") for action, _, when in uses if action.endswith("/save"))
    taken, left = (
        {of["name"] for action, of, _ in uses if action == f"actions/{way}load-artifact"} for way in ("down", "up")
    )
    assert taken <= left


@pytest.fixture
def check(tmp_path):
    def run(text):
        (tmp_path / "page.md").write_text(text, "utf-8")
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        Page(tmp_path / "page.md", folder, environment(tmp_path / "cache")).run()

    return run


GOOD = """
# A page

```python title="sub/hello.py"
print("hello\\n" * 3 + "took 0.31 s")
```

```console
$ python sub/hello.py
hello
...
took 12 s
$ false
$ echo one \\
two; exit 3
one t...
```

```python
assert open("sub/hello.py").read().startswith("print")
```

```python
def test_it():
    assert True
```

```yaml title=".github/workflows/x.yml"
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: pytest --llm-report=r.html | tee log && pytest-llm review list
```

```console title="Not run: needs a person"
$ pytest-llm review --web
```
"""


def test_a_page_that_is_right(check):
    check(GOOD)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("took 12 s", "took 12 hours", "nothing fits the line 'took 12 hours'"),
        ("...\ntook 12 s\n", "", "nothing fits the line '(the end)'"),
        ("$ false", "$ false\nmore", "nothing fits the line 'more'"),
        ('startswith("print")', 'startswith("no")', "AssertionError"),
        ("assert True", "assert False", "1 failed"),
        ("on: push", "on: {push: [}", "no yaml"),
        ("runs-on: ubuntu-latest", "runs-in: ubuntu-latest", "runs-on"),
        ("--llm-report=r.html", "--llm-rapport=r.html", "unrecognized arguments: --llm-rapport"),
        ("review list", "review burn", "pytest-llm does not take: pytest-llm review burn"),
        ("review --web", "review --wob", "pytest-llm does not take: pytest-llm review --wob"),
        ("sub/hello.py\"", "../hello.py\"", "outside the page's folder"),
        ("```console\n", "```\n", "what is a block of no language"),
        ("# A page", "    a block by indentation", "by indentation"),
    ],
)  # fmt: skip
def test_a_page_that_is_wrong(check, right, wrong, said):
    assert right in GOOD
    with pytest.raises(PageError) as raised:
        check(GOOD.replace(right, wrong, 1))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("expected", "actual", "at"),
    [
        ("", "", None),
        ("", "a", 0),
        ("a", "a", None),
        ("a\n...", "a", None),
        ("...\nb\n...\nb", "b\nb", None),
        ("...\nb\n...\nb", "a\nb", 3),
        ("...\nb", "a\nb\nc", 2),
        ("1 passed in 0.1s", "1 passed in 71.04s (0:01:11)", None),
        ("== x ==", "=== x ===", 0),
        ("===== x =====", "======= x =======", None),
        ("value 2.9...", "value 2.90923", None),
        ("value 2.90923   n 5", "value 2.90924   n 5", None),
        ("value 2.90923   n 5", "value 2.94923   n 5", 0),
        ("value 2.90923   n 5", "value 2.90923   n 6", 0),
        ("a.c", "abc", 0),
    ],
)
def test_matching(expected, actual, at):
    assert mismatch(expected.splitlines(), actual.splitlines()) == at
