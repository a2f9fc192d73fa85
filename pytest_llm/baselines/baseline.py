"""The ``llm_baseline`` fixture: a score against the one that is committed."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from pytest_llm import record, variants
from pytest_llm.baselines import changes, file, judgement
from pytest_llm.baselines.entry import Entry
from pytest_llm.baselines.terms import Level, Terms, labels
from pytest_llm.environment import another_model
from pytest_llm.errors import GoldenError, InvalidInputError, measured
from pytest_llm.evidence import PerExample
from pytest_llm.location import Location
from pytest_llm.metrics.score import Score
from pytest_llm.settings import Settings
from pytest_llm.stats.gate import GateResult, gate
from pytest_llm.stats.paired import Method
from pytest_llm.stats.pairs import aligned, check_score
from pytest_llm.verdicts import Verdict

__tracebackhide__ = measured

#: Relative differences of an example's value up to this are float32 rounding over batch shapes, threads and CPUs (a
#: loss of SmolLM2 by oneDNN is up to 2e-6 from MKL's), or that of the file (`pytest_llm.baselines.entry.DIGITS`).
#: Goldens of floats are identical within as much.
RESOLUTION = 1e-5


class Baseline:
    """The committed figures of one test."""

    def __init__(self, location: Location, settings: Settings) -> None:
        self._location, self._settings = location, settings
        self._path = file.path_for(location)
        self._checked: set[str] = set()

    def check(
        self,
        metric: str,
        value: float | Score,
        *,
        margin: float | Literal["calibrated"],
        alpha: float | None = None,
        groups: Sequence[Hashable] | None = None,
        higher_is_better: bool | None = None,
        max_broken: int | None = None,
        broken_by: float | None = None,
        length_band: tuple[float, float] | None = (0.9, 1.1),
        length_level: Level = "warn",
        method: Method = "auto",
    ) -> Verdict:
        """Check that ``value`` is not worse than its baseline by more than ``margin``.

        A `Score` is compared example by example (`pytest_llm.stats.gate.gate`), a plain number by the margin alone.
        ``--llm-update=new`` creates a baseline, ``--llm-update=all`` moves it.

        Args:
            metric: names the figure in the baseline file; once a test.
            value: the score, or a plain number.
            margin: how much worse is acceptable, in the metric's units. With 0 only what is identical or
                significantly better passes. ``"calibrated"`` takes it from ``llm_calibration.json``, which
                ``--llm-calibrate`` writes.
            alpha: chance of a false alarm; by default ``llm_alpha``.
            groups: a label an example, where examples are related (one document, one template); by default the score's.
                They are taken for one where they change together; to judge each on its own, check each under a name of
                its own.
            higher_is_better: the direction of a plain number whose metric is not a known one.
            max_broken: how many examples may break, whatever the mean does: go from right to wrong, or get worse by
                more than ``broken_by`` where values are graded.
            broken_by: see ``max_broken``.
            length_band: bounds of the answers' mean length, as a ratio to the baseline's (in tokens, or of
                plain text in words, and in characters of scripts without spaces); ``None`` for none. Degenerate
                answers can keep their score while they shrink or run on.
            length_level: what a length outside its band does.
            method: the comparison; by default what the score's evidence allows.

        Returns:
            The verdict: ``pass``, ``improved``, ``inconclusive`` (a warning), ``created`` or ``updated``.

        Raises:
            AssertionError: ``fail``; ``missing``, there is no baseline; ``stale``, the question changed since;
                ``inconclusive`` under ``llm_strict_gates``.
            InvalidInputError: ``invalid``, nothing can be compared (NaN, no examples, another metric's unit or scale:
                an accuracy of 60), or the terms make no sense (a margin that nothing can exceed); or the metric is not
                text, or empty.
            GoldenError: the baseline file cannot be read.
        """
        if not isinstance(metric, str) or not metric:
            raise InvalidInputError(f"the name of a figure is text, not {metric!r}: check(name, value, margin=...)")
        watch = record.watching()
        if watch is not None:
            self._checked.discard(metric)  # once a run, and there are several
            score = self._score(metric, value, higher_is_better)
            check_score(Entry.of(score).score(score.name, None), "the score")
            return watch.baseline(metric, score, None if margin == "calibrated" else margin)
        if margin == "calibrated":
            from pytest_llm.calibration import proposals

            margin = proposals.margin_of(self._location, self._settings, metric)
        try:
            if isinstance(margin, str):
                raise InvalidInputError(
                    f'margin must be a finite number of at least 0, or "calibrated", not {margin!r}'
                )
            score = self._score(metric, value, higher_is_better)
            terms = Terms(
                margin, self._settings.alpha if alpha is None else alpha, self._settings.power,
                labels((score.groups or None) if groups is None else groups), method,
                max_broken, broken_by, length_band, length_level, self._settings.strict_gates,
            )  # fmt: skip
            terms.check(score)
            held = PerExample.of(score, terms.groups)
            verdict = dataclasses.replace(self._verdict(metric, score, terms), per_example=held)
        except InvalidInputError as error:
            verdict = judgement.invalid(metric, f"{metric}: {error}")
        except GoldenError as error:
            record.note(judgement.invalid(metric, str(error)))
            raise
        return record.settle(verdict)

    def _score(self, metric: str, value: Any, higher_is_better: bool | None) -> Score:
        if metric in self._checked:
            raise InvalidInputError("checked twice in this test; give each check a name of its own")
        self._checked.add(metric)
        if isinstance(value, Score):
            if higher_is_better not in (None, value.higher_is_better):
                raise InvalidInputError(f"higher_is_better={higher_is_better} contradicts the score's own direction")
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InvalidInputError(f"a figure to compare is a number or a Score, not {value!r}")
        from pytest_llm.metrics.registry import find

        known = find(metric)
        if known is not None:
            if higher_is_better not in (None, known.higher_is_better):
                raise InvalidInputError(
                    f"higher_is_better={higher_is_better} contradicts the metric of that name: leave it out, or give "
                    "another figure another name"
                )
            return Score(float(value), name=metric, n=1, higher_is_better=known.higher_is_better, unit=known.unit)
        if higher_is_better is None:
            raise InvalidInputError("say higher_is_better=True or False: this is no metric whose direction is known")
        return Score(float(value), name=metric, n=1, higher_is_better=higher_is_better)

    def _verdict(self, metric: str, score: Score, terms: Terms) -> Verdict:
        now = Entry.of(score)
        new = now.score(score.name, score.aggregate)
        check_score(new, "the score")
        now.check()
        test, update = self._location.qualname, self._settings.update
        read = functools.partial(file.read, test=test, metric=metric, replacing=update == "all")
        place = variants.choose(self._path, now.environment, self._settings, lambda path: read(path) is not None)
        run = record.current()
        mine = run is not None and run.created("baseline", metric, place)
        before = None if mine else read(place.path)
        changed = before is None or now.to_json()["digest"] != before.to_json()["digest"]
        if changed and (update == "all" or (update == "new" and before is None)):
            file.write(place.target, test, metric, now, self._settings.cache_dir / "locks")
            cannot_fail = terms.cannot_fail(new, new) or terms.too_few(new, new, _gate(new, new, terms))
            verdict = judgement.written(metric, now, before, terms, cannot_fail)
            return _placed(verdict if before is not None else self._renames(verdict, now), place)
        if before is None:
            return self._renames(judgement.missing(metric, now, self._command("new"), place.note), now)
        changes.check_variant(variants.names_of(place.path), before)
        stale = changes.of_question(score, now, before)
        if stale:
            return _placed(judgement.stale(metric, now, before, stale, terms, self._command("all")), place)
        changes.check_comparable(score, now, before)
        old = aligned(before.score(score.name, score.aggregate), new.ids)
        found = _gate(new, old, terms)
        verdict = judgement.judged(metric, score, new, old, before, found, terms, self._command("all"))
        verdict = _placed(judgement.with_length(verdict, score, before, terms), place)
        moved = changes.of_environment(now, before)
        if moved:  # said of a pass too: it is one against another environment's figures
            verdict = dataclasses.replace(verdict, figures={**verdict.figures, "environment": moved})
        if verdict.outcome == "pass" and changes.of_raters(now, before):
            verdict = dataclasses.replace(verdict, outcome="warn")
        if verdict.outcome == "pass" and verdict.status == "pass":
            return verdict
        notes = changes.around(now, before)
        apart = variants.difference(before.environment, now.environment)
        other = another_model(before.model, now.model)  # its figures are none of an environment's
        if moved and apart and not self._settings.variant and not other and not verdict.ok:
            own = self._command("new", apart)
            notes.append(f"if it is right here, give this environment a baseline of its own: {own}")
        return dataclasses.replace(verdict, notes=(*notes, *verdict.notes))

    def _renames(self, verdict: Verdict, now: Entry) -> Verdict:
        from pytest_llm.baselines.renames import noted

        return noted(verdict, self._location, self._path, now, self._settings.root)

    def _command(self, update: str, variant: variants.Names = ()) -> str:
        return self._location.command(self._settings.start, variants.update(self._settings, update, variant))


def _gate(new: Score, old: Score, terms: Terms) -> GateResult:
    return gate(
        new, old, margin=terms.margin, alpha=terms.alpha, power=terms.power,
        groups=terms.groups, method=terms.method, resolution=RESOLUTION,
    )  # fmt: skip


def _placed(verdict: Verdict, place: variants.Choice) -> Verdict:
    """Return ``verdict`` with the variant it was compared with, or written to."""
    if not place.label:
        return verdict
    note = f"the baseline is the variant{place.label}"
    figures = {**verdict.figures, "variant": place.label.strip()}
    return dataclasses.replace(verdict, figures=figures, notes=(note, *verdict.notes))
