"""Every ``--llm-*`` flag and ``llm_*`` ini key, in one table, resolved into `pytest_llm.settings.Settings`.

Precedence: command line, then environment ``PYTEST_LLM_<NAME>``, then ini or pyproject ``llm_<name>``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm import machine
from pytest_llm.settings import DRIFT_LEVELS, LEVELS, Settings, cache_folder

if TYPE_CHECKING:
    import pytest


# Start-up makes this class: what dataclasses would write into it and nobody calls costs time there.
@dataclasses.dataclass(eq=False, repr=False)
class Option:
    """One setting: its name everywhere, its type, its default, and its help."""

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()


OPTIONS = (
    Option("model", str, None, "model under test: hub id, folder, .gguf file, folder#file.gguf, pkg:MODULE/FILE, or "
           "openai:NAME"),
    Option("revision", str, None, "revision of a hub model (branch, tag or commit); for openai:NAME a label of yours"),
    Option("base_url", str, None, "address of the service that answers for openai:NAME, with its /v1 [OPENAI_BASE_URL, "
           "else OpenAI's own]"),
    Option("api_key_env", str, None, "name of the environment variable that holds the key of the service at "
           "--llm-base-url [OPENAI_API_KEY]"),
    Option("timeout", float, 600.0, "seconds that a service may take for one request, tries after a failure included"),
    Option("dtype", str, "float32", "dtype the model runs in", ("float32", "bfloat16", "float16", "float64")),
    Option("device", str, "auto", "device the model runs on: auto, cpu, cuda, cuda:1, mps"),
    Option("adapter", str, None, "LoRA adapter put on the model (a PEFT folder; needs the extra 'peft')"),
    Option("attn_implementation", str, "sdpa", "attention implementation, as in transformers"),
    Option("ray", str, "", "compute on a Ray cluster, in a process for each of its GPUs, or machines: its address, or "
           "local for this machine (needs the extra 'ray')"),
    Option("update", str, "none", "goldens and baselines: write none, the missing ones (new), or all",
           ("none", "new", "all")),
    Option("variant", str, "", "write goldens and baselines of this kind of environment only, beside the plain ones: "
           "names that hold here, as 'cuda,bfloat16' or 'torch-2.14'"),
    Option("cache", str, "use", "output store: use it, recompute into it (refresh), or leave it alone (off)",
           ("use", "refresh", "off")),
    Option("cache_dir", str, None, "folder of the output store and converted weights [~/.cache/pytest_llm]"),
    Option("offline", bool, False, "load no model: an answer that is not in the store is an error that says why"),
    Option("prefetch", str, "auto", "compute before the first test, in batches, what the selected tests will ask "
           "(not with --llm-cache=off)", ("auto", "off")),
    Option("batch_size", int, 64, "most prompts in one forward pass; 1 computes them one by one"),
    Option("exact", bool, False, "batches of one fixed shape: an answer is bit-equal whatever is computed beside it "
           "(in float16 and bfloat16 always)"),
    Option("memory_limit", str, "50%", "memory the loaded models of a session may take: 8GB, 512MB or 50%"),
    Option("logprob_margin", float, 0.05, "nats between two tokens within which a golden reads as a near-tie"),
    Option("drift_levels", str, "", "what a drift status does, as 'format-only=warn,near-tie=pass' (pass, warn, fail)"),
    Option("alpha", float, 0.05, "chance of a false alarm that a baseline gate allows itself"),
    Option("power", float, 0.8, "power at which a gate states the smallest drop it could have seen"),
    Option("correction", str, "holm", "correction of p-values over all gates of a run, in its summary",
           ("holm", "bh", "none")),
    Option("strict_gates", bool, False, "fail a gate that cannot tell (inconclusive) in place of a warning"),
    Option("calibrate", int, 0, "run each selected test this many times more, with what should not matter changed, and "
           "propose margins that raise false alarms at the rate of --llm-alpha, in llm_calibration.json"),
    Option("report", str, "", "write an HTML report here: one file, readable anywhere"),
    Option("markdown", str, "", "write a summary in Markdown here, for a comment on a pull request"),
    Option("record", str, "", "write the run record (JSON) here too"),
    Option("github", str, "auto", "annotations and a step summary on GitHub Actions: auto, or off", ("auto", "off")),
    Option("trust_remote_code", bool, False, "run Python code that comes with a model or, for evaluate:NAME, the hub"),
    Option("trust_pickle", bool, False, "load pickled (.bin) weights, which can run code"),
)  # fmt: skip

#: Options that decide which model is judged: empty they are a script's unset variable, and another model would be.
_NEVER_EMPTY = ("model", "revision", "adapter")
#: What a value of a type is called.
_KINDS = {str: "text", int: "whole number", float: "number", bool: "yes or no (true, false, 1, 0)"}


def add_options(parser: pytest.Parser) -> None:
    """Declare every option to pytest, as a flag and as an ini key."""
    group = parser.getgroup("llm", "model regression testing (pytest_llm)")
    for option in OPTIONS:
        flag = "--llm-" + option.name.replace("_", "-")
        text = option.help if option.default in (None, "", False) else f"{option.help} [{option.default}]"
        text = text.replace("%", "%%")
        if option.type is bool:
            group.addoption(flag, action="store_true", default=None, dest=f"llm_{option.name}", help=text)
        else:
            group.addoption(
                flag,
                default=None,
                dest=f"llm_{option.name}",
                choices=option.choices or None,
                metavar=None if option.choices else option.type.__name__.upper(),
                help=text,
            )
        parser.addini(f"llm_{option.name}", option.help, type=_ini_type(option), default=None)


def _ini_type(option: Option) -> Any:
    """Return what pytest calls the option's type: in ``pytest.toml`` a number is a number, and no string."""
    import pytest

    known = option.type is bool or pytest.version_tuple >= (8, 4)
    return option.type.__name__ if known and option.type is not str else "string"


