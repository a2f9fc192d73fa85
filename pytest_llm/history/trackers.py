"""The history for experiment trackers, each an extra: MLflow and TensorBoard."""

from __future__ import annotations

import calendar
import hashlib
import os
import posixpath
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError, MissingExtraError
from pytest_llm.history.database import History
from pytest_llm.history.export import checks
from pytest_llm.history.rows import Run

EXPERIMENT = "pytest_llm"
#: The tag that says which run of the history one of MLflow is, so that none is written twice.
TAG = "pytest_llm.run"
#: MLflow's limits: characters of a name and of a value, metrics and parameters of one request.
_NAME, _VALUE, _METRICS, _PARAMS = 250, 500, 1000, 100


def to_mlflow(history: History, runs: Sequence[Run], folder: Path) -> int:
    """Write runs into ``folder/mlflow.db`` (``mlflow ui --backend-store-uri sqlite:///folder/mlflow.db``).

    A run that is there already is left alone. Figures become metrics, versions and models parameters.

    Returns:
        How many runs were written.

    Raises:
        MissingExtraError: the extra ``mlflow`` is not installed.
        InvalidInputError: MLflow cannot use the database there.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when the package is imported
    try:
        import alembic  # noqa: F401
        import sqlalchemy.exc
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise _missing("mlflow", error) from None
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _to_mlflow(history, runs, folder)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise InvalidInputError(
            f"MLflow cannot write {folder / 'mlflow.db'}: {str(error).partition(chr(10))[0]}"
        ) from error


def _to_mlflow(history: History, runs: Sequence[Run], folder: Path) -> int:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(folder))
    found = client.get_experiment_by_name(EXPERIMENT)
    where = (folder / "artifacts").as_uri()
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=where)
    written = 0
    for run in runs:
        if client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{run.id}'", max_results=1):
            continue
        start = _seconds(run) * 1000
        tags = {"mlflow.source.git.commit": run.commit, "mlflow.source.git.branch": run.branch}
        known = {name: value for name, value in tags.items() if value}
        made = client.create_run(experiment, start_time=start, run_name=run.short, tags=known)
        metrics = [Metric(mlflow_name(name), value, start, 0) for name, value in figures(history, run)]
        params = [Param(mlflow_name(name), value[:_VALUE]) for name, value in facts(run)]
        for at in range(0, max(len(metrics), 1), _METRICS):
            client.log_batch(
                made.info.run_id, metrics=metrics[at : at + _METRICS], params=[] if at else params[:_PARAMS]
            )
        client.set_terminated(
            made.info.run_id, "FAILED" if run.exit_status else "FINISHED", end_time=start + int(run.seconds * 1000)
        )
        client.set_tag(made.info.run_id, TAG, run.id)  # last: what was broken off before is written anew
        written += 1
    return written


def tracking_uri(folder: Path) -> str:
    """Return what MLflow calls the database in ``folder``."""
    return f"sqlite:///{(folder / 'mlflow.db').absolute().as_posix()}"


def to_tensorboard(history: History, runs: Sequence[Run], folder: Path) -> int:
    """Write runs as scalars into an events file in ``folder`` (``tensorboard --logdir folder``).

    The step is the run's place among those written, its wall time when it started.

    Returns:
        How many runs were written.

    Raises:
        MissingExtraError: the extra ``tensorboard`` is not installed.
        InvalidInputError: the folder has events, beside which these would show every point twice.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise _missing("tensorboard", error) from None
    if any(folder.glob("events.out.tfevents.*")):
        raise InvalidInputError(
            f"{folder} has events already, and every point would be there twice: name another folder"
        )
    writer = EventFileWriter(str(folder))
    try:
        for step, run in enumerate(runs):
            values = [Summary.Value(tag=name, simple_value=value) for name, value in figures(history, run)]
            writer.add_event(Event(wall_time=_seconds(run), step=step, summary=Summary(value=values)))
    finally:
        writer.close()
    return len(runs)


def figures(history: History, run: Run) -> Iterator[tuple[str, float]]:
    """Give the figures of a run by name: ``seconds``, ``drift``, ``tests/STATUS`` and ``METRIC/TEST``, each once."""
    yield "seconds", run.seconds
    for status, n in run.counts.items():
        yield f"tests/{status}", float(n)
    goldens, drifted = 0, 0
    seen: Counter[str] = Counter()
    last: dict[str, float] = {}
    for nodeid, kind, name, status, _, value, *_ in checks(history, run):
        if kind == "golden":
            goldens += 1
            drifted += status not in ("identical", "created", "updated")
        elif value is not None:
            title = f"{name}/{nodeid}"
            if last.get(title) == value:  # a threshold and a baseline of one score
                continue
            last[title] = value
            seen[title] += 1
            yield title + (f" {seen[title]}" if seen[title] > 1 else ""), value
    if goldens:
        yield "drift", float(drifted)


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Give the versions and models of a run by name."""
    yield from ((name, value) for name, value in run.environment.items() if value)
    for i, model in enumerate(run.models.values()):
        prefix = "model" if i == 0 else f"model {i + 1}"
        yield from ((f"{prefix} {name}", value) for name, value in model.items() if value)


def mlflow_name(name: str) -> str:
    """Return a name that MLflow takes, and that no two names share."""
    plain = re.sub(r"[^A-Za-z0-9_./ -]", "_", name.replace("::", "/"))
    if posixpath.normpath(plain) != plain or plain.startswith((".", "/")):
        plain = plain.replace("/", "_").lstrip(".") or "_"
    if plain == name.replace("::", "/") and len(plain) <= _NAME:
        return plain
    tag = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: _NAME - 9]}~{tag}".replace("~", "-")


def _seconds(run: Run) -> int:
    return calendar.timegm(time.strptime(run.started, "%Y-%m-%dT%H:%M:%SZ"))


def _missing(extra: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"--format={extra} needs the extra {extra!r} ({error}): pip install 'pytest-llm-regression[{extra}]'"
    )


WRITERS: dict[str, Callable[[History, Sequence[Run], Path], Any]] = {
    "mlflow": to_mlflow, "tensorboard": to_tensorboard
}  # fmt: skip
