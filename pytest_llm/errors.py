"""What can go wrong that is not a regression: the test errors, and says what to do.

A measured regression raises ``AssertionError`` and fails the test. Everything here means "could not
measure" and is reported as an error, so that a broken set-up is never read as a worse model.
"""

from __future__ import annotations

from typing import Any


class LLMError(Exception):
    """Base of every "could not measure".

    Parts of its message may come from a model's files or a module's code: control characters are shown as escapes.
    """

    def __str__(self) -> str:
        from pytest_llm.reports.text import visible

        return "\n".join(map(visible, super().__str__().split("\n")))


class InvalidInputError(LLMError, ValueError):
    """An argument, a set of examples or a figure (NaN) that nothing can be measured with."""


class ModelNotFoundError(LLMError):
    """The model, its revision, its file or its adapter cannot be found or read."""


class ServiceError(LLMError):
    """The service that answers for a model cannot be reached, refuses, or answers what cannot be read."""


class UnavailableError(ServiceError):
    """The service is not there, in trouble, or open to nobody with this key: another request would fare no better."""


class StoreMissError(LLMError):
    """``--llm-offline`` was given and the answer is not in the store."""


class FullError(LLMError):
    """The disk has no room for what was to be kept in a database."""


class GoldenError(LLMError):
    """A golden or baseline file cannot be read: corrupt, merge-conflicted, of another schema."""


class MissingExtraError(LLMError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def measured(excinfo: Any) -> bool:
    """Whether a traceback ends in a verdict or in one of these errors, both of which say all there is to say.

    Modules that raise them set ``__tracebackhide__ = measured``: pytest then shows the user's own line only,
    while a bug in this package keeps its whole traceback.
    """
    return isinstance(excinfo.value, (AssertionError, LLMError))
