"""Finding weights: a name in a test, a folder on this disk. Imports neither torch nor transformers."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.reports.text import did_you_mean
from pytest_llm.weights.checks import check_adapter, check_model, offer_ggufs
from pytest_llm.weights.listing import named_code
from pytest_llm.weights.spec import SERVICE, ModelSpec, Weights

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)

_FORMS = (
    "a folder, a .gguf file, folder#file.gguf, pkg:MODULE/FILE (inside an installed package) or a Hugging Face id of "
    "the form org/name"
)


def resolve(spec: ModelSpec, *, root: Path, offline: bool = False) -> Weights:
    """Find the weights of ``spec`` and of its adapter; a service (``openai:NAME``) is not asked whether it has them.

    Relative paths are looked up under ``root``, then under the working folder. A path goes before a hub id of the same
    name. A hub revision that is in the local Hugging Face cache is used as it is, without the network; another one is
    downloaded unless ``offline`` or ``HF_HUB_OFFLINE`` forbids it. ``spec.revision`` means nothing to a path.

    Raises:
        ModelNotFoundError: there is no such model, it lacks a file, or it cannot be read without a flag.
    """
    if spec.base_url is not None:
        return Weights(spec.source, Path(), spec.revision or "", service=spec.source.removeprefix(SERVICE))
    try:
        weights = Search(spec.source, spec.revision, root, offline, spec.trust_pickle).weights()
        if spec.adapter is not None:
            adapter = Search(spec.adapter, None, root, offline, spec.trust_pickle, adapter=True).weights()
            weights = dataclasses.replace(weights, adapter=adapter.folder, adapter_source=adapter.source)
        return dataclasses.replace(weights, code=_code(weights)) if spec.trust_remote_code else weights
    except OSError as error:  # no permission, a name too long for the disk, a loop of links
        raise ModelNotFoundError(f"the model {spec.source!r} cannot be read: {error}.") from error


@dataclasses.dataclass(frozen=True)
class Search:
    """One name to find, a model's or an adapter's, and what is allowed on the way."""

    source: str
    revision: str | None
    root: Path
    offline: bool
    trust_pickle: bool
    adapter: bool = False

    def weights(self) -> Weights:
        """Return what the name stands for."""
        source = self.source
        if source.startswith("pkg:"):
            return self._at(_package_path(source), source)
        path = self._existing(source)
        if path is not None:
            return self._at(path, _portable(source, path, self.root))
        name, _, file = source.rpartition("#") if "#" in source else (source, "", "")
        folder = self._existing(name)
        if folder is not None:
            if not (file.endswith(".gguf") and (folder / file).is_file()):
                raise ModelNotFoundError(f"there is no GGUF file {file!r} in {folder}.{offer_ggufs(folder)}")
            return Weights(f"{_portable(name, folder, self.root)}#{file}", folder, gguf=file)
        if _HUB_ID.fullmatch(name) and not name.endswith(".gguf"):
            from pytest_llm.weights.hub import snapshot

            folders = " or ".join(dict.fromkeys([str(self.root), str(Path.cwd())]))
            folder = snapshot(self, name, file, hint=f"There is no folder {name!r} in {folders}{self._similar(name)}")
            return Weights(source, folder, folder.name, file or self.check(folder))
        raise self._unknown(name)

    def check(self, folder: Path) -> str:
        """Return the GGUF to load from ``folder``, ``""`` for none; raise if the folder cannot be loaded."""
        if not self.adapter:
            return check_model(folder, self.source, self.trust_pickle)
        check_adapter(folder, self.source, self.trust_pickle)
        return ""

    def _at(self, path: Path, source: str) -> Weights:
        """Make weights of an existing folder or .gguf file."""
        if path.is_dir():
            return Weights(source, path, gguf=self.check(path))
        if path.suffix == ".gguf" and not self.adapter:
            return Weights(source, path.parent, gguf=path.name)
        raise ModelNotFoundError(f"{source!r} is a file that cannot be loaded by itself: name its folder.")

    def _existing(self, name: str) -> Path | None:
        return next((found for found in self._places(name) if found.exists()), None) if name.strip() else None

    def _places(self, name: str) -> list[Path]:
        path = Path(name).expanduser()
        # Joining leaves an absolute path what it is.
        return list(dict.fromkeys([self.root / path, Path.cwd() / path]))

    def _unknown(self, name: str) -> ModelNotFoundError:
        what = "adapter" if self.adapter else "model"
        places = self._places(name)
        if name.endswith(".gguf"):
            missing = " and ".join(map(str, places)) + (" are missing." if places[1:] else " is missing.")
            return ModelNotFoundError(f"there is no GGUF file {name!r}: {missing}{offer_ggufs(places[0].parent)}")
        folders = ", and no ".join(map(str, places))
        forms = "a folder, pkg:MODULE/FOLDER or such an id" if self.adapter else _FORMS
        return ModelNotFoundError(
            f"unknown {what} {name!r}: there is no folder {folders}{self._similar(name)} It is not a Hugging "
            f"Face id of the form org/name either. Name {forms}."
        )

    def _similar(self, name: str) -> str:
        path = self.root / Path(name).expanduser()
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        return did_you_mean(path.name, names, ".")


def _code(weights: Weights) -> tuple[Path, ...]:
    """Return the folders of the code that ``auto_map`` names, which transformers runs when it is trusted."""
    folders: dict[Path, None] = {}
    for folder in filter(None, (None if weights.gguf else weights.folder, weights.adapter)):
        for place, files in sorted(named_code(folder).items()):
            folders[_place_of_code(place, files, weights.source) if place else folder] = None
    return tuple(folders)


def _place_of_code(place: str, files: set[str], source: str) -> Path:
    """Return the folder that ``place`` stands for: a path from where we are, as transformers has it, or a hub id."""
    from pytest_llm.weights.hub import cached

    found: Path | None = Path(place).absolute()
    if not Path(place).is_dir():
        found = next(filter(None, (cached(place, None, file) for file in files if _HUB_ID.fullmatch(place))), None)
    if found is None:
        raise ModelNotFoundError(
            f"the model {source!r} runs code of {place!r} ({', '.join(sorted(files))}), as its auto_map says, and that "
            f"is no folder, and not in the Hugging Face cache. Download it once: hf download {place}. Or copy the .py "
            f"files beside the weights, and take '{place}--' out of the auto_map."
        )
    return found


def _package_path(source: str) -> Path:
    """Return the path of ``pkg:MODULE/PATH`` (or ``pkg:MODULE#FILE``), without importing the module.

    Only the top-level name goes to `importlib.util.find_spec`: for a dotted one it would import the parents.
    """
    module, _, inside = source.removeprefix("pkg:").replace("#", "/").partition("/")
    top, *below = module.split(".")
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ModelNotFoundError(
            f"{source!r}: no package {top!r} is installed. Install the distribution that brings it, probably: "
            f"pip install {top.replace('_', '-')}"
        )
    folders = [Path(location).joinpath(*below) for location in found.submodule_search_locations or ()]
    for folder in folders:  # a namespace package is in several places
        if (folder / inside).exists():
            return folder / inside
    offers = "".join(offer_ggufs((folder / inside).parent) for folder in folders)
    raise ModelNotFoundError(f"{source!r}: the package {module!r} holds no {inside!r}.{offers}")


def _portable(given: str, path: Path, root: Path) -> str:
    """Return ``given`` without what belongs to this machine only."""
    if not Path(given).expanduser().is_absolute():
        return Path(given).as_posix()
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name or path.as_posix()
