"""What the selected tests will ask is computed at once, before the first of them."""

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from pytest_llm.files import digest_of
from pytest_llm.planning.requestlog import RequestLog
from pytest_llm.requests import Generate
from pytest_llm.store import claims
from pytest_llm.store.database import OutputStore
from pytest_llm.store.key import answer_key
from tests.engines.conftest import engine_for
from tests.engines.service import Service

SUITE = """
    import pytest

    @pytest.mark.parametrize("word", ["the", "a", "two", "my", "her", "one"])
    def test_word(llm, word):
        assert llm.generate(word, max_new_tokens=3).token_ids

    @pytest.mark.parametrize("city", ["Zürich"])
    def test_golden(llm, llm_snapshot, city):
        assert llm.generate("this", max_new_tokens=3) == llm_snapshot

    def test_other(llm_loader):
        llm_loader("other").loss("the cat")
"""


@pytest.fixture
def project(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "model")
    shutil.copytree(tiny_gpt2, pytester.path / "other")
    _perturb(pytester.path / "other", 1.01)
    pytester.makeini("[pytest]\nllm_model = model\n")
    pytester.makepyfile(test_suite=SUITE)
    return pytester


def _perturb(folder, factor):
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * factor for name, tensor in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def retrain(project, factor=1.02):
    """Other weights at the same paths: everything is to be computed again."""
    for name in ("model", "other"):
        _perturb(project.path / name, factor)


def counts(result):
    """Asked, computed and computed ahead, by model."""
    lines = re.findall(r"^model     (\S+)  .* (\d+) answers?: \d+ from the store, (\d+) computed(?: \((\d+) ahead\))?",
                       result.stdout.str(), re.M)  # fmt: skip
    return {name: (int(asked), int(computed), int(ahead or 0)) for name, asked, computed, ahead in lines}


def test_the_request_log_knows_what_each_test_asked(project):
    first = project.runpytest("--llm-update=new")
    first.assert_outcomes(passed=8)
    assert counts(first) == {"model": (7, 7, 0), "other": (1, 1, 0)}
    retrain(project)
    second = project.runpytest("--llm-update=all")
    second.assert_outcomes(passed=8)
    assert counts(second) == {"model": (7, 7, 7), "other": (1, 1, 1)}
    assert counts(project.runpytest()) == {"model": (7, 0, 0), "other": (1, 0, 0)}


def test_refresh_computes_all_of_it_ahead(project):
    project.runpytest("--llm-update=new")
    result = project.runpytest("--llm-cache=refresh")
    result.assert_outcomes(passed=8)
    assert counts(result) == {"model": (7, 7, 7), "other": (1, 1, 1)}


@pytest.mark.parametrize("where", ["test", "conftest"])
def test_a_frozen_clock_does_not_keep_a_refresh_from_asking(project, where, monkeypatch):
    """Not one that stands in the future where a test asks, nor in the past where the run begins."""
    monkeypatch.setattr(time, "time", time.time)  # put back at the end
    test = "def test_frozen(llm):\n    assert llm.generate('the', max_new_tokens=2)\n"
    freeze = "import time\n\ntime.time = lambda: {}.0\n\n"
    project.makepyfile(test_suite=freeze.format(2082758400) + test if where == "test" else test)
    project.makeconftest(freeze.format(1577836800) if where == "conftest" else "")
    for _ in range(2):
        result = project.runpytest("--llm-cache=refresh")
        result.assert_outcomes(passed=1)
        assert counts(result)["model"][:2] == (1, 1)


def test_a_refresh_asks_a_judge_behind_a_service_in_its_turn(project, tiny_gpt2):
    """Its prompts are made of answers, which may be others by then."""
    service = Service(engine_for(tiny_gpt2), name="judge")
    project.makepyfile(
        test_suite=f"""
        def test_judged(llm, llm_loader):
            answer = llm.generate("the", max_new_tokens=3)
            judge = llm_loader("openai:judge", base_url="{service.url}")
            assert judge.generate(f"is it good:{{answer}}", max_new_tokens=2)
        """
    )
    try:
        project.runpytest_subprocess().assert_outcomes(passed=1)
        result = project.runpytest_subprocess("--llm-cache=refresh")
    finally:
        service.close()
    result.assert_outcomes(passed=1)
    assert counts(result) == {"model": (1, 1, 1), "openai:judge": (1, 1, 0)}


