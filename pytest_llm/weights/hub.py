"""Models of the Hugging Face hub: from the local cache without the network, else downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelNotFoundError
from pytest_llm.weights.listing import SIDE_SUFFIXES

if TYPE_CHECKING:
    from pytest_llm.weights.resolve import Search

#: Configuration, tokenizer, templates, code. Weights come with them: safetensors, and never a pickle unasked.
_SMALL = [f"*{suffix}" for suffix in SIDE_SUFFIXES]
#: What transformers loads; repositories often hold the same weights again (``consolidated``, ``model.fp16``).
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*-of-*.bin"]


def snapshot(search: Search, repo: str, file: str, hint: str) -> Path:
    """Return the folder of ``repo`` at the searched revision (default ``main``). Its name is the commit.

    ``file`` is the GGUF wanted of it, if any. ``hint`` ends the message when there is no such model.

    Raises:
        ModelNotFoundError: not in the cache and not to be had, and why.
    """
    from huggingface_hub import constants

    what = "adapter" if search.adapter else "model"
    name = f"{repo}@{search.revision}" if search.revision else repo
    lacking = f"not in the Hugging Face cache ({constants.HF_HUB_CACHE})"
    try:
        found = cached(repo, search.revision, file or ("adapter_config.json" if search.adapter else "config.json"))
        if found is not None:
            try:
                if not file:
                    search.check(found)
                return found
            except ModelNotFoundError as error:  # what an interrupted or partial download leaves
                lacking = f"not complete in the Hugging Face cache ({error})"
        if not search.offline and not constants.HF_HUB_OFFLINE:
            return _download(search, repo, file)
        switch = "--llm-offline" if search.offline else "HF_HUB_OFFLINE"
        reason = f"{lacking}, and {switch} forbids a download. Run once without it"
    except Exception as error:  # the network stack raises what it likes: httpx, OSError, ValueError, ...
        reason = _explain(error, repo, search.revision, lacking)
        raise ModelNotFoundError(f"the {what} {name!r} is {reason}, or name a folder that holds it. {hint}") from error
    raise ModelNotFoundError(f"the {what} {name!r} is {reason}, or name a folder that holds it. {hint}")


def cached(repo: str, revision: str | None, probe: str) -> Path | None:
    """Return the cached snapshot folder that holds the file ``probe``."""
    from huggingface_hub import try_to_load_from_cache

    hit = try_to_load_from_cache(repo, probe, revision=revision)
    return Path(hit).parents[probe.count("/")] if isinstance(hit, str) else None


def _download(search: Search, repo: str, file: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [file] if file else _SMALL + (["adapter_model.safetensors"] if search.adapter else _WEIGHTS)
    folder = Path(snapshot_download(repo, revision=search.revision, allow_patterns=wanted))
    if search.trust_pickle and not file and not any(folder.glob("*.safetensors")):
        pickled = ["adapter_model.bin"] if search.adapter else _PICKLED
        snapshot_download(repo, revision=folder.name, allow_patterns=pickled)
    if file and not (folder / file).is_file():
        raise FileNotFoundError(f"{repo} has no file {file!r}")
    return folder


def _explain(error: Exception, repo: str, revision: str | None, lacking: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"gated. Accept its terms at https://huggingface.co/{repo} and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "unknown to the hub, or private. Check the spelling, set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"unknown: the hub's {repo} has no revision {revision!r}. Name one that it has"
    return f"{lacking}, and the hub cannot give it ({type(error).__name__}: {error}). Run once with a connection"
