"""How a new value differs from a golden: a status, and the evidence for it. Pure: it reads and writes nothing."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import InvalidInputError
from pytest_llm.golden.file import Golden
from pytest_llm.golden.values import Array
from pytest_llm.results import Generation
from pytest_llm.settings import DRIFT_LEVELS, LEVELS
from pytest_llm.verdicts import ENDED

if TYPE_CHECKING:
    from pytest_llm.evidence import Evidence

#: Statuses that a part of a value can have, from best to worst.
_ORDER = ("near-tie", "format-only", "close", "drifted")

#: Default tolerances of floats; see `Rules`.
RTOL, ATOL = 1e-5, 1e-5

#: Differing parts of one value whose diff is shown.
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a check tolerates.

    ``logprob_margin`` is in nats. ``similarity`` in (0, 1] makes a text ``close``: chrF / 100, or the cosine of two
    ``encoder.embed`` vectors when an encoder is given. Floats are equal when they differ by at most
    ``atol + rtol * larger``. The defaults are just above what a harmless change moves a float32 model by: with a
    batch of 8 instead of 1, SmolLM2-135M's logprobs moved by 1.8e-5 (1e-5 of the value) and the entries of a mean
    hidden state by 5e-6 (7e-4 of the value: only an absolute bound can hold small entries).
    """

    logprob_margin: float = 0.05
    similarity: float | None = None
    encoder: Any = None
    rtol: float = RTOL
    atol: float = ATOL

    def __post_init__(self) -> None:
        for name in ("logprob_margin", "rtol", "atol"):
            value = getattr(self, name)
            if not (hasattr(value, "__float__") and math.isfinite(value) and value >= 0):
                raise InvalidInputError(f"{name} is a distance: it cannot be {value!r}")
        number = hasattr(self.similarity, "__float__") and not isinstance(self.similarity, bool)
        if self.similarity is not None and not (number and 0 < self.similarity <= 1):
            raise InvalidInputError(f"similarity lies in (0, 1], not {self.similarity!r}")
        if self.encoder is not None and self.similarity is None:
            raise InvalidInputError("encoder= measures a similarity: give its bound too, as similarity=0.9")
        if self.encoder is not None:
            from pytest_llm.metrics.similarity import check_encoder

            check_encoder(self.encoder)


class Drift(NamedTuple):
    """What a comparison found; the fields are those of a `pytest_llm.verdicts.Verdict`."""

    status: str
    headline: str
    figures: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    evidence: Evidence | None = None


@dataclasses.dataclass
class _Difference:
    where: str
    status: str
    headline: str
    figures: dict[str, Any]
    note: str = ""
    texts: tuple[str, str] | None = None


def compare(golden: Golden, new: Golden, rules: Rules, levels: Mapping[str, str] = DRIFT_LEVELS) -> Drift:
    """Compare a test's new value with its golden.

    Another request is ``stale``, whatever came of it. Another model or environment is compared, and named. Of several
    parts that differ, the one leads that is worst by what ``levels`` says its status does.

    Raises:
        InvalidInputError: a similarity came out as NaN.
    """
    stale = another_question(golden, new)
    if stale:
        return stale
    found: list[_Difference] = []
    _walk(golden.value, new.value, "", rules, found)
    ends = list(dict.fromkeys(_ends(golden.value, new.value)))
    notes = [f"{ENDED}: {', '.join(ends)}"] if ends else []
    if not found:
        return Drift("identical", "matches", notes=tuple(notes))
    if rules.similarity is not None:
        _rate(found, rules)
    from pytest_llm.golden.labels import said_otherwise

    said = said_otherwise(new.request.get("kind", ""), golden.value, new.value)
    found.sort(key=lambda one: (LEVELS.index(levels[one.status]), _ORDER.index(one.status)), reverse=True)  # stable
    drift = _summary(found, golden, new)
    return drift._replace(notes=(*said, *drift.notes, *notes))


def _ends(old: Any, new: Any) -> Iterator[str]:
    """Say how an answer ended that was whole in the golden, as ``finish_reason stop → length``."""
    if isinstance(old, Generation) and isinstance(new, Generation):
        if old.finish_reason in ("stop", "tool_calls") and new.finish_reason not in (old.finish_reason, ""):
            yield f"finish_reason {old.finish_reason} → {new.finish_reason}"
    elif isinstance(old, list) and isinstance(new, list):
        for one, other in zip(old, new, strict=False):
            yield from _ends(one, other)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() & new.keys()):
            yield from _ends(old[key], new[key])


