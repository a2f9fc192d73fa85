"""Exports to MLflow and TensorBoard, read back with their own readers."""

import os
import sqlite3
import sys

import pytest

from pytest_llm.history import trackers
from pytest_llm.history.database import History
from tests.history.conftest import golden, record, verdict

ODD = "t.py::test[../é // b]"


def leave(project, n=3):
    project(*(
        record(i, verdict(value=2.5 + i), verdict(value=2.5 + i, kind="threshold"), verdict("f1", 0.5, nodeid=ODD),
               golden("drifted" if i else "identical"))
        for i in range(n)
    ))  # fmt: skip


def test_tensorboard_reads_every_figure_back(project, command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    leave(project)
    folder = tmp_path / "events"
    assert command("history", "export", "--format=tensorboard", f"--output={folder}") == (
        0, f"wrote 3 runs to {folder}\n", ""
    )  # fmt: skip
    read = EventAccumulator(str(folder))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {
        "seconds", "drift", "tests/passed", "tests/failed", "loss/test_m.py::test_a", f"f1/{ODD}"
    }  # fmt: skip
    scalars = read.Scalars("loss/test_m.py::test_a")
    assert [(one.step, one.value, one.wall_time) for one in scalars] == [
        (i, 2.5 + i, 1_790_000_000 + 3600 * i) for i in range(3)
    ]  # fmt: skip
    assert [one.value for one in read.Scalars("drift")] == [0, 1, 1]
    assert command("history", "export", "--format=tensorboard", f"--output={folder}") == (
        2, "", f"pytest-llm history: {folder} has events already, and every point would be there twice: name another "
        "folder\n"
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*noload")  # of MLflow's own
def test_mlflow_reads_every_run_back_once(project, command, tmp_path):
    leave(project)
    folder = tmp_path / "ml # flow"
    export = "history", "export", "--format=mlflow", f"--output={folder}"
    assert command(*export)[:2] == (0, f"wrote 3 runs to {folder}\n")
    assert command(*export)[:2] == (0, f"wrote 0 runs to {folder}\n")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=trackers.tracking_uri(folder))
    experiment = client.get_experiment_by_name("pytest_llm")
    found = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    assert [run.data.tags["pytest_llm.run"] for run in found] == [record(i)["id"] for i in range(3)]
    assert [run.data.tags["mlflow.source.git.commit"] for run in found] == [
        record(i)["git"]["commit"] for i in range(3)
    ]
    assert [(run.info.status, run.info.start_time, run.info.end_time) for run in found][1:] == [
        ("FAILED", 1_790_003_600_000, 1_790_003_601_500), ("FAILED", 1_790_007_200_000, 1_790_007_201_500)
    ]  # fmt: skip
    metrics = found[2].data.metrics
    odd = next(name for name in metrics if name.startswith("f1"))
    assert odd.isascii()
    assert ".." not in odd.split("/")
    assert {name: value for name, value in metrics.items() if name != odd} == {
        "seconds": 1.5, "drift": 1.0, "tests/passed": 2.0, "tests/failed": 1.0, "loss/test_m.py/test_a": 4.5
    }  # fmt: skip
    assert metrics[odd] == 0.5
    assert found[0].data.params == {
        "python": "3.11", "torch": "2.13", "transformers": "5.24", "model source": "org/tiny",
        "model digest": "0123456789abcdef" * 4, "model dtype": "float32", "model device": "cpu",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*noload")  # of MLflow's own
def test_a_run_whose_export_to_mlflow_was_broken_off_is_written_anew(project, command, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    def stop(*_, **__):
        raise KeyboardInterrupt

    project(record(0, verdict()))
    export = "history", "export", "--format=mlflow", f"--output={tmp_path}"
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", stop)
        assert command(*export)[0] == 130
    assert command(*export)[:2] == (0, f"wrote 1 run to {tmp_path}\n")
    assert command(*export)[:2] == (0, f"wrote 0 runs to {tmp_path}\n")


def test_names_for_mlflow_are_allowed_and_never_shared():
    from mlflow.utils.validation import _validate_metric_name

    names = ["a/b", "a::b[1]", "a::b(1)", "../x", "/x", "a//b", "x" * 300, "x" * 301, "a/../b", ".", "", "é", "è"]
    made = [trackers.mlflow_name(name) for name in names]
    for name in made:
        _validate_metric_name(name)
    assert len(set(made)) == len(names)


@pytest.mark.parametrize(("extra", "module"), [("mlflow", "sqlalchemy"), ("tensorboard", "tensorboard")])
def test_without_the_extra_the_error_names_it(project, command, tmp_path, monkeypatch, extra, module):
    leave(project)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = command("history", "export", f"--format={extra}", f"--output={tmp_path / 'x'}")
    assert (code, out) == (2, "")
    assert f"pip install 'pytest-llm-regression[{extra}]'" in err
    assert not (tmp_path / "x").exists()


def test_a_tracker_needs_a_folder(project, command):
    code, _, err = command("history", "export", "--format=mlflow")
    assert (code, err) == (2, "pytest-llm history: --format=mlflow writes a folder: name it with --output=DIR\n")


def test_a_database_of_another_kind_is_said(project, command, tmp_path):
    leave(project)
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    code, _, err = command("history", "export", "--format=mlflow", f"--output={tmp_path}")
    assert code == 2
    assert err.splitlines()[-1].startswith("pytest-llm history: MLflow cannot write")
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "mlflow.db").execute("PRAGMA user_version")
    assert History(tmp_path / "other").ids() == set()
