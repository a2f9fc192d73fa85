"""Threads: under pytest-xdist every worker computes with its share of the cores, and no more."""

from __future__ import annotations

import os

#: torch's own number of threads, from before the first model of this process came, and how many models there are.
_own = 0
_models = 0


def share_cores() -> None:
    """Lower torch's threads to ``cores / workers`` while models are loaded; outside pytest-xdist do nothing.

    Threads of several workers on one core wait for one another longer than they compute.
    """
    global _own, _models
    if workers() < 2:
        return
    import torch

    _models += 1
    if _models == 1:
        _own = torch.get_num_threads()
        torch.set_num_threads(max(1, min(_own, cores() // workers())))


def give_back() -> None:
    """Undo one `share_cores`; the last one restores torch's own number."""
    global _models
    if _models:
        _models -= 1
        if not _models:
            import torch

            torch.set_num_threads(_own)


def workers() -> int:
    """Return how many pytest-xdist workers the session has; 1 without."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1)


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