def _ini(config: pytest.Config, option: Option) -> Any:
    import pytest

    try:
        value = config.getini(f"llm_{option.name}")
    except (TypeError, ValueError, pytest.UsageError) as error:
        where = f"llm_{option.name} in {config.inipath or 'the ini file'}"
        raise _usage(f"{where} is not a {_KINDS[option.type]}: {error}") from None
    if value and option.name == "cache_dir" and not value.startswith("~"):
        value = str((config.inipath.parent if config.inipath else config.rootpath) / value)  # as pytest's own paths
    return None if value == "" else value


def resolve(config: pytest.Config) -> Settings:
    """Read the options of ``config``.

    Raises:
        pytest.UsageError: a value that is not of the option's type or range, naming where it was set.
    """
    _refuse_paths_apart(arguments(config))
    start = config.invocation_params.dir
    flags = {option.name: config.getoption(f"llm_{option.name}", None) for option in OPTIONS}
    for name in ("model", "adapter") if start != config.rootpath else ():  # there it is what an ini file would say
        flags[name] = _from_here(flags[name], start)
    ini = {option.name: _ini(config, option) for option in OPTIONS}
    return settings_from(flags, os.environ, ini, root=config.rootpath).replace(start=start)


def arguments(config: pytest.Config) -> list[str]:
    """Return the arguments of the command line, and of the environment: those of the ini file are part of the suite."""
    return [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]


def _from_here(path: str | None, start: Path) -> str | None:
    """Return ``./PATH`` or ``../PATH`` as the absolute one in ``start`` if it is there: a shell completes it so."""
    if path and path.startswith(("./", "../")):
        here = (start / path).parent.resolve() / Path(path).name  # reports name it from the root, without ".."
        # Not by Path, which raises where a folder may not be read.
        if any(map(os.path.exists, (here, here.with_name(here.name.rpartition("#")[0] or here.name)))):
            return str(here)
    return path


def _refuse_paths_apart(arguments: Sequence[str]) -> None:
    """Refuse ``--llm-model PATH``: before plugins are known, pytest takes PATH for a test folder.

    It then looks for its rootdir and ini file from there, and the project's own settings are silently not read.
    """
    for flag, value in zip(arguments, arguments[1:], strict=False):
        if flag.startswith("--llm-") and "=" not in flag and os.path.exists(value):  # noqa: PTH110
            option = next((o for o in OPTIONS if flag == "--llm-" + o.name.replace("_", "-")), None)
            if option is not None and option.type is not bool:
                raise _usage(f"write {flag}={value}: with a space, pytest takes the path for a test folder")


