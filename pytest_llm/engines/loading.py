"""Loading a tokenizer, a model and an adapter from a local folder, quietly and without the network."""

from __future__ import annotations

import contextlib
import functools
import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm.engines import ropes
from pytest_llm.engines.adapters import head, held_by, with_adapter
from pytest_llm.engines.families import AUTO_CLASSES, architectures, family_of
from pytest_llm.environment import resolve_device
from pytest_llm.errors import LLMError, ModelNotFoundError
from pytest_llm.reports.text import one_line, visible
from pytest_llm.weights.listing import has_template, has_tokenizer

if TYPE_CHECKING:
    from pytest_llm.weights.spec import ModelSpec

Loaded = TypeVar("Loaded", bound="Callable[..., Any]")

#: Fields of a model's own GenerationConfig that are rules about its tokens. The rest are search parameters,
#: which belong to the request alone.
TOKEN_RULES = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' log, warnings and progress bars inside the block, and nothing outside it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    level, bars, hub_bars = (
        logging.get_verbosity(), logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()


@contextlib.contextmanager
def _explained(what: str, spec: ModelSpec) -> Iterator[None]:
    """Turn whatever loading can raise into "could not measure", with its cause."""
    try:
        with quiet():
            yield
    except LLMError:
        raise
    except Exception as error:  # anything: loading runs third-party code over untrusted files
        hint = ""
        if "safetensors" in str(error) and not spec.trust_pickle:
            hint = "; if its weights are pickled (.bin), convert them or set llm_trust_pickle, which can run their code"
        elif "trust_remote_code" in str(error):
            hint = "; set llm_trust_remote_code to run it"
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ModelNotFoundError(f"cannot load the {what} of {spec.source!r}: {reason}{hint}") from error


def _uncollected(load: Loaded) -> Loaded:
    """Let ``load`` run without garbage collections.

    It imports hundreds of modules, which are no garbage, and to look for some among them again and again takes a fifth
    of its time. Where it is the first here to import torch, no later collection looks at what is alive then either:
    nobody's model is among that, as there was none.
    """

    @functools.wraps(load)
    def wrapper(*args: Any, **options: Any) -> Any:
        first, enabled = "torch" not in sys.modules, gc.isenabled()
        gc.disable()
        try:
            return load(*args, **options)
        finally:
            if first:
                gc.freeze()
            if enabled:
                gc.enable()

    return wrapper  # type: ignore[return-value]


@_uncollected
def load_config(folder: Path, spec: ModelSpec, adapter: Path | None = None) -> Any:
    """Return the model's configuration: with an adapter that brings a head, that of the classifier it makes.

    Raises:
        ModelNotFoundError: it is missing or cannot be read.
    """
    from transformers import AutoConfig

    with _explained("configuration", spec):
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=spec.trust_remote_code
        )
        named = getattr(config, "architectures", None)
        if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
            raise TypeError(f"architectures in config.json is {named!r}, and should be a list of names")
        brought = head(adapter)
        if brought is not None and family_of(config) != brought[0]:
            family, config.num_labels = brought
            config.architectures = [architectures(family)[config.model_type]]
    return config


@_uncollected
def load_tokenizer(folder: Path, spec: ModelSpec, adapter: Path | None = None) -> Any:
    """Return the tokenizer, the adapter's own before the model's, as is its chat template; no weights are read.

    Raises:
        ModelNotFoundError: it is missing, knows no text, or cannot be read.
    """
    from transformers import AutoTokenizer

    own = adapter if adapter is not None and has_tokenizer(adapter) else folder
    with _explained("tokenizer" if own is folder else f"tokenizer of the adapter {spec.adapter!r}", spec):
        tokenizer = AutoTokenizer.from_pretrained(
            str(own), local_files_only=True, trust_remote_code=spec.trust_remote_code
        )
        if adapter is not None and has_template(adapter):
            tokenizer.chat_template = (adapter / "chat_template.jinja").read_text("utf-8")
        # Without files of a vocabulary transformers makes many tokenizers all the same (GPT-2, Qwen, BERT).
        special = {*tokenizer.all_special_tokens, "▁"}
        if len(tokenizer) < 2 * len(special) and tokenizer.get_vocab().keys() <= special:
            raise ValueError(f"{own} holds no vocabulary; put there what the tokenizer's save_pretrained writes")
        if not isinstance(tokenizer.model_max_length, (int, float)):
            raise TypeError(f"model_max_length is {tokenizer.model_max_length!r}, and should be a number")
    return tokenizer


