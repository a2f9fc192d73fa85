"""What the ``llm_snapshot`` fixture returns: ``value == snapshot`` compares a value with a committed golden."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pytest_llm import record, variants
from pytest_llm.errors import InvalidInputError, measured
from pytest_llm.golden import file
from pytest_llm.golden.drift import ATOL, RTOL, Drift, Rules, compare
from pytest_llm.golden.file import Golden
from pytest_llm.golden.noise import MAX_ERROR
from pytest_llm.golden.use import Use
from pytest_llm.golden.values import problem
from pytest_llm.settings import DRIFT_LEVELS, LEVELS, Settings
from pytest_llm.verdicts import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_llm.golden.activations import LayerStatesCheck
    from pytest_llm.golden.distribution import Distribution
    from pytest_llm.location import Location
    from pytest_llm.model import LanguageModel

__tracebackhide__ = measured


class Snapshot:
    """The goldens of one test.

    Unnamed uses are called "1", "2", ... in order; ``snapshot(name="x")`` names one, so that adding a check above it
    does not rename it. Name those of subtests: after one that broke, nobody knows which an unnamed one is.
    ``verdict`` is the last failing verdict, for whoever explains a failed ``assert``.
    """

    __hash__ = None  # type: ignore[assignment]
    #: These make numpy and pandas leave ``array == snapshot`` to us.
    __array_ufunc__ = None
    __pandas_priority__ = 5000

    def __init__(self, location: Location, settings: Settings, name: str | None = None) -> None:
        self.location = location
        self.settings = settings
        self.name = name
        self.verdict: Verdict | None = None
        self._names: set[str] = set()
        self._equal: set[int] = set()
        self._unnamed = 0

    def __call__(self, *, name: str) -> Snapshot:
        """Return the golden ``name`` of this test.

        Raises:
            InvalidInputError: the name is not text, or empty.
        """
        if not isinstance(name, str) or not name:
            raise InvalidInputError(f"the name of a golden is text, not {name!r}")
        named = Snapshot(self.location, self.settings, name)
        named._names = self._names  # one test, one set of names
        return named

    def __eq__(self, other: object) -> bool:
        """Compare with the golden; record the verdict and return whether the test may go on.

        Raises:
            GoldenError: the golden cannot be read, or the value can never be one (a NaN).
            InvalidInputError: the value is nothing a golden can hold, the name was used before in this test, or a
                subtest broke and there is none.
        """
        if isinstance(other, Snapshot):
            return self is other
        run = record.current()
        if run is not None and run.explaining:  # a comparison that was made, and is looked at again
            return id(other) in self._equal
        rules, watch = _usual(self.settings.logprob_margin), record.watching()
        if watch is not None:
            return watch.golden(self.name, other, rules).ok
        verdict = self._judge(other, rules, {})
        if verdict.outcome == "error":
            record.settle(verdict)
        if verdict.ok:
            self._equal.add(id(other))
        return self._keep(record.note(verdict)).ok

    def __ne__(self, other: object) -> bool:
        """Refuse ``value != snapshot``, which would hold where there is no golden, and of what is then written as one.

        Raises:
            InvalidInputError: always, but of two snapshots, and while pytest explains a failed ``==`` of a list.
        """
        run = record.current()
        if isinstance(other, Snapshot) or (run is not None and run.explaining):
            return not self == other
        raise InvalidInputError(
            "a golden is compared with ==; != would pass where there is none yet. "
            'An answer that must not come again stands in the test: assert answer != "..."'
        )

    def check(
        self,
        value: Any,
        *,
        logprob_margin: float | None = None,
        similarity: float | None = None,
        encoder: Any = None,
        rtol: float = RTOL,
        atol: float = ATOL,
        levels: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Compare ``value`` with the golden under tolerances of its own, which stay in the test and out of the file.

        Args:
            value: a generation, text, number, list, dict or array.
            logprob_margin: nats within which a greedy answer may part from the golden (`pytest_llm.golden.ties`).
            similarity: in (0, 1]; a text at least as similar is ``close``. chrF / 100, or with ``encoder`` (anything
                with ``embed(texts) -> vectors``) the cosine.
            encoder: see ``similarity``.
            rtol: relative tolerance of floats, in single numbers and in arrays.
            atol: absolute tolerance of floats, added to it; 0 for figures that are small themselves.
            levels: what a status does here, as ``{"format-only": "warn"}``; else ``llm_drift_levels``.

        Raises:
            AssertionError: the value drifted.
            GoldenError: as for ``==``.
            InvalidInputError: as for ``==``, or a tolerance out of range.
        """
        margin = self.settings.logprob_margin if logprob_margin is None else logprob_margin
        rules, watch = Rules(margin, similarity, encoder, rtol, atol), record.watching()
        if watch is not None:
            return watch.golden(self.name, value, rules)
        return record.settle(self._keep(self._judge(value, rules, levels or {})))

    def check_distribution(
        self,
        llm: LanguageModel,
        texts: str | Sequence[str],
        *,
        top_k: int = 64,
        levels: Mapping[str, str] | None = None,
        **bounds: float,
    ) -> Verdict:
        """Compare the next-token distributions of ``llm`` at every position of ``texts`` with the golden's.

        It sees damage long before a text or a loss does. The check takes the model, not its answers: when a golden is
        written, the model answers again under changes that should not matter, and that noise floor is kept with it.

        Args:
            llm: the model, a decoder. (`check_activations` takes encoders and encoder-decoders too.)
            texts: what it reads; long enough that most tokens have a context, a few hundred tokens in all.
            top_k: tokens kept of each distribution; more make the bound on KL tighter and the file larger.
            levels: as for `check`. Within the bounds here but beyond the default ones the status is ``close``.
            bounds: ``max_mean_kl``, ``max_median_kl``, ``max_p99_kl``, ``max_kl`` (nats); ``min_top1`` (agreement on
                the best token, 0 to 1); ``max_mean_delta_p``, ``max_rms_delta_p`` and ``max_p1_delta_p``, p5, p50,
                p95, p99 (change of the probability of the text's own token, 0 to 1, either way);
                ``max_perplexity_ratio`` (at least 1, either way). Defaults: `pytest_llm.golden.bounds.BOUNDS`; that of
                the perplexity ratio grows with ``max_mean_kl``. What is allowed is never less than five times the noise
                floor.

        Raises:
            AssertionError: the distributions drifted.
            GoldenError: the golden cannot be read, or is of another kind.
            InvalidInputError: a text this model cannot read, no decoder, or no such bound.
        """
        from pytest_llm.golden.distribution import Distribution

        return self._probed(Distribution(llm, texts, top_k, bounds), levels)

    def check_activations(
        self,
        llm: LanguageModel,
        texts: str | Sequence[str],
        *,
        sources: str | Sequence[str] | None = None,
        max_error: float = MAX_ERROR,
        levels: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Compare the hidden states after every layer of ``llm`` with the golden's, and name the first that moved.

        Args:
            llm: the model.
            texts: what it reads.
            sources: for an encoder-decoder, what its encoder reads; ``texts`` go to the decoder.
            max_error: largest relative error of a layer's states; at least five times the noise floor of that layer.
            levels: as for `check`.

        Raises:
            AssertionError: the states drifted.
            GoldenError, InvalidInputError: as for `check_distribution`.
        """
        from pytest_llm.golden.activations import LayerStatesCheck

        return self._probed(LayerStatesCheck(llm, texts, sources, max_error), levels)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"<llm_snapshot of {self.location.nodeid}{name}>"

    def _keep(self, verdict: Verdict) -> Verdict:
        if not verdict.ok:
            self.verdict = verdict
        return verdict

    def _claim(self) -> str:
        name = self.name
        if name is None:
            run = record.current()
            if run is not None and run.broken:
                raise InvalidInputError(
                    f"which golden this is, is not known: a subtest of {self.location.nodeid} broke, and checks that "
                    "it did not come to would count. Name the goldens of subtests, as llm_snapshot(name='x')"
                )
            self._unnamed += 1
            name = str(self._unnamed)
        if name in self._names:
            raise InvalidInputError(
                f"the golden {name!r} is used twice in {self.location.nodeid}: a golden belongs to one check. "
                f"Give each its own name, as llm_snapshot(name={name + '-2'!r})"
            )
        self._names.add(name)
        return name

    def _judge(self, value: Any, rules: Rules, levels: Mapping[str, str]) -> Verdict:
        new = Golden.of(value, self.location.nodeid)
        checked = self._levels(levels)
        use = self._use(new, functools.partial(compare, rules=rules, levels=checked), checked)
        wrong = problem(new.value)
        return use.verdict(Drift("invalid", wrong), "error") if wrong else use.judge()

    def _probed(self, probe: Distribution | LayerStatesCheck, levels: Mapping[str, str] | None) -> Verdict:
        watch = record.watching()
        if watch is not None:
            return watch.skipped(self.name)
        use = self._use(probe.golden(self.location.nodeid), probe.compare, self._levels(levels or {}))
        return record.settle(self._keep(use._replace(finish=probe.finish).judge()))

    def _levels(self, given: Mapping[str, str]) -> dict[str, Outcome]:
        """Return what each status does: what is ``given``, else the option, which was checked when it was read."""
        levels = dict(cast("Mapping[str, Outcome]", self.settings.drift_levels))
        if not isinstance(given, Mapping):
            raise InvalidInputError(f'levels: a dict is needed, as {{"format-only": "warn"}}, not {given!r}')
        for status, level in given.items():
            if status not in DRIFT_LEVELS or level not in LEVELS:
                raise InvalidInputError(
                    f"levels: {status!r}: {level!r} is not a status of {', '.join(DRIFT_LEVELS)} "
                    f"with a level of {', '.join(LEVELS)}"
                )
            levels[status] = level
        return levels

    def _use(self, new: Golden, compare: Callable[[Golden, Golden], Drift], levels: Mapping[str, Outcome]) -> Use:
        name = self._claim()
        plain = file.golden_path(self.location, name)
        run = record.current()
        if run is not None:
            run.goldens[str(plain)] = self.location.nodeid
        place = variants.choose(plain, new.environment, self.settings)
        return Use(self.location, self.settings, name, place, new, compare, levels)


@functools.cache
def _usual(margin: float) -> Rules:
    return Rules(margin)