def test_a_question_that_this_version_refuses_is_left_out_of_the_plan(project, cache_dir):
    project.runpytest("--llm-update=new")
    retrain(project)
    with contextlib.closing(sqlite3.connect(cache_dir / "answers.sqlite")) as db, db:
        refused = 'UPDATE questions SET data = replace(data, \'"seed": 0\', \'"seed": "no"\')'
        assert db.execute(f"{refused} WHERE data LIKE '%\"her\"%'").rowcount == 1
        other = 'UPDATE questions SET data = \'{"kind": "extract", "question": ["which"], "context": "none"}\''
        assert db.execute(f"{other} WHERE data LIKE '%\"my\"%'").rowcount == 1
    second = project.runpytest("--llm-update=all")
    second.assert_outcomes(passed=8)
    assert counts(second)["model"] == (7, 7, 5)


def test_a_damaged_row_is_as_good_as_none(project, cache_dir):
    """Of an answer, in four ways, of a question and of a model."""
    project.runpytest("--llm-update=new")
    with contextlib.closing(sqlite3.connect(cache_dir / "answers.sqlite")) as db, db:
        keys = [key for (key,) in db.execute("SELECT key FROM answers WHERE answer LIKE '{\"sequences\"%'")]
        for key, answer in zip(keys, ("{", "[" * 100_000, '{"sequences":[]}'), strict=False):
            db.execute("UPDATE answers SET answer = ? WHERE key = ?", (answer, key))
        other = 'UPDATE answers SET answer = REPLACE(answer, \'"text":"\', \'"text":"x\') WHERE key = ?'
        db.execute(other, (keys[3],))
    offline = project.runpytest_subprocess("--llm-offline", "-p", "no:xdist")
    offline.assert_outcomes(passed=4, errors=4)
    offline.stdout.fnmatch_lines(["*answered by model, but only another repeat is answered, or it is damaged"])
    assert counts(project.runpytest()) == {"model": (7, 4, 0), "other": (1, 0, 0)}
    with contextlib.closing(sqlite3.connect(cache_dir / "answers.sqlite")) as db, db:
        db.execute("DELETE FROM answers")
        damage = "UPDATE questions SET data = ? WHERE request = (SELECT MIN(request) FROM questions WHERE data != ?)"
        db.execute(damage, ("{", "{"))
        db.execute("UPDATE asked SET model = '{' WHERE model != ''")
    again = project.runpytest("--llm-update=all")
    again.assert_outcomes(passed=8)


def test_only_what_is_selected_is_computed(project):
    project.runpytest("--llm-update=new")
    retrain(project)
    assert counts(project.runpytest("-k", "test_word and (the or two)")) == {"model": (2, 2, 2)}


def test_a_fresh_clone_plans_from_its_goldens(project, cache_dir):
    project.runpytest("--llm-update=new")
    (cache_dir / "answers.sqlite").unlink()
    result = project.runpytest()
    result.assert_outcomes(passed=8)
    assert counts(result) == {"model": (7, 7, 1), "other": (1, 1, 0)}


def test_goldens_that_cannot_be_read_are_their_tests_to_report(project, cache_dir, monkeypatch):
    from pathlib import Path

    project.runpytest("--llm-update=new")
    (cache_dir / "answers.sqlite").unlink()
    listed = Path.glob

    def refused(self, pattern):
        if self.parent.name == "__llm_snapshots__":
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self, pattern)

    monkeypatch.setattr(Path, "glob", refused)
    result = project.runpytest()
    result.assert_outcomes(passed=8)
    assert counts(result) == {"model": (7, 7, 0), "other": (1, 1, 0)}