@_uncollected
def load_model(folder: Path, spec: ModelSpec, adapter: Path | None, config: Any) -> Any:
    """Return the model in evaluation mode, its ``generation_config`` reduced to `TOKEN_RULES`.

    Weights saved in ``spec.dtype`` stay memory-mapped: nothing here copies them.

    Raises:
        ModelNotFoundError: weights are missing, incomplete, corrupt or pickled without leave.
        MissingExtraError: there is an adapter and ``peft`` is not installed.
    """
    import torch
    import transformers

    family = family_of(config)
    name = AUTO_CLASSES[family]
    if family == "encoder" and config.is_encoder_decoder:
        name = "AutoModelForTextEncoding"
    with _explained("weights", spec):
        model, report = getattr(transformers, name).from_pretrained(
            str(folder),
            config=config,
            dtype=getattr(torch, spec.dtype),
            # transformers' own choice is sdpa too, or eager for the few models without it, which would refuse.
            attn_implementation=None if spec.attn_implementation == "sdpa" else spec.attn_implementation,
            local_files_only=True,
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=None if spec.trust_pickle else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them, where an error would not
        )
        for key, found, wanted in sorted(report["mismatched_keys"]):
            raise ModelNotFoundError(
                f"the weights of {spec.source!r} do not fit its config.json: {key} is {list(found)} in the file and "
                f"{list(wanted)} by the configuration. Take the config.json that was saved with the weights."
            )
        # Freshly initialised weights would answer at random. A pooler is read by classifiers only.
        missing = sorted(
            key
            for key in set(report["missing_keys"]) - held_by(adapter)
            if family == "classifier" or "pooler" not in key
        )
        if missing:
            raise ModelNotFoundError(
                f"the weights of {spec.source!r} are incomplete for {type(model).__name__}: "
                f"{len(missing)} tensors are missing ({', '.join(missing[:3])}, ...)"
            )
        unused = _unused(report["unexpected_keys"], model)
        stray: list[str] = []
        if adapter is not None:
            with _explained(f"adapter {spec.adapter!r} on the weights", spec):
                model, stray = with_adapter(model, adapter, spec)
        model = model.to(resolve_device(spec.device)).eval().requires_grad_(False)
        if family in ("decoder", "encoder-decoder"):
            own = model.generation_config
            rules = {name: _rule(name, getattr(own, name, None)) for name in TOKEN_RULES}
            model.generation_config = transformers.GenerationConfig(**rules)
        ropes.forget_lengths(model)
        layer = model.get_output_embeddings()
        if layer is not None:
            layer.register_forward_pre_hook(_contiguous)
    if unused:
        warnings.warn(
            f"pytest_llm: {len(unused)} tensors in the weights of {spec.source!r} are used by nothing in "
            f"{type(model).__name__} ({visible(', '.join(unused[:3]))}, ...): they belong to a LoRA that was not "
            "merged, or to layers that config.json does not have",
            stacklevel=2,
        )
    if stray:
        warnings.warn(
            f"pytest_llm: {len(stray)} tensors of the adapter {spec.adapter!r} are used by nothing in {spec.source!r} "
            f"({', '.join(stray[:3])}, ...): it was trained on another model",
            stacklevel=2,
        )
    return model


def _rule(name: str, rule: Any) -> Any:
    """Return a rule about tokens, ``None`` for an empty one; raise where it is no id and no list of them."""

    def ids(one: Any) -> bool:
        return all(map(ids, one)) if isinstance(one, (list, tuple)) else isinstance(one, int) and abs(one) < 2**63

    if rule is not None and not ids(rule):
        raise TypeError(f"{name} in generation_config.json is {rule!r}, and should be the id of a token or a list")
    return None if rule == [] else rule


def _unused(unexpected: Iterable[str], model: Any) -> list[str]:
    """Return those tensors of a file that are part of the model's own layers, and no head of another task."""
    prefix = f"{model.base_model_prefix}."

    def layer(name: str) -> str:
        return re.sub(r"\d+", "*", name.removeprefix(prefix)).removesuffix(".bias").removesuffix(".weight")

    own = {layer(name) for name in model.state_dict()}
    return sorted(name for name in unexpected if "lora_" in name or layer(name) in own)


def _contiguous(layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lay the input of the output layer out anew: of a slice, torch makes as many products as there are rows."""
    return (args[0].contiguous(), *args[1:])
