"""What a run goes by: its options, resolved (`pytest_llm.options`), and where it stands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pytest_llm.verdicts import Outcome

#: Statuses whose level may be set, with their defaults.
DRIFT_LEVELS: Mapping[str, str] = {"near-tie": "pass", "format-only": "fail", "close": "pass", "drifted": "fail"}
#: What decides which model answers, and how.
_MODEL = (
    "model", "revision", "adapter", "base_url", "device", "dtype", "attn_implementation", "exact",
    "trust_remote_code", "trust_pickle",
)  # fmt: skip
#: What each may do, from best to worst.
LEVELS: tuple[Outcome, ...] = ("pass", "warn", "fail")


class Settings:
    """The resolved options of a run, plus where the user's project is rooted, the folder pytest was started in
    (``start``), and which options were ``given`` for this run (a flag or the environment) rather than configured. They
    do not change.

    A class written by hand: a frozen dataclass of so many fields was a fifth of all that start-up costs.

    Raises:
        TypeError: a value that is no setting.
    """

    model: str | None
    revision: str | None
    base_url: str | None
    api_key_env: str | None
    timeout: float
    dtype: str
    device: str
    adapter: str | None
    attn_implementation: str
    ray: str
    update: str
    variant: tuple[str, ...]
    cache: str
    offline: bool
    prefetch: str
    batch_size: int
    exact: bool
    memory_limit: int
    logprob_margin: float
    drift_levels: Mapping[str, str]
    alpha: float
    power: float
    correction: str
    strict_gates: bool
    calibrate: int
    report: str
    markdown: str
    record: str
    github: str
    trust_remote_code: bool
    trust_pickle: bool
    root: Path
    start: Path | None
    given: frozenset[str]

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - Settings.__annotations__.keys() - {"cache_dir"}
        if unknown:
            raise TypeError(f"Settings has no {', '.join(sorted(unknown))}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings do not change: {name}")

    @property
    def cache_dir(self) -> Path:
        """The cache's folder.

        Raises:
            InvalidInputError: none was given, and this user has no home folder, as in a container.
        """
        folder: Path | None = self.__dict__["cache_dir"]
        if folder is None:
            from pytest_llm.errors import InvalidInputError

            raise InvalidInputError(
                "the cache has no folder, as this user has no home folder: name one with --llm-cache-dir, "
                "llm_cache_dir (ini) or PYTEST_LLM_CACHE_DIR"
            )
        return folder

    @property
    def flags(self) -> str:
        """The flags for a shell, each after a space, that have the same model answer as in this run: those given."""
        found = {name: getattr(self, name) for name in _MODEL if name in self.given}
        parts = {name: "" if value is True else f"={value}" for name, value in found.items() if value is not False}
        return "".join(" " + shlex.quote(f"--llm-{name.replace('_', '-')}{part}") for name, part in parts.items())

    def replace(self, **values: Any) -> Settings:
        """Return these settings with some of them replaced."""
        return Settings(**{**self.__dict__, **values})


def cache_folder(given: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the cache folder: as given, or the platform's user cache; ``None`` where that is in a home and none is."""
    try:
        folder = given or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "pytest_llm")  # noqa: PTH118
        return Path(folder).expanduser().absolute()
    except RuntimeError:
        return None
