"""GitHub Actions: annotations on the lines that failed, and the summary of the step.

An annotation is a line of output that the runner takes for a command. What a model said stands in it escaped as the
runner's own toolkit does (``@actions/core``, ``command.ts``), so it cannot end the command or begin another. pytest
itself shows what failing tests printed and raised: until it has, the runner is told to take no commands
(``stop-commands``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llm.reports.markdown import markdown
from pytest_llm.reports.overview import STATUSES, Entry, reported
from pytest_llm.reports.text import short_nodeids, shorten, visible

#: GitHub shows no more annotations of one level from one step.
SHOWN = 10
#: GitHub refuses a step summary of more than 1 MiB, in bytes.
SUMMARY_LIMIT = 250_000
_MESSAGE = 3_000


def commands(data: dict[str, Any], root: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the commands for what failed, could not be collected or measured, or carries a warning."""
    found = reported(data)
    lines = []
    for level, statuses in (("error", ("failed", "uncollected", "error")), ("warning", ("warned",))):
        chosen = [entry for entry in found if entry.status in statuses]
        lines += [_annotation(level, entry, root, environ) for entry in chosen[:SHOWN]]
    return lines


def stop(token: str) -> str:
    """Return the command after which the runner takes none, up to the one that `resume` returns."""
    return f"::stop-commands::{token}"


def resume(token: str) -> str:
    """Return the command that ends `stop`; nobody can forge it who does not know the token."""
    return f"::{token}::"


def write_summary(data: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Add the run to the summary of the step.

    Raises:
        OSError: the file that the runner names cannot be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if path:
        with Path(path).open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(markdown(data, SUMMARY_LIMIT) + "\n")


def escape(text: str) -> str:
    """Escape the message of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape the value of a property of a command."""
    return escape(text).replace(":", "%3A").replace(",", "%2C")


def _annotation(level: str, entry: Entry, root: Path, environ: Mapping[str, str]) -> str:
    file = root / entry.file
    workspace = Path(environ.get("GITHUB_WORKSPACE") or root)
    shown = file.relative_to(workspace) if file.is_relative_to(workspace) else Path(entry.file)
    title = short_nodeids([entry.nodeid])[entry.nodeid]
    properties = {
        "file": shown.as_posix(),
        "line": str(entry.line),
        "title": f"{visible(shorten(title, 150))}: {STATUSES[entry.status]}",
    }
    head = ",".join(f"{name}={escape_property(value)}" for name, value in properties.items())
    return f"::{level} {head}::{escape(shorten(entry.why, _MESSAGE))}"
