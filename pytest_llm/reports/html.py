"""A run as one HTML file that needs nothing else: no network, no other file.

The frame is a Jinja template with autoescape. The tests stand in it as JSON that a script renders when a reader opens
one, so 2,000 of them cost little. A model's output is untrusted: it reaches the page as JSON in which ``<`` cannot
occur, the script only ever makes text nodes of it, and a content security policy lets nothing but that script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from pytest_llm.reports.overview import STATUSES, Entry, changes, counts, reported, summary
from pytest_llm.reports.text import number, visible

if TYPE_CHECKING:
    from jinja2 import Template

#: Bytes of the tests' JSON; beyond it, evidence is cut step by step.
BUDGET = 4_000_000

#: Steps of cutting: characters a text keeps, and whether passing tests keep tokens, failing ones too.
_STEPS = ((20_000, True, True), (20_000, False, True), (4_000, False, True), (1_000, False, False), (200, False, False))
#: Written as escapes in the page's JSON: what could end the script, what UTF-8 cannot hold, and what would not show,
#: or would reorder what shows, to a reader of the source.
_IN_SCRIPT = re.compile("[<>&\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def template(source: str) -> Template:
    """Return a template that escapes whatever is put into it, with the filters ``visible`` and ``number``."""
    import jinja2

    frame = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    frame.filters["visible"] = lambda value: visible(str(value))
    frame.filters["number"] = number
    return frame.from_string(source)


def html(data: dict[str, Any]) -> str:
    """Return the page of the run record ``data``."""
    from markupsafe import Markup

    found = reported(data)
    tests, cut = _fit(found)
    script, style = asset("verdict.js") + asset("report.js"), asset("report.css")
    counted = counts(found)
    return template(asset("report.html.j2")).render(
        run=data,
        counts=counted,
        total=len(found),
        summary=summary(data, counted),
        words=STATUSES,
        changes=changes(data),
        cut=cut,
        script=Markup(script),
        style=Markup(style),
        script_hash=source_hash(script),
        style_hash=source_hash(style),
        tests=Markup(tests),
    )


def _fit(found: list[Entry]) -> tuple[str, int]:
    """Return the tests as JSON within `BUDGET`, and what texts were cut to (0 when they were not)."""
    for width, passing, failing in _STEPS:
        rows = [_row(entry, width, failing if entry.status in ("failed", "error") else passing) for entry in found]
        text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        if len(text) > BUDGET and width > _STEPS[-1][0]:
            continue
        text = _IN_SCRIPT.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        if len(text.encode()) <= BUDGET:
            break
    return text, 0 if (width, passing, failing) == _STEPS[0] else width


def _row(entry: Entry, width: int, tokens: bool) -> dict[str, Any]:
    left_out = ("nodeid", "per_example")
    verdicts = [{k: value for k, value in one.items() if k not in left_out and value} for one in entry.verdicts]
    row: dict[str, Any] = {"id": entry.nodeid, "status": entry.status, "seconds": entry.seconds, "verdicts": verdicts}
    if entry.message and all(one["outcome"] == "pass" for one in entry.verdicts):
        row["message"] = entry.message
    if width < _STEPS[0][0] or not tokens:
        row["verdicts"] = [_cut(verdict, width, tokens) for verdict in verdicts]
    return row


def _cut(value: Any, width: int, tokens: bool) -> Any:
    if isinstance(value, str):
        return value if len(value) <= width else f"{value[:width]}…"
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if tokens or k not in ("tokens", "logprobs", "margins")}
        return {k: _cut(v, width, tokens) for k, v in kept.items()}
    return [_cut(item, width, tokens) for item in value] if isinstance(value, list) else value


def asset(name: str) -> str:
    """Return the text of a template, a style or a script."""
    return resources.files("pytest_llm.reports").joinpath("templates").joinpath(name).read_text("utf-8")


def source_hash(text: str) -> str:
    """Return what a content security policy calls a script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
