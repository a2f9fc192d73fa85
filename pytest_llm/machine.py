"""The machine's memory: how much there is and how much is left, of what a container, a pod or a job may take of it.

Control groups of both versions are read, as https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html have them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: Controllers of a line in /proc/self/cgroup: the folder of their groups, the files of the limit and of what is used,
#: and how ``memory.stat`` begins the names of figures that include the groups below.
_VERSIONS = {
    "": ("", "memory.max", "memory.current", ""),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def installed(system: Path = Path("/")) -> int:
    """Return the bytes of memory that the machine has, or that this process's groups may take.

    Args:
        system: Where ``proc`` and ``sys`` are.
    """
    if hasattr(os, "sysconf"):
        pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min([pages, *(limit for limit, _, _ in _limits(system))])
    import psutil  # on Windows; elsewhere its import would be most of what start-up takes

    return int(psutil.virtual_memory().total)


def available(system: Path = Path("/")) -> int:
    """Return the bytes that can still be taken: free ones, and pages of files, which the kernel drops when need be.

    Args:
        system: Where ``proc`` and ``sys`` are.
    """
    import psutil

    left = [int(psutil.virtual_memory().available)]
    for limit, group, (_, _, usage, total) in _limits(system):
        with contextlib.suppress(OSError, ValueError):
            stat = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text("utf-8").splitlines())
            files = sum(int(stat.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))
            left.append(max(0, limit - int((group / usage).read_text("utf-8")) + files))
    return min(left)


def _limits(system: Path) -> Iterator[tuple[int, Path, tuple[str, str, str, str]]]:
    """Yield the limit, the folder and the names of each group that this process is in, its own first."""
    try:
        lines = (system / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):  # no Linux
        return
    for line in lines:
        _, _, group_of = line.partition(":")
        controllers, _, path = group_of.partition(":")
        names = _VERSIONS.get(controllers)
        if names is not None:
            top = system / "sys/fs/cgroup" / names[0]
            group = top / path.lstrip("/")  # in a container it may be a path of the machine outside
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):  # not there, or "max"
                    yield int((folder / names[1]).read_text("utf-8")), folder, names
                if folder == top:
                    break
