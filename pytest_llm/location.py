"""Where a test stands: what golden and baseline files are named after."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.reports.text import visible

if TYPE_CHECKING:
    import pytest


class Location(NamedTuple):
    """A test's node id, its module file, and its qualified name with parameters (``TestX.test_y[a-1]``)."""

    nodeid: str
    file: Path
    qualname: str

    @classmethod
    def named(cls, nodeid: str, file: Path) -> Location:
        """Return the location of the test of ``file`` that has this node id (`plain_nodeid`)."""
        return cls(nodeid, file, qualname_of(nodeid))

    def argument(self, start: Path | None) -> str:
        """Return the node id as pytest takes it in the folder ``start``, which need not be the root."""
        _, colons, name = self.nodeid.partition("::")
        with contextlib.suppress(ValueError):  # on another drive
            if start is not None:
                return os.path.relpath(self.file, start).replace(os.sep, "/") + colons + name
        return self.nodeid

    def command(self, start: Path | None, flags: str) -> str:
        """Return the command, for a shell in the folder ``start``, that runs this test alone with ``flags``."""
        argument = self.argument(start)
        if visible(argument) != argument:
            return f"pytest $'{''.join(map(_in_ansi_c, argument))}' {flags}"
        quoted = shlex.quote(argument) if any(c in argument for c in '"$`\\!') else f'"{argument}"'
        return f"pytest {quoted} {flags}"


def _in_ansi_c(c: str) -> str:
    """Return a character as it stands within ``$'...'`` of bash and zsh."""
    if visible(c) == c:
        return f"\\{c}" if c in "\\'" else c
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def qualname_of(nodeid: str) -> str:
    """Return the qualified name in a node id. Parameters stay as they are: two that differ belong to two tests."""
    name, bracket, parameters = nodeid.partition("::")[2].partition("[")
    return name.replace("::", ".") + bracket + parameters


def function_of(test: str) -> str:
    """Return a qualified name without its parameters."""
    return test.partition("[")[0]


def undecided(ran: Collection[str], open_ended: Collection[str], modules: Iterable[Path]) -> Callable[[str], bool]:
    """Return what tells whether a test that did not run may be there nevertheless.

    It may, where its function is one of those of ``open_ended``, tests that may have run with only some of their
    parameters; and where its name, or its class's, is in its module and nothing by that name ``ran``: another ini
    file, or another plugin, collects it. The ``modules`` are read when this is first asked.
    """
    functions = {function_of(test) for test in open_ended}

    @functools.cache
    def names() -> set[str]:
        texts = (module.read_text("utf-8", "replace") for module in modules)
        return {word for text in texts for word in _words(text)} - {word for test in ran for word in _words(test)}

    def may_be_there(test: str) -> bool:
        function = function_of(test)
        return test not in ran and (function in functions or not names().isdisjoint(_words(function)))

    return may_be_there


def may_be_doctest(module: Path, test: str) -> bool:
    """Whether ``test`` may be a doctest of a Python file: one is named by the dotted name of what it documents."""
    name = module.parent.name if module.stem == "__init__" else module.stem
    return f".{name}." in f".{test}." and module.suffix == ".py" and b">>>" in module.read_bytes()


def repeater(item: pytest.Item) -> str:
    """Return what runs the body of a test more than once, why no file can hold that, and what to do; else ``""``."""
    body = getattr(item, "obj", None)
    if getattr(body, "is_hypothesis_test", False):
        return (
            "@given: hypothesis runs the test on many examples, others each time, and what is committed is of one. "
            "Choose the examples with @pytest.mark.parametrize"
        )
    for name in getattr(getattr(item, "callspec", None), "params", ()):
        if name.startswith(("__pytest_repeat_step_number", "__flakefinder_")):
            plugin = "pytest-repeat" if "repeat" in name else "flakefinder"
            instead = "Mark this one @pytest.mark.repeat(1)" if "repeat" in name else "Deselect this one there"
            return f"{plugin}: each repetition is a test of another name, with files of its own. {instead}"
    if getattr(body, "__globals__", {}).get("__name__") == "pytest_run_parallel.plugin":
        return (
            "pytest-run-parallel: it runs the body several times in one test, and what is committed is of one run. "
            "Mark this one @pytest.mark.parallel_threads(1) and @pytest.mark.iterations(1)"
        )
    return ""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def plain_nodeid(item: pytest.Item) -> str:
    """Return the node id without the ``@group`` that pytest-xdist adds under ``--dist loadgroup``.

    A golden belongs to a test however the run is spread. Outside the root, where pytest calls two modules of two
    projects alike, the module is named by its way from the root.
    """
    nodeid = item.nodeid
    if "@" in nodeid:
        groups = {
            str(marker.args[0] if marker.args else marker.kwargs.get("name", "default"))
            for marker in item.iter_markers("xdist_group")
        }
        nodeid = nodeid.removesuffix("@" + "_".join(sorted(groups))) if groups else nodeid
    root, (module, colons, name) = item.config.rootpath, nodeid.partition("::")
    if str(item.path) != f"{root}{os.sep}{module.replace('/', os.sep)}":
        with contextlib.suppress(ValueError):  # on another drive
            module = os.path.relpath(item.path, root).replace(os.sep, "/")
    return module + colons + name