def test_the_order_of_keys_that_a_chat_template_shows_is_the_tests_own(project, cache_dir):
    (project.path / "model" / "chat_template.jinja").write_text("{{ tools | tojson }} {{ messages[0].content }}")
    project.makepyfile(
        test_suite="""
        import json
        import pytest

        TOOLS = [{"type": "f", "name": "cat"}], [{"name": "cat", "type": "f"}]

        @pytest.mark.parametrize("tools", TOOLS)
        def test_tools(llm, llm_snapshot, tools):
            answer = llm.chat([{"content": "the", "role": "user"}], template={"tools": tools}, max_new_tokens=3)
            same = llm.generate(json.dumps(tools) + " the", add_special_tokens=False, max_new_tokens=3)
            assert answer.logprobs == pytest.approx(same.logprobs, abs=1e-4)
            assert answer == llm_snapshot
        """
    )
    assert counts(project.runpytest("--llm-update=new")) == {"model": (4, 4, 0)}
    with contextlib.closing(sqlite3.connect(cache_dir / "answers.sqlite")) as db, db:
        db.execute("DELETE FROM answers")
    from_the_log = project.runpytest()
    from_the_log.assert_outcomes(passed=2)
    assert counts(from_the_log) == {"model": (4, 4, 4)}
    (cache_dir / "answers.sqlite").unlink()
    from_goldens = project.runpytest()  # whose keys are sorted: nothing is asked ahead that no test asks
    from_goldens.assert_outcomes(passed=2)
    assert counts(from_goldens) == {"model": (4, 4, 0)}


def test_a_changed_prompt_is_a_miss_computed_in_its_turn(project):
    project.runpytest("--llm-update=new")
    file = project.path / "test_suite.py"
    file.write_text(file.read_text().replace('"her"', '"his"'))
    assert counts(project.runpytest("-k", "test_word")) == {"model": (6, 1, 0)}


def test_off_leaves_everything_to_the_tests(project):
    project.runpytest("--llm-update=new")
    retrain(project)
    result = project.runpytest("--llm-prefetch=off", "--llm-update=all")
    assert counts(result) == {"model": (7, 7, 0), "other": (1, 1, 0)}


@pytest.mark.parametrize(("broken", "option", "computed"), [
    (True, "-q", False), (True, "-n1", True), (True, "--continue-on-collection-errors", True),
    (False, "--setup-plan", False),
])  # fmt: skip
def test_nothing_is_computed_for_tests_that_pytest_will_not_run(project, broken, option, computed):
    project.runpytest("--llm-update=new").assert_outcomes(passed=8)
    retrain(project)
    if broken:
        (project.path / "test_broken.py").write_text("import nothing_of_this_name\n", "utf-8")
    result = project.runpytest(option)
    assert counts(result) == ({"model": (7, 7, 7), "other": (1, 1, 1)} if computed else {})


def test_ahead_or_in_turn_the_answers_are_the_same(project, cache_dir):
    project.runpytest("--llm-update=new")
    (golden,) = project.path.glob("__llm_snapshots__/test_suite/test_golden*.json")
    (cache_dir / "answers.sqlite").unlink()
    project.runpytest("--llm-batch-size=1", "--llm-prefetch=off").assert_outcomes(passed=8)
    (cache_dir / "answers.sqlite").unlink()
    project.runpytest("--llm-batch-size=64").assert_outcomes(passed=8)
    assert golden.exists()


def test_a_request_that_cannot_be_answered_stops_no_other(project):
    project.makepyfile(
        test_suite="""
        import pytest

        @pytest.mark.parametrize("word", ["the", "a", "word " * 5000, "two"])
        def test_word(llm, word):
            llm.generate(word, max_new_tokens=3)
        """
    )
    first = project.runpytest()
    first.assert_outcomes(passed=3, errors=1)
    retrain(project)
    second = project.runpytest()
    second.assert_outcomes(passed=3, errors=1)
    assert counts(second) == {"model": (3, 3, 3)}
    second.stdout.fnmatch_lines(["*ERROR at call of test_word*"])