def another_question(golden: Golden, new: Golden) -> Drift | None:
    """Say what the test asks otherwise than its golden answered; ``None`` when it is the same question."""
    if not (golden.request and new.request and golden.request != new.request):
        return None
    from pytest_llm.golden.surroundings import changed_fields, field_rows, spelled

    changed = changed_fields(spelled(golden.request), spelled(new.request))
    if not changed:
        return None
    fields = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in changed))
    rows = [row for name, (old, now) in list(changed.items())[:10] for row in field_rows(name, old, now)]
    rows += [f"… (+{len(changed) - 10} fields)"] if len(changed) > 10 else []
    return Drift("stale", f"stale: the question changed ({fields})", diff=tuple(rows))


def with_surroundings(drift: Drift, golden: Golden, new: Golden) -> Drift:
    """Add what is another around the question: the model, the environment, or both."""
    from pytest_llm.environment import another_model, engine_changed
    from pytest_llm.golden.surroundings import changed_model, in_words, renamed

    environment = renamed(golden.environment, new.environment)
    model = another_model(golden.model, new.model)
    around = [f"with {model}"] if model else []
    notes = [*drift.notes]
    if environment:  # a model is blamed only in the environment its golden was made in
        around.append(f"in another environment ({environment})")
        own = engine_changed(golden.environment, new.environment)
        notes += [own] if own else []
        if model:
            notes.append("neither model nor environment is the golden's: ask its model here to tell which moved it")
        elif not own:
            notes.append("the environment of the golden was another one: look there before blaming the model")
    if model:
        notes.append(f"the golden was made with {model}: {in_words(changed_model(golden.model, new.model))}")
    headline = f"{' and '.join(around)}, {drift.headline}" if around else drift.headline
    return drift._replace(headline=headline, notes=tuple(notes))


def _summary(found: list[_Difference], golden: Golden, new: Golden) -> Drift:
    from pytest_llm.golden.diff import line_diff

    worst = found[0]
    figures: dict[str, Any] = {"parts that differ": len(found)} if isinstance(new.value, (list, dict)) else {}
    for name, figure in worst.figures.items():  # a verdict is JSON, which has no infinity
        figures[name] = str(figure) if isinstance(figure, float) and not math.isfinite(figure) else figure
    rows: list[str] = []
    for one in found[:_SHOWN]:
        if one.texts:
            rows += [f"{one.where}:"] if one.where else []
            rows += line_diff(*one.texts)
        elif one is not worst:
            rows.append(f"{one.where}: {one.headline}")
    if len(found) > _SHOWN:
        rows.append(f"… (+{len(found) - _SHOWN} parts that differ)")
    headline = (f"{worst.where}: " if worst.where else "") + worst.headline
    notes = (worst.note,) if worst.note else ()
    return with_surroundings(Drift(worst.status, headline, figures, notes, tuple(rows)), golden, new)


def _walk(old: Any, new: Any, where: str, rules: Rules, found: list[_Difference]) -> None:
    if isinstance(old, str) and isinstance(new, str):
        if old != new:
            found.append(_text(old, new, where, rules))
        elif {getattr(one, "finish_reason", "") for one in (old, new)} == {"stop", "tool_calls"}:
            found.append(_Difference(where, "drifted", "drifted: the same words, as a tool call and as plain text", {}))
    elif isinstance(old, Array) and isinstance(new, Array):
        found += _arrays(old, new, where, rules)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            found.append(_Difference(where, "drifted", f"{len(old)} items became {len(new)}", {}))
        for i, (x, y) in enumerate(zip(old, new, strict=False)):
            _walk(x, y, f"{where}[{i}]", rules, found)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key in old and key in new:
                _walk(old[key], new[key], f"{where}.{key}", rules, found)
            else:
                found.append(_Difference(f"{where}.{key}", "drifted", "is gone" if key in old else "is new", {}))
    elif _is_number(old) and _is_number(new):
        if old != new and (isinstance(old, int) and isinstance(new, int) or not _near(old, new, rules)):
            relative = abs(new - old) / abs(old) if old else math.inf
            figures = {"golden": old, "new": new, "relative": relative, "rtol": rules.rtol, "atol": rules.atol}
            found.append(_Difference(where, "drifted", f"drifted from {old!r} to {new!r}", figures))
    elif type(old) is not type(new) or old != new:
        from pytest_llm.golden.surroundings import brief

        words = (repr(str(x)) if isinstance(x, str) else brief(x) for x in (old, new))  # "1" is not 1
        found.append(_Difference(where, "drifted", "drifted from {} to {}".format(*words), {}))


