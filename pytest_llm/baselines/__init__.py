"""Baselines: committed figures with their per-example values, and the gate against them."""

#: The folder beside test modules that holds their baseline files.
FOLDER = "__llm_baselines__"
