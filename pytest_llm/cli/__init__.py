"""The ``pytest-llm`` command: a module for each of its commands."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

import pytest

import pytest_llm
from pytest_llm.cli.streams import patient
from pytest_llm.errors import LLMError


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line; what it parses has ``run``, which does it."""
    from pytest_llm.cli import (
        cache,
        compare,
        doctor,
        feedback,
        history,
        import_,
        monitor,
        prune,
        ratings,
        report,
        review,
        trend,
    )

    parser = argparse.ArgumentParser(prog="pytest-llm", description="Work with what pytest_llm recorded.")
    parser.add_argument("--version", action="version", version=f"pytest-llm-regression {pytest_llm.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (review, ratings, report, history, trend, compare, import_, prune, cache, doctor, feedback, monitor):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 something is left to do, 2 could not be done, 130 stopped."""
    with patient():
        arguments = command_line().parse_args(argv)
        try:
            code = int(arguments.run(arguments))
            sys.stdout.flush()
        except (LLMError, pytest.UsageError) as error:
            print(f"pytest-llm {arguments.command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"pytest-llm {arguments.command}: stopped", file=sys.stderr)
            return 130
        except Exception:  # not with Python's own code, 1: that is what a command says of what it found
            traceback.print_exc()
            print(f"pytest-llm {arguments.command}: could not be done, by the error above", file=sys.stderr)
            return 2
        return code
