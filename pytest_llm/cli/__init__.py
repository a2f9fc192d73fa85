"""The ``pytest-llm`` command."""
