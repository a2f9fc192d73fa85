"""Embeddings: a numpy array that remembers where it came from. Imports numpy, so it is only ever imported late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_llm.request_json import merge_requests
from pytest_llm.results import Origin


class Vectors(np.ndarray[Any, Any]):
    """An array with the ``origin`` of its vectors. A slice has it too; what is computed from it is plain numpy."""

    origin: Origin

    @classmethod
    def of(cls, array: np.ndarray[Any, Any], origins: Sequence[Origin]) -> Vectors:
        """Return ``array`` as it is, answered by one model to the requests of ``origins``."""
        self = array.view(cls)
        requests = merge_requests([origin.request for origin in origins])
        self.origin = Origin(requests, origins[0].model, origins[0].environment)
        return self

    def __array_finalize__(self, source: Any) -> None:
        self.origin = getattr(source, "origin", Origin())

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain if plain.ndim else plain[()]
