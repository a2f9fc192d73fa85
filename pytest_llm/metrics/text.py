"""Checks that each text passes or not: a pattern, an expected part, valid JSON. The score is the fraction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.files import strict_json
from pytest_llm.metrics.inputs import References, Texts, configured, listed, read, read_outputs
from pytest_llm.metrics.score import Score

__tracebackhide__ = measured

#: Formats that jsonschema checks by itself: a verdict must not hang on what else is installed.
_FORMATS = ("date", "email", "idn-email", "ipv4", "ipv6", "regex", "uuid")


def matches(
    predictions: Texts, pattern: str | re.Pattern[str], *, full: bool = False, ids: Iterable[Any] | None = None
) -> Score:
    """Return the fraction of texts in which ``pattern`` is found, or that are all of it with ``full``.

    Flags go into the pattern: ``(?i)capital`` or ``re.compile("capital", re.I)``.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), or a pattern that is no regular
            expression, or empty, which is found in any text.
    """
    examples = read_outputs("matches", predictions, ids)
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InvalidInputError(f"matches: {pattern!r} is not a regular expression: {error}") from error
    if not isinstance(compiled.pattern, str):
        raise InvalidInputError(f"matches: the pattern {compiled.pattern!r} is bytes, and outputs are text")
    if not full and not compiled.pattern:
        raise InvalidInputError("matches: an empty pattern is found in any text; with full=True only in an empty one")
    flags = int(compiled.flags & ~re.UNICODE)
    found = compiled.fullmatch if full else compiled.search
    return examples.score(
        name="matches",
        per_example=[float(found(text) is not None) for text in examples.predictions],
        references=[f"{'all of it ' if full else ''}matching {compiled.pattern}"] * len(examples.predictions),
        signature=configured("matches", {"flags": flags} if flags else {}),
    )


def contains(
    predictions: Texts, expected: References, *, ignore_case: bool = False, ids: Iterable[Any] | None = None
) -> Score:
    """Return the fraction of texts that contain what is expected of them.

    ``expected`` is one text for all, or one entry an example: a text, or a list of which any one is enough; for a
    single prediction it is its entry.

    Raises:
        InvalidInputError: unusable input (see `pytest_llm.metrics.inputs.read`), or an empty text is expected, which
            any text contains.
    """
    if isinstance(expected, str) and not isinstance(predictions, str):
        predictions = listed("contains", "predictions", predictions)
        expected = [expected] * len(predictions)
    examples = read("contains", predictions, expected, ids)
    examples.check_references("contains", bool, "would be found in any text; say what is expected")
    fold = str.casefold if ignore_case else str.__str__
    return examples.score(
        name="contains",
        per_example=[
            float(any(fold(part) in fold(text) for part in some))
            for text, some in zip(examples.predictions, examples.references, strict=True)
        ],
        signature=configured("contains", {"ignore_case": True} if ignore_case else {}),
    )


def valid_json(
    predictions: Texts, schema: dict[str, Any] | bool | None = None, *, ids: Iterable[Any] | None = None
) -> Score:
    """Return the fraction of texts that are JSON (RFC 8259: no NaN) and, with ``schema``, satisfy it.

    A text must be JSON from end to end: prose or a code fence around it fails, and so does a key that stands twice in
    one object. ``schema`` is a JSON Schema of the draft its ``$schema`` names (2020-12 by default); references to other
    documents are never fetched. A ``format`` is checked where it is ``date``, ``email`` or ``idn-email`` (which need
    an @), ``ipv4``, ``ipv6``, ``regex`` or ``uuid``; no other is (``date-time``: give a ``pattern``).

    Raises:
        InvalidInputError: unusable input, or a schema that is none, or asks for nothing.
    """
    examples = read_outputs("valid_json", predictions, ids)
    validator = None if schema is None else _validator(schema)
    faults = [_json_fault(text, validator) for text in examples.predictions]
    return examples.score(
        name="valid_json",
        per_example=[float(not fault) for fault in faults],
        references=["valid JSON"] * len(faults),
        faults=faults,
        signature=configured("valid_json", {} if schema is None else {"schema": schema}),
    )


def _validator(schema: Any) -> Any:
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    if not isinstance(schema, (dict, bool)):
        raise InvalidInputError(f"valid_json: a schema is a dict, not {type(schema).__name__}")
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidInputError(
            f"valid_json: the schema is not valid at {error.json_path}: {error.message}{_inner(schema)}"
        ) from error
    if isinstance(schema, dict) and schema and not schema.keys() & kind.VALIDATORS.keys():
        names = ", ".join(map(str, schema))
        raise InvalidInputError(
            f"valid_json: the schema has no keyword that asks for anything, only {names}{_inner(schema)}"
        )
    # An explicit registry: the default one asks the network.
    return kind(schema, registry=referencing.Registry(), format_checker=jsonschema.FormatChecker(_FORMATS))


def _inner(schema: Any) -> str:
    """Return the end of a message about what is no schema but holds one, as OpenAI's ``response_format`` does."""
    found = [name for name in ("json_schema", "schema") if isinstance(schema, dict) and name in schema]
    return f"; give what is in its {found[0]!r}" if found else ""


def _json_fault(text: str, validator: Any) -> str:
    """Return why ``text`` does not pass; "" when it does."""
    try:
        value = strict_json(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    if validator is None:
        return ""
    import jsonschema

    try:
        fault = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except (RecursionError, OverflowError) as error:  # the value's doing: nested too deep, a number too large
        return str(error)
    except Exception as error:  # the schema's: a $ref that leads nowhere, a pattern that is no regular expression
        raise InvalidInputError(f"valid_json: the schema cannot be applied: {error}") from error
    return "" if fault is None else f"{fault.json_path}: {fault.message}"