def settings_from(
    flags: Mapping[str, Any], environ: Mapping[str, str], ini: Mapping[str, Any], *, root: Path
) -> Settings:
    """Combine the three sources, most specific first, into `Settings`."""
    values = {option.name: option.default for option in OPTIONS}
    given = set()
    for option in OPTIONS:
        variable = f"PYTEST_LLM_{option.name.upper()}"
        for where, raw in (
            ("--llm-" + option.name.replace("_", "-"), flags.get(option.name)),
            (variable, environ.get(variable) if option.name in _NEVER_EMPTY else environ.get(variable) or None),
            (f"llm_{option.name} (ini)", ini.get(option.name)),
        ):
            if raw is not None:
                values[option.name] = _parse(option, raw, where)
                if not where.endswith("(ini)"):
                    given.add(option.name)
                break
    if "model" in given:  # the revision and the adapter of an ini file are of its own model
        values |= dict.fromkeys({"revision", "adapter"} - given)
    values["cache_dir"] = cache_folder(values["cache_dir"], environ)
    values["variant"] = _variant(values)
    values["memory_limit"] = _memory(values["memory_limit"])
    values["drift_levels"] = _levels(values["drift_levels"])
    if not values["logprob_margin"] >= 0:
        raise _usage("llm_logprob_margin is a distance in nats: it cannot be negative")
    if not 0 < values["alpha"] < 0.5:
        raise _usage("llm_alpha is a chance of false alarm: it must lie between 0 and 0.5")
    if not 0 < values["power"] < 1:
        raise _usage("llm_power is a probability: it must lie between 0 and 1")
    if not 0 < values["timeout"] <= 1e6:
        raise _usage("llm_timeout is the seconds that a service may take: it must be above 0, and at most 1000000")
    if values["batch_size"] < 1:
        raise _usage("llm_batch_size must be at least 1")
    if values["calibrate"]:
        _check_calibration(values)
    return Settings(**values, root=root, start=None, given=frozenset(given))


def _check_calibration(values: dict[str, Any]) -> None:
    """Leave the store alone, as every answer is to be computed anew."""
    if values["calibrate"] < 2:
        raise _usage("llm_calibrate counts runs: it takes at least 2 to see any noise, and about 20 to trust it")
    for name, still in (("update", "none"), ("offline", False), ("ray", "")):
        if values[name] != still:
            raise _usage(
                f"llm_calibrate computes answers anew, here, and writes no goldens: do not give llm_{name} with it"
            )
    values["cache"] = "off"


def _usage(message: str) -> Exception:
    import pytest

    return pytest.UsageError(message)


def _parse(option: Option, raw: Any, where: str) -> Any:
    if option.name in _NEVER_EMPTY and not raw.strip():
        raise _usage(f"{where}= was given and is empty (an unset variable?): give a value, or leave it out")
    if option.type is bool:
        text = str(raw).strip().lower()
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("0", "false", "no", "off", ""):
            return False
        raise _usage(f"{where}: {raw!r} is not a {_KINDS[bool]}")
    try:
        value = option.type(raw)
    except ValueError:
        raise _usage(f"{where}: {raw!r} is not a {_KINDS[option.type]}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise _usage(f"{where}: {raw!r} is not a finite number")
    if option.name in ("base_url", "api_key_env"):
        _check_service(option.name, raw, where)
    if option.choices and value not in option.choices:
        raise _usage(f"{where}: {raw!r} is not one of {', '.join(option.choices)}")
    return value


def _check_service(name: str, value: str, where: str) -> None:
    from pytest_llm.errors import InvalidInputError
    from pytest_llm.weights.spec import check_key_name, service_address

    try:
        (service_address if name == "base_url" else check_key_name)(value)
    except InvalidInputError as error:
        raise _usage(f"{where}: {error}") from None


def _memory(text: str) -> int:
    units: dict[str, float] = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
    if "%" in text:
        units["%"] = machine.installed() / 100
    unit = next((unit for unit in units if text.upper().endswith(unit)), "")
    with contextlib.suppress(ValueError, OverflowError):
        size = int(float(text.upper().removesuffix(unit)) * units.get(unit, 1))
        if size > 0:
            return size
    raise _usage(f"llm_memory_limit: {text!r} is not a size such as 8GB, 512MB or 50%")


def _variant(values: Mapping[str, Any]) -> tuple[str, ...]:
    if not values["variant"]:
        return ()
    from pytest_llm import variants

    here = variants.facts(values["model"], values["device"], values["dtype"], values["attn_implementation"])
    return variants.parse(values["variant"], here)


def _levels(text: str) -> dict[str, str]:
    levels = dict(DRIFT_LEVELS)
    for part in filter(str.strip, text.replace("\n", ",").split(",")):
        status, _, level = (piece.strip() for piece in part.partition("="))
        if status not in levels or level not in LEVELS:
            raise _usage(
                f"llm_drift_levels: {part.strip()!r} is not STATUS=LEVEL with a status of "
                f"{', '.join(levels)} and a level of pass, warn, fail"
            )
        levels[status] = level
    return levels
