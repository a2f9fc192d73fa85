"""Metrics: each returns a `Score` that knows what it measured."""
