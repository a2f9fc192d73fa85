"""Tiny real models, trained in seconds on text that can be learnt: a decoder, an encoder-decoder, an encoder.

Each function trains one from a fixed seed, saves it with a tokenizer of its own, and returns the folder. (mBART is left
as it was initialised: its tests are about the tokens around a text.)
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

CAPITALS = {
    "france": "paris", "italy": "rome", "spain": "madrid", "japan": "tokyo",
    "egypt": "cairo", "peru": "lima", "cuba": "havana", "kenya": "nairobi",
}  # fmt: skip
COLOURS = ("red", "blue", "green", "black", "white", "brown")
ANIMALS = ("cat", "dog", "fox", "owl", "cow", "hen")
VERBS = ("sees", "likes", "hears", "wants", "finds", "knows")

#: A small French that translates word by word, but with the adjective after its noun.
FRENCH = {
    "red": "rouge", "blue": "bleu", "green": "vert", "black": "noir", "white": "blanc", "brown": "brun",
    "cat": "chat", "dog": "chien", "fox": "renard", "owl": "hibou", "cow": "boeuf", "hen": "coq",
    "sees": "voit", "likes": "aime", "hears": "entend", "wants": "veut", "finds": "trouve", "knows": "connait",
}  # fmt: skip

#: What the classifier says of a sentence, by its verb.
FEELS = {
    "likes": "positive", "wants": "positive", "sees": "neutral", "hears": "neutral", "finds": "neutral",
    "knows": "neutral",
}  # fmt: skip

#: The questions that the extractive model answers, of the one animal in a text that has a colour.
QUESTIONS = {"what colour is it?": "{colour}", "what has a colour?": "the {colour} {animal}"}
#: Such an animal that it never saw in training.
UNSEEN = ("green", "owl")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ name | default('assistant') }}:{% endif %}"
)


def sentences() -> list[str]:
    """Every sentence of the language the decoder and the encoder learn."""
    facts = [f"the capital of {country} is {city}." for country, city in CAPITALS.items()]
    scenes = [f"the {c} {a} {v} the {b}." for c, a, v, b in itertools.product(COLOURS, ANIMALS, VERBS, ANIMALS)]
    return facts * 150 + scenes


def translations() -> list[tuple[str, str]]:
    """Every pair the encoder-decoder learns."""
    return [
        (f"le {FRENCH[a]} {FRENCH[c]} {FRENCH[v]} le {FRENCH[b]}", f"the {c} {a} {v} the {b}")
        for c, a, v, b in itertools.product(COLOURS, ANIMALS, VERBS, ANIMALS)
    ]


def train_gpt2(folder: Path, *, seed: int = 0, steps: int = 250, vocabulary: int = 400) -> Path:
    """Train a GPT-2 of 2 layers on `sentences`; it has a chat template, and no BOS in front of its texts."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(sentences(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=128
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=64, n_layer=2, n_head=4, bos_token_id=end, eos_token_id=end,
        initializer_range=0.15, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    texts = [[*tokenizer(text)["input_ids"], end] for text in sentences()]

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            stream = [token for _ in range(160) for token in rng.choice(texts)]
            ids = torch.tensor(stream[: 16 * 64]).view(16, 64)
            yield {"input_ids": ids, "labels": ids}

    return _train(lambda: GPT2LMHeadModel(config), batches, tokenizer, folder, seed=seed, steps=steps)


