"""Model regression testing in plain pytest: cached answers, tie-aware goldens, quality gates."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.assertions import (
        assert_accuracy,
        assert_bleu,
        assert_chrf,
        assert_contains,
        assert_exact_match,
        assert_f1,
        assert_json,
        assert_loss,
        assert_matches,
        assert_metric,
        assert_perplexity,
        assert_rouge,
        assert_similar,
        assert_ter,
    )
    from pytest_llm.errors import (
        GoldenError,
        InvalidInputError,
        LLMError,
        MissingExtraError,
        ModelNotFoundError,
        StoreMissError,
    )
    from pytest_llm.metrics.score import Score
    from pytest_llm.model import LanguageModel
    from pytest_llm.results import Generation
    from pytest_llm.verdicts import Verdict

#: Where each public name lives. Nothing is imported before it is used, so that start-up stays quick.
_HOMES = {
    "assertions": (
        "assert_accuracy",
        "assert_bleu",
        "assert_chrf",
        "assert_contains",
        "assert_exact_match",
        "assert_f1",
        "assert_json",
        "assert_loss",
        "assert_matches",
        "assert_metric",
        "assert_perplexity",
        "assert_rouge",
        "assert_similar",
        "assert_ter",
    ),
    "errors": (
        "GoldenError",
        "InvalidInputError",
        "LLMError",
        "MissingExtraError",
        "ModelNotFoundError",
        "StoreMissError",
    ),
    "metrics.score": ("Score",),
    "model": ("LanguageModel",),
    "results": ("Generation",),
    "verdicts": ("Verdict",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "GoldenError",
    "InvalidInputError",
    "LLMError",
    "LanguageModel",
    "Generation",
    "MissingExtraError",
    "ModelNotFoundError",
    "Score",
    "StoreMissError",
    "Verdict",
    "assert_accuracy",
    "assert_bleu",
    "assert_chrf",
    "assert_contains",
    "assert_exact_match",
    "assert_f1",
    "assert_json",
    "assert_loss",
    "assert_matches",
    "assert_metric",
    "assert_perplexity",
    "assert_rouge",
    "assert_similar",
    "assert_ter",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
