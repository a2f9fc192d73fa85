"""What the commands share: the project's settings, and asking the person at the terminal."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from pytest_llm import options, plugin
from pytest_llm.errors import InvalidInputError
from pytest_llm.files import write_atomic
from pytest_llm.settings import Settings


class _Grab:
    """A plugin that takes the settings of a pytest run and ends it before anything is collected."""

    settings: Settings | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> None:
        """Load our plugin where plugins are not loaded by themselves (``PYTEST_DISABLE_PLUGIN_AUTOLOAD``)."""
        if not early_config.pluginmanager.is_registered(plugin):
            early_config.pluginmanager.register(plugin, "pytest_llm")

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.settings = options.resolve(config)
        return 0


def project_settings(folder: Path | None = None) -> Settings:
    """Return the settings a pytest run in ``folder`` (default: here) would have: its ini file, the environment.

    Raises:
        pytest.UsageError: pytest cannot read its configuration there, or the plugin is switched off in it.
    """
    grab = _Grab()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        pytest.main([str(folder)] if folder else [], plugins=[grab])
    if grab.settings is None:
        raise pytest.UsageError(f"pytest cannot start in {folder or Path.cwd()}:\n{said.getvalue().strip()}")
    return grab.settings


def interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, choices: str) -> str:
    """Ask until the answer is one of the letters in ``choices``; end of input, or Ctrl-C, is the last of them."""
    while True:
        try:
            answer = input(f"{question} ").strip().lower()[:1]
        except (EOFError, KeyboardInterrupt):
            print()
            return choices[-1]
        if answer and answer in choices:
            return answer
        print(f"please answer one of {', '.join(choices)}")


def relative(path: Path) -> str:
    """Return ``path`` from here, where that is shorter."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def write(path: Path | None, content: Callable[[], str], what: str = "report") -> None:
    """Write ``content`` where a flag asks for it.

    Raises:
        InvalidInputError: it cannot be written there.
    """
    if path:
        try:
            write_atomic(path, content())
        except OSError as error:
            # Not the error itself: it names a temporary file.
            raise InvalidInputError(f"{path}: the {what} could not be written: {error.strerror}") from None


def refuse_overwriting(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """See that no flag asks to write what is read, and no two of them the same file.

    Args:
        outputs: flag -> path; devices and pipes may be named twice.
        inputs: paths that are read.

    Raises:
        InvalidInputError: one does.
    """
    taken = {os.path.realpath(path): "is what is read" for path in inputs}
    for flag, path in outputs.items():
        if path and (path.is_file() or not path.exists()):
            if why := taken.get(os.path.realpath(path)):
                raise InvalidInputError(f"{flag}={path} {why}: it would be overwritten")
            taken[os.path.realpath(path)] = f"is what {flag} writes"


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def number_of(what: str, least: int = 0) -> Callable[[str], int]:
    """Return the type of an argument that counts ``what``, of which there are ``least`` or more."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {what}{f' ({least} or more)' if least else ''}")
        return int(text)

    return parse
