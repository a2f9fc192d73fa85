"""Metrics: each returns a `Score` that knows what it measured.

Importing this imports none of the libraries behind them; each metric brings its own in when it is called.
"""

from pytest_llm.metrics.accuracy import accuracy
from pytest_llm.metrics.custom import custom
from pytest_llm.metrics.entities import entity_f1
from pytest_llm.metrics.evaluate_module import evaluate_module
from pytest_llm.metrics.human import human_rating
from pytest_llm.metrics.registry import Metric, get, names
from pytest_llm.metrics.rouge import rouge
from pytest_llm.metrics.sacre import bleu, chrf, sentence_bleu, ter
from pytest_llm.metrics.score import Score
from pytest_llm.metrics.similarity import similarity
from pytest_llm.metrics.squad import exact_match, f1
from pytest_llm.metrics.text import contains, matches, valid_json
from pytest_llm.metrics.uncertainty import standard_error

__all__ = [
    "Metric",
    "Score",
    "accuracy",
    "bleu",
    "chrf",
    "contains",
    "custom",
    "entity_f1",
    "evaluate_module",
    "exact_match",
    "f1",
    "get",
    "human_rating",
    "matches",
    "names",
    "rouge",
    "sentence_bleu",
    "similarity",
    "standard_error",
    "ter",
    "valid_json",
]
