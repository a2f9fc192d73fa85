"""``pytest-llm monitor``: whether production outputs have drifted from a reference window."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pytest_llm.cli.common import number_of, project_settings, refuse_overwriting, write
from pytest_llm.errors import InvalidInputError


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "monitor",
        help="compare outputs from production with a reference window",
        description="Exit code 0: no drift; 1: drift; 2: could not be compared.",
    )
    parser.add_argument("current", type=Path, metavar="CURRENT.jsonl", help="one output a line")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="REF.jsonl", help="outputs of when all was well"
    )
    parser.add_argument("--field", default="output", metavar="PATH", help="where the output is in a line [%(default)s]")
    parser.add_argument("--by", default="", metavar="FIELD", help="compare each value of a field too, or 'language'")
    parser.add_argument(
        "--one-per", default="", metavar="FIELD", help="count one output of each conversation, user, ..."
    )
    parser.add_argument("--alpha", type=float, default=0.01, help="probability of a false alarm in all [%(default)s]")
    parser.add_argument("--embedding-model", metavar="SPEC", help="a sentence encoder, to compare what outputs mean")
    parser.add_argument(
        "--refusal-pattern", action="append", default=[], metavar="REGEX", help="what refusals begin with, beside ours"
    )
    parser.add_argument(
        "--min-outputs", type=number_of("outputs", 2), default=30, metavar="N", help="too few below it [%(default)s]"
    )
    parser.add_argument(
        "--skip-bad",
        type=number_of("lines"),
        default=0,
        metavar="N",
        help="lines of a window, at most, that are left out for being no output [%(default)s]",
    )
    parser.add_argument("--html", type=Path, metavar="PATH", help="write the page")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from pytest_llm.jsontext import dump
    from pytest_llm.monitoring.page import html
    from pytest_llm.monitoring.panel import LANGUAGE, compare
    from pytest_llm.monitoring.terminal import show
    from pytest_llm.monitoring.window import read

    outputs = {"--html": arguments.html, "--json": arguments.json}
    refuse_overwriting(outputs, (arguments.reference, arguments.current))
    minimum, by = arguments.min_outputs, arguments.by
    kept = {"field": arguments.field, "minimum": minimum, "skip_bad": arguments.skip_bad, "one_per": arguments.one_per}
    # A field called "language" is preferred to the language that is found in the output.
    reference = read(arguments.reference, by=by, optional=by == LANGUAGE, **kept)
    current = read(arguments.current, by=by if reference.segments else "", **kept)
    with ExitStack() as stack:
        encoder = None
        if arguments.embedding_model:
            from pytest_llm.loader import ModelLoader

            loader = ModelLoader(project_settings())
            stack.callback(loader.close)
            encoder = loader(arguments.embedding_model)
        found = compare(
            reference, current, alpha=arguments.alpha, encoder=encoder, by=by, refusals=arguments.refusal_pattern,
            minimum=minimum,
        )  # fmt: skip
    failed = []
    for path, content in ((arguments.html, lambda: html(found)), (arguments.json, lambda: dump(found.to_json()))):
        try:
            write(path, content)
        except InvalidInputError as error:
            failed.append(str(error))
    # After the files: whoever reads may stop reading. Before their errors: the result is there all the same.
    show(found, Console(highlight=False, soft_wrap=False))
    if failed:
        raise InvalidInputError("; ".join(failed))
    return 1 if found.drifted else 0
