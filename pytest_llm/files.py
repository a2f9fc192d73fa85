"""Writing files so that nothing is lost, and naming them so that nothing escapes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Half of a surrogate pair: what is left in a ``str`` of bytes or JSON cut in the middle of a character. No UTF-8.
SURROGATE = re.compile("[\ud800-\udfff]")
#: Bytes of the name of a file of ours.
_LONGEST = 120
#: Temporary files of `write_atomic`, and the seconds after which no write of one is under way any more.
_TEMPORARY, _LEFT = re.compile(r"\..{1,40}\.[0-9a-f]{16}\.tmp"), 3600.0
_UNSAFE = re.compile(r"[^\w\[\]=,.+-]")
#: Seconds to wait for who holds a folder, and the folders that were held for longer, by none of us.
PATIENCE = 10.0
_TAKEN: set[Path] = set()


def whole(text: str) -> str:
    """Return ``text`` with U+FFFD in the place of each half of a surrogate pair."""
    return SURROGATE.sub("\ufffd", text)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content``: a reader sees the old file or the new one, never a part.

    A symbolic link stays one: the file it leads to is replaced. A device or a pipe is written to. The file gets the
    permissions the umask gives, as ``mkstemp`` would not: 0600 locks colleagues out of a shared cache.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sweep(folder: Path) -> None:
    """Remove what writes to ``folder`` that were killed left there."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 (a path for each of ten thousand goldens takes long)
            if name.endswith(".tmp") and _TEMPORARY.fullmatch(name):
                _remove_if_left(folder / name)


def _remove_if_left(file: Path) -> None:
    with contextlib.suppress(OSError):
        if time.time() - file.lstat().st_mtime > _LEFT:
            file.unlink()


def contents(path: Path) -> bytes:
    """Return what a file holds, in half of the system calls of `Path.read_bytes`: a run reads thousands."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def leads_out(path: Path, *folders: Path) -> str:
    """Return where ``path`` leads if it is a symbolic link out of ``folders``, which may be links themselves."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else None
    inside = target is None or any(target.is_relative_to(os.path.realpath(folder)) for folder in folders)
    return "" if inside else str(target)


@contextlib.contextmanager
def locked(lock: Path, timeout: float = 600.0, *, folder: Path | None = None) -> Iterator[None]:
    """Hold ``lock`` (a path of its own, kept out of the user's tree) against other processes.

    With ``folder``, those whose locks lie in another cache wait, too, where a system and its disk lock folders.
    """
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(lock), timeout=timeout), contextlib.ExitStack() as held:
        if folder is not None:
            with contextlib.suppress(ImportError, OSError):  # Windows; NFS
                _hold(folder, held)
        yield


@contextlib.contextmanager
def locked_where_possible(lock: Path, *, folder: Path | None = None) -> Iterator[None]:
    """Hold ``lock``, in a folder of the cache, as `locked` does; none where the cache cannot be written."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, folder=folder))
        except OSError as error:
            if isinstance(error, TimeoutError) or os.access(lock.parent.parent, os.W_OK):
                raise
        yield


def _hold(folder: Path, held: contextlib.ExitStack) -> None:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    held.callback(os.close, descriptor)
    end = time.monotonic() + PATIENCE * (folder not in _TAKEN)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:  # none of us: the run may have been started under this very lock
                _TAKEN.add(folder)
                return
            time.sleep(0.01)


def canonical_json(value: Any) -> str:
    """Return the one spelling of ``value``: sorted keys, no spaces, UTF-8; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def strict_json(text: str) -> Any:
    """Parse JSON that reads as one thing only: no NaN, and no key twice in one object.

    Raises:
        ValueError, RecursionError: it is none; the message says why.
    """
    return _STRICT.decode(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return data


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refused)


def digest_of(value: Any) -> str:
    """Return the sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def key_orders(value: Any) -> list[list[str]]:
    """Return the keys of every dict in ``value`` that has several, as they stand: what `canonical_json` leaves out."""
    if not isinstance(value, (dict, list, tuple)):
        return []
    own = [list(value)] if isinstance(value, dict) and len(value) > 1 else []
    return own + [order for one in (value.values() if isinstance(value, dict) else value) for order in key_orders(one)]


def path_tag(path: Path) -> str:
    """Return a short name for a path on this machine, for what is kept about it in the cache."""
    return hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def placed(path: str | Path) -> str:
    """Return the one name of a file that several paths lead to: its folder without links. ``path`` is absolute."""
    folder, name = os.path.split(path)
    return os.path.join(_real_folder(folder), name)  # noqa: PTH118 (once for each golden of a run)


_real_folder = functools.lru_cache(maxsize=1024)(os.path.realpath)


def shown_path(path: Path, root: Path) -> str:
    """Return ``path`` from ``root``, or as it is where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def safe_name(name: str) -> str:
    """Return a file name for ``name`` that no two names share and that stays inside its folder.

    A name that had to be changed, or that is over-long, carries a hash of the original. Case counts:
    on a case-insensitive disk ``test_A`` and ``test_a`` would share a file, so upper case is hashed too. So is what
    macOS takes for another name: NFD for NFC, a final sigma for a sigma.
    """
    plain = _UNSAFE.sub("_", name)
    plain = plain.strip(".") or "_"
    if plain == name == _folded(name) and len(name.encode()) <= _LONGEST:
        return name
    tag = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    cut = plain.encode()[: _LONGEST - 11].decode("utf-8", "ignore")
    return f"{cut}~{tag}"


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
