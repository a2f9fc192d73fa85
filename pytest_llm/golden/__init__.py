"""Goldens: committed answers, how a new answer differs from one, and candidates that wait for review."""

#: The folder beside test modules that holds their goldens.
FOLDER = "__llm_snapshots__"
