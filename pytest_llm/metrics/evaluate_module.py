"""Any metric of the Hugging Face ``evaluate`` library, through one adapter."""

from __future__ import annotations

import contextlib
import math
import numbers
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_llm import lifecycle
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.metrics.inputs import configured, listed, mean, plain, read_ids
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.spelling import text, told
from pytest_llm.results import joint_origin

__tracebackhide__ = measured


def evaluate_module(
    module: Any,
    predictions: Any,
    references: Any = None,
    *,
    key: str | None = None,
    higher_is_better: bool = True,
    unit: str = "",
    ids: Iterable[Any] | None = None,
    config_name: str | None = None,
    **options: Any,
) -> Score:
    """Compute an ``evaluate`` module and return the chosen figure of its answer.

    Args:
        module: a local script (``"metrics/mine.py"``) or its folder, an ``EvaluationModule``, or a name on the hub
            (``"wer"``), whose code is downloaded and run: that takes ``--llm-trust-remote-code``, also where it was
            downloaded before. With ``--llm-offline`` it must have been.
        predictions: what the module takes, one entry an example.
        references: the same; left out for modules without.
        key: which figure of the module's answer; needed when it has several. A list of one number an example
            becomes ``per_example``, and its mean the value.
        higher_is_better: the direction, which ``evaluate`` does not state.
        unit: of the figure, for reports.
        ids: unique names of the examples.
        config_name: configuration of the module, where it has some (``glue``).
        options: passed to the module's ``compute``.

    Raises:
        InvalidInputError: unusable input, a module that may not be run, or cannot be found, loaded or computed, or a
            key its answer does not have.
    """
    own = callable(getattr(module, "compute", None)) and hasattr(module, "name")  # which evaluate.combine() has not
    loaded = module if own else _load(module, config_name)
    name = f"evaluate:{loaded.name}"
    predictions = listed(name, "predictions", predictions)
    if not predictions:
        raise InvalidInputError(f"{name}: there are no predictions, so there is nothing to measure")
    inputs = {"predictions": list(map(plain, predictions))}
    given = [] if references is None else listed(name, "references", references)
    if references is not None:
        if len(given) != len(predictions):
            raise InvalidInputError(f"{name}: {len(predictions)} predictions but {len(given)} references")
        inputs["references"] = list(map(plain, given))
    kept = read_ids(name, len(predictions), ids)
    try:
        answer = loaded.compute(**inputs, **options)
    except Exception as error:  # the module's own code; an AssertionError in it is not a regression
        raise InvalidInputError(f"{name} could not be computed: {type(error).__name__}: {error}") from error
    key = _choose(name, loaded.name, answer, key)
    value, per_example = _figure(f"{name}: {key!r}", answer[key], len(predictions))
    request, origin = joint_origin(predictions)
    gold = [[told(one, origin.get("model"))] for one in given]
    name = name if key == loaded.name else f"{name}.{key}"
    return Score(
        value,
        name=name,
        n=len(predictions),
        higher_is_better=higher_is_better,
        unit=unit,
        per_example=per_example,
        ids=kept,
        predictions=list(map(text, predictions)),
        references=list(map(text, given)),
        gold=gold if any(isinstance(one, dict) for (one,) in gold) else (),
        signature=configured(name, options if config_name is None else {"config_name": config_name, **options}),
        request=request,
        origin=origin,
    )


def _load(module: Any, config_name: str | None) -> Any:
    if not isinstance(module, (str, os.PathLike)) or not str(module):
        raise InvalidInputError(
            f"evaluate_module() takes a hub name, a path or an EvaluationModule, not {type(module).__name__}"
        )
    name = os.fspath(module)
    path = Path(name).expanduser()
    # What evaluate itself takes for one: all else it looks for on the hub.
    is_file = (path.suffix == ".py" and path.is_file()) or (path / f"{path.name}.py").is_file()
    if not is_file and (isinstance(module, Path) or name.startswith((".", "/", "~")) or name.endswith(".py")):
        raise InvalidInputError(
            f"there is no evaluate module at {path.absolute()}: it must be a Python script, or a folder that holds "
            f"one of its own name ({path.name.removesuffix('.py')}/{path.name.removesuffix('.py')}.py)"
        )
    name = str(path) if is_file else name
    with contextlib.nullcontext() if is_file else _of_hub(name):
        import evaluate

        try:
            # In memory: under pytest-xdist the workers would contend for one cache file.
            return evaluate.load(name, config_name=config_name, keep_in_memory=True)
        except (FileNotFoundError, ConnectionError) as error:
            stem = Path(name).name
            raise InvalidInputError(
                f"the evaluate module {name!r} is neither in the local cache nor on a hub that can be reached "
                "(evaluate's package ships no metrics). Copy its script into the project and give the path, such as "
                f"'metrics/{stem}/{stem}.py', or use a metric of pytest_llm.metrics"
            ) from error
        except Exception as error:  # its own code, or a package it needs
            raise InvalidInputError(
                f"the evaluate module {name!r} cannot be loaded: {type(error).__name__}: {error}"
            ) from error


@contextlib.contextmanager
def _of_hub(name: str) -> Iterator[None]:
    """Let code of the hub run, where the run allows that; with ``--llm-offline`` what is in the cache of it.

    Raises:
        InvalidInputError: it does not.
    """
    place = lifecycle.here()
    if place is None or not place[1].trust_remote_code:
        how = f"give evaluate.load({name!r}) (outside a test)" if place is None else "give --llm-trust-remote-code"
        raise InvalidInputError(
            f"the evaluate module {name!r} is code of the Hugging Face hub, and is not run unasked: if you trust it, "
            f"{how}. Or copy its script into the project and give the path, or use a metric of pytest_llm.metrics"
        )
    from evaluate import config

    kept = config.HF_EVALUATE_OFFLINE
    config.HF_EVALUATE_OFFLINE = kept or place[1].offline
    try:
        yield
    finally:
        config.HF_EVALUATE_OFFLINE = kept


def _choose(name: str, own: str, answer: Any, key: str | None) -> str:
    if not isinstance(answer, dict) or not answer:
        raise InvalidInputError(f"{name} answered {answer!r}, not a dict of figures")
    known = ", ".join(map(repr, answer))
    if key is not None:
        if key not in answer:
            raise InvalidInputError(f"{name} has no figure {key!r}; it has {known}")
        return key
    if own in answer:
        return own
    if len(answer) > 1:
        raise InvalidInputError(f"{name} has several figures; choose one with key=: {known}")
    return str(next(iter(answer)))


def _figure(what: str, value: Any, n: int) -> tuple[float, list[float]]:
    """Return the value and, when the module gave one number an example, those."""
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if isinstance(value, numbers.Real):
        return float(value), []
    if isinstance(value, (list, tuple)) and len(value) == n and all(isinstance(x, numbers.Real) for x in value):
        each = [float(x) for x in value]
        return mean(each) if all(map(math.isfinite, each)) else math.nan, each
    raise InvalidInputError(f"{what} is {value!r}, neither a number nor one number an example")
