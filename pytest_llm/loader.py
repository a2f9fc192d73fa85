"""`ModelLoader`: the models of a session, the store of their answers, and the memory they may take."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llm import record
from pytest_llm.errors import InvalidInputError, LLMError, measured
from pytest_llm.files import canonical_json
from pytest_llm.model import LanguageModel
from pytest_llm.planning.requestlog import RequestLog
from pytest_llm.store.database import OutputStore, clock
from pytest_llm.weights.spec import SERVICE, ModelSpec, Weights, service_spec

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_llm.asking import Asker
    from pytest_llm.engines.protocol import Engine
    from pytest_llm.engines.ray import Cluster
    from pytest_llm.settings import Settings
    from pytest_llm.weights.fingerprint import Stamps
    from pytest_llm.weights.pool import Pool

__tracebackhide__ = measured

#: What ``@pytest.mark.llm`` and `ModelLoader.__call__` take.
MODEL_FIELDS = ("model", "revision", "base_url", "api_key_env", "dtype", "device", "adapter", "attn_implementation")
#: Those that only a service has.
_SERVICE_FIELDS = ("base_url", "api_key_env")

NO_MODEL = (
    "no model is chosen: set 'llm_model' in pytest.ini or pyproject.toml, mark the test with "
    "@pytest.mark.llm(model=...), or give --llm-model=PATH_OR_ID"
)
NO_NAME = (
    "no model is named: llm_loader() takes that of --llm-model or of 'llm_model' in pytest.ini or pyproject.toml, and "
    "reads no @pytest.mark.llm, as it is one for all tests. Name it, llm_loader('org/name'), or ask for the fixture llm"
)


def marked(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of ``@pytest.mark.llm``, the closest marker winning field by field.

    Raises:
        InvalidInputError: positional arguments.
    """
    fields: dict[str, Any] = {}
    for marker in item.iter_markers("llm"):
        if marker.args:
            raise InvalidInputError("@pytest.mark.llm takes named arguments: @pytest.mark.llm(model='org/name')")
        outer = dict(marker.kwargs)
        if "base_url" in fields:  # a key is for the address beside it
            outer.pop("api_key_env", None)
        fields = {**outer, **fields}
    return fields


def _as_text(name: str, value: Any) -> str:
    """Return a field of a model as text: a path, or the name of a torch.dtype.

    Raises:
        InvalidInputError: a model is not named, but given.
    """
    if name == "dtype":
        return str(value).removeprefix("torch.")
    if name not in ("model", "adapter"):
        return str(value)
    if not isinstance(value, (str, os.PathLike)):
        raise InvalidInputError(
            f"{name}= takes a name or a path, not an object of type {type(value).__name__}. A model in memory is saved "
            "first: model.save_pretrained(folder); tokenizer.save_pretrained(folder); llm_loader(folder)"
        )
    return os.fsdecode(value)


