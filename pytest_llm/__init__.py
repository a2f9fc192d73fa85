"""Model regression testing in plain pytest: cached answers, tie-aware goldens, quality gates."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.assertions import (
        assert_accuracy,
        assert_bits_per_byte,
        assert_bleu,
        assert_chrf,
        assert_contains,
        assert_exact_match,
        assert_f1,
        assert_human_rating,
        assert_json,
        assert_loss,
        assert_matches,
        assert_metric,
        assert_perplexity,
        assert_rouge,
        assert_similar,
        assert_ter,
    )
    from pytest_llm.baselines.baseline import Baseline
    from pytest_llm.errors import (
        GoldenError,
        InvalidInputError,
        LLMError,
        MissingExtraError,
        ModelNotFoundError,
        ServiceError,
        StoreMissError,
        UnavailableError,
    )
    from pytest_llm.feedback.cases import FeedbackCase
    from pytest_llm.feedback.check import assert_feedback
    from pytest_llm.feedback.parametrise import feedback_cases
    from pytest_llm.golden.snapshot import Snapshot
    from pytest_llm.labels import Classification
    from pytest_llm.loader import ModelLoader
    from pytest_llm.metrics.score import Score
    from pytest_llm.model import LanguageModel
    from pytest_llm.probes import assert_batch_invariant, assert_deterministic
    from pytest_llm.results import Generation
    from pytest_llm.spans import Span
    from pytest_llm.verdicts import Verdict

if "_pytest" in sys.modules:
    from pytest_llm.imports import find_here

    find_here()

#: Where the public names live that do not say it themselves. Nothing is imported before it is used.
_HOMES = {
    "Baseline": "baselines.baseline",
    "Classification": "labels",
    "FeedbackCase": "feedback.cases",
    "Generation": "results",
    "LanguageModel": "model",
    "ModelLoader": "loader",
    "Score": "metrics.score",
    "Snapshot": "golden.snapshot",
    "Span": "spans",
    "Verdict": "verdicts",
    "assert_batch_invariant": "probes",
    "assert_deterministic": "probes",
    "assert_feedback": "feedback.check",
    "feedback_cases": "feedback.parametrise",
}

__all__ = [
    "Baseline",
    "Classification",
    "FeedbackCase",
    "Generation",
    "GoldenError",
    "InvalidInputError",
    "LLMError",
    "LanguageModel",
    "MissingExtraError",
    "ModelLoader",
    "ModelNotFoundError",
    "Score",
    "ServiceError",
    "Snapshot",
    "Span",
    "StoreMissError",
    "UnavailableError",
    "Verdict",
    "assert_accuracy",
    "assert_batch_invariant",
    "assert_bits_per_byte",
    "assert_bleu",
    "assert_chrf",
    "assert_contains",
    "assert_deterministic",
    "assert_exact_match",
    "assert_f1",
    "assert_feedback",
    "assert_human_rating",
    "assert_json",
    "assert_loss",
    "assert_matches",
    "assert_metric",
    "assert_perplexity",
    "assert_rouge",
    "assert_similar",
    "assert_ter",
    "feedback_cases",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from pytest_llm.environment import version

        return version("pytest-llm-regression") or "unknown"
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    lifecycle = sys.modules.get(f"{__name__}.lifecycle")
    if lifecycle is not None:
        lifecycle.touched()
    home = _HOMES.get(name) or ("errors" if name.endswith("Error") else "assertions")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
