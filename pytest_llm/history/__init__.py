"""The history of runs: a record file a run, kept in the cache."""
