"""The output store: answers kept by what produced them."""

from __future__ import annotations

from pytest_llm.store.database import OutputStore
from pytest_llm.store.key import answer_key

__all__ = ["OutputStore", "answer_key"]
