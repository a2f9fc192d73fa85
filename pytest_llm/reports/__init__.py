"""Renderers of verdicts and of a whole run."""
