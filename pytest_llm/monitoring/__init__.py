"""Whether what a model says in production has drifted from a reference window."""