def train_t5(folder: Path, *, seed: int = 0, steps: int = 300) -> Path:
    """Train a T5 of 2 + 2 layers on `translations`."""
    words = sorted({word for pair in translations() for text in pair for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    pairs = translations()

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            chosen = [rng.choice(pairs) for _ in range(32)]
            source = [tokenizer(french)["input_ids"] for french, _ in chosen]
            target = [tokenizer(english)["input_ids"] for _, english in chosen]
            yield {"input_ids": torch.tensor(source), "labels": torch.tensor(target)}

    return _train(
        lambda: T5ForConditionalGeneration(config), batches, tokenizer, folder, seed=seed, steps=steps, rate=5e-3
    )


def make_mbart(folder: Path, tokenizer_class: type = MBart50Tokenizer, **rules: int) -> Path:
    """Make an mBART of 1 + 1 layers that answers in words of `FRENCH`, from English to German.

    A target of mBART-50 begins with its language. The first mBART's ends with it, and is to start from it: its
    configuration names no start. ``rules`` are fields of the model's generation_config.json.
    """
    words = [(f"▁{word}", -3.0) for word in sorted({*FRENCH, *FRENCH.values()})]
    vocabulary = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + words
    tokenizer = tokenizer_class(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE")
    start = {"decoder_start_token_id": 2} if tokenizer_class is MBart50Tokenizer else {}
    sizes = {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 32,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MBartForConditionalGeneration(
            MBartConfig(vocab_size=len(tokenizer), init_std=0.5, forced_eos_token_id=None, **sizes, **start)
        )
    model.generation_config.update(**rules)
    model.final_logits_bias.fill_(-1e3)[0, 4 : len(vocabulary)] = 0.0
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bert(*more: str) -> tuple[Any, Any]:
    """Return a tokenizer for `sentences` and ``more`` texts, and the configuration of a BERT of 2 layers."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw.train_from_iterator(
        [*sentences(), *more], trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, initializer_range=0.15, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return tokenizer, config


def train_classifier(folder: Path, *, seed: int = 0, steps: int = 100) -> Path:
    """Train a BERT of 2 layers to say of a sentence what its verb `FEELS` like."""
    tokenizer, config = _bert()
    labels = sorted(set(FEELS.values()))
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            verbs = [rng.choice(VERBS) for _ in range(32)]
            texts = [
                f"the {rng.choice(COLOURS)} {rng.choice(ANIMALS)} {verb} the {rng.choice(ANIMALS)}." for verb in verbs
            ]
            encoded = tokenizer(texts, return_tensors="pt", padding=True)
            yield {**encoded, "labels": torch.tensor([labels.index(FEELS[verb]) for verb in verbs])}

    return _train(
        lambda: BertForSequenceClassification(config), batches, tokenizer, folder, seed=seed, steps=steps, rate=5e-3
    )


def parts(text: str) -> list[tuple[int, int, str]]:
    """Return the entities of a sentence, which the token classifier learns: animals with their colour, and verbs."""
    pattern = rf"(?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join(ANIMALS)})|({'|'.join(VERBS)})"
    return [(one.start(), one.end(), "VERB" if one[1] else "ANIMAL") for one in re.finditer(pattern, text)]


def train_tagger(folder: Path, *, seed: int = 0, steps: int = 100) -> Path:
    """Train a BERT of 2 layers to find the `parts` of a sentence, or of two."""
    tokenizer, config = _bert()
    labels = ["O", "B-ANIMAL", "I-ANIMAL", "B-VERB", "I-VERB"]
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    texts = [f"the {c} {a} {v} the {b}." for c, a, v, b in itertools.product(COLOURS, ANIMALS, VERBS, ANIMALS)]

    def token_labels(text: str, offsets: list[tuple[int, int]]) -> list[int]:
        marks = [(start, end, label) for start, end, label in parts(text)]
        rows = []
        for start, end in offsets:
            mine = [(first, label) for first, last, label in marks if first <= start < end <= last]
            rows.append(labels.index(("B-" if mine[0][0] == start else "I-") + mine[0][1]) if mine else 0)
        return rows

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            chosen = [" ".join(rng.sample(texts, rng.choice((1, 2)))) for _ in range(16)]
            encoded = tokenizer(chosen, return_tensors="pt", padding=True, return_offsets_mapping=True)
            offsets = encoded.pop("offset_mapping").tolist()
            rows = [token_labels(text, some) for text, some in zip(chosen, offsets, strict=True)]
            yield {**encoded, "labels": torch.tensor(rows).masked_fill(encoded["attention_mask"] == 0, -100)}

    return _train(
        lambda: BertForTokenClassification(config), batches, tokenizer, folder, seed=seed, steps=steps, rate=5e-3
    )


def passage(rng: random.Random, animal: tuple[str, str] | None, sentences: int) -> str:
    """Return a text of so many sentences, in which this animal alone has its colour (none has, for ``None``)."""
    texts = [f"the {rng.choice(ANIMALS)} {rng.choice(VERBS)} the {rng.choice(ANIMALS)}." for _ in range(sentences)]
    if animal is not None:
        place = rng.randrange(sentences)
        texts[place] = f"the {animal[0]} {animal[1]} {rng.choice(VERBS)} the {rng.choice(ANIMALS)}."
    return " ".join(texts)


def train_extractive(folder: Path, *, seed: int = 0, steps: int = 250) -> Path:
    """Train a BERT of 2 layers to answer `QUESTIONS` about texts of up to 9 sentences: in one of five there is none."""
    tokenizer, config = _bert(*[*QUESTIONS] * 50)
    animals = [one for one in itertools.product(COLOURS, ANIMALS) if one != UNSEEN]

    def example(rng: random.Random) -> tuple[str, str, str]:
        animal = rng.choice(animals) if rng.random() < 0.8 else None
        question = rng.choice(list(QUESTIONS))
        answer = QUESTIONS[question].format(colour=animal[0], animal=animal[1]) if animal else ""
        return question, passage(rng, animal, rng.randint(1, 9)), answer

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            questions, texts, wanted = zip(*(example(rng) for _ in range(16)), strict=True)
            encoded = tokenizer(list(questions), list(texts), return_tensors="pt", padding=True)
            starts, ends = [], []
            for i, (text, answer) in enumerate(zip(texts, wanted, strict=True)):
                at = text.index(answer)
                starts.append(encoded.char_to_token(i, at, 1) if answer else 0)
                ends.append(encoded.char_to_token(i, at + len(answer) - 1, 1) if answer else 0)
            yield {**encoded, "start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)}

    return _train(
        lambda: BertForQuestionAnswering(config), batches, tokenizer, folder, seed=seed, steps=steps, rate=5e-3
    )


def train_bert(folder: Path, *, seed: int = 0, steps: int = 300) -> Path:
    """Train a BERT of 2 layers on `sentences`."""
    tokenizer, config = _bert()
    by_length: dict[int, list[list[int]]] = {}
    for text in sentences():
        ids = tokenizer(text)["input_ids"]
        by_length.setdefault(len(ids), []).append(ids)
    lengths, counts = list(by_length), [len(group) for group in by_length.values()]

    def batches(rng: random.Random) -> Iterator[dict[str, Any]]:
        while True:
            (length,) = rng.choices(lengths, counts)
            ids = torch.tensor([rng.choice(by_length[length]) for _ in range(32)])
            hidden = torch.tensor([[0 < p < length - 1 and rng.random() < 0.25 for p in range(length)] for _ in ids])
            if hidden.any():
                yield {
                    "input_ids": ids.masked_fill(hidden, tokenizer.mask_token_id),
                    "labels": ids.masked_fill(~hidden, -100),
                }

    return _train(lambda: BertForMaskedLM(config), batches, tokenizer, folder, seed=seed, steps=steps, rate=5e-3)


def _train(
    make: Callable[[], Any],
    batches: Callable[[random.Random], Iterator[dict[str, Any]]],
    tokenizer: Any,
    folder: Path,
    *,
    seed: int,
    steps: int,
    rate: float = 3e-3,
) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small products lose more to a second thread than they gain
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
        model.train()
        for batch in itertools.islice(batches(random.Random(seed)), steps):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
            schedule.step()
    torch.set_num_threads(threads)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def retrain(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights of a saved model in place."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
