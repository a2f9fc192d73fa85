"""From what a gate found to a verdict: status, figures, evidence, words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pytest_llm.baselines.attribution import evidence, short, unit_of, worst_groups
from pytest_llm.baselines.entry import Entry, answer_length
from pytest_llm.baselines.terms import Terms, reach, room
from pytest_llm.evidence import Evidence
from pytest_llm.metrics.score import Score
from pytest_llm.reports.text import apart, counted
from pytest_llm.stats import power
from pytest_llm.stats.gate import GateResult, beyond
from pytest_llm.verdicts import Outcome, Verdict

#: Ids listed on a failure.
LISTED = 20


def invalid(metric: str, why: str) -> Verdict:
    """Return the verdict that nothing could be compared."""
    return Verdict("baseline", metric, "invalid", "error", why)


def missing(metric: str, now: Entry, command: str, others: str) -> Verdict:
    """Return the verdict that there is no baseline yet."""
    return Verdict(
        "baseline", metric, "missing", "fail", f"{metric} {short(now.value)} has no baseline to be compared with",
        figures={"value": now.value, "n": now.n}, notes=(*filter(None, [others]), f"create it: {command}"),
    )  # fmt: skip


def stale(metric: str, now: Entry, before: Entry, changes: Sequence[str], terms: Terms, command: str) -> Verdict:
    """Return the verdict that the question is no longer the baseline's."""
    return Verdict(
        "baseline", metric, "stale", "fail", f"{metric}: the question changed since the baseline was made",
        figures={"value": now.value, "baseline": before.value, "margin": terms.margin, "n": now.n},
        notes=(*changes, f"if that was intended, measure the baseline again: {command}"),
    )  # fmt: skip


def written(metric: str, now: Entry, before: Entry | None, terms: Terms, cannot_fail: str) -> Verdict:
    """Return the verdict that the baseline was created, or moved; a warning where nothing can fail against it."""
    outcome: Outcome = "warn" if cannot_fail else "pass"
    notes = (cannot_fail,) if cannot_fail else ()
    if before is None:
        return Verdict(
            "baseline", metric, "created", outcome, f"{metric} {short(now.value)}: baseline created",
            figures={"value": now.value, "n": now.n}, notes=notes,
        )  # fmt: skip
    sign = 1 if now.higher_is_better else -1
    worse = sign * (now.value - before.value) < 0
    value, old, delta = _apart(now.value, before.value)
    return Verdict(
        "baseline", metric, "updated", outcome, f"{metric} {value}: baseline updated, it was {old}",
        figures={"value": now.value, "baseline": before.value, "margin": terms.margin, "n": now.n},
        notes=(*notes, f"the new baseline is worse than the old one by {delta}") if worse else notes,
    )  # fmt: skip


