"""Warnings of a chat template that does with what it is given what a test would not expect."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llm.engines.local import LocalEngine

#: The tag of transformers around what an assistant says, which Jinja by itself does not know.
_GENERATION = re.compile(r"{%[-+]?\s*(end)?generation\s*[-+]?%}")
#: Arguments of ``apply_chat_template`` that are variables of the template too.
_VARIABLES = ("tools", "documents", "add_generation_prompt")


def warn(engine: LocalEngine, template: Mapping[str, Any]) -> None:
    """Warn, once each, where the template of ``engine`` asks the time, or does not read what a test gives it."""
    source: str = engine.tokenizer.get_chat_template(template.get("chat_template"), template.get("tools"))
    name = engine.spec.source
    fixed = "date_string" in template and "date_string" in source
    if "strftime_now" in source and not fixed and "strftime_now" not in engine.told:
        engine.told.add("strftime_now")
        warnings.warn(
            f"pytest_llm: the chat template of {name!r} writes the time of asking (strftime_now) "
            "into the prompt. It is in no key: on other days the store gives what the model said on this one, and a "
            'golden is of its own day. Fix it with template={"date_string": "26 Jul 2024"} if the template reads that, '
            "else in the template itself",
            stacklevel=3,
        )
    arguments = set(inspect.signature(engine.tokenizer.apply_chat_template).parameters).difference(_VARIABLES)
    given = template.keys() - arguments - engine.told
    known = _read(source) if given else None
    unread = [] if known is None else sorted(given - known)
    if unread:
        engine.told.update(unread)
        warnings.warn(
            f"pytest_llm: the chat template of {name!r} does not read {', '.join(unread)}: what template= or tools= "
            "gives it there does not reach the model",
            stacklevel=3,
        )


@functools.lru_cache(maxsize=16)
def _read(source: str) -> frozenset[str] | None:
    """Return the names of the variables that a chat template reads, in loops and macros too; ``None``: not known."""
    from jinja2 import Environment, TemplateError, meta

    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub("", source))
        return frozenset(meta.find_undeclared_variables(tree))
    except TemplateError:  # it has what is not Jinja's, and transformers renders it all the same
        return None
