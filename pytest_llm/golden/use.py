"""One new value against one golden file: missing, created, compared, updated, or kept as a candidate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm import record, variants
from pytest_llm.environment import another_model
from pytest_llm.errors import GoldenError
from pytest_llm.files import shown_path
from pytest_llm.golden import file
from pytest_llm.golden.drift import Drift
from pytest_llm.golden.file import DamagedGoldenError, Golden
from pytest_llm.golden.pending import discard_candidate, golden_lock, save_candidate
from pytest_llm.verdicts import ENDED, NOT_KEPT, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_llm.location import Location
    from pytest_llm.settings import Settings


class Use(NamedTuple):
    """What a check of a golden has to know.

    ``compare`` says how ``new`` differs from the golden. ``finish`` adds to ``new`` what only a file needs, before
    one is written; it is given the golden that ``new`` was compared with and may take it from there, or ``None``.
    """

    location: Location
    settings: Settings
    name: str
    place: variants.Choice
    new: Golden
    compare: Callable[[Golden, Golden], Drift]
    levels: Mapping[str, Outcome]
    finish: Callable[[Golden, Golden | None], Golden] = lambda new, golden: new

    @property
    def path(self) -> Path:
        """The golden to compare with."""
        return self.place.path

    def judge(self) -> Verdict:
        """Return the verdict, having written what ``--llm-update`` asks for or left a candidate.

        Raises:
            GoldenError: the golden cannot be read or written.
        """
        try:
            return self._judged()
        except GoldenError as error:
            record.note(self.verdict(Drift("invalid", str(error)), "error"))
            raise

    def _judged(self) -> Verdict:
        run = record.current()
        if run is not None and run.created("golden", self.name, self.place):
            return self._write(Drift("created", "created", notes=self._renames()))
        try:
            golden = self._read()
        except DamagedGoldenError as error:
            if self.settings.update != "all":
                raise
            return self._write(Drift("updated", "written anew", notes=(str(error),)))
        if golden is not None:
            return self._against(golden)
        return self._missing() if self.settings.update == "none" else self._create()

    def verdict(self, drift: Drift, outcome: Outcome, golden: Golden | None = None) -> Verdict:
        """Return ``drift`` (from ``golden``, if there is one) as the verdict of this check."""
        evidence = drift.evidence
        # A thousand answers that match are looked at only in a report that somebody asked for.
        if evidence is None and (drift.status != "identical" or self.settings.report or self.settings.record):
            from pytest_llm.golden.evidence import side_by_side

            evidence = side_by_side(golden, self.new)
        label = self.place.label
        return Verdict(
            "golden",
            self.name + label.strip(),
            drift.status,
            outcome,
            f"golden {self.name!r}{label}: {drift.headline}",
            figures=dict(drift.figures),
            notes=drift.notes,
            diff=drift.diff,
            evidence=evidence,
            nodeid=self.location.nodeid,
        )

    def _read(self) -> Golden | None:
        try:
            return file.read(self.path)
        except DamagedGoldenError:
            # Another worker may stand between writing a JSON and its array: look again when it is done, or was killed.
            with self._lock():
                file.finish(self.path)
                return file.read(self.path)

    def _lock(self) -> Any:
        return golden_lock(self.settings.cache_dir, self.path)

    def _against(self, golden: Golden) -> Verdict:
        drift = self.compare(golden, self.new)
        outcome: Outcome = "pass" if drift.status == "identical" else self.levels.get(drift.status, "fail")
        # A tie would flip back and forth in the history of the file; it is rewritten only where it fails.
        settled = drift.status == "identical" or (drift.status == "near-tie" and outcome != "fail")
        if outcome == "pass" and any(note.startswith(ENDED) for note in drift.notes):
            outcome, settled = "warn", False  # cut short, or held back by a filter from here on
        if self.settings.update == "all" and not settled:
            written = drift._replace(status="updated", headline=f"updated; was {drift.headline}")
            return self._write(written, golden)
        if outcome == "pass":
            self._forget()
            return self.verdict(drift, outcome, golden)
        notes = [*drift.notes, f"golden file: {shown_path(self.path, self.settings.root)}"]
        apart = variants.difference(golden.environment, self.new.environment)
        other = another_model(golden.model, self.new.model)  # its answer is none of an environment's
        if apart and not self.settings.variant and not other and drift.status != "stale":
            notes.append(f"if it is right here, keep it beside that one: {self._command('new', apart)}")
        notes.append("accept or reject it without the model: pytest-llm review")
        if self.place.target != self.path:
            notes.append(f"accepting makes a variant: {shown_path(self.place.target, self.settings.root)}")
        return self._wait(drift._replace(notes=tuple(notes)), outcome, golden)

    def _missing(self) -> Verdict:
        text = self.new.value if isinstance(self.new.value, str) else ""
        rows = tuple(f"+ {line[:160]}" for line in text.split("\n")[:10]) if text else ()
        file_note = f"golden file: {shown_path(self.place.target, self.settings.root)}"
        notes = (*filter(None, [self.place.note]), file_note, *self._renames(), f"create it: {self._command('new')}")
        return self._wait(Drift("missing", "there is none yet", notes=notes, diff=rows), "fail", None)

    def _create(self) -> Verdict:
        new = self.finish(self.new, None)
        with self._lock():
            golden = file.read(self.path)
            if golden is None:
                return self._write_locked(new, Drift("created", "created", notes=self._renames()))
        return self._against(golden)  # another worker was first

    def _write(self, drift: Drift, golden: Golden | None = None) -> Verdict:
        new = self.finish(self.new, None)
        with self._lock():
            return self._write_locked(new, drift, golden)

    def _write_locked(self, new: Golden, drift: Drift, golden: Golden | None = None) -> Verdict:
        text, sidecar = file.encode(new, self.path)
        file.write(self.path, text, sidecar)
        self._forget()
        return self.verdict(drift, "pass", golden)

    def _wait(self, drift: Drift, outcome: Outcome, golden: Golden | None) -> Verdict:
        verdict = self.verdict(drift, outcome, golden)
        self._forget_plain()
        content = file.encode(self.finish(self.new, golden), self.place.target)
        try:
            save_candidate(self.settings.cache_dir, self.place.target, verdict, *content)
        except GoldenError as error:  # what was measured stands all the same
            return dataclasses.replace(verdict, notes=(*verdict.notes, f"{NOT_KEPT}: {error}"))
        return verdict

    def _forget(self) -> None:
        discard_candidate(self.settings.cache_dir, self.place.target)
        self._forget_plain()

    def _forget_plain(self) -> None:
        """Forget what a run left for the plain golden before a variant was asked for: it is not to be accepted too."""
        if self.settings.variant:
            discard_candidate(self.settings.cache_dir, variants.plain_of(self.place.target))

    def _renames(self) -> tuple[str, ...]:
        from pytest_llm.golden.renames import renames

        return renames(self)

    def _command(self, update: str, variant: variants.Names = ()) -> str:
        return self.location.command(self.settings.start, variants.update(self.settings, update, variant))
