"""What runs on a Ray cluster for `pytest_llm.engines.ray`: a process with models of its own, which answers parts."""

from __future__ import annotations

import os
import socket
from typing import Any

from pytest_llm.engines.protocol import Answer
from pytest_llm.errors import LLMError, ModelNotFoundError, ServiceError
from pytest_llm.loader import ModelLoader
from pytest_llm.model import LanguageModel
from pytest_llm.requests import Request
from pytest_llm.settings import Settings, cache_folder
from pytest_llm.weights.spec import ModelSpec


class Replica:
    """A process on the cluster that holds models, as many as its memory has room for, and answers with them."""

    def __init__(self, settings: Settings, home: str) -> None:
        self.host = socket.gethostname()
        if self.host != home:
            settings = settings.replace(cache_dir=cache_folder(os.environ.get("PYTEST_LLM_CACHE_DIR"), os.environ))
        self._loader = ModelLoader(settings.replace(ray=""))
        self._models: dict[tuple[ModelSpec, str], LanguageModel] = {}

    def ready(self) -> None:
        """Say that this process is there."""

    def answer(
        self, model: tuple[ModelSpec, str, dict[str, Any]], requests: list[Request]
    ) -> tuple[list[Answer], float]:
        """Return the answers in order, and what loading the model took in seconds.

        Raises:
            ModelNotFoundError: the weights here are missing, or others.
            ServiceError: torch, transformers or the device are others here.
            LLMError: as `LocalEngine` does.
        """
        try:
            here = self._model(*model)
            with self._loader.engine(here, len(requests)) as (engine, _):
                answers = dict(engine.answer(requests))
                load_seconds = self._loader.load_seconds(here, engine)
        except LLMError as error:
            raise type(error)(f"on {self.host}: {error}") from None
        return [answers[index] for index in range(len(requests))], load_seconds

    def _model(self, spec: ModelSpec, digest: str, identity: dict[str, Any]) -> LanguageModel:
        if (spec, digest) not in self._models:
            found = LanguageModel(spec, self._loader)
            if found.digest != digest:
                raise ModelNotFoundError(
                    f"the weights of {spec.source} are others here: their digest is {found.digest[:12]}, not "
                    f"{digest[:12]}; put the same files at one path on every machine"
                )
            self._models[spec, digest] = found
        here = self._models[spec, digest]
        others = [
            f"{name} {_public(here.identity[name])}, not {_public(value)}"
            for name, value in identity.items()
            if _public(here.identity[name]) != _public(value)
        ]
        if others:
            raise ServiceError(
                f"answers are kept under the environment of the machine that asks, and this one has "
                f"{'; '.join(others)}: install the same versions on every machine"
            )
        return here


def _public(version: Any) -> Any:
    """Return a version without its build: ``2.13.0+cu128`` is ``2.13.0``; anything else as it is."""
    return version.partition("+")[0] if isinstance(version, str) else version
