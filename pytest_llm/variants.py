"""Variants: goldens and baselines of one kind of environment, beside the plain ones.

A variant is a set of names, each a fact about the environment: the device type (``cuda``; ``service`` where a service
answers), the dtype (``bfloat16``), the attention implementation (``eager``), a version as far as it is spelled out
(``torch-2.14``, ``transformers-5.24.0``). Its file carries them after an ``@``, in that order:
``test_a--1@cuda+bfloat16.json``.
A plain file name never has an ``@`` (`pytest_llm.files.safe_name`).

Variants are made on request only (``--llm-variant``). When reading, the most specific one whose names all hold here
wins, else the plain file.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm import environment

if TYPE_CHECKING:
    from pytest_llm.settings import Settings

#: Facts in the order in which a file name has them.
_FACTS = ("device", "dtype", "attention", "torch", "transformers")
_VERSIONED = ("torch", "transformers")

Names = tuple[str, ...]

#: By folder: when it last changed, and the variants that were in it then.
_listed: dict[str, tuple[int, list[str]]] = {}


def facts(model: str | None, device: str, dtype: str, attention: str) -> dict[str, str]:
    """Return the facts of a run with these settings (``device`` may be ``auto``); nothing is known behind a service."""
    from pytest_llm.weights.spec import SERVICE, SERVICE_DEVICE

    if (model or "").startswith(SERVICE):
        return {"device": SERVICE_DEVICE}
    device = environment.resolve_device(device)
    versions = {name: environment.version(name) for name in _VERSIONED}
    return {"device": device, "dtype": dtype, "attention": attention, **versions}


def parse(text: str, here: Mapping[str, Any]) -> Names:
    """Return the names in ``text`` (separated by commas, ``+`` or ``@``), in the order of a file name.

    Raises:
        pytest.UsageError: one of them does not hold ``here``.
    """
    import pytest

    asked = list(dict.fromkeys(filter(None, re.split(r"[\s,+@]+", text))))
    wrong = [name for name in asked if _fact(name, here) is None]
    if wrong:
        raise pytest.UsageError(
            f"--llm-variant: this environment is not {', '.join(map(repr, wrong))}: a variant is made where its names "
            f"hold. This one is {describe(here)}"
        )
    return _ordered(asked, here)


def holding(names: Names, here: Mapping[str, Any]) -> Names:
    """Return those of ``names`` that hold ``here``, in the order of a file name."""
    return _ordered([name for name in names if _fact(name, here) is not None], here)


def describe(here: Mapping[str, Any]) -> str:
    """Return the names that hold ``here``, as ``--llm-variant`` takes them."""
    return ", ".join(_names(here).values())


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> Names:
    """Return the names that hold ``here`` and not ``there``, to the minor version."""
    return tuple(name for name in _names(here).values() if there and _fact(name, there) is None)


def update(settings: Settings, how: str, names: Names = ()) -> str:
    """Return the flags that write what this run measures: with those it was given that decide which model answers.

    Into the variant ``names``, by default that of this run.
    """
    names = names or settings.variant
    into = f" --llm-variant={','.join(names)}" if names else ""
    return f"--llm-update={how}{settings.flags}{into}"


def _names(here: Mapping[str, Any]) -> dict[str, str]:
    known = {fact: here[fact] for fact in _FACTS if isinstance(here.get(fact), str) and here[fact]}
    return {
        fact: f"{fact}-{'.'.join(_release(value)[:2])}" if fact in _VERSIONED else environment.device_type(value)
        for fact, value in known.items()
    }


def path_of(plain: Path, names: Names) -> Path:
    """Return the file of the variant ``names`` of ``plain``; without names, ``plain`` itself."""
    return plain.with_name(f"{plain.stem}@{'+'.join(names)}{plain.suffix}") if names else plain


def plain_of(path: Path) -> Path:
    """Return the plain file of a variant's file; a plain one is its own."""
    return path.with_name(path.stem.partition("@")[0] + path.suffix)


def names_of(path: Path) -> Names:
    """Return the names in a file's name."""
    return tuple(path.stem.partition("@")[2].split("+")) if "@" in path.stem else ()


