"""Where a test stands: what golden and baseline files are named after."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


@dataclasses.dataclass(frozen=True)
class Location:
    """A test's node id, its module file, and its qualified name with parameters (``TestX.test_y[a-1]``)."""

    nodeid: str
    file: Path
    qualname: str

    @classmethod
    def of(cls, item: pytest.Item) -> Location:
        """Return the location of a collected test."""
        _, _, qualname = item.nodeid.partition("::")
        return cls(nodeid=item.nodeid, file=item.path, qualname=qualname.replace("::", "."))