def test_a_model_that_is_gone_is_reported_by_its_test(project):
    project.runpytest("--llm-update=new")
    shutil.rmtree(project.path / "other")
    project.runpytest().assert_outcomes(passed=7, errors=1)


def test_workers_share_the_work_and_do_none_twice(project):
    project.makepyfile(
        test_suite="""
        import pytest

        @pytest.mark.parametrize("n", range(40))
        def test_n(llm, n):
            llm.generate(f"number {n}", max_new_tokens=2)
        """
    )
    cold = project.runpytest_subprocess("-n2", "--llm-batch-size=2")
    cold.assert_outcomes(passed=40)
    assert counts(cold) == {"model": (40, 40, 0)}
    retrain(project)
    planned = project.runpytest_subprocess("-n2", "--llm-batch-size=2")
    planned.assert_outcomes(passed=40)
    asked, computed, ahead = counts(planned)["model"]
    assert (asked, computed) == (40, 40)
    assert ahead > 0


def test_a_worker_that_begins_late_does_not_refresh_again(project):
    project.runpytest("--llm-update=new")
    project.makeconftest(
        """
        import os
        import time
        from pathlib import Path

        import pytest

        WORKER, COMPUTED = os.environ.get("PYTEST_XDIST_WORKER"), Path(__file__).with_name("computed")
        for _ in range(1200):
            if WORKER == "gw1" and not COMPUTED.exists():
                time.sleep(0.05)

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop():
            if WORKER == "gw0":
                COMPUTED.touch()
        """
    )
    result = project.runpytest_subprocess("-n2", "--llm-cache=refresh")
    result.assert_outcomes(passed=8)
    assert counts(result) == {"model": (7, 7, 7), "other": (1, 1, 1)}


def test_two_tests_that_ask_the_same_in_two_workers_compute_it_once(project):
    project.makepyfile(
        test_suite="""
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_n(llm, n):
            llm.generate("the same", max_new_tokens=8)
        """
    )
    result = project.runpytest_subprocess("-n2", "--dist=load")
    assert counts(result) == {"model": (8, 1, 0)}


KEYS = [answer_key("identity", Generate(str(i)).digest) for i in range(3)]


