"""Which tests pytest-xdist keeps in one worker: under ``--dist loadgroup``, those of one model."""

from __future__ import annotations

import pytest

from pytest_llm import lifecycle
from pytest_llm.errors import LLMError
from pytest_llm.loader import marked


def group_by_model(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test that uses the ``llm`` fixture with its model's group, so that a worker loads few models.

    A suite of one model is left alone: one group would be one worker. So is a test with a group of its own.
    """
    settings = lifecycle.settings(config)
    models: dict[pytest.Item, str] = {}
    for item in items:
        if "llm" in getattr(item, "fixturenames", ()):
            try:
                own = marked(item).get("model")
            except LLMError:
                continue  # the test itself reports its marker
            models[item] = str(settings.model if "model" in settings.given else own or settings.model)
    if len(set(models.values())) > 1:
        for item, model in models.items():
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(model))
