"""Writing files: a target that is there may be a link, a device or a pipe."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_llm import files
from pytest_llm.files import write_atomic


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path):
    (tmp_path / "reports").mkdir()
    target, link, chain = tmp_path / "reports/real.md", tmp_path / "link.md", tmp_path / "chain.md"
    target.write_text("old")
    link.symlink_to(Path("reports/real.md"))
    chain.symlink_to(link)
    reader = target.open()
    write_atomic(chain, "new")
    assert chain.is_symlink()
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert reader.read() == "old"  # whoever had it open keeps a whole file
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["real.md"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path):
    link = tmp_path / "link.md"
    link.symlink_to(tmp_path / "later" / "real.md")
    write_atomic(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "later" / "real.md").read_text() == "new"


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomic(pipe, "through it")
    reader.join(20)
    assert read == ["through it"]
    assert pipe.is_fifo()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no umask")
def test_a_file_has_the_permissions_of_the_umask_which_is_never_set_as_it_is_every_threads(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", None)
            write_atomic(tmp_path / "shared.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "shared.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="folders are locked by flock")
def test_a_folder_that_a_run_was_started_under_the_lock_of_is_waited_for_once(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(files, "PATIENCE", 0.2)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    waited = []
    for _ in range(2):
        start = time.monotonic()
        with files.locked(tmp_path / "locks" / "x.lock", folder=tmp_path):
            waited.append(time.monotonic() - start >= 0.2)
    os.close(held)
    assert waited == [True, False]
