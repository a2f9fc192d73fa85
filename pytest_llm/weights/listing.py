"""Which files of a model folder decide an answer: the weights transformers would load, and what stands beside them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llm.errors import InvalidInputError, ModelNotFoundError

#: Root files that configure a model or its tokenizer. Vocabularies have many names (``vocab.txt``, ``spiece.model``,
#: ``source.spm``, ``qwen.tiktoken``, ``prophetnet.tokenizer``), so they are taken by suffix: a file too many costs a
#: recomputation, a file too few a wrong answer from the store. ``.py`` is a model's own code.
SIDE_SUFFIXES = (
    ".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".vocab", ".bpe", ".codes", ".tokenizer", ".py",
)  # fmt: skip
#: Left behind by trainers and authors; nothing reads them to answer.
_IGNORED = ("readme", "license", "requirements", "trainer_state", "all_results", "train_results", "eval_results")

#: How a sentence-transformers model says that it pools, as ``embed()`` calls it.
_POOLING = {
    **{"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"},
    **{"mean": "mean", "cls": "cls", "lasttoken": "last"},
}

_POINTER = b"version https://git-lfs.github.com/spec/"

#: Where a model names the classes that load it.
CONFIGS = ("config.json", "tokenizer_config.json")
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def refuse_pointer(path: Path) -> None:
    """Refuse what git-lfs leaves in a checkout in the place of a large file that it did not fetch.

    Raises:
        ModelNotFoundError: the file is such a pointer.
    """
    with contextlib.suppress(OSError), path.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ModelNotFoundError(f"{path} is a pointer of git-lfs, not the file itself: run 'git lfs pull' there.")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises:
        ModelNotFoundError: the file cannot be read or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        refuse_pointer(path)
        raise ModelNotFoundError(f"{path} cannot be read: {error}. Copy the model again.") from error
    if not isinstance(value, dict):
        raise ModelNotFoundError(f"{path} holds no JSON object. Copy the model again.")
    return value


def index_file(folder: Path) -> str:
    """Return the name of the shard index that `weight_files` follows, or ``""``.

    Raises:
        ModelNotFoundError: the config names weights that are not there.
    """
    explicit = _explicit(folder)
    if explicit:
        return explicit if explicit.endswith(".index.json") else ""
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (folder / single).is_file():
            return ""
        if (folder / f"{single}.index.json").is_file():
            return f"{single}.index.json"
    return ""


def weight_files(folder: Path) -> list[str]:
    """Return the weight files transformers loads from ``folder``, in its order of preference; ``[]`` if there are none.

    A file named by ``transformers_weights`` in the config, ``model.safetensors``, its shards, ``pytorch_model.bin``,
    its shards.

    Raises:
        ModelNotFoundError: the config or the index names weights that are not there.
    """
    index, explicit = index_file(folder), _explicit(folder)
    if not index and explicit:
        return [explicit]
    if not index:
        return [name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()][:1]
    shards = read_json(folder / index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelNotFoundError(f"{folder / index} names no weights. Copy the model again.")
    return _present(folder, list(shards.values()), index)


def side_files(folder: Path) -> list[str]:
    """Return the configuration, tokenizer, template and code files of ``folder``, as sorted relative names.

    With them come the parts of a sentence-transformers model (pooling, dense layers) that ``modules.json`` names.

    Raises:
        ModelNotFoundError: ``modules.json`` cannot be read, or leads out of ``folder``.
    """
    names = [
        entry.name
        for entry in folder.iterdir()
        if entry.suffix in SIDE_SUFFIXES and not entry.name.lower().startswith(_IGNORED) and entry.is_file()
    ]
    parts = ["additional_chat_templates"]
    parts += [module["path"] for module in _modules(folder) if module["path"] != "."]
    for part in parts:
        if (folder / part).is_dir():
            names += [f"{part}/{entry.name}" for entry in (folder / part).iterdir() if entry.is_file()]
    return sorted(names)


def named_code(folder: Path) -> dict[str, set[str]]:
    """Return the files of code that ``auto_map`` names by the place where they lie, ``""`` for ``folder`` itself.

    Raises:
        ModelNotFoundError: what the folder says of it cannot be read.
    """
    named = [read_json(path).get("auto_map") for name in CONFIGS if (path := folder / name).is_file()]
    found: dict[str, set[str]] = {}
    while named:
        one = named.pop()
        if isinstance(one, str):
            place, _, name = one.rpartition("--")
            found.setdefault(place, set()).add(f"{name.partition('.')[0]}.py")
        elif isinstance(one, (dict, list)):  # of a tokenizer the slow class and the fast one, or none
            named += one.values() if isinstance(one, dict) else one
    return found


def own_pooling(folder: Path) -> str:
    """Return how a sentence-transformers model makes one vector of a text's; ``mean`` for any other model.

    Raises:
        ModelNotFoundError: what the folder says of it cannot be read.
        InvalidInputError: it is made by layers or ways that ``embed()`` does not have.
    """
    own = "mean"
    for module in _modules(folder):
        kind = _kind(module)
        if kind == "Pooling":
            config = read_json(folder / module["path"] / "config.json")
            ways = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
            own = _POOLING.get(ways[0] if len(ways) == 1 else str(config.get("pooling_mode")), "")
            own = "" if config.get("include_prompt") is False and default_prompt(folder) else own
        if kind not in ("Transformer", "Pooling", "Normalize", "Dropout") or not own:
            raise InvalidInputError(
                f"{folder.name}: its embeddings are made with {kind!r} in a way that embed() cannot: "
                "choose pooling='mean', 'cls' or 'last', to be told of changes of the layers before"
            )
    return own


def own_length(folder: Path) -> int | None:
    """Return how many tokens a sentence-transformers model embeds; ``None`` where it does not say, and for any other.

    Raises:
        ModelNotFoundError: what the folder says of it cannot be read.
    """
    limit = _reading(folder).get("max_seq_length")
    return limit if isinstance(limit, int) and limit > 0 else None


def lowers_case(folder: Path) -> bool:
    """Whether a sentence-transformers model reads its texts in lower case, whatever its tokenizer does.

    Raises:
        ModelNotFoundError: what the folder says of it cannot be read.
    """
    return _reading(folder).get("do_lower_case") is True


def default_prompt(folder: Path) -> str:
    """Return what a sentence-transformers model reads before every text; ``""`` is nothing, as of any other.

    Raises:
        ModelNotFoundError: what the folder says of it cannot be read.
    """
    file = folder / "config_sentence_transformers.json"
    said = read_json(file) if _modules(folder) and file.is_file() else {}
    name, prompts = said.get("default_prompt_name"), said.get("prompts")
    prompt = prompts.get(name) if name is not None and isinstance(prompts, dict) else None
    return prompt if isinstance(prompt, str) else ""


def adapter_files(folder: Path) -> list[str]:
    """Return the files of a LoRA adapter: configuration, weights (safetensors preferred), tokenizer and template."""
    names = {"adapter_config.json", *[name for name in ADAPTER_WEIGHTS if (folder / name).is_file()][:1]}
    if has_tokenizer(folder) or has_template(folder):
        names.update(side_files(folder))
    return sorted(names)


def has_tokenizer(adapter: Path) -> bool:
    """Whether an adapter was saved with a tokenizer, which may know more tokens than that of its base."""
    return (adapter / "tokenizer_config.json").is_file()


def has_template(adapter: Path) -> bool:
    """Whether an adapter was saved with a chat template in a file."""
    return (adapter / "chat_template.jinja").is_file()


def _modules(folder: Path) -> list[dict[str, Any]]:
    """Return the parts of a sentence-transformers model, each with the ``path`` of its folder; none of any other."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        modules = [{**module} for module in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error!r}.") from error
    for module in modules:
        place = module.get("path") or "."
        # As of weights, below: a converted model has its parts at the same path, which must not lead elsewhere.
        if not isinstance(place, str) or Path(place).anchor or ".." in Path(place).parts:
            raise ModelNotFoundError(f"{path} names the folder {place!r}, which is none inside the model.")
        module["path"] = Path(place).as_posix()
    return modules


def _reading(folder: Path) -> dict[str, Any]:
    """Return how a sentence-transformers model reads its texts; nothing where it does not say, and of any other."""
    for module in _modules(folder):
        file = folder / module["path"] / "sentence_bert_config.json"
        if _kind(module) == "Transformer" and file.is_file():
            return read_json(file)
    return {}


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _explicit(folder: Path) -> str:
    config = folder / "config.json"
    name = read_json(config).get("transformers_weights") if config.is_file() else None
    return _present(folder, [name], "config.json")[0] if name else ""


def _present(folder: Path, names: list[Any], index: str) -> list[str]:
    """Return ``names`` sorted, each once."""
    wrong = [name for name in names if not isinstance(name, str)]
    for name in wrong or sorted(set(names)):
        # A name from a downloaded file is also a name we write to when converting: it may not lead elsewhere.
        if wrong or Path(name).name != name or not (folder / name).is_file():
            raise ModelNotFoundError(f"{folder / index} names the weight file {name!r}, which is not there.")
    return sorted(set(names))
