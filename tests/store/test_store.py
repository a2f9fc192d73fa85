import contextlib
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from pytest_llm import environment
from pytest_llm.argument_rules import as_prompt
from pytest_llm.cli import main
from pytest_llm.errors import LLMError
from pytest_llm.files import digest_of
from pytest_llm.request_json import request_from_json
from pytest_llm.requests import Generate, Loss, Score
from pytest_llm.store import claims
from pytest_llm.store.database import OutputStore
from pytest_llm.store.key import answer_key, identity
from pytest_llm.weights.spec import ModelSpec
from tests.conftest import COMMAND

FACTS = identity("a" * 64, ModelSpec("org/name"))
IDENTITY = digest_of(FACTS)
ONE, TWO = Generate("one").digest, Generate("two").digest


@pytest.fixture
def store(tmp_path):
    store = OutputStore(tmp_path)
    yield store
    store.close()


def test_an_answer_comes_back_for_its_own_key_only(store):
    store.put(FACTS, "org/name", [(ONE, {"text": "été \ud800\x00", "logprobs": [-0.1, float("-inf")]})])
    assert store.get(IDENTITY, [ONE, TWO]) == {ONE: {"text": "été \ud800\x00", "logprobs": [-0.1, float("-inf")]}}
    assert store.get(IDENTITY, [ONE], repeat=1) == {}
    assert store.get(digest_of({**FACTS, "weights": "b" * 64}), [ONE]) == {}


def test_nan_survives_so_that_a_check_can_see_it(store):
    store.put(FACTS, "m", [(ONE, {"x": float("nan")})])
    value = store.get(IDENTITY, [ONE])[ONE]["x"]
    assert value != value


@pytest.mark.parametrize("field", sorted(FACTS))
def test_every_fact_of_the_identity_is_in_the_key(store, field):
    store.put(FACTS, "m", [(ONE, {})])
    assert store.get(digest_of({**FACTS, field: "another"}), [ONE]) == {}