class ModelLoader:
    """The ``llm_loader`` fixture: ``llm_loader("org/name", dtype="bfloat16")`` gives a `LanguageModel`.

    A model's weights are loaded when it has something to compute, once a session for equal weights.
    """

    def __init__(
        self,
        settings: Settings,
        config: pytest.Config | None = None,
        *,
        started: float | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Made once a session, which began at the Unix time ``started``; keys of services are read in ``environ``."""
        self.settings = settings
        self._environ = environ
        #: The Unix time from which answers count: under ``--llm-cache=refresh`` that at which the session began.
        self.since = 0.0 if settings.cache != "refresh" else clock() if started is None else started
        self.store = OutputStore(settings.cache_dir, self.tell)
        self.log = RequestLog(self.store, str(settings.root))
        self._config = config
        #: Seconds that making weights loadable took, by digest and spec: once for a GGUF, else next to nothing.
        self._preparing: dict[tuple[str, ModelSpec], float] = {}
        self._under_test: dict[ModelSpec, LanguageModel] = {}
        #: Held while a question is answered: several threads of a test ask in turn. A list is answered in batches.
        self.asking = threading.RLock()

    def __call__(self, model: str | None = None, **fields: Any) -> LanguageModel:
        """Return a model: the one named, else the session's.

        Its weights are looked at anew, so a checkpoint that a test trains again in place is another model.

        Args:
            model: hub id, folder, .gguf file, folder#file.gguf, pkg:MODULE/FILE or openai:NAME; a path may be a `Path`.
            fields: ``revision``, ``base_url``, ``api_key_env``, ``dtype``, ``device``, ``adapter``,
                ``attn_implementation``; each defaults to the session's own, but a model named here does not take the
                session's revision or adapter, nor an address named here its ``api_key_env``. An
                adapter's own tokenizer and chat template go before the model's.

        Raises:
            InvalidInputError: no model is named anywhere, one is given itself, or an unknown field.
        """
        given = {**fields, "model": model}
        named = {name: _as_text(name, value) for name, value in given.items() if value is not None}
        return LanguageModel(self._spec(named, forced=frozenset(), absent=NO_NAME), self, role=canonical_json(named))

    def under_test(self, item: pytest.Item) -> LanguageModel:
        """Return the model of a test's ``llm`` fixture: the marker's fields, overruled by what the run was given.

        A run's own flags and environment decide over a marker: ``--llm-model`` swaps the model under test
        of every test, and then a marker's revision and adapter, which belong to another model, do not apply; nor do,
        where the marker names that model, the address and the key of its service.
        """
        spec = self._spec(marked(item), forced=self.settings.given)
        return self._under_test.setdefault(spec, LanguageModel(spec, self))

    def named(self, role: str) -> LanguageModel:
        """Return the model that ``role`` names in the request log."""
        return self(**json.loads(role))

    def close(self) -> None:
        """Free the loaded models and close the store."""
        if "pool" in self.__dict__:
            self.pool.clear()
        if "cluster" in self.__dict__:
            self.cluster.close()
        self.store.close()

    def resolve(self, spec: ModelSpec) -> Weights:
        """Find the weights of ``spec``; see `pytest_llm.weights.resolve`."""
        from pytest_llm.weights.resolve import resolve

        return resolve(spec, root=self.settings.root, offline=self.settings.offline)

    def contents(self, weights: Weights, seen: Stamps) -> dict[str, dict[str, str]]:
        """Return the digests of the files of ``weights``; see `pytest_llm.weights.fingerprint`."""
        from pytest_llm.weights.fingerprint import contents

        return contents(weights, self.settings.cache_dir, seen=seen)

    def check_unchanged(self, model: Asker) -> None:
        """Check that answers are of the weights of ``model``'s digest: they are read late, and stay mapped.

        Raises:
            ModelNotFoundError: something wrote to them since. The engine, which may have read the new ones, is dropped.
        """
        from pytest_llm.weights.fingerprint import check_unchanged

        try:
            check_unchanged(model.weights, model.digest, self.settings.cache_dir, model.seen)
        except LLMError:
            self.pool.drop((model.digest, model.spec))
            raise

    @functools.cached_property
    def pool(self) -> Pool:
        """The loaded engines, least recently used first to go."""
        from pytest_llm.weights.pool import Pool

        return Pool(self.settings.memory_limit)

    @functools.cached_property
    def cluster(self) -> Cluster:
        """The Ray cluster that computes, with ``--llm-ray``."""
        from pytest_llm.engines.ray import Cluster

        return Cluster(self.settings)

    @contextlib.contextmanager
    def engine(self, model: Asker, total: int) -> Iterator[tuple[Engine, Callable[[], None]]]:
        """Give the engine of ``model``, and what advances its progress bar of ``total`` answers."""
        from pytest_llm.reports.progress import progress

        with progress(self._config, model.spec.source, total) as advance:
            engine: Engine = self.pool.get((model.digest, model.spec), functools.partial(self._load, model))
            watch = record.watching()
            with watch.perturbed(engine) if watch is not None else contextlib.nullcontext(engine) as engine:
                yield engine, advance
            self.check_unchanged(model)

    def tell(self, line: str) -> None:
        """Show ``line`` on the terminal at once; what a model is called in it may be anything."""
        from pytest_llm.reports.progress import tell
        from pytest_llm.reports.text import visible

        tell(self._config, visible(line))

    def prepare(self, model: Asker) -> Path:
        """Return a folder of ``model``'s weights as safetensors in its dtype, converted once if need be."""
        from pytest_llm.weights.convert import prepare

        return prepare(model.weights, model.digest, model.spec, self.settings.cache_dir)

    def load_seconds(self, model: Asker, engine: Engine) -> float:
        """Return what loading took, the conversion of a GGUF included; 0 while no weights are loaded."""
        preparing = self._preparing.get((model.digest, model.spec), 0.0)
        return engine.load_seconds + preparing if engine.load_seconds else 0.0

    def _load(self, model: Asker) -> tuple[Engine, int]:
        if model.spec.base_url is not None:
            from pytest_llm.engines.openai import OpenAIEngine
            from pytest_llm.engines.openai_key import Key

            name, spec, settings = model.weights.service, model.spec, self.settings
            engine: Engine = OpenAIEngine(
                name, model.spec.base_url, timeout=settings.timeout, key=Key(spec.api_key_env, self._environ),
                batch_size=settings.batch_size, tell=self.tell,
            )  # fmt: skip
            return engine, 0
        if self.settings.ray:
            from pytest_llm.engines.ray import RayEngine

            return RayEngine(self.cluster, model), 0
        from pytest_llm.engines.local import LocalEngine

        start = time.perf_counter()
        folder = self.prepare(model)
        self._preparing[model.digest, model.spec] = time.perf_counter() - start
        engine = LocalEngine(folder, model.spec, adapter=model.weights.adapter, batch_size=self.settings.batch_size)
        return engine, engine.nbytes

    def _spec(self, fields: dict[str, Any], forced: frozenset[str], absent: str = NO_MODEL) -> ModelSpec:
        unknown = sorted(set(fields) - set(MODEL_FIELDS))
        if unknown:
            raise InvalidInputError(f"a model has no {unknown[0]!r}: it takes {', '.join(MODEL_FIELDS)}")
        settings = self.settings
        given = {
            name: _as_text(name, value) for name, value in fields.items() if value is not None and name not in forced
        }
        if "model" in forced:
            others = ("revision", "adapter", *(_SERVICE_FIELDS if fields.get("model") is not None else ()))
            given = {name: value for name, value in given.items() if name not in others}
        if "model" in given:
            settings = settings.replace(
                revision=settings.revision if "revision" in forced else None,
                adapter=settings.adapter if "adapter" in forced else None,
            )
        values = {name: given.get(name, getattr(settings, name)) for name in MODEL_FIELDS}
        # A key goes to the address that it was named for, and to no other.
        if "base_url" in given:
            values["api_key_env"] = fields.get("api_key_env")
        elif "base_url" in forced:
            values["api_key_env"] = settings.api_key_env
        source = values.pop("model")
        if not source:
            raise InvalidInputError(absent)
        if source.startswith(SERVICE):
            return service_spec(
                source, values["revision"], values["base_url"], values["adapter"], values["api_key_env"]
            )
        for name in _SERVICE_FIELDS:
            del values[name]
        return ModelSpec(
            source=source,
            trust_remote_code=settings.trust_remote_code,
            trust_pickle=settings.trust_pickle,
            exact=settings.exact,
            **values,
        )
