"""Any module of ``evaluate``: by path, by folder, by instance; and what is said when there is none."""

import enum
import http.server
import subprocess
import sys
import textwrap
import threading

import pytest

from pytest_llm import assert_metric
from pytest_llm.errors import InvalidInputError
from pytest_llm.metrics import evaluate_module
from pytest_llm.results import Generation

MODULE = """
import datasets
import evaluate


class {name}(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({{"predictions": text, "references": text}}),
        )

    def _compute(self, predictions, references, scale=1.0, only=None):
        assert scale > 0, "scale must be positive"
        shares = [scale * len(set(p.split()) & set(r.split())) / len(r.split())
                  for p, r in zip(predictions, references)]
        answer = {{"recall": sum(shares) / len(shares), "each": shares, "label": "word recall"}}
        return {{only: answer["recall"]}} if only else answer
"""

PREDICTIONS, REFERENCES = ["the cat", "a dog ran"], ["the big cat sat", "a dog ran"]


@pytest.fixture
def script(tmp_path):
    """A metric script of a name no other test uses: ``evaluate`` caches scripts by name for the whole user."""
    path = tmp_path / "word_recall" / "word_recall.py"
    path.parent.mkdir()
    path.write_text(textwrap.dedent(MODULE.format(name="WordRecall")))
    return path


@pytest.fixture(autouse=True)
def modules_cache(tmp_path, monkeypatch):
    """Keep the copies ``evaluate`` makes of scripts out of the user's cache."""
    import evaluate.config

    # evaluate puts its cache on sys.path, and a package of one name cannot come from two caches
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(evaluate.config.HF_MODULES_CACHE)])
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        monkeypatch.delitem(sys.modules, name)


def test_by_script_and_by_folder(script):
    for module in (script, str(script), script.parent, str(script.parent)):
        score = evaluate_module(module, PREDICTIONS, REFERENCES, key="recall", ids=["x", "y"])
        assert score == pytest.approx(0.75)
        assert (score.name, score.n, score.ids, score.per_example) == (
            "evaluate:word_recall.recall", 2, ("x", "y"), ()
        )  # fmt: skip
        assert score.predictions == tuple(PREDICTIONS)


def test_one_number_an_example(script):
    score = evaluate_module(script, PREDICTIONS, REFERENCES, key="each", unit="words", higher_is_better=False)
    assert score.per_example == pytest.approx((0.5, 1.0))
    assert score == pytest.approx(0.75)
    assert (score.unit, score.higher_is_better) == ("words", False)


def test_options_go_to_the_module_and_an_only_figure_needs_no_key(script):
    assert evaluate_module(script, PREDICTIONS, REFERENCES, scale=2.0, only="recall") == pytest.approx(1.5)
    score = evaluate_module(script, PREDICTIONS, REFERENCES, only="word_recall")
    assert score.name == "evaluate:word_recall"


def test_a_member_of_a_text_enum_is_its_text_on_both_sides(script):
    Text = enum.Enum("Text", {"CAT": "the cat", "BIG": "the big cat sat"}, type=str)
    assert evaluate_module(script, [Text.CAT, "a dog ran"], [Text.BIG, "a dog ran"], key="recall") == 0.75


def test_arguments_are_part_of_the_signature(script):
    plain, scaled = (
        evaluate_module(script, PREDICTIONS, REFERENCES, key="recall", **options) for options in ({}, {"scale": 2.0})
    )
    assert (plain.signature, scaled.signature) == ("", "evaluate:word_recall.recall|scale:2.0")


def test_by_instance_with_a_models_answers():
    import datasets
    import evaluate

    class Length(evaluate.Metric):
        def _info(self):
            features = datasets.Features({"predictions": datasets.Value("string")})
            return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

        def _compute(self, predictions):
            return {"length": sum(map(len, predictions)) / len(predictions)}

    module = Length(keep_in_memory=True)
    for _ in range(2):  # an instance can be used again
        assert evaluate_module(module, [Generation("abc"), "a"]) == 2.0
    combined = evaluate.combine([module])
    with pytest.raises(InvalidInputError, match="takes a hub name, a path or an EvaluationModule, not CombinedEval"):
        evaluate_module(combined, ["abc"])
    with pytest.raises(InvalidInputError, match="takes a hub name, a path or an EvaluationModule, not CombinedEval"):
        assert_metric(combined, ["abc"], at_least=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "evaluate:word_recall has several figures; choose one with key=: 'recall', 'each', 'label'"),
        ({"key": "f1"}, "evaluate:word_recall has no figure 'f1'; it has 'recall', 'each', 'label'"),
        ({"key": "label"}, "'label' is 'word recall', neither a number nor one number an example"),
        ({"scale": -1.0}, "evaluate:word_recall could not be computed: AssertionError: scale must be positive"),
        ({"ids": ["x", "x"]}, "evaluate:word_recall: ids must be unique"),
    ],
)
def test_refused(script, options, message):
    with pytest.raises(InvalidInputError) as caught:
        evaluate_module(script, PREDICTIONS, REFERENCES, **options)
    assert message in str(caught.value)