def judged(
    metric: str, score: Score, new: Score, old: Score, before: Entry, found: GateResult, terms: Terms, command: str
) -> Verdict:
    """Return the verdict on comparing ``new`` with ``old``, which are ``score`` and ``before`` as a gate takes them."""
    if found.mde is not None and found.mde > room(new, old):
        found = dataclasses.replace(found, mde=None)
    least, most = reach(new, old)
    found = dataclasses.replace(found, low=max(found.low, least), high=min(found.high, most))  # NaN stays
    sign = 1 if new.higher_is_better else -1
    inferred = not math.isnan(found.p)
    status: str = found.status
    if status == "pass" and beyond(-sign * found.delta, terms.margin) and (found.improved or not inferred):
        status = "improved"
    cannot_fail = "" if found.improved else terms.cannot_fail(new, old)
    if cannot_fail and sign * found.delta < 0:
        status, found = "inconclusive", dataclasses.replace(found, reason=cannot_fail)
    too_few = "" if status == "inconclusive" else terms.too_few(new, old, found)  # which is said below
    outcome: Outcome = "fail" if status == "fail" else "warn" if cannot_fail or too_few else "pass"
    if status == "inconclusive":
        outcome = "fail" if terms.strict else "warn"
    headline, notes = _headline(metric, new, old, found, terms, status), []
    if cannot_fail and found.reason != cannot_fail:
        notes.append(cannot_fail)
    elif too_few:
        notes.append(too_few)
    if status == "improved":
        notes.append(f"if you know why it improved, make it the baseline, to hold this level: {command}")
    if status == "inconclusive" and not cannot_fail:
        notes += _undecided(new, found, terms, room(new, old))
    notes += worst_groups(new, old, terms.groups) if status in ("fail", "inconclusive") else []
    if status in ("fail", "inconclusive") and found.effective < found.units / 2:
        notes.append(_outweighed(found, terms))
    if not inferred and found.status != "inconclusive":
        notes.append("a plain comparison, which carries no interval: one figure cannot tell a drop from chance")
    notes += _flips(found) if status != "pass" else []
    if terms.max_broken is not None:
        broken = terms.broken(new, old)
        if len(broken) > terms.max_broken:
            notes.insert(0, headline)
            status, outcome = "fail", "fail"
            headline = f"{metric}: {counted(len(broken), 'example')} broke ({terms.max_broken} may): {_listed(broken)}"
    examples, diff = evidence(score, new, old, before, found.worst) if outcome != "pass" else ((), ())
    return Verdict(
        "baseline", metric, status, outcome, headline, figures=_figures(new, old, found, terms), examples=examples,
        notes=tuple(notes), diff=diff, evidence=Evidence(higher_is_better=new.higher_is_better),
    )  # fmt: skip


def with_length(verdict: Verdict, score: Score, before: Entry, terms: Terms) -> Verdict:
    """Return ``verdict`` with the length of the answers of ``score`` beside it, and what that does."""
    length, unit = answer_length(score, before.length_unit)
    if terms.length_band is None or not before.length or unit != before.length_unit:
        return verdict
    ratio, (low, high) = length / before.length, terms.length_band
    figures = {**verdict.figures, "length ratio": float(f"{ratio:.3g}")}
    if low <= ratio <= high:
        return dataclasses.replace(verdict, figures=figures)
    said = (
        f"answers are {ratio:.2f} times as long as the baseline's ({length:.1f} {unit} a piece, were "
        f"{before.length:.1f}; the band is {low:g} to {high:g})"
    )
    changes: dict[str, Any] = {"figures": figures, "notes": (*verdict.notes, said)}
    if terms.length_level == "fail" and verdict.ok:
        changes |= {"status": "fail", "outcome": "fail", "headline": f"{verdict.name}: {said}"}
        changes["notes"] = (verdict.headline, *verdict.notes)
    elif verdict.outcome == "pass":
        changes["outcome"] = "warn"
    return dataclasses.replace(verdict, **changes)


def _headline(metric: str, new: Score, old: Score, found: GateResult, terms: Terms, status: str) -> str:
    value, base, delta = _apart(new, old, terms.margin if status in ("fail", "improved") else None)
    delta += unit_of(new)
    margin = f"margin {float(f'{terms.margin:.10g}')}"
    if status == "fail":
        return f"{metric} {value} is worse than its baseline {base} by {delta} ({margin})"
    if status == "improved":
        return f"{metric} {value} is better than its baseline {base} by {delta} ({margin})"
    if status == "inconclusive":
        return f"{metric} {value} against its baseline {base}: {found.reason} ({margin})"
    if found.method == "every example":
        return f"{metric} {value} equals its baseline in every example"
    tail = ", though significantly lower" if found.reason.startswith("significantly") else ""
    return f"{metric} {value} is not worse than its baseline {base} by more than the margin{tail} ({margin})"


def _hidden(found: GateResult, terms: Terms) -> dict[str, int]:
    """Return how many examples broke and were mended, where more broke than the margin lets the mean fall."""
    broke, mended = len(found.newly_failing), len(found.newly_passing)
    return {"broke": broke, "mended": mended} if broke > terms.margin * found.n else {}