@pytest.mark.parametrize(
    "change",
    [{"dtype": "bfloat16"}, {"attn_implementation": "eager"}, {"device": "cuda"}],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_an_answer_is_in_the_identity(change):
    assert digest_of(identity("a" * 64, ModelSpec("m", **change))) != digest_of(identity("a" * 64, ModelSpec("m")))


@pytest.mark.parametrize(("node", "device"), [
    ("nvidia0", "cuda"), ("nvidia1", "cuda"), ("kfd", "cuda"), ("nvidiactl", "cpu"), ("null", "cpu"),
])  # fmt: skip
def test_auto_is_the_gpu_that_a_container_was_given(tmp_path, monkeypatch, node, device):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / node).touch()
    monkeypatch.setattr(environment, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(environment, "_gpu", environment._gpu.__wrapped__)
    monkeypatch.setattr(environment, "version", lambda distribution: "2.14.0")
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert identity("a" * 64, ModelSpec("org/name"))["device"] == device


def test_code_of_a_models_own_is_in_the_identity():
    assert identity("a" * 64, ModelSpec("m"), own_code=True) != identity("a" * 64, ModelSpec("m"))


def test_the_name_of_a_model_is_not_in_the_identity():
    assert identity("a" * 64, ModelSpec("here")) == identity("a" * 64, ModelSpec("there"))


def test_the_key_separates_its_parts():
    assert answer_key("ab", "c") != answer_key("a", "bc")


def test_of_scores_only_a_chats_miss_the_answers_that_counted_the_templates_line_break():
    text, chat = Score("x", ("y",)), Score(({"role": "user", "content": "x"},), ("y",))
    assert text.digest == digest_of(text.to_json())
    assert chat.digest != digest_of(chat.to_json())
    assert request_from_json(chat.to_json()).digest == chat.digest


def test_the_order_of_keys_counts_where_a_template_can_show_it():
    def asked(message, **template):
        return Generate(as_prompt([message]), template=template)

    plain = asked({"role": "user", "content": "x"}, a=1, b=2)
    assert plain == asked({"content": "x", "role": "user"}, b=2, a=1)
    assert plain.digest == asked({"content": "x", "role": "user"}, b=2, a=1).digest == digest_of(plain.to_json())
    for one, other in (
        (asked({"role": "user", "content": "x"}, t={"a": 1, "b": 2}), asked(plain.prompt[0], t={"b": 2, "a": 1})),
        (
            asked({"role": "user", "content": [{"a": 1, "b": 2}]}),
            asked({"role": "user", "content": [{"b": 2, "a": 1}]}),
        ),
        (asked({"role": "u", "content": "", "name": "x"}), asked({"name": "x", "role": "u", "content": ""})),
    ):
        assert one == other
        assert one.digest != other.digest


def test_a_large_batch_is_one_call(store):
    digests = [Loss(str(i)).digest for i in range(2500)]
    store.put(FACTS, "m", [(digest, {"i": i}) for i, digest in enumerate(digests)])
    found = store.get(IDENTITY, digests)
    assert [found[digest]["i"] for digest in digests] == list(range(2500))


def test_a_miss_names_the_part_of_the_key_that_changed(store):
    assert store.explain_miss(FACTS, ONE) == "the store has no answer to this question, and none of this model"
    store.put({**FACTS, "dtype": "bfloat16", "torch": "1.0"}, "org/old", [(ONE, {})])
    store.put({**FACTS, "dtype": "bfloat16"}, "org/name", [(ONE, {})])
    assert store.explain_miss(FACTS, ONE) == (
        "the store has this question answered by org/name, but dtype is float32 here and bfloat16 there"
    )
    store.put(FACTS, "org/name", [(TWO, {})])
    assert store.explain_miss(FACTS, digest_of("three")) == (
        "the request is new or changed: the store has 1 other answers of this model, none to this one"
    )
    store.put({**FACTS, "engine": 1}, "org/name", [(digest_of("four"), {})])
    assert store.explain_miss({**FACTS, "engine": 3}, digest_of("four")).endswith(
        "but pytest_llm's own computation (engine) is 3 here and 1 there"
    )
    other = {**FACTS, "weights": "b" * 64}
    here, there = {"weights": "1", "tokenizer": "2"}, {"weights": "1", "tokenizer": "3"}
    assert store.explain_miss(other, TWO, here).endswith(f"but model files is {'b' * 12} here and {'a' * 12} there")
    store.put({**FACTS, "torch": "1.0"}, "org/name", [(digest_of("five"), {})], parts=there)
    assert store.explain_miss({**other, "torch": "1.0"}, digest_of("five"), here).endswith(
        "answered by org/name, but tokenizer is 2 here and 3 there"
    )


def test_contents_and_clear(store):
    store.put(FACTS, "org/name", [(ONE, {}), (TWO, {})])
    store.put({**FACTS, "dtype": "bfloat16"}, "other", [(ONE, {})])
    assert {(row["source"], row["dtype"], row["answers"]) for row in store.contents()} == {
        ("org/name", "float32", 2),
        ("other", "bfloat16", 1),
    }
    assert store.clear(before=0) == 0
    assert store.clear() == 3
    assert store.contents() == []


def test_what_is_kept_after_another_process_cleared_the_store_is_known_by_its_model(store, tmp_path):
    store.put(FACTS, "org/name", [(ONE, {})])
    OutputStore(tmp_path).clear()
    store.put(FACTS, "org/name", [(TWO, {})])
    assert [(row["source"], row["answers"]) for row in store.contents()] == [("org/name", 1)]
    assert "answered by org/name, but dtype is" in store.explain_miss({**FACTS, "dtype": "float16"}, TWO)


def test_a_corrupt_file_says_what_to_do(tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(LLMError, match=r"answers\.sqlite cannot be used: .*pytest-llm cache clear"):
        OutputStore(tmp_path).get(IDENTITY, [ONE])


def test_a_newer_schema_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(LLMError, match="newer pytest_llm wrote it"):
        OutputStore(tmp_path).get(IDENTITY, [ONE])


@pytest.fixture
def open_folder():
    """A folder whose parents are open to everybody, as those of ``tmp_path`` are not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_store_that_cannot_be_written_is_read(open_folder):
    store = OutputStore(open_folder)
    store.put(FACTS, "m", [(ONE, {"text": "kept"})])
    store.close()
    open_folder.chmod(0o555)
    root = os.getuid() == 0  # who may write anywhere
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        store = OutputStore(open_folder)
        assert store.get(IDENTITY, [ONE, TWO]) == {ONE: {"text": "kept"}}
        with pytest.raises(LLMError, match="may be read here, but not written.*ask all questions once") as caught:
            store.put(FACTS, "m", [(TWO, {})])
        assert "cache clear" not in str(caught.value)
        with pytest.raises(LLMError, match="may be read here, but not written.*ask all questions once"):  # the lock
            with claims.held(store, [answer_key(IDENTITY, TWO)]):
                pass
        store.close()
    finally:
        if root:
            os.setresuid(0, 0, 0)
        open_folder.chmod(0o755)


def test_a_store_on_a_full_disk_is_read(pytester, cache_dir, tiny_gpt2, monkeypatch):
    """A file that may not grow to the 32 KiB that SQLite keeps beside the store is what a full disk is to it."""
    resource = pytest.importorskip("resource")
    free = shutil.disk_usage(cache_dir)._replace(free=1000)
    pytester.makeini(f"[pytest]\nllm_model = {tiny_gpt2}\n")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_a(llm, n):
            assert llm.generate(f"the {n}", max_new_tokens=2)
    """)
    pytester.runpytest("-k", "0 or 1").assert_outcomes(passed=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda path: free)
            warm, cold = pytester.runpytest("-k", "0 or 1"), pytester.runpytest()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    warm.assert_outcomes(passed=2)
    warm.stdout.fnmatch_lines(["model  *  2 answers: 2 from the store, 0 computed; *"])
    cold.assert_outcomes(passed=3)
    (told,) = re.findall("^pytest_llm: answers are used, but .*", cold.stdout.str(), re.M)
    assert "answers.sqlite cannot be used: the disk is full (disk I/O error). Choose another folder" in told


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), PermissionError(13, "denied")])
def test_a_sound_store_that_cannot_be_used_is_not_removed(cache_dir, monkeypatch, capsys, error):
    OutputStore(cache_dir).put(FACTS, "m", [(ONE, {"text": "kept"})])

    def broken(self):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(OutputStore, "_connect", broken)
        assert main(["cache", "clear"]) == 2
    assert str(error) in capsys.readouterr().err
    assert OutputStore(cache_dir).has(IDENTITY, [ONE])


