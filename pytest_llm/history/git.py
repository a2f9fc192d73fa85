"""The commit a run was made on, read from ``.git`` without running git; only whether files differ from it asks git."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

#: What CI calls the commit, where the checkout has no ``.git``.
_COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
#: What CI calls the branch, where the checkout is on none, as most are: of a pull request the one that it comes from.
_BRANCHES = (
    "GITHUB_HEAD_REF", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CHANGE_BRANCH", "BRANCH_NAME"
)  # fmt: skip
#: Seconds that git may take: a mark in a list is not worth more of a run's time.
_PATIENCE = 1.0


def head(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return ``commit`` and ``branch`` of the work tree around ``root``; empty strings when unknown."""
    try:
        folder = _git_folder(root)
        commit, branch = _read(folder) if folder else ("", "")
    except (OSError, ValueError):
        commit, branch = "", ""
    commit = commit or _first(_COMMITS, environ)
    if not branch:
        branch, ref = _first(_BRANCHES, environ), environ.get("GITHUB_REF", "")
        # Of another commit than GitHub's: the job checked out something of its own.
        if not branch and ref.startswith("refs/heads/") and environ.get("GITHUB_SHA") == commit:
            branch = ref.removeprefix("refs/heads/")
    return {"commit": commit, "branch": branch}


def _first(names: Iterable[str], environ: Mapping[str, str]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def dirty(root: Path) -> Callable[[], bool | None]:
    """Ask git whether tracked files around ``root`` differ from the commit; return what waits for its answer.

    That is ``None`` outside git, or when git is slow.
    """
    import subprocess

    options = "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"
    command = ["git", "--no-optional-locks", "status", *options]
    try:
        if _git_folder(root) is None:
            return lambda: None
        asked = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except (OSError, ValueError):
        return lambda: None

    def answer() -> bool | None:
        with asked:
            try:
                said, _ = asked.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                asked.kill()
                return None
        return None if asked.returncode else bool(said.strip())

    return answer


def _git_folder(root: Path) -> Path | None:
    for folder in (root, *root.parents):
        found = folder / ".git"
        if found.is_dir():
            return found
        if found.is_file():  # a linked work tree or a submodule says where its folder is
            return folder / found.read_text("utf-8").removeprefix("gitdir:").strip()
    return None


def _read(folder: Path) -> tuple[str, str]:
    said = (folder / "HEAD").read_text("utf-8").strip()
    if not said.startswith("ref:"):
        return said, ""
    ref = said.removeprefix("ref:").strip()
    if ref == "refs/heads/.invalid":  # of a reftable, which git alone can read
        return "", ""
    shared = folder / "commondir"  # branches of a linked work tree are in the main one's folder
    folders = [folder, folder / shared.read_text("utf-8").strip()] if shared.exists() else [folder]
    for place in folders:
        if (place / ref).is_file():
            return (place / ref).read_text("utf-8").strip(), ref.removeprefix("refs/heads/")
        if (place / "packed-refs").is_file():
            for line in (place / "packed-refs").read_text("utf-8").splitlines():
                if line.endswith(f" {ref}"):
                    return line.split()[0], ref.removeprefix("refs/heads/")
    return "", ref.removeprefix("refs/heads/")  # nothing is committed yet
