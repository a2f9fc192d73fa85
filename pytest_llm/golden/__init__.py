"""Goldens: committed answers, how a new answer differs from one, and candidates that wait for review."""