def _figures(new: Score, old: Score, found: GateResult, terms: Terms) -> dict[str, Any]:
    limit = math.copysign(terms.margin, found.delta)
    figures: dict[str, Any] = {
        "value": float(new),
        "baseline": float(old),
        "delta": float(apart((".4g", ".9g", ".17g"), (found.delta, limit))[0][0]),
        "margin": terms.margin,
    }
    if not math.isnan(found.p):
        figures["interval"] = [_rounded(found.low), _rounded(found.high)]
        figures["confidence"] = round(1 - 2 * found.alpha, 12)
        figures["p"] = _rounded(found.p)
    figures["n"] = found.n
    if found.mde is not None:
        figures["detectable drop"] = _rounded(found.mde)
    if not math.isnan(found.flip_rate):
        figures["flip rate"] = _rounded(found.flip_rate)
    if found.status == "pass":
        figures |= _hidden(found, terms)
    figures["method"] = found.method
    return figures


def _undecided(new: Score, found: GateResult, terms: Terms, most: float) -> list[str]:
    """Say what drop the gate would have seen, and how many examples (or groups) would; none is above ``most``.

    Fewer than ``least`` fail by no drop, even if all fall; of how unlike they are they say too little to count on.
    """
    units = "examples" if terms.groups is None else "groups"
    drop = "drop" if new.higher_is_better else "rise"
    least = power.fewest(found.alpha)
    notes = [
        f"this gate sees a {drop} of {short(found.mde)}{unit_of(new)} or more with probability {terms.power:g}"
        if found.mde is not None
        else f"these are too few {units} to see any {drop}"
        + (f", which takes at least {least}" if found.units < least else "")
    ]
    binary = not math.isnan(found.flip_rate)
    if 0 < terms.margin <= most / 2 and found.se > 0 and (binary or found.units >= least):
        seen, wanted = 2 * terms.margin, {"margin": terms.margin, "alpha": terms.alpha, "power": terms.power}
        if binary:  # of groups, as many as are worth the examples needed
            worth = (found.flip_rate - found.delta**2) / found.se**2
            n = math.ceil(power.required_mcnemar(seen, found.flip_rate, **wanted) * found.units / worth - 1e-9)
        else:
            n = power.required_n(seen, found.se * math.sqrt(found.units), **wanted)
        if n > found.units:
            notes.append(f"about {n} {units} would show a {drop} of twice the margin as reliably")
    return notes


def _outweighed(found: GateResult, terms: Terms) -> str:
    unit = "example" if terms.groups is None else "group"
    return (
        f"the largest {unit} holds {found.heaviest:.0%} of the weight: {found.units} {unit}s tell about as much as "
        f"{found.effective:.2g} equal ones"
    )


def _flips(found: GateResult) -> list[str]:
    return [
        f"{said}: {_listed(ids)}"
        for said, ids in (("newly failing", found.newly_failing), ("newly passing", found.newly_passing))
        if ids
    ]


def _apart(value: float, base: float, margin: float | None = None) -> tuple[str, str, str]:
    """Return value, baseline and their distance with the decimals it takes to see the distance in two digits.

    There are more where it takes them to tell the distance from the ``margin`` that it was held against.
    """
    distance = abs(value - base)
    least = 1 if max(abs(value), abs(base)) >= 10 else 2
    decimals = max(1 - math.floor(math.log10(distance)), least) if distance > 0 else 3
    fixed = [f".{more}f" for more in range(decimals, 17)]
    held = distance if margin is None else margin
    (new, old), (apart_by, _) = apart(
        fixed if decimals <= 9 else (".4g", ".9g", ".17g"), (value, base), (distance, held)
    )
    return new, old, apart_by


def _rounded(x: float) -> float:
    return float(f"{x:.4g}")


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:LISTED]) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")
