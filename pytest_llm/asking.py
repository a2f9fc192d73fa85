"""Asking: the store first, the engine only for what is missing, and every answer kept as soon as it is there."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm import environment, record
from pytest_llm.engines.protocol import is_answer
from pytest_llm.errors import StoreMissError, measured
from pytest_llm.files import digest_of
from pytest_llm.reports.text import counted
from pytest_llm.requests import Request
from pytest_llm.results import Origin
from pytest_llm.store import claims
from pytest_llm.store.key import answer_key, identity
from pytest_llm.weights.parts import digest_of_all, parts_of

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer, Engine
    from pytest_llm.loader import ModelLoader
    from pytest_llm.weights.fingerprint import Stamps
    from pytest_llm.weights.spec import ModelSpec, Weights

__tracebackhide__ = measured

T = TypeVar("T")

#: Seconds between two looks for an answer that another process is computing, and until the terminal says so.
_WAIT, _PATIENCE = 0.05, 10.0
#: Seconds for which one look at the weights is enough within a test: a look takes as long as an answer from the store.
_LOOK = 0.1


class Asker:
    """A model as the thing that answers requests. `LanguageModel` gives it its public methods."""

    def __init__(self, spec: ModelSpec, loader: ModelLoader, *, role: str = "") -> None:
        """Made by a `ModelLoader`; ``role`` names the model in the request log, "" is the one under test."""
        self.spec = spec
        self._loader = loader
        self._role = role
        #: What the files of the weights looked like when they were digested; see `fingerprint.check_unchanged`.
        self.seen: Stamps = {}
        #: The test in which they were last looked at, and when.
        self._looked = ("", 0.0)

    @property
    def under_test(self) -> bool:
        """Whether it is the model under test, and none that a test named."""
        return not self._role

    @functools.cached_property
    def weights(self) -> Weights:
        """Where the weights are."""
        return self._loader.resolve(self.spec)

    @functools.cached_property
    def _contents(self) -> dict[str, dict[str, str]]:
        return self._loader.contents(self.weights, self.seen)

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the content of weights, adapter, tokenizer, config and chat template; ``""`` for a service."""
        return digest_of_all(self._contents)

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        """What of the model changed where its digest did: see `pytest_llm.weights.parts`."""
        return parts_of(self.weights, self._contents)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Everything but the request that decides an answer."""
        return identity(self.digest, self.spec, own_code=bool(self.weights.code), gguf=bool(self.weights.gguf))

    @functools.cached_property
    def identity_digest(self) -> str:
        """The digest of `identity`."""
        return digest_of(self.identity)

    @functools.cached_property
    def origin(self) -> Origin:
        """The model and environment that answer, as goldens and baselines name them."""
        facts = self.identity
        model: dict[str, Any] = {"source": self.weights.source, "revision": self.weights.revision}
        if self.digest:
            model["digest"] = self.digest
        if self.parts:
            model["parts"] = self.parts
        if self.weights.adapter_source:
            model["adapter"] = self.weights.adapter_source
        names = ["torch", "transformers", "peft", "gguf", "device", "dtype", "attention"]
        names += [] if self.weights.service else ["engine"]
        return Origin(model=model, environment={name: facts[name] for name in names if name in facts})

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the plain answers to ``requests``, in order (see `pytest_llm.engines.protocol`)."""
        return self._ask(requests, lambda answer, origin: answer)

    def answers_otherwise(self, requests: Sequence[Request]) -> dict[str, tuple[str, list[Answer]]]:
        """Answer with the same weights under each change that should not matter; the store is left alone.

        By name of the change (`pytest_llm.engines.harmless`): what it was, as "sdpa → eager", and the answers. Nothing
        under ``--llm-offline``, and nothing for a model that does not run in this process.
        """
        if self._loader.settings.offline:
            return {}
        from pytest_llm.engines.harmless import harmless_changes
        from pytest_llm.engines.local import LocalEngine

        found: dict[str, tuple[str, list[Answer]]] = {}
        with self._loader.engine(self, len(requests)) as (engine, _):
            for name, change in harmless_changes(engine).items() if isinstance(engine, LocalEngine) else ():
                with change as what:
                    answers = dict(engine.answer(requests))
                found[name] = what, [answers[i] for i in range(len(requests))]
        return found

    def _ask(self, requests: Sequence[Request], result: Callable[[Answer, Origin], T]) -> list[T]:
        """Answer from the store what it has, compute and keep the rest, and make results in order."""
        with self._loader.asking:
            digests = [request.digest for request in requests]
            run = record.current()
            self._look(run.nodeid if run is not None else "")
            sampled = any(request.sampled for request in requests)
            repeat = run.repeat if run is not None and sampled else 0
            asked = dict(zip(digests, requests, strict=True))
            answers = self._stored(asked, repeat)
            missing = {digest: request for digest, request in asked.items() if digest not in answers}
            try:
                if missing:
                    self._compute(missing, repeat, answers)
            finally:
                if answers:  # where one failed, what was there before
                    self._use().asked += len(answers)
            if run is not None:
                run.sampled = run.sampled or sampled
                for digest in asked if self.weights.service else ():
                    if asked[digest].sampled:
                        texts = [one["text"] for one in answers[digest]["sequences"]]
                        run.draws.setdefault(digest, {})[run.repeat] = texts
                if not repeat:
                    for digest, request in zip(digests, requests, strict=True):
                        self._loader.log.note(run.nodeid, self._role, digest, request)
                kind = requests[0].kind
                run.asked.append(record.Asked(run.nodeid, self._key, kind, list(asked), list(missing)))
            return [
                result(answers[digest], self._origin_of(request, answers[digest]))
                for digest, request in zip(digests, requests, strict=True)
            ]

    def _look(self, test: str) -> None:
        """Check that the weights are still those of the digest: what the store has is of no others."""
        before, at = self._looked
        if test != before or time.monotonic() - at > _LOOK:
            self._loader.check_unchanged(self)
            self._looked = test, time.monotonic()

    def _origin_of(self, request: Request, answer: Answer) -> Origin:
        said = answer.get("environment", {})  # by a service, of what is behind its name
        environment = {**self.origin.environment, **said} if said else self.origin.environment
        return Origin(request.to_json(), self.origin.model, environment)

    def _stored(self, requests: Mapping[str, Request], repeat: int) -> dict[str, Answer]:
        """Return what the store answers; a row that is damaged is as good as none, and computed again."""
        if self._loader.settings.cache == "off":
            return {}
        found = self._loader.store.get(self.identity_digest, list(requests), repeat, since=self._loader.since)
        return {digest: answer for digest, answer in found.items() if is_answer(answer, requests[digest])}

    def prefetch(self, missing: Mapping[str, Request]) -> None:
        """Compute and keep answers before a test asks for them, those that no other process is computing."""
        before = self._use().computed
        try:
            self._claim(missing, 0, {})
        finally:
            self._use().ahead += self._use().computed - before

    def _compute(self, missing: Mapping[str, Request], repeat: int, answers: dict[str, Answer]) -> None:
        """Fill ``answers`` by computing, or with those that another process computes at this moment."""
        settings = self._loader.settings
        if settings.offline:
            digest, request = next(iter(missing.items()))
            why = self._loader.store.explain_miss(self.identity, digest, self.parts)
            raise StoreMissError(
                f"--llm-offline: {len(missing)} answer(s) of {self.spec.source} are not in the store "
                f"({self._loader.store.path}); the first is {request.kind}: {why}"
            )
        if settings.cache == "off":
            self._run_engine(missing, repeat, answers)
            return
        self._claim(missing, repeat, answers)
        patience = time.monotonic() + _PATIENCE
        while rest := {digest: request for digest, request in missing.items() if digest not in answers}:
            time.sleep(_WAIT)
            answers.update(self._stored(rest, repeat))
            # Whoever had claimed the rest may have failed or died: then it is ours.
            rest = {digest: request for digest, request in rest.items() if digest not in answers}
            self._claim(rest, repeat, answers)
            if time.monotonic() > patience:
                patience = math.inf
                self._say_who_computes([digest for digest in rest if digest not in answers], repeat)

    def _say_who_computes(self, waiting: Sequence[str], repeat: int) -> None:
        owners = claims.owners(self._loader.store, list(self._keys(waiting, repeat)))
        if owners:
            what = f"{counted(len(waiting), 'answer')} of {self.spec.source}"
            self._loader.tell(
                f"pytest_llm: {', '.join(owners)} is computing {what}; waiting for it to finish or to end"
            )

    def _claim(self, missing: Mapping[str, Request], repeat: int, answers: dict[str, Answer]) -> None:
        """Fill ``answers`` with those that nobody else is computing."""
        if not missing:
            return
        keys = self._keys(missing, repeat)
        with claims.held(self._loader.store, list(keys)) as mine:
            # Somebody may have answered between the look into the store and the claim.
            answers.update(self._stored({keys[key]: missing[keys[key]] for key in mine}, repeat))
            rest = {keys[key]: missing[keys[key]] for key in mine if keys[key] not in answers}
            if rest:
                self._run_engine(rest, repeat, answers)

    def _keys(self, digests: Iterable[str], repeat: int) -> dict[bytes, str]:
        return {answer_key(self.identity_digest, digest, repeat): digest for digest in digests}

    def _run_engine(self, missing: Mapping[str, Request], repeat: int, answers: dict[str, Answer]) -> None:
        places = [(digest, repeat) for digest in missing]
        places += self._ahead(missing, repeat)
        requests = [missing[digest].repeated(number) for digest, number in places]
        use = self._use()
        with self._loader.engine(self, len(requests)) as (engine, advance), self.noting_load(engine):
            for index, answer in engine.answer(requests):
                self._loader.check_unchanged(self)
                advance()
                digest, number = places[index]
                if self._loader.settings.cache != "off":
                    self._loader.store.put(
                        self.identity, self.weights.source, [(digest, answer)], number, parts=self.parts
                    )
                use.computed += 1
                if number == repeat:
                    answers[digest] = answer
                else:
                    use.ahead += 1

    @contextlib.contextmanager
    def noting_load(self, engine: Engine) -> Iterator[None]:
        """Put down what loading took, also where an answer fails."""
        try:
            yield
        finally:
            self._use().load_seconds = self._loader.load_seconds(self, engine)

    def _ahead(self, missing: Mapping[str, Request], repeat: int) -> list[tuple[str, int]]:
        """Return digests and repeats to compute along with ``repeat``: those that the running test will come to.

        One batch of ten answers takes little longer than one answer. Where a test stops before, it has them next time.
        """
        run, settings = record.current(), self._loader.settings
        if run is None or settings.cache == "off" or settings.prefetch == "off" or settings.batch_size == 1:
            return []
        sampled = [digest for digest, request in missing.items() if request.sampled]
        found: list[tuple[str, int]] = []
        for number in range(repeat + 1, repeat + 1 + run.ahead):
            known = self._loader.store.has(self.identity_digest, sampled, number, since=self._loader.since)
            found += [(digest, number) for digest in sampled if digest not in known]
        return found

    def _use(self) -> record.ModelUse:
        run = record.current()
        models = run.models if run is not None else {}
        if self._key not in models:
            models[self._key] = record.ModelUse(
                source=self.weights.source,
                digest=self.digest,
                parts=self.parts,
                dtype=self.spec.dtype,
                device=environment.resolve_device(self.spec.device),
                adapter=self.weights.adapter_source,
                revision=self.weights.revision,
                service=self.spec.host,
            )
        return models[self._key]

    @property
    def _key(self) -> str:
        return self.identity_digest[:16]