def label(path: Path) -> str:
    """Return the variant of a file as reports write it; see `Choice`."""
    return f" @{'+'.join(names_of(path))}" if "@" in path.name else ""


class Choice(NamedTuple):
    """The file to compare with (``path``), the file to write (``target``), and variants of other environments.

    ``path`` and ``target`` differ where a variant was asked for that is not there yet.
    """

    path: Path
    target: Path
    others: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """How reports name the variant compared with: ``" @cuda+bfloat16"``, or nothing for a plain file."""
        return label(self.path)

    @property
    def note(self) -> str:
        """What to say where there is nothing to compare with, ``""`` when nothing."""
        made = ", ".join(label(path).strip() for path in self.others)
        return f"there are ones of other environments, which say nothing about this one: {made}" if made else ""


def choose(
    plain: Path, answered: Mapping[str, Any], settings: Settings, there: Callable[[Path], bool] = Path.exists
) -> Choice:
    """Return the files for an answer given in the environment ``answered`` (``{}``: not known, then the run's own).

    ``there`` says whether a file holds what is looked for.
    """
    if not settings.variant and not _names_in(os.path.dirname(plain)):  # noqa: PTH120 (once for each golden)
        return Choice(plain, plain)
    here = answered or facts(settings.model, settings.device, settings.dtype, settings.attn_implementation)
    mine, others = choices(plain, here)
    found = next((path for path in mine if there(path)), plain)
    target = path_of(plain, holding(settings.variant, here)) if settings.variant else found
    # What is written is compared with itself only: a variant asked for is made even where the plain file would do.
    return Choice(found if settings.update == "none" else target, target, tuple(filter(there, others)))


def choices(plain: Path, here: Mapping[str, Any]) -> tuple[list[Path], list[Path]]:
    """Return the files to read in place of ``plain``, and the variants of other environments.

    The first list holds the variants that are there and hold ``here``, most specific first, and ``plain`` at its end,
    which may not be there. More names are more specific, then the order of the facts decides, then longer versions.
    """
    start = f"{plain.stem}@"
    found = [plain.parent / name for name in _names_in(str(plain.parent)) if name.startswith(start)]
    variants = sorted(p for p in found if p.suffix == plain.suffix and plain_of(p) == plain)
    mine = [p for p in variants if all(_fact(name, here) for name in names_of(p))]
    mine.sort(key=lambda p: _specificity(names_of(p), here))
    return [*mine, plain], [p for p in variants if p not in mine]


def _names_in(folder: str) -> list[str]:
    """Return the names of the variants in a folder. A thousand checks in one folder do not list it a thousand times."""
    try:
        changed = os.stat(folder).st_mtime_ns  # noqa: PTH116
        if _listed.get(folder, (0, []))[0] == changed:
            return _listed[folder][1]
        names = [name for name in os.listdir(folder) if "@" in name]  # noqa: PTH208
    except OSError:  # no folder yet
        return []
    # A folder changed this moment may change again within one tick of its clock.
    if time.time_ns() - changed > 2 * 10**9:
        _listed[folder] = changed, names
    return names


def _specificity(names: Names, here: Mapping[str, Any]) -> tuple[int, list[int], int]:
    depth = sum(name.count(".") for name in names)
    return -len(names), sorted(_FACTS.index(_fact(name, here) or "") for name in names), -depth


def _ordered(names: list[str], here: Mapping[str, Any]) -> Names:
    return tuple(sorted(names, key=lambda name: (_FACTS.index(_fact(name, here) or ""), name)))


def _fact(name: str, here: Mapping[str, Any]) -> str | None:
    """Return the fact that ``name`` states, if it holds ``here``."""
    for fact in _FACTS:
        value = here.get(fact)
        if not isinstance(value, str) or not value:
            continue
        if fact in _VERSIONED:
            wanted = _release(name.removeprefix(f"{fact}-")) if name.startswith(f"{fact}-") else []
            if wanted and wanted == _release(value)[: len(wanted)]:
                return fact
        elif name == environment.device_type(value):
            return fact
    return None


def _release(version: str) -> list[str]:
    """Return the numbers of a version without what stands behind a ``+`` (``2.13.0+cpu`` is 2, 13, 0)."""
    return version.partition("+")[0].split(".")
