"""Models of a service as a user has them: goldens, gates, the store, workers, commands, against a real server."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.conftest import COMMAND
from tests.engines.service import Service, error

SUITE = """
    from pytest_llm import assert_loss

    def test_capital(llm, llm_snapshot):
        answer = llm.chat("What is the capital of France?", max_new_tokens=16)
        assert "Paris" in answer
        assert answer == llm_snapshot

    def test_story(llm, llm_snapshot):
        assert llm.generate(["Once upon a time", "The sun"], max_new_tokens=6) == llm_snapshot

    def test_loss(llm, llm_baseline):
        loss = llm.loss(["The cat sat on the mat and looked at the dog.", "Water boils at one hundred degrees."])
        assert_loss(loss, at_most=6)
        llm_baseline.check("loss", loss, margin=0.01)

    def test_imports():
        import sys
        print("IMPORTED", {"openai", "torch", "transformers"} & set(sys.modules))
"""


@pytest.fixture
def suite(pytester, service, cache_dir):
    """A project whose model is behind the service."""
    pytester.makeini(f"[pytest]\nllm_model = openai:smol\nllm_base_url = {service.url}\n")
    pytester.makepyfile(SUITE)

    def run(*arguments):
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rP", *arguments)

    return run


def test_cold_then_warm_then_without_the_service(suite, service, pytester):
    result = suite("--llm-update=new")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "IMPORTED {'openai'}",
            "model     openai:smol  service at 127.0.0.1:*  5 answers: 0 from the store, 5 computed",
        ]
    )
    assert len(service.asked) == 5
    (golden,) = pytester.path.rglob("test_capital--1.json")
    text = golden.read_text()
    assert "127.0.0.1" not in text  # a golden is of the model, wherever it is served
    data = json.loads(text)
    assert data["model"] == {"source": "openai:smol", "revision": ""}
    assert data["environment"] == {"device": "service", "system_fingerprint": "fp_1"}
    assert len(data["output"]["margins"]) == len(data["output"]["tokens"]) > 3

    service.before = lambda path, body: error(500, "nobody may ask")
    for arguments in ((), ("--llm-offline",)):
        result = suite(*arguments)
        result.assert_outcomes(passed=4)
        result.stdout.fnmatch_lines(
            [
                "IMPORTED set()",
                "model     openai:smol  service at 127.0.0.1:*  5 answers: 5 from the store, 0 computed; --llm-cache=refresh asks it again",
                "goldens   2 identical",
            ]
        )
    assert len(service.asked) == 5


def test_the_goldens_of_a_service_hold_for_the_same_weights_in_this_process(suite, service, pytester, smollm2):
    suite("--llm-update=new").assert_outcomes(passed=4)
    result = suite(f"--llm-model={smollm2}", "-k", "capital or story")
    result.assert_outcomes(passed=2, deselected=2)
    result.stdout.fnmatch_lines(["goldens   2 identical"])


def test_a_service_has_variants_of_its_own(suite, service, pytester, smollm2):
    suite(f"--llm-model={smollm2}", "-k", "story", "--llm-update=new").assert_outcomes(passed=1, deselected=3)
    service.before = lambda path, body: body.update(prompt=body["prompt"] + " there was") if "prompt" in body else None
    suite("-k", "story").assert_outcomes(failed=1, deselected=3)
    suite("-k", "story", "--llm-variant=service", "--llm-update=new").assert_outcomes(passed=1, deselected=3)
    (folder,) = (pytester.path / "__llm_snapshots__").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["test_story--1.json", "test_story--1@service.json"]
    for arguments in ((), (f"--llm-model={smollm2}",)):
        suite("-k", "story", *arguments).assert_outcomes(passed=1, deselected=3)
    result = suite("--llm-variant=cpu")
    result.stderr.fnmatch_lines(["*--llm-variant: this environment is not 'cpu'*This one is service"])


def test_another_backend_is_said_before_the_model_is_blamed(suite, service):
    suite("--llm-update=new", "-k", "story").assert_outcomes(passed=1, deselected=3)
    service.fingerprint = "fp_2"
    service.before = lambda path, body: body.update(prompt=body["prompt"] + " there was") if "prompt" in body else None
    suite("-k", "story").assert_outcomes(passed=1, deselected=3)  # from the store: it is not asked again
    result = suite("-k", "story", "--llm-cache=refresh")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*in another environment (system_fingerprint fp_1 → fp_2), *drifted*"])


def test_a_revision_is_a_name_that_the_user_gives_to_what_is_served(suite, service):
    for arguments, asked in (((), 1), (("--llm-revision=july",), 2), ((), 2), (("--llm-revision=july",), 2)):
        suite("-k", "capital", "--llm-update=new", *arguments).assert_outcomes(passed=1, deselected=3)
        assert len(service.asked) == asked


def test_the_address_belongs_to_the_key_of_an_answer(suite, service):
    other = Service(service.engine)
    try:
        for url in (service.url, other.url, service.url + "/"):
            suite("-k", "capital", "--llm-update=new", f"--llm-base-url={url}").assert_outcomes(passed=1, deselected=3)
        assert (len(service.asked), len(other.asked)) == (1, 1)
    finally:
        other.close()


def test_workers_share_the_questions_out(suite, service):
    suite("--llm-update=new", "-n", "2").assert_outcomes(passed=4)
    assert len(service.asked) == 5
    assert len({json.dumps(body, sort_keys=True) for _, body in service.asked}) == 5


def test_what_the_tests_will_ask_is_asked_ahead_and_at_once(suite, service, cache_dir):
    suite("--llm-update=new").assert_outcomes(passed=4)
    subprocess.run([COMMAND, "cache", "clear", "--answers"], check=True)
    service.reset()
    service.pause = 0.3
    result = suite()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*5 answers: 0 from the store, 5 computed (3 ahead)*"])
    assert service.most == 3  # the goldens name them; what a baseline asks is in the log, which was cleared too


def test_a_marker_and_the_loader_name_a_service(pytester, service, cache_dir):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.llm(model="openai:smol", base_url="{service.url}")
        def test_marked(llm):
            assert "Paris" in llm.chat("What is the capital of France?", max_new_tokens=16)

        def test_loaded(llm_loader):
            llm = llm_loader("openai:smol", base_url="{service.url}")
            assert llm.embed("a").shape == (576,)
            assert llm.score("The capital of France is", [" Paris", " Rome"])[0].is_greedy
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--llm-model=openai:",), "openai: needs the name of a model behind it"),
        (("--llm-adapter=x",), "no adapter can be put on a service's model"),
        (("--llm-model=openai:other",), "not found: *does not exist*; it offers smol"),
        (
            ("--llm-base-url=http://127.0.0.1:9/v1",),
            "no connection (*refused*): is the service up, and is --llm-base-url",
        ),
    ],
)
def test_what_is_wrong_is_said_and_is_no_regression(suite, arguments, what, pytester):
    pytester.makeconftest("from pytest_llm.engines import openai_connection\n\nopenai_connection.RETRIES = 0\n")
    result = suite("-k", "capital", *arguments)
    result.assert_outcomes(errors=1, deselected=3)
    escaped = what.replace("[", "[[]")
    result.stdout.fnmatch_lines([f"E *{escaped}*"])


def test_doctor_asks_the_service_and_cache_lists_it(suite, service, pytester):
    def command(*arguments):
        done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, cwd=pytester.path)
        return done.returncode, done.stdout

    status, said = command("doctor")
    assert status == 0
    assert f"at {service.url}, which has it" in said
    assert "0 answers in the store" in said
    status, said = command("doctor", "--model=openai:other")
    assert status == 1
    assert "openai:other: NOT USABLE: " in said
    assert "it offers smol" in said
    suite("-k", "capital", "--llm-update=new")
    status, said = command("cache", "info")
    assert status == 0
    assert "1  openai:smol  " in said
    assert f"{service.url}  newest" in said
