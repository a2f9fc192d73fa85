"""Run a page of the documentation: every code block, in order, in a folder that is empty at first.

- A block with a title (```` ```python title="test_x.py" ````) is written to that file.
- ```` ```console ```` holds ``$ command`` lines, each followed by its output. A line ``...`` stands for any lines, and
  ``...`` or ``…`` in a line for any text. Times (``0.24s``, ``3.1 s``), float noise (``3.8e-06``, ``0.00028``), figures beyond three
  digits (``2.90923``) and the lengths of rulers and gaps may differ.
- ```` ```python ```` without a title is a script, or a file of tests when it defines some.
- Data without a title (JSON, TOML, YAML, INI) has to parse.
- ``title="Not run: why"`` marks what cannot run here. Its commands still have to be valid.
"""

from __future__ import annotations

import configparser
import dataclasses
import difflib
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

from pytest_llm.cli import command_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SCHEMAS = {".github/workflows/": "vendor.github-workflows", ".gitlab-ci.yml": "vendor.gitlab-ci"}
PARSERS = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
}


#: A figure with digits that another machine may not share.
_FIGURE = re.compile(r"-?\d+\.\d{3,}")


class PageError(AssertionError):
    """A page says what is not so."""


@dataclasses.dataclass(frozen=True)
class Block:
    """One code block; ``line`` is that of its fence, from 1."""

    language: str
    title: str
    text: str
    line: int

    @property
    def reason(self) -> str:
        """Why it cannot be run; empty where it can."""
        return self.title.removeprefix("Not run: ") if self.title.startswith("Not run: ") else ""

    def commands(self) -> list[tuple[str, list[str]]]:
        """The commands of a console, each with the lines of its output."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found and found[-1][0].endswith("\\") and not found[-1][1]:
                found[-1] = (found[-1][0] + "\n" + line, [])
            elif found:
                found[-1][1].append(line)
            else:
                raise PageError(f"line {self.line}: a console begins with a command")
        return found


def blocks(text: str) -> list[Block]:
    """The code blocks of a page, in order."""
    found = []
    for token in MarkdownIt().parse(text):
        if token.type == "code_block":
            raise PageError(f"line {token.map[0] + 1}: a code block by indentation; fence it, with its language")
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = re.search(r'title="([^"]*)"', rest)
            found.append(Block(language, title[1] if title else "", token.content, token.map[0] + 1))
    return found


@dataclasses.dataclass(frozen=True)
class Page:
    """A page being run in ``folder``; ``environment`` is what its commands see."""

    path: Path
    folder: Path
    environment: dict[str, str]

    def run(self) -> None:
        """Run every block.

        Raises:
            PageError: a block is wrong: where, and how.
        """
        for block in blocks(self.path.read_text("utf-8")):
            try:
                self._block(block)
            except PageError as error:
                raise PageError(f"{self.path.name}, block at line {block.line}: {error}") from None

    def _block(self, block: Block) -> None:
        if block.reason:
            for command in block.text.splitlines():
                check_commands(command.removeprefix("$ "), self.folder, self.environment)
        elif block.language == "console":
            for command, output in block.commands():
                self._command(command, output)
        elif block.title:
            self._file(block)
        elif block.language == "python":
            self._python(block.text)
        elif block.language in PARSERS:
            _parsed(block)
        else:
            raise PageError(
                f"what is a block of {block.language or 'no language'}? Give it a title, or make it a console"
            )

    def _command(self, command: str, expected: list[str]) -> None:
        code, output = self._shell(command)
        actual = output.rstrip().splitlines()
        if sys.version_info < (3, 11):  # whose tracebacks do not point into a line
            expected = [line for line in expected if set(line) != {" ", "^"}]
        at = mismatch(expected, actual)
        if at is not None:
            wanted = expected[at] if at < len(expected) else "(the end)"
            diff = "\n".join(difflib.unified_diff(expected, actual, "the page", "this run", lineterm="", n=1))
            raise PageError(
                f"$ {command}\nexit code {code}, nothing fits the line {wanted!r}\n{diff}\n\nall of it:\n{output}"
            )

    def _shell(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="backslashreplace",
        )  # fmt: skip
        return done.returncode, done.stdout

    def _file(self, block: Block) -> None:
        target = self.folder / block.title
        if not target.resolve().is_relative_to(self.folder.resolve()):
            raise PageError(f"{block.title} is outside the page's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, "utf-8")
        if block.language == "python":
            compile(block.text, block.title, "exec")
        if block.language not in PARSERS or block.title.endswith(".jsonl"):
            return
        data = _parsed(block)
        for place, schema in SCHEMAS.items():
            if block.title.startswith(place):
                code, output = self._shell(f"check-jsonschema --builtin-schema {schema} {shlex.quote(block.title)}")
                if code:
                    raise PageError(output)
        for command in recipe_commands(data):
            check_commands(command, self.folder, self.environment)

    def _python(self, text: str) -> None:
        tests = re.search(r"^(async )?def test_|^class Test", text, re.MULTILINE)
        file = self.folder / ("test_block.py" if tests else "block.py")
        file.write_text(text, "utf-8")
        code, output = self._shell(f"pytest {file.name} --llm-update=new" if tests else f"python {file.name}")
        file.unlink()
        if code:
            raise PageError(f"exit code {code}\n{output}")


def _parsed(block: Block) -> object:
    try:
        return PARSERS[block.language](block.text)
    except Exception as error:
        raise PageError(f"no {block.language}: {error}") from None


def mismatch(expected: list[str], actual: list[str]) -> int | None:
    """Return the index of the first line of ``expected`` that nothing fits, or ``None``: all is as it should be."""
    places = {0}  # where in ``actual`` the lines so far may end
    for at, line in enumerate(expected):
        if line.strip() == "...":
            places = set(range(min(places), len(actual) + 1))
        else:
            places = {place + 1 for place in places if place < len(actual) and fits(line, actual[place])}
        if not places:
            return at
    return None if len(actual) in places else len(expected)


def fits(expected: str, actual: str) -> bool:
    """Whether one line is what the page says."""
    line = _plain(expected)
    pattern = ".*?".join(
        r"(-?\d+\.\d+)".join(map(re.escape, _FIGURE.split(part))) for part in re.split(r"\.\.\.|…", line)
    )
    found = re.fullmatch(pattern, _plain(actual))
    # Another kind of CPU rounds otherwise.
    return found is not None and all(
        math.isclose(float(a), float(b), rel_tol=1e-3)
        for a, b in zip(_FIGURE.findall(line), found.groups(), strict=True)
    )


def _plain(line: str) -> str:
    line = re.sub(r"\b\d+(\.\d+)?( ?)(s|ms)\b( \(\d+:\d\d:\d\d\))?", r"#\2s", line.rstrip())
    line = re.sub(r"\b\d(\.\d+)?e-\d\d\b|\b0\.000\d+\b", "#e", line)  # float noise
    line = re.sub(r"(?<=\S)  +", "  ", line)  # columns beside what varies
    return re.sub(r"([=_-])\1{3,}", r"\1" * 4, line)


def recipe_commands(data: object) -> list[str]:
    """The shell lines of a workflow, a pipeline or a hook: what stands under run, script, entry."""
    if isinstance(data, list):
        return [line for one in data for line in recipe_commands(one)]
    if not isinstance(data, dict):
        return []
    own = [value for key in ("run", "entry") if isinstance(value := data.get(key), str)]
    for key in ("script", "before_script", "after_script"):
        own += [line for line in data.get(key, ()) if isinstance(line, str)]
    return [*own, *recipe_commands(list(data.values()))]


def check_commands(script: str, folder: Path, environment: dict[str, str]) -> None:
    """Refuse a call of pytest, pytest-llm or make that these would refuse."""
    for line in re.split(r"\n|&&|\|\||;|(?<!\|)\|(?!\|)", script.replace("\\\n", " ")):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a piece of a quoted text that had a separator in it
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if not words:
            continue
        if words[0] == "pytest-llm":
            try:
                command_line().parse_args(words[1:])
            except SystemExit:
                raise PageError(f"pytest-llm does not take: {line.strip()}") from None
        elif words[0] in ("pytest", "make"):
            empty = folder / ".nothing"
            empty.mkdir(exist_ok=True)
            call = ["make", "-n", "-C", str(ROOT), *words[1:]] if words[0] == "make" else [
                "pytest", "--collect-only", "--rootdir=.", *(word for word in words[1:] if not word.partition("::")[0].endswith(".py"))
            ]  # fmt: skip
            done = subprocess.run(call, cwd=empty, env=environment, capture_output=True, text=True, check=False)
            if done.returncode not in (0, 5):  # 5: nothing to collect
                raise PageError(f"{line.strip()}\n{done.stdout}{done.stderr}")


def environment(cache: Path, **more: str) -> dict[str, str]:
    """What a reader's shell has: this Python first on the path, no settings of ours, 80 columns, no network."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "GITHUB_", "COV_")) and k != "CI"}
    own = {"PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}", "COLUMNS": "80", "PYTEST_LLM_CACHE_DIR": str(cache)}
    return {**kept, **own, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "MAKEFLAGS": "", **more}
