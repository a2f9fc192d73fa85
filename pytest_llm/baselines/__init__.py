"""Baselines: committed figures with their per-example values, and the gate against them."""
