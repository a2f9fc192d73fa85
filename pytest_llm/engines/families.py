"""What a configuration says of its model: what it can do, how many tokens it can attend to, and how many it knows."""

from __future__ import annotations

import sys
from typing import Any, Literal

from pytest_llm.engines import ropes

Family = Literal["decoder", "encoder-decoder", "masked", "classifier", "tagger", "extractive", "encoder"]

#: The auto class that loads each family.
AUTO_CLASSES: dict[Family, str] = {
    "decoder": "AutoModelForCausalLM",
    "encoder-decoder": "AutoModelForSeq2SeqLM",
    "masked": "AutoModelForMaskedLM",
    "classifier": "AutoModelForSequenceClassification",
    "tagger": "AutoModelForTokenClassification",
    "extractive": "AutoModelForQuestionAnswering",
    "encoder": "AutoModel",
}
#: Families that answer by a fine-tuned head, and where transformers lists the architectures that have it.
_HEADS: dict[Family, str] = {
    "classifier": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "tagger": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "extractive": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}
#: What each family can answer.
_ABLE: dict[Family, frozenset[str]] = {
    "decoder": frozenset({"generate", "loss", "logprobs", "score", "embed", "activations", "tokenize"}),
    "encoder-decoder": frozenset({"generate", "loss", "score", "embed", "activations", "tokenize"}),
    "classifier": frozenset({"classify", "embed", "activations", "tokenize"}),
    "tagger": frozenset({"tag", "embed", "activations", "tokenize"}),
    "extractive": frozenset({"extract", "embed", "activations", "tokenize"}),
    "masked": frozenset({"loss", "fill_mask", "embed", "activations", "tokenize"}),
    "encoder": frozenset({"embed", "activations", "tokenize"}),
}
#: What an XLNet has no answer to: it reads a text both ways, and would see what it is to predict.
_LIKELIHOODS = frozenset({"loss", "logprobs", "score"})


def architectures(family: Family) -> dict[str, str]:
    """Return the architecture that each type of model has with the head of ``family``."""
    from transformers.models.auto import modeling_auto as auto

    names: dict[str, str] = getattr(auto, _HEADS[family])
    return names


def family_of(config: Any) -> Family:
    """Say what a configuration's model can do, from the architecture its weights were saved with."""
    from transformers.models.auto import modeling_auto as auto

    causal, masked = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    architecture = next(iter(getattr(config, "architectures", None) or ()), "")
    remote = getattr(config, "auto_map", None) or {}
    if architecture.endswith("EncoderModel"):
        return "encoder"
    # A model with code of its own names its class for each head that there is.
    own = {auto_class: str(name).rpartition(".")[2] for auto_class, name in remote.items()}
    for family in _HEADS:
        if architecture and architecture in (own.get(AUTO_CLASSES[family]), *architectures(family).values()):
            return family
    if config.is_encoder_decoder:
        return "encoder-decoder"
    if not architecture:
        return "decoder" if config.model_type in causal and config.model_type not in masked else "encoder"
    if architecture in causal.values() and architecture in masked.values():  # XLM's one class is both
        return "decoder" if getattr(config, "causal", False) else "masked"
    if architecture in causal.values() or "AutoModelForCausalLM" in remote:
        return "decoder"
    if architecture in masked.values() or "AutoModelForMaskedLM" in remote:
        return "masked"
    if architecture.endswith("ForConditionalGeneration") and config.model_type in causal:  # its decoder, without images
        return "decoder"
    return "encoder"


def able(config: Any) -> frozenset[str]:
    """Return the kinds of questions that a configuration's model can answer."""
    known = _ABLE[family_of(config)]
    return known - _LIKELIHOODS if config.model_type == "xlnet" else known


def why_not(kind: str, config: Any) -> str:
    """Return what else there is to say, in parentheses, where a model cannot answer a question of this kind."""
    from transformers.models.auto import modeling_auto as auto

    architecture = next(iter(getattr(config, "architectures", None) or ()), "")
    if kind in _LIKELIHOODS and config.model_type == "xlnet":
        return " (an XLNet reads a text both ways, and would see what it is to predict)"
    if kind == "logprobs":
        return " (logprobs() and check_distribution() are for decoders)"
    if kind == "extract" and f"{architecture}Simple" in auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES.values():
        return f" (answer() does not search with beams, as this one's head does: it is for {architecture}Simple)"
    head = {"classify": "sequence-classification", "tag": "token-classification", "extract": "question-answering"}
    return f" ({method(kind)}() is for models with a {head[kind]} head)" if kind in head else ""


def method(kind: str) -> str:
    """Return the name of the method that asks questions of a kind."""
    return "answer" if kind == "extract" else kind


def vocabulary(config: Any) -> int:
    """Return how many tokens the model has an embedding for by its configuration, as far as that says."""
    size = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) else sys.maxsize


def context_length(config: Any, model: Any = None, *, encoder: bool = False) -> int | None:
    """Return how many tokens the model can attend to, ``None`` if it has no such limit (T5).

    Of an encoder-decoder it is what its decoder can, or its ``encoder``. With ``model``, position embeddings that lose
    rows to padding (RoBERTa) are counted as they are.
    """
    text = config.get_text_config(decoder=True)
    if encoder:
        text = getattr(config, "encoder", text)
    limit: int | None = getattr(text, "max_position_embeddings", None)
    if config.model_type == "led":  # whose windows make the two differ
        limit = getattr(config, f"max_{'encoder' if encoder else 'decoder'}_position_embeddings")
    limit = int(limit * ropes.factor(text)) if isinstance(limit, int) and limit > 0 else None
    if model is not None and family_of(config) == "encoder-decoder":
        model = model.get_encoder() if encoder else model.get_decoder()
    for name, module in model.named_modules() if model is not None else ():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None and limit is not None:
            return min(limit, int(module.weight.shape[0] - padding - 1))
    return limit