@contextlib.contextmanager
def claiming(folder, keys, before=""):
    """Another process that claims ``keys`` of the store in ``folder`` and then computes for ever."""
    code = (
        f"import sys, time; from pathlib import Path; from pytest_llm.store import claims; {before}\n"
        "from pytest_llm.store.database import OutputStore\n"
        "with claims.held(OutputStore(Path(sys.argv[1])), [bytes.fromhex(key) for key in sys.argv[2:]]) as mine:\n"
        "    print(len(mine), flush=True)\n"
        "    time.sleep(120)\n"
    )
    command = [sys.executable, "-c", code, str(folder), *(key.hex() for key in keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == f"{len(keys)}\n"
            yield other
        finally:
            other.kill()


@pytest.mark.parametrize("host", ["here", "another"])
def test_a_claim_holds_while_its_process_lives(tmp_path, host):
    store = OutputStore(tmp_path)
    before = "" if host == "here" else "import socket; socket.gethostname = lambda: 'another'"
    with claiming(tmp_path, KEYS[:2], before):
        with claims.held(store, KEYS) as mine:
            assert mine == KEYS[2:]
    with claims.held(store, KEYS) as mine:
        assert mine == KEYS
    with store.reading() as db:
        assert db.execute("SELECT COUNT(*) FROM claims").fetchone() == (0,)
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_claim_whose_number_another_process_has_by_now_is_void(tmp_path):
    store = OutputStore(tmp_path)
    with store.writing() as db:
        rows = [(KEYS[0], f"{socket.gethostname()}:1"), (KEYS[1], "other-container:1:0123"), (KEYS[2], "ci:7")]
        db.executemany("INSERT INTO claims VALUES (?, ?)", rows)
    with claims.held(store, KEYS) as mine:
        assert mine == KEYS


def test_a_run_that_waits_says_for_whom_and_goes_on_when_it_is_killed(project, cache_dir, monkeypatch):
    project.makepyfile(test_suite="def test_a(llm):\n    llm.generate('the', max_new_tokens=3)\n")
    project.makeconftest("import pytest_llm.asking; pytest_llm.asking._PATIENCE = 0.2")
    project.runpytest("--llm-cache-dir=first")
    with OutputStore(project.path / "first").reading() as db:
        ((key,),) = db.execute("SELECT key FROM answers").fetchall()
    command = [sys.executable, "-m", "pytest", "--llm-prefetch=off"]
    with claiming(cache_dir, [key]) as other:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=project.path)
        line = next((line for line in run.stdout if "pytest_llm: " in line), "")
        assert line == (
            f"pytest_llm: process {other.pid} on {socket.gethostname()} is computing 1 answer of model; waiting for it "
            "to finish or to end\n"
        )
    assert "1 passed" in run.communicate(timeout=60)[0]


def test_a_test_that_failed_early_forgets_nothing(project):
    project.makepyfile(
        test_suite="""
        import os

        def test_a(llm):
            llm.generate("the", max_new_tokens=3)
            assert "FAIL" not in os.environ
            llm.generate("a", max_new_tokens=3)
        """
    )
    project.runpytest()
    os.environ["FAIL"] = "1"
    try:
        project.runpytest().assert_outcomes(failed=1)
    finally:
        del os.environ["FAIL"]
    retrain(project)
    assert counts(project.runpytest()) == {"model": (2, 2, 2)}


def test_a_store_that_cannot_be_used_is_what_each_test_says_and_the_summary_is_there(project):
    project.makepyfile(
        test_suite="""
        def test_a(llm):
            llm.generate("the", max_new_tokens=3)

        def test_b(llm_snapshot):
            assert "not kept" == llm_snapshot
        """
    )
    (project.path / "file").touch()
    result = project.runpytest("--llm-cache-dir=file", "-q")
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(["E * the output store *answers.sqlite cannot be used: *--llm-cache-dir*"])
    result.stdout.fnmatch_lines(["*note: this answer is not kept for pytest-llm review:"])
    result.stdout.fnmatch_lines(["obsolete  could not be written: *Not a directory*", "*= model regression =*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_log_that_cannot_be_written_is_one_line_above_the_summary(project):
    project.makeconftest(
        """
        import sqlite3
        from pytest_llm.planning.requestlog import RequestLog

        def full(self, passed):
            with self._store.writing():
                raise sqlite3.OperationalError("database or disk is full")

        RequestLog.flush = full
        """
    )
    result = project.runpytest_subprocess("-k", "other")
    result.assert_outcomes(passed=1, deselected=7)
    result.stdout.fnmatch_lines(
        ["requests  could not be written: the output store * cannot be used: the disk is full (database or disk is full). *",
         "*= model regression =*", "model *"]
    )  # fmt: skip


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_full_disk_is_one_line_and_every_answer_is_used(project, cache_dir, workers):
    project.makepyfile(
        test_suite="""
        import pytest

        @pytest.mark.parametrize("n", range(40))
        def test_n(llm, n):
            assert llm.generate(f"number {n}", max_new_tokens=2) == llm.generate(f"number {n}", max_new_tokens=2)
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=40)
    retrain(project)
    project.makeconftest(
        """
        from pytest_llm.store.database import OutputStore

        def connect(self, open_it=OutputStore._connect):
            db = open_it(self)
            db.execute("PRAGMA max_page_count=1")  # no more than there are
            return db

        OutputStore._connect = connect
        """
    )
    full = project.runpytest_subprocess(*workers)
    full.assert_outcomes(passed=40)
    if not workers:
        (told,) = re.findall("^pytest_llm: answers are used, but .*", full.stdout.str(), re.M)
        assert (
            "answers.sqlite cannot be used: the disk is full (database or disk is full). Choose another folder" in told
        )
        assert counts(full) == {"model": (80, 40, 40)}


def test_a_file_name_that_is_not_utf8_is_logged(tmp_path):
    store = OutputStore(tmp_path)
    request, test = Generate("the"), "test_\udcff.py::test_a"
    for _ in range(2):  # the second finds what the first has logged
        log = RequestLog(store, "/project-\udcff")
        log.note(test, "a \udcff model", request.digest, request)
        log.flush({test})
        ((model, digest),) = log.recall([test])[test]
        assert (model, digest) == ("a \\udcff model", request.digest)
    log = RequestLog(store, "/project-\udcff")
    log.note(test, "", request.digest, request)
    log.flush({test})
    assert log.recall([test]) == {test: {("", request.digest)}}


def test_the_log_is_written_only_when_questions_change(project, cache_dir):
    project.runpytest("--llm-update=new")
    project.runpytest()

    def rows():
        store = OutputStore(cache_dir)
        with store.reading() as db:
            version = db.execute("PRAGMA data_version").fetchone()
            content = db.execute("SELECT * FROM asked ORDER BY 1, 2, 3, 4").fetchall()
        store.close()
        return version, digest_of([list(row) for row in content]), len(content)

    before = rows()
    stamp = (cache_dir / "answers.sqlite").stat().st_mtime_ns
    time.sleep(0.01)
    project.runpytest().assert_outcomes(passed=8)
    assert rows() == before
    assert (cache_dir / "answers.sqlite").stat().st_mtime_ns == stamp


GROUPS = """
    import pytest

    @pytest.mark.llm(model="model")
    @pytest.mark.parametrize("n", range(2))
    def test_one(llm, n, request):
        print("GROUP", "one", *[marker.args[0] for marker in request.node.iter_markers("xdist_group")])

    @pytest.mark.llm(model="other")
    def test_two(llm, request):
        print("GROUP", "two", *[marker.args[0] for marker in request.node.iter_markers("xdist_group")])

    @pytest.mark.xdist_group("mine")
    def test_three(llm, request):
        print("GROUP", "three", *[marker.args[0] for marker in request.node.iter_markers("xdist_group")])
"""


def groups(result):
    result.assert_outcomes(passed=4)
    return set(re.findall(r"^GROUP .*$", result.stdout.str(), re.M))


def test_loadgroup_marks_the_tests_of_each_model_as_a_group(project):
    project.makepyfile(test_suite=GROUPS)
    result = project.runpytest_subprocess("-n2", "--dist=loadgroup", "-rP")
    assert groups(result) == {"GROUP one model", "GROUP two other", "GROUP three mine"}
    assert groups(project.runpytest("-n2", "-rP")) == {"GROUP one", "GROUP two", "GROUP three mine"}


def test_one_model_for_all_is_not_a_group(project):
    project.makepyfile(test_suite=GROUPS)
    result = project.runpytest_subprocess("-n2", "--dist=loadgroup", "--llm-model=model", "-rP")
    assert groups(result) == {"GROUP one", "GROUP two", "GROUP three mine"}


def test_several_models_in_workers_bring_a_hint(project):
    suite = 'import pytest\n\n@pytest.mark.parametrize("n", range(4))\n@pytest.mark.llm(model="{0}")\ndef test_{0}(llm, n):\n    llm.loss([f"cat {{n}}"])\n'
    project.makepyfile(test_one=suite.format("model"), test_other=suite.format("other"))
    hint = "*2 models may be in every worker: --dist load* keeps the tests of one * together"
    files = ("test_one.py", "test_other.py")
    project.runpytest_subprocess("-n2", *files).stdout.fnmatch_lines([hint])
    for quiet in ((), ("-n2", "--dist=loadfile"), ("-n2", "--dist=loadgroup"), ("-n2", "--llm-model=model")):
        result = project.runpytest_subprocess(*quiet, *files)
        result.assert_outcomes(passed=8)
        result.stdout.no_fnmatch_line("*may be in every worker*")
