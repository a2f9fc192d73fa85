"""What the site says about options, commands and file formats is made of the code itself, as the site is built."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_llm import options
from pytest_llm.cli import command_line
from pytest_llm.fixtures import MARKERS

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in the place of ``<!-- table: NAME [ARGUMENT] -->``."""

    def table(match: re.Match[str]) -> str:
        return "\n".join(TABLES[match[1]](*match[2].split()))

    return re.sub(r"<!-- table: (\w+)([^>]*?) -->", table, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Name the theme's dialog, for screen readers."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def option_table() -> Iterator[str]:
    """Every option: as a flag, in the environment, in the ini file."""
    yield "| flag, environment, ini key | default | |"
    yield "| --- | --- | --- |"
    for one in options.OPTIONS:
        flag = "--llm-" + one.name.replace("_", "-")
        value = "" if one.type is bool else "=" + ("|".join(one.choices) or one.type.__name__.upper())
        names = (flag + value, f"PYTEST_LLM_{one.name.upper()}", f"llm_{one.name}")
        default = f"`{one.default}`" if one.default not in (None, "", False) else ""
        yield f"| {'<br>'.join(map(_code, names))} | {default} | {_cell(one.help)} |"


def marker_table() -> Iterator[str]:
    """Every marker."""
    yield "| marker | |"
    yield "| --- | --- |"
    for marker in MARKERS:
        call, _, text = marker.partition("): ")
        yield f"| {_code('@pytest.mark.' + call + ')')} | {_cell(text)} |"


def command_sections() -> Iterator[str]:
    """Every command with its arguments."""
    for parser, help in _parsers(command_line()):
        yield f"## `{parser.prog}` {{ #{parser.prog.replace(' ', '-')} }}\n"
        if help:
            yield f"{_sentence(help)}\n"
        if parser.description and parser.description != help:
            yield f"{_sentence(parser.description)}\n"
        usage = re.sub(r"\n\s+", "\n    ", parser.format_usage().removeprefix("usage: ").rstrip())
        yield f"```text\n{usage}\n```\n"
        left_out = (argparse._HelpAction, argparse._SubParsersAction)
        rows = [action for action in parser._actions if not isinstance(action, left_out)]
        if rows:
            yield "| argument | |\n| --- | --- |"
        for action in rows:
            value = str(action.metavar or "|".join(map(str, action.choices or [action.dest.upper()])))
            flags = [name if action.nargs == 0 else f"{name}={value}" for name in action.option_strings]
            text = (action.help or "") % {**vars(action), "prog": parser.prog}
            yield f"| {', '.join(map(_code, flags or [value]))} | {_cell(text)} |"
        yield ""


def _parsers(parser: argparse.ArgumentParser, help: str = "") -> Iterator[tuple[argparse.ArgumentParser, str]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    runs = parser.get_default("run") is not None or not groups
    if runs:
        yield parser, help
    for group in groups:
        texts = {action.dest: action.help or "" for action in group._choices_actions}
        for name, child in group.choices.items():
            yield from _parsers(child, texts.get(name, ""))


def schema_table(path: str) -> Iterator[str]:
    """The fields of a JSON schema, one a line, with dots and brackets for what is inside another."""
    schema = json.loads((ROOT / path).read_text("utf-8"))
    yield "| field | type | |"
    yield "| --- | --- | --- |"
    for name, kind, text in _fields(schema, schema, ""):
        yield f"| {_code(name)} | {_cell(kind)} | {_cell(text)} |"


def _fields(schema: dict[str, Any], whole: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in _own(schema, whole).get("properties", {}).items():
        inner, place = _own(field, whole), prefix + name
        yield place, _kind(inner), field.get("description", inner.get("description", ""))
        yield from _inside(inner, whole, place)


def _inside(field: dict[str, Any], whole: dict[str, Any], place: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(items := field.get("items"), dict):
        yield from _inside(_own(items, whole), whole, place + "[]") if "items" in _own(items, whole) else ()
        yield from _fields(items, whole, place + "[].")
    if isinstance(values := field.get("additionalProperties"), dict):
        yield from _fields(values, whole, place + ".*.")
    yield from _fields(field, whole, place + ".")


def _own(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """The field itself: a reference followed, the one of several that is not null."""
    if "$ref" in field:
        return _own(whole["$defs"][field["$ref"].rsplit("/", 1)[1]], whole)
    for one in field.get("anyOf", field.get("oneOf", ())):
        if one.get("type") != "null":
            return _own(one, whole)
    return field


def _kind(field: dict[str, Any]) -> str:
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return ", ".join(json.dumps(value) for value in field["enum"])
    kinds = field.get("type", "any")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _sentence(text: str) -> str:
    text = _cell(text.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


TABLES: dict[str, Callable[..., Iterator[str]]] = {
    "options": option_table,
    "markers": marker_table,
    "commands": command_sections,
    "schema": schema_table,
}