def test_inputs_are_checked_before_the_module_sees_them(script):
    with pytest.raises(InvalidInputError, match="there are no predictions"):
        evaluate_module(script, [], [])
    with pytest.raises(InvalidInputError, match="2 predictions but 1 references"):
        evaluate_module(script, PREDICTIONS, ["one"])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that has ``evaluate:hub_recall``; the paths it was asked for."""
    import evaluate.config

    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path.endswith("/hub_recall.py")
            code = MODULE.format(name="HubRecall").encode() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(code)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(code)

        do_HEAD = do_GET

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/spaces/{{path}}/resolve/{{revision}}/{{name}}"
    monkeypatch.setattr(evaluate.config, "HUB_EVALUATE_URL", address)
    monkeypatch.setattr(evaluate.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(evaluate.config, "DOWNLOADED_EVALUATE_PATH", tmp_path / "downloads")
    yield asked
    server.shutdown()
    server.server_close()


def test_code_of_the_hub_runs_where_it_is_trusted_only(pytester, cache_dir, hub):
    pytester.makepyfile(
        """
        from pytest_llm import assert_metric

        def test_recall():
            assert_metric("evaluate:hub_recall", ["a dog"], ["a dog"], key="recall", at_least=1)
        """
    )
    trusted, offline = "--llm-trust-remote-code", "--llm-offline"
    refused = "*InvalidInputError: the evaluate module 'hub_recall' is code of the Hugging Face hub, and is not run *"
    missing = "*the evaluate module 'hub_recall' is neither in the local cache nor on a hub that can be reached*"
    for flags, error in (([], refused), ([offline], refused), ([trusted, offline], missing)):
        result = pytester.runpytest(*flags)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([error])
    assert hub == []
    pytester.runpytest(trusted).assert_outcomes(passed=1)
    assert hub
    hub.clear()
    pytester.runpytest(trusted, offline).assert_outcomes(passed=1)
    pytester.runpytest().assert_outcomes(errors=1)
    assert hub == []


def test_outside_a_test_it_is_loaded_by_the_caller(tmp_path):
    code = "from pytest_llm.metrics import evaluate_module; evaluate_module('hub_recall', ['a'], ['a'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "'hub_recall' is code of the Hugging Face hub" in done.stderr
    assert "if you trust it, give evaluate.load('hub_recall') (outside a test)" in done.stderr


def test_no_such_module(tmp_path, pytester, cache_dir):
    pytester.makepyfile(
        """
        from pytest_llm.metrics import evaluate_module

        def test_a(): evaluate_module("no_such_metric", ["a"], ["a"])
        """
    )
    result = pytester.runpytest("--llm-trust-remote-code", "--llm-offline")
    result.stdout.fnmatch_lines(
        [
            "*'no_such_metric' is neither in the local cache nor on a hub that can be reached*give the path, such as "
            "'metrics/no_such_metric/no_such_metric.py'*"
        ]
    )
    with pytest.raises(InvalidInputError, match=r"there is no evaluate module at /.*missing\.py: it must be"):
        evaluate_module(tmp_path / "missing.py", ["a"], ["a"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"one of its own name \(empty/empty\.py\)"):
        evaluate_module(f"{tmp_path}/empty", ["a"], ["a"])
    with pytest.raises(InvalidInputError, match="takes a hub name, a path or an EvaluationModule, not int"):
        evaluate_module(3, ["a"], ["a"])


def test_a_script_that_does_not_load(tmp_path):
    path = tmp_path / "broken_metric.py"
    path.write_text("raise RuntimeError('out of order')\n")
    with pytest.raises(InvalidInputError, match=r"broken_metric\.py' cannot be loaded: RuntimeError: out of order"):
        evaluate_module(path, ["a"], ["a"])