@pytest.mark.parametrize("damage", ["newer", "damaged"])
def test_clearing_the_cache_cures_a_store_that_cannot_be_used(pytester, cache_dir, damage):
    path = cache_dir / "answers.sqlite"
    if damage == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version=99")
    else:
        path.write_bytes(b"not a database, by any means" * 100)
    for bad in ("x", "-1", "nan"):
        refused = pytester.run(COMMAND, "cache", "clear", f"--older-than={bad}")
        assert refused.ret == 2
        refused.stderr.fnmatch_lines([f"*argument --older-than: {bad!r} is not a number of days"])
    kept = pytester.run(COMMAND, "cache", "clear", "--older-than=3")
    assert kept.ret == 2
    kept.stderr.fnmatch_lines(["*answers.sqlite cannot be used: *'pytest-llm cache clear'"])
    cleared = pytester.run(COMMAND, "cache", "clear", "--answers")
    assert cleared.ret == 0
    cleared.stdout.fnmatch_lines(["removed the output store, which could not be used: *"])
    assert not path.exists()
    assert OutputStore(cache_dir).get(IDENTITY, [ONE]) == {}


def test_clearing_old_weights_keeps_the_new_ones(pytester, cache_dir, capsys):
    (cache_dir / "converted").unlink()
    for name, age in (("old", 31), ("new", 29)):
        (cache_dir / "converted" / name).mkdir(parents=True)
        (cache_dir / "converted" / name / "model.safetensors").write_bytes(b"1")
        os.utime(cache_dir / "converted" / name, (time.time() - age * 86400,) * 2)
    assert main(["cache", "clear", "--older-than=30"]) == 0
    assert main(["cache", "clear", "--weights", "--older-than=30"]) == 0
    assert capsys.readouterr().out == "removed 1 converted model, 1 B\n"
    assert [path.name for path in (cache_dir / "converted").iterdir()] == ["new"]


