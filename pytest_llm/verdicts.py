"""A verdict: what was compared and what came out. Data only; renderers turn it to text."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pytest_llm.evidence import Evidence, Example, PerExample

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
#: What a golden or baseline is when the run wrote it.
WRITTEN = ("created", "updated")
#: How the note begins that says why a golden's mismatch left no candidate.
NOT_KEPT = "this answer is not kept for pytest-llm review"
#: How the note begins on a golden or baseline that the test may have had under another name, and with the same answer.
RENAMED = "a test that is gone asked this very question"
SAME = f"{RENAMED}, and against it this answer is identical"
#: How the note begins that says how an answer ended whose golden was whole: it stopped by itself, or called tools.
ENDED = "it did not end as the golden did"


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
    evidence: Evidence | None = None
    per_example: PerExample | None = None

    def __post_init__(self) -> None:
        """Make the name text, whatever a metric of the user's own is called: every report shortens it."""
        object.__setattr__(self, "name", str(self.name))

    @property
    def ok(self) -> bool:
        """Whether the test may go on."""
        return self.outcome in ("pass", "warn")

    @property
    def waits(self) -> bool:
        """Whether a candidate waits for a reader, in place of a golden that there is."""
        differs = self.kind == "golden" and self.outcome in ("fail", "warn") and self.status != "missing"
        return differs and not any(note.startswith(NOT_KEPT) for note in self.notes)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON data (what workers send and reports read)."""
        # Not asdict of the whole, which copies every text of every passing check.
        examples = tuple(dataclasses.asdict(example) for example in self.examples)
        evidence = dataclasses.asdict(self.evidence) if self.evidence else None
        values = dict(vars(self.per_example)) if self.per_example else None
        own = {"figures": dict(self.figures), "examples": examples, "evidence": evidence, "per_example": values}
        return {**vars(self), **own}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """Rebuild what `to_json` gave."""
        from pytest_llm.evidence import Evidence, Example, PerExample

        examples = tuple(Example(**example) for example in data["examples"])
        evidence = Evidence.from_json(data["evidence"]) if data.get("evidence") else None
        fields: dict[str, Any] = {"examples": examples, "notes": tuple(data["notes"]), "diff": tuple(data["diff"])}
        values = data.get("per_example")
        fields["per_example"] = values and PerExample(**{name: tuple(row) for name, row in values.items()})
        return cls(**{**data, **fields, "evidence": evidence})
