"""A run as Markdown: the comment on a pull request, and GitHub's step summary.

A model's output must not become markup, a link or a mention: in prose the characters that could are written
as character references, and a block of it has a fence longer than any run of backticks in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from pytest_llm.reports.overview import STATUSES, Entry, changes, counts, reported, summary, written
from pytest_llm.reports.text import figure, shorten, visible

#: GitHub refuses a comment of more than 65,536 characters.
LIMIT = 60_000
#: Characters of all rows of a table, of which there are three; of a cell, before it is escaped; of a block.
TABLE, CELL, BLOCK = 18_000, 200, 6_000

#: What can be markup, a link, a mention, a reference or an emoji inside a line. A dot is, outside a number.
_ACTIVE = re.compile(r"[!#$&*:<>@\[\\\]^_`{|}~]|(?<!\d)\.|\.(?!\d)")
_ICONS = {"failed": "❌", "uncollected": "⚠️", "error": "⚠️", "warned": "🔶", "passed": "✅", "skipped": "⏭️"}


def markdown(data: dict[str, Any], limit: int = LIMIT) -> str:
    """Return the run record ``data`` as Markdown of at most ``limit`` characters."""
    found = reported(data)
    counted = counts(found)
    worst = next((status for status, n in counted.items() if n), "skipped")
    if worst == "passed" and written(data):
        worst = "warned"
    if data["stopped"] and worst != "failed":
        worst = "error"
    parts = [f"## {_ICONS[worst]} Model regression: {summary(data, counted)}\n"]
    parts += [_models(data), _changes(data), _gates(data)]
    shown = [entry for entry in found if entry.status not in ("passed", "skipped")]
    size = sum(map(len, parts))
    for index, entry in enumerate(shown):
        block = _entry(entry)
        if size + len(block) > limit - 200:
            parts.append(f"\n…and {len(shown) - index} more; the HTML report and the run record have all of them.\n")
            break
        parts.append(block)
        size += len(block) + 1
    return "\n".join(part for part in parts if part)


def literal(text: str, width: int = CELL) -> str:
    """Return untrusted ``text`` as one line of Markdown that shows it and does nothing else."""
    return _ACTIVE.sub(lambda match: f"&#{ord(match[0])};", visible(shorten(text, width)))


def block(text: str) -> str:
    """Return ``text`` as a fenced block that nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}\n"


def _models(data: dict[str, Any]) -> str:
    rows = []
    for use in data["models"].values():
        loaded = f"{use['load_seconds']:.1f} s" if use["load_seconds"] else "not needed"
        asked = " | ".join(literal(str(use[name])) for name in ("from_store", "computed"))
        name = literal(use["source"]) + (f" + {literal(use['adapter'])}" if use["adapter"] else "")
        weights, runs_in = literal(use["digest"][:12] or "not known"), literal(use["dtype"] or use["device"])
        runs_in += f" at {literal(use['service'])}" if use["service"] else ""
        rows.append(f"| {name} | {weights} | {runs_in} | {asked} | {loaded} |")
    return _table("Model | Weights | Dtype | From the store | Computed | Loaded in", rows)


def _changes(data: dict[str, Any]) -> str:
    rows = [f"| {literal(name)} | {literal(was)} | {literal(now)} | {n} |" for name, was, now, n in changes(data)]
    return _table("Changed since the goldens | Was | Now | Goldens", rows)


def _gates(data: dict[str, Any]) -> str:
    gates = [verdict for verdict in data["verdicts"] if verdict["kind"] != "golden"]
    expected = {test["nodeid"] for test in data["tests"] if test["outcome"] == "xfailed"}
    gates.sort(key=lambda gate: gate["outcome"] in ("pass", "warn") or gate["nodeid"] in expected)
    rows = []
    for gate in gates:
        figures = gate["figures"]
        value = figure(figures, "value") if "value" in figures else ""
        against = [f"{name} {figure(figures, name)}" for name in ("at_least", "at_most", "baseline") if name in figures]
        known = gate["outcome"] in ("fail", "error") and gate["nodeid"] in expected
        cells = [gate["name"], value, ", ".join(against), gate["status"] + " (expected)" * known, gate["nodeid"]]
        rows.append("| " + " | ".join(map(literal, cells)) + " |")
    return _table("Gate | Value | Against | Verdict | Test", rows)


def _table(head: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    rule = "|".join("---" for _ in head.split("|"))
    n = sum(size <= TABLE for size in accumulate(map(len, rows)))
    more = [f"\n…and {len(rows) - n} more.\n"] if len(rows) > n else []
    return "\n".join([f"| {head} |", f"|{rule}|", *rows[:n], *more]) + "\n"


def _entry(entry: Entry) -> str:
    title = f"{_ICONS[entry.status]} {literal(entry.nodeid)}: {STATUSES[entry.status]}"
    return f"<details><summary>{title}</summary>\n\n{block(shorten(entry.why, BLOCK))}\n</details>\n"