def test_clearing_the_cache_removes_a_link_and_not_what_it_leads_to(pytester, cache_dir, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (cache_dir / "converted").unlink()
    (cache_dir / "converted").mkdir()
    (cache_dir / "converted" / "link").symlink_to(folder)
    assert main(["cache", "clear", "--weights"]) == 0
    assert capsys.readouterr().out == "removed 1 converted model, 0 B\n"
    assert folder.is_dir()
    assert not list((cache_dir / "converted").iterdir())


def test_a_store_that_another_process_writes_is_not_removed(pytester, cache_dir, monkeypatch, capsys):
    store = OutputStore(cache_dir)
    store.put(FACTS, "m", [(ONE, {})])

    def busy(self, **which):
        with self.reading():
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(OutputStore, "clear", busy)
    assert main(["cache", "clear", "--answers"]) == 2
    assert "database is locked" in capsys.readouterr().err
    assert store.has(IDENTITY, [ONE])


def _write(folder, worker):
    store = OutputStore(folder)
    for i in range(50):
        store.put(FACTS, "m", [(digest_of([worker, i]), {"worker": worker, "i": i}), (ONE, {"shared": True})])


def test_processes_write_at_once_from_the_first_moment(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(tmp_path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = OutputStore(tmp_path)
    keys = {digest_of([n, i]): {"worker": n, "i": i} for n in range(4) for i in range(50)}
    assert store.get(IDENTITY, [*keys, ONE]) == {**keys, ONE: {"shared": True}}


def test_answers_are_readable_json_not_pickle(store, tmp_path):
    store.put(FACTS, "m", [(ONE, {"text": "hello"})])
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        ((answer,),) = db.execute("SELECT answer FROM answers").fetchall()
    data = json.loads(answer)
    assert (data["text"], set(data)) == ("hello", {"text", "seal"})


def test_no_flipped_bit_gives_another_answer(store, tmp_path):
    """Not in a number, nor in the digest; and a bit above ASCII is no error of SQLite's."""
    kept = {"token_logprobs": [-2.5, float("-inf")], "token_ids": [7, 50], "tokens": ["a", "é\ud800"]}
    store.put(FACTS, "m", [(ONE, kept), (TWO, {"token_logprobs": [-0.5]})])
    with contextlib.closing(sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)) as db:
        key = answer_key(IDENTITY, ONE)
        ((whole,),) = db.execute("SELECT CAST(answer AS BLOB) FROM answers WHERE key = ?", (key,)).fetchall()
        damaged = [
            whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for i in range(len(whole)) for bit in (1, 7)
        ]
        for text in damaged:
            db.execute("UPDATE answers SET answer = CAST(? AS TEXT) WHERE key = ?", (text, key))
            found = store.get(IDENTITY, [ONE, TWO])
            assert found.pop(TWO) == {"token_logprobs": [-0.5]}
            assert not found or {name: found[ONE][name] for name in kept} == kept, text
        db.execute("UPDATE answers SET answer = (SELECT answer FROM answers WHERE key != ?1) WHERE key = ?1", (key,))
        assert set(store.get(IDENTITY, [ONE, TWO])) == {TWO}, "the answer to another question"
        db.execute("UPDATE answers SET answer = ? WHERE key = ?", ('{"text":"of an older version"}', key))
        assert store.get(IDENTITY, [ONE]) == {ONE: {"text": "of an older version"}}