def _text(old: str, new: str, where: str, rules: Rules) -> _Difference:
    from pytest_llm.golden.formatting import format_difference
    from pytest_llm.golden.ties import parting

    evidence = None
    if isinstance(old, Generation) and isinstance(new, Generation):
        evidence = parting(old, new, rules.logprob_margin)
    figures = evidence.figures if evidence else {}
    texts = (str(old), str(new))
    if evidence and evidence.tie:
        headline = f"near-tie at {evidence.words}, within {rules.logprob_margin:g} nats on both sides"
        return _Difference(where, "near-tie", headline, figures, texts=texts)
    kinds = format_difference(*texts)
    if kinds:
        return _Difference(where, "format-only", f"differs in format only ({', '.join(kinds)})", {}, texts=texts)
    headline = f"drifted at {evidence.words}" if evidence else "drifted"
    return _Difference(where, "drifted", headline, figures, evidence.why if evidence else "", texts)


def _arrays(old: Array, new: Array, where: str, rules: Rules) -> list[_Difference]:
    import numpy as np

    if old.data.shape != new.data.shape:
        return [_Difference(where, "drifted", f"shape {old.data.shape} became {new.data.shape}", {})]
    if old.data.size and (old.data.dtype.kind == "b") != (new.data.dtype.kind == "b"):  # as True is not 1 elsewhere
        return [_Difference(where, "drifted", f"an array of {old.dtype} became one of {new.dtype}", {})]
    wrong = old.data != new.data
    with np.errstate(all="ignore"):
        a, b = (x.data.astype(np.complex128 if x.data.dtype.kind == "c" else np.float64) for x in (old, new))
        gap = abs(a - b)
        relative = gap / abs(a)
        if any(x.data.dtype.kind in "fc" for x in (old, new)):
            bound = rules.atol + rules.rtol * np.maximum(abs(a), abs(b))
            wrong &= ~((gap <= bound) & np.isfinite(a) & np.isfinite(b))
    if not wrong.any():
        return []
    at = tuple(int(i) for i in np.unravel_index(int(np.where(wrong, gap, -1.0).argmax()), gap.shape))
    figures = {
        "entries": f"{int(wrong.sum())} of {wrong.size}", "max abs error": float(gap[at]),
        "max rel error": float(relative[wrong].max()), "rtol": rules.rtol, "atol": rules.atol,
    }  # fmt: skip
    words = f"array drifted, most at {list(at)}: {old.data[at].item()!r} → {new.data[at].item()!r}"
    note = "" if old.dtype == new.dtype else f"the array's dtype changed: {old.dtype} → {new.dtype}"
    return [_Difference(where, "drifted", words, figures, note)]


def _rate(found: list[_Difference], rules: Rules) -> None:
    assert rules.similarity is not None
    asked = [(one, one.texts) for one in found if one.texts and one.status != "near-tie"]
    if not asked:
        return
    old, new = zip(*(texts for _, texts in asked), strict=True)
    if rules.encoder is None:
        from pytest_llm.metrics.sacre import chrf

        measure, values = "chrF", [points / 100 for points in chrf(new, old).per_example]
    else:
        from pytest_llm.metrics.similarity import similarity

        measure, values = "embedding cosine", list(similarity(new, old, encoder=rules.encoder).per_example)
    for (one, _), value in zip(asked, values, strict=True):
        if math.isnan(value):
            raise InvalidInputError(f"{one.where or 'the answer'}: its {measure} similarity is NaN; check the encoder")
        one.figures = {**one.figures, measure: value, "at least": rules.similarity}
        if value >= rules.similarity:
            one.status, one.note = "close", ""
            one.headline = f"close: {measure} {value:.4g}, at least {rules.similarity:g} asked"


def _near(old: float, new: float, rules: Rules) -> bool:
    return abs(old - new) <= rules.atol + rules.rtol * max(abs(old), abs(new))


def _is_number(value: Any) -> bool:
    """Whether there are figures of ``value``: of a number, unless it is an integer beyond all floats."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < sys.float_info.max_exp
    )
