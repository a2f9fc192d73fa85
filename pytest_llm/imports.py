"""How Python finds this package's modules: as any others, though pytest has a way of its own for those of a plugin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_OURS = f"{__package__}."


class Finder:
    """Finds the modules of this package before pytest does.

    pytest rewrites the ``assert`` statements of a plugin, and reads the source of a module each time to know whether it
    has. Ours have none to rewrite: that took a third of the time of importing them.
    """

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of this package is; ``None`` for any other, which others find."""
        return PathFinder.find_spec(fullname, path, target) if fullname.startswith(_OURS) else None


def find_here() -> None:
    """Look for the modules of this package here first."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def find_elsewhere() -> None:
    """Leave them to others again: one more finder makes Python's end 12 ms longer, whatever it finds."""
    if Finder in sys.meta_path:
        sys.meta_path.remove(Finder)
