"""A verdict: what was compared, what came out, and the evidence. Data only; renderers turn it to text."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Kind = Literal["golden", "threshold", "baseline"]
Outcome = Literal["pass", "warn", "fail", "error"]

#: How a golden comparison can come out, from best to worst. ``created`` and ``updated`` are writes.
DRIFT_STATUSES = (
    "identical",
    "near-tie",
    "format-only",
    "close",
    "drifted",
    "stale",
    "missing",
    "invalid",
    "created",
    "updated",
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One example shown side by side in a report.

    ``value`` is the example's own score where the metric has one.
    """

    id: str
    expected: str
    actual: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    ``status`` is a word of the field: one of `DRIFT_STATUSES` for goldens; ``pass``, ``fail``,
    ``improved``, ``missing``, ``created``, ``updated``, ``invalid`` for gates. ``outcome`` is what it does to the
    test. ``figures`` are the numbers (value, bound, n, baseline, margin, ...) in the order to show them.
    ``notes`` say what changed around the model and what to do next.
    """

    kind: Kind
    name: str
    status: str
    outcome: Outcome
    headline: str
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    nodeid: str = ""

    @property
    def ok(self) -> bool:
        """Whether the test may go on."""
        return self.outcome in ("pass", "warn")

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON data (what workers send and reports read)."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """Rebuild what `to_json` gave."""
        examples = tuple(Example(**example) for example in data["examples"])
        return cls(**{**data, "examples": examples, "notes": tuple(data["notes"]), "diff": tuple(data["diff"])})
