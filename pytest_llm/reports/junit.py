"""JUnit XML: the figures of each test as its properties, and "could not measure" as an error.

pytest writes the file (``--junitxml``) and makes its text valid XML; properties travel with a test's report, so they
arrive from pytest-xdist workers too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_llm.reports.text import number, shorten, visible
from pytest_llm.verdicts import Verdict

_WIDTH = 300


def properties(verdicts: Iterable[Verdict]) -> list[tuple[str, str]]:
    """Return names and values: ``llm.golden.<name>`` has the status, ``llm.<metric>.<figure>`` a gate's figure."""
    found = []
    for verdict in verdicts:
        name = f"llm.{verdict.kind}.{_one_line(verdict.name)}"
        found += [(name, verdict.status), (f"{name}.verdict", _one_line(verdict.headline))]
        found += [(f"{name}.{_one_line(figure)}", _value(value)) for figure, value in verdict.figures.items()]
    return found


class ErrorMarker:
    """Turns the ``<failure>`` of a test that could not measure into an ``<error>``, in the file and its totals."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Look at what pytest made of the report."""
        from _pytest.junitxml import xml_key

        xml = self._config.stash.get(xml_key, None)  # none in a pytest-xdist worker
        if xml is None or report.when != "call" or not getattr(report, "llm_unmeasured", False):
            return
        for node in xml.node_reporter(report).nodes:
            if node.tag == "failure":
                node.tag = "error"
                node.set("type", "could not measure")
                xml.stats["failure"] -= 1
                xml.stats["error"] += 1


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(number(one) for one in value)
    return shorten(number(value), _WIDTH)


def _one_line(text: str) -> str:
    return visible(shorten(text, _WIDTH))
