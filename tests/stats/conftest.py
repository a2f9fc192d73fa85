from __future__ import annotations

import numpy as np
import pytest

from pytest_llm.metrics.score import Score


def mean_score(values, **fields):
    fields.setdefault("name", "quality")
    return Score(float(np.mean(values)), n=len(values), per_example=values, **fields)


@pytest.fixture
def rng():
    return np.random.default_rng(20240601)
