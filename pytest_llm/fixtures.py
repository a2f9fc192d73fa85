"""The fixtures: llm, llm_loader, llm_snapshot, llm_baseline; and the markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm import lifecycle

if TYPE_CHECKING:
    from pytest_llm.baselines.baseline import Baseline
    from pytest_llm.golden.snapshot import Snapshot
    from pytest_llm.loader import ModelLoader
    from pytest_llm.location import Location
    from pytest_llm.model import LanguageModel
    from pytest_llm.settings import Settings

MARKERS = (
    "llm(model, revision, base_url, api_key_env, dtype, device, adapter, attn_implementation): the model of the 'llm' "
    "fixture here",
    "llm_repeat(n, min_success=1.0, stop_early=True): run a test of sampled answers up to n times, each with other "
    "answers; it passes when min_success of them (a count, or a rate as a float) succeed",
)


@pytest.fixture(scope="session")
def llm_loader(pytestconfig: pytest.Config) -> ModelLoader:
    """Load models by name: ``llm_loader("org/name", dtype="bfloat16")``."""
    return lifecycle.loader(pytestconfig)


@pytest.fixture
def llm(llm_loader: ModelLoader) -> LanguageModel:
    """The model under test: ``--llm-model``, else ``@pytest.mark.llm(model=...)``, else the ini key ``llm_model``."""
    return llm_loader.under_test(lifecycle.test())


@pytest.fixture
def llm_snapshot() -> Snapshot:
    """The golden outputs of this test: ``assert value == llm_snapshot``, or ``llm_snapshot.check(value, ...)``."""
    from pytest_llm.golden.snapshot import Snapshot

    return Snapshot(*_place("llm_snapshot"))


@pytest.fixture
def llm_baseline() -> Baseline:
    """The committed figures of this test: ``llm_baseline.check("bleu", score, margin=1.0)``."""
    from pytest_llm.baselines.baseline import Baseline

    return Baseline(*_place("llm_baseline"))


def _place(fixture: str) -> tuple[Location, Settings]:
    """Return `lifecycle.place` for a ``fixture`` of committed files, which hold one value a check, not one an example.

    Raises:
        InvalidInputError: something runs the test's body more than once (`location.repeater`).
    """
    from pytest_llm.location import repeater

    if why := repeater(lifecycle.test()):
        from pytest_llm.errors import InvalidInputError

        raise InvalidInputError(f"{fixture} cannot be combined with {why}")
    return lifecycle.place()
