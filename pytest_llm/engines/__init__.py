"""Engines: what turns requests into answers."""
