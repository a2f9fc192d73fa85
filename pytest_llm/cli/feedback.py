"""``pytest-llm feedback import``: reports from production become test cases."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import project_settings, relative
from pytest_llm.reports.text import shorten, visible

#: Bad lines named; the rest is counted.
_NAMED = 20


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("feedback", help="turn what people said of answers in production into test cases")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    importing = actions.add_parser(
        "import",
        help="merge a JSON Lines file of reports into the committed cases",
        description="Exit code 2 when a line was no report; the good lines are imported all the same.",
    )
    importing.add_argument("file", type=Path, metavar="FILE.jsonl", help="one report a line")
    importing.add_argument(
        "--into", type=Path, default=Path("tests/feedback_cases.jsonl"), metavar="PATH", help="[%(default)s]"
    )
    importing.add_argument(
        "--field", action="append", default=[], type=_field, metavar="OURS=THEIRS",
        help="what a field is called in the file, as prompt=request (prompt, output, vote, correction, id, user, ...)",
    )  # fmt: skip
    importing.add_argument(
        "--redact", action="store_true", help="blot out e-mail addresses, telephone and card numbers"
    )
    importing.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_llm.feedback.importing import import_reports
    from pytest_llm.feedback.redaction import redact

    done = import_reports(
        arguments.file, arguments.into, cache_dir=project_settings().cache_dir, fields=dict(arguments.field),
        clean=redact if arguments.redact else str,
    )  # fmt: skip
    repeated = f", {done.repeated} left out for what a later line says" if done.repeated else ""
    print(f"reports   {done.read} read, {done.known} of them known before{repeated}")
    gone = f", {done.gone} gone" if done.gone else ""
    into = visible(relative(arguments.into))
    print(f"cases     {len(done.cases)} in {into}: {done.new} new, {done.touched} changed{gone}")
    for case in [case for case in done.cases.values() if case.contradictory][:_NAMED]:
        text = visible(shorten(case.contradictory[0], 60))
        print(f"{into}: {case.id}: {text!r} was turned down, and is what people asked for: it passes", file=sys.stderr)
    for bad in done.bad[:_NAMED]:
        print(f"{visible(str(arguments.file))}:{bad.number}: {visible(bad.why)}", file=sys.stderr)
    if len(done.bad) > _NAMED:
        print(f"and {len(done.bad) - _NAMED} more lines", file=sys.stderr)
    if done.bad:
        lines = "1 line was" if len(done.bad) == 1 else f"{len(done.bad)} lines were"
        print(f"pytest-llm feedback: {lines} no report and left out", file=sys.stderr)
    return 2 if done.bad else 0


def _field(text: str) -> tuple[str, str]:
    from pytest_llm.feedback.incoming import NAMES

    ours, equals, theirs = text.partition("=")
    if ours not in NAMES or not equals or not theirs:
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=THEIRS with one of {', '.join(NAMES)}")
    return ours, theirs
