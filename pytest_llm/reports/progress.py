"""What a run says while it computes: a progress bar, on a terminal only, and a line where it has to wait."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


@contextlib.contextmanager
def progress(config: pytest.Config | None, label: str, total: int) -> Iterator[Callable[[], None]]:
    """Show ``label`` and a bar of ``total`` answers, and give a function that advances it by one.

    Nothing is shown where nobody looks: a pipe, a CI log, a pytest-xdist worker. The bar goes when it is done.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter") if config is not None else None
    if reporter is None or not reporter.isatty:
        yield lambda: None
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from pytest_llm.reports.text import shorten, visible

    with _uncaptured(config):
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(shorten(visible(label), 60), total=total)
            yield lambda: bar.advance(task)


def tell(config: pytest.Config | None, line: str) -> None:
    """Show ``line`` at once, also in the midst of a test; a pytest-xdist worker has no terminal but its stderr."""
    reporter = config.pluginmanager.get_plugin("terminalreporter") if config is not None else None
    with _uncaptured(config):
        if reporter is None:
            print(line, file=sys.stderr, flush=True)
        else:
            reporter.ensure_newline()
            if reporter._tw.width_of_current_line:  # under -q pytest itself does not know
                reporter.write_line("")
            reporter.write_line(line)
            reporter.flush()


def _uncaptured(config: pytest.Config | None) -> contextlib.AbstractContextManager[None]:
    """Let what is written reach the terminal, where pytest captures it."""
    capture = config.pluginmanager.get_plugin("capturemanager") if config is not None else None
    return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
