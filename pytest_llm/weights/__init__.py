"""Weights: where they are, what they are (a digest of their content), and a form that loads fast."""
