"""Two workers, one golden: every reader sees a whole one, and an array always belongs to its JSON."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np

from pytest_llm.golden import use as use_module
from pytest_llm.golden.file import Golden, encode, read, write
from pytest_llm.golden.pending import golden_lock
from pytest_llm.golden.snapshot import Snapshot
from pytest_llm.location import Location
from pytest_llm.options import settings_from

ROUNDS, WORKERS = 15, 3


def use(root, cache, seed, update):
    root = Path(root)
    location = Location("tests/test_x.py::test_a", root / "tests/test_x.py", "test_a")
    settings = settings_from({}, {}, {}, root=root).replace(cache_dir=Path(cache), update=update)
    return np.full(400, float(seed)), Snapshot(location, settings)


def update_again_and_again(root, cache, seed, barrier, results):
    barrier.wait()
    failures = []
    for _ in range(ROUNDS):
        try:
            value, snapshot = use(root, cache, seed, "all")
            assert value == snapshot
            value, snapshot = use(root, cache, seed, "none")
            value == snapshot  # noqa: B015  (it may be another worker's golden by now, but never a broken one)
        except Exception as error:  # noqa: BLE001, PERF203
            failures.append(repr(error))
    results.put(failures)


def create_once(root, cache, seed, barrier, results):
    barrier.wait()
    value, snapshot = use(root, cache, seed, "new")
    results.put((seed, bool(value == snapshot), snapshot.verdict is None))


def race(target, root, cache):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(WORKERS), context.Queue()
    workers = [
        context.Process(target=target, args=(str(root), str(cache), seed, barrier, results)) for seed in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    return found


def test_updates_of_one_golden_by_many_workers_leave_it_whole(project):
    assert race(update_again_and_again, project.root, project.cache) == [[]] * WORKERS
    value = read(project.path()).value.data
    assert value.shape == (400,)
    assert len(set(value.tolist())) == 1
    assert sorted(path.name for path in project.path().parent.iterdir()) == ["test_a--1.json", "test_a--1.npy"]


def test_only_one_of_many_workers_creates_a_golden(project):
    found = race(create_once, project.root, project.cache)
    (winner,) = [seed for seed, passed, _ in found if passed]
    assert read(project.path()).value.data[0] == winner


def test_a_reader_that_meets_a_half_written_golden_waits_for_the_writer(project, monkeypatch):
    path = project.commit(np.zeros(400))
    text, sidecar = encode(Golden.of(np.ones(400), "tests/test_x.py::test_a"), path)
    waits = threading.Event()

    def announced(cache_dir, golden):
        waits.set()
        return golden_lock(cache_dir, golden)

    monkeypatch.setattr(use_module, "golden_lock", announced)
    verdicts = []
    reader = threading.Thread(target=lambda: verdicts.append(project.snapshot().check(np.ones(400))))
    with golden_lock(project.cache, path):
        path.with_suffix(".npy").write_bytes(sidecar)  # the array is new, its JSON still the old one
        reader.start()
        assert waits.wait(30)
        write(path, text, sidecar)
    reader.join(30)
    assert [verdict.status for verdict in verdicts] == ["identical"]
