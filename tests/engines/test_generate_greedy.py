"""Greedy decoding and beams: what comes out equals ``model.generate``, whatever is beside it in the batch."""

from __future__ import annotations

from datetime import datetime

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from pytest_llm.engines import choosing, kvcache
from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Generate
from tests.engines.conftest import answers, engine_for, first

PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little robot who",
    "def fibonacci(n):\n",
    "Water boils at",
    "List three fruits:\n1.",
    "The quick brown fox",
    "In 1969, astronauts first",
    "Q: What is 2 + 2?\nA:",
    "My favourite book is",
    "Photosynthesis is the process by which plants, algae and some bacteria turn",
    "import numpy as np\n",
    "Roses are red,",
    "The largest planet in the solar system is",
    "To make tea, first",
    "Shakespeare wrote",
    "A triangle has",
]
TINY = ["the capital of japan is", "the red", "the blue cat", "the", "the white owl knows the"]


def plain(folder, prompts, auto=AutoModelForCausalLM, **arguments):
    """What transformers answers, one prompt at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**inputs, **arguments)
        start = inputs["input_ids"].shape[1] if auto is AutoModelForCausalLM else 1
        found += output[:, start:].tolist()
    return found


def test_smollm2_batched_equals_one_by_one_and_transformers(smol, smollm2):
    requests = [Generate(prompt, max_new_tokens=16) for prompt in PROMPTS]
    batched = [first(answer)["token_ids"] for answer in answers(smol, requests)]
    assert batched == plain(smollm2, PROMPTS, max_new_tokens=16, do_sample=False)
    single = [first(answers(smol, [request])[0])["token_ids"] for request in requests[::5]]
    assert batched[::5] == single


def test_keys_and_values_outgrow_their_room_as_sequences_leave(smol, smollm2, monkeypatch):
    monkeypatch.setattr(kvcache, "ROOM", 1)
    asked = [(PROMPTS[0], 18), (PROMPTS[1], 32), (PROMPTS[2], 6), (PROMPTS[3], 30)]
    found = answers(smol, [Generate(prompt, max_new_tokens=tokens) for prompt, tokens in asked])
    expected = [plain(smollm2, [prompt], max_new_tokens=tokens, do_sample=False)[0] for prompt, tokens in asked]
    assert [first(answer)["token_ids"] for answer in found] == expected


def test_evidence_equals_a_teacher_forced_pass(smol):
    request = Generate("The capital of France is", max_new_tokens=12)
    answer = first(answers(smol, [request, Generate("Hi", max_new_tokens=3)])[0])
    tokenizer = smol.tokenizer
    prompt = tokenizer(request.prompt)["input_ids"]
    ids = answer["token_ids"]
    with torch.no_grad():
        logits = smol.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(2)
    assert answer["token_ids"] == best.indices[:, 0].tolist()
    assert answer["runner_ups"] == best.indices[:, 1].tolist()
    assert answer["logprobs"] == pytest.approx(best.values[:, 0].tolist(), abs=1e-4)
    assert answer["margins"] == pytest.approx((best.values[:, 0] - best.values[:, 1]).tolist(), abs=1e-4)
    assert answer["text"] == tokenizer.decode(ids, skip_special_tokens=True)
    assert answer["tokens"] == [tokenizer.decode([token]) for token in ids]


def test_ends_by_its_own_rule_and_keeps_the_end_token(gpt2):
    request = Generate("the capital of japan is", max_new_tokens=10)
    answer, cut = map(first, answers(gpt2, [request, Generate("the capital of japan is", max_new_tokens=1)]))
    end = gpt2.tokenizer.eos_token_id
    assert (answer["text"], answer["finish_reason"], answer["token_ids"][-1]) == (" tokyo.", "stop", end)
    assert (len(cut["token_ids"]), cut["finish_reason"]) == (1, "length")


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2, "min_new_tokens": 8},
        {"min_new_tokens": 12},
        {"options": {"suppress_tokens": [14, 300]}},
        {"options": {"bad_words_ids": [[14], [266, 300]]}},
        {"options": {"forced_eos_token_id": 0}},
        {"options": {"begin_suppress_tokens": [319, 320, 321]}},
        {"options": {"sequence_bias": [[[14], -5.0]]}},
    ],
    ids=str,
)
def test_rules_mean_what_they_mean_in_transformers(gpt2, tiny_gpt2, settings):
    # All in one batch, with neighbours of other lengths and other settings: nothing may leak from row to row.
    requests = [Generate(prompt, max_new_tokens=14, **settings) for prompt in TINY]
    neighbours = [Generate(prompt, max_new_tokens=5) for prompt in TINY]
    found = answers(gpt2, requests + neighbours)[: len(TINY)]
    flat = {**settings, **settings.get("options", {})}
    flat.pop("options", None)
    assert [first(a)["token_ids"] for a in found] == plain(tiny_gpt2, TINY, max_new_tokens=14, do_sample=False, **flat)


def test_margins_are_those_of_the_penalised_scores_and_logprobs_are_raw(gpt2):
    prompt = "the red cat sees the"
    free, forced = map(
        first,
        answers(
            gpt2, [Generate(prompt, max_new_tokens=1), Generate(prompt, max_new_tokens=1, repetition_penalty=50.0)]
        ),
    )
    ids = gpt2.tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        raw = gpt2.model(torch.tensor([ids])).logits[0, -1]
    scores = raw.clone()
    for token in set(ids):
        scores[token] = scores[token] * 50 if scores[token] < 0 else scores[token] / 50
    best = scores.topk(2)
    assert free["logprobs"][0] == pytest.approx(raw.log_softmax(-1).max().item(), abs=1e-4)
    assert (forced["token_ids"][0], forced["runner_ups"][0]) == tuple(best.indices.tolist())
    assert forced["margins"][0] == pytest.approx((best.values[0] - best.values[1]).item(), abs=1e-4)
    assert forced["logprobs"][0] == pytest.approx(raw.log_softmax(-1)[best.indices[0]].item(), abs=1e-4)


def test_a_models_own_search_settings_do_not_change_the_question(tiny_gpt2, tmp_path, gpt2):
    import json
    import shutil

    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    path = folder / "generation_config.json"
    own = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 9.0, "num_beams": 3, "max_new_tokens": 2}
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    requests = [Generate(prompt, max_new_tokens=10) for prompt in TINY]
    assert answers(engine_for(folder), requests) == answers(gpt2, requests)


def test_stop_strings_cut_the_text_and_keep_the_tokens(gpt2, smol):
    (answer,) = answers(gpt2, [Generate("the capital of japan is", max_new_tokens=10, stop=("kyo", "zzz"))])
    answer = first(answer)
    assert (answer["text"], answer["finish_reason"]) == (" to", "stop")
    assert gpt2.tokenizer.decode(answer["token_ids"]).startswith(" tokyo")
    assert len(answer["token_ids"]) == len(answer["logprobs"]) == len(answer["margins"]) == len(answer["tokens"])
    # Not one token more than the one that completed the stop string.
    assert "kyo" not in gpt2.tokenizer.decode(answer["token_ids"][:-1])
    (answer,) = answers(gpt2, [Generate("the capital of japan is", max_new_tokens=10, stop=("<|endoftext|>",))])
    assert first(answer)["text"] == " tokyo."


@pytest.mark.parametrize("settings", [{}, {"length_penalty": 2.0, "early_stopping": True}, {"no_repeat_ngram_size": 1}])
def test_beams_equal_transformers(gpt2, tiny_gpt2, settings):
    arguments = {"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 3, **settings}
    found = answers(gpt2, [Generate(prompt, **arguments) for prompt in TINY])
    ours = [one for answer in found for one in answer["sequences"]]
    theirs = plain(tiny_gpt2, TINY, do_sample=False, **arguments)
    decode = gpt2.tokenizer.decode
    assert [one["text"] for one in ours] == [decode(ids, skip_special_tokens=True) for ids in theirs]
    # The evidence is the model's for exactly these tokens.
    one, prompt = ours[0], gpt2.tokenizer(TINY[0])["input_ids"]
    with torch.no_grad():
        logits = gpt2.model(torch.tensor([prompt + one["token_ids"]])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(one["token_ids"])[:, None])[:, 0]
    assert one["logprobs"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_encoder_decoder(t5, tiny_t5):
    sources = ["le chat noir voit le chien", "le coq vert aime le renard", "le"]
    for arguments in (
        {},
        {"num_beams": 3},
        {"repetition_penalty": 1.5},
        {"options": {"encoder_no_repeat_ngram_size": 2}},
    ):
        found = answers(t5, [Generate(source, max_new_tokens=12, **arguments) for source in sources])
        flat = {**arguments, **arguments.get("options", {})}
        flat.pop("options", None)
        theirs = plain(tiny_t5, sources, AutoModelForSeq2SeqLM, max_new_tokens=12, do_sample=False, **flat)
        assert [first(answer)["token_ids"] for answer in found] == theirs
    assert first(answers(t5, [Generate(sources[0], max_new_tokens=12)])[0])["text"] == "the black cat sees the dog"


def test_chat_uses_the_models_template(gpt2, tiny_bert):
    chat = Generate(({"role": "user", "content": "the red"},), max_new_tokens=3)
    named = Generate(({"role": "user", "content": "the red"},), max_new_tokens=3, template={"name": "owl"})
    texts = [Generate("user: the red\nassistant:", max_new_tokens=3), Generate("user: the red\nowl:", max_new_tokens=3)]
    found = answers(gpt2, [chat, named, *texts])
    assert found[:2] == found[2:]
    bare = engine_for(gpt2.folder)
    bare.tokenizer.chat_template = None
    with pytest.raises(InvalidInputError, match="no chat template"):
        answers(bare, [chat])
    bare.tokenizer.chat_template = "{{ 'a' * 10**15 }}"
    with pytest.raises(InvalidInputError, match="template refuses the messages: MemoryError"):
        answers(bare, [chat])


def test_a_template_that_writes_the_date_is_warned_of_unless_the_date_is_given(tiny_gpt2, recwarn):
    engine = engine_for(tiny_gpt2)
    engine.tokenizer.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}"
        "the {{ date_string }} {{ messages[0]['content'] }}"
    )

    def warned(**template):
        asked = Generate(({"role": "user", "content": "cat"},), max_new_tokens=2, template=template)
        plain = Generate(f"the {template.get('date_string', datetime.now().year)} cat", max_new_tokens=2)
        dated, text = answers(engine, [asked, plain])
        assert dated == text
        return [str(one.message) for one in recwarn if "time of asking" in str(one.message)]

    assert warned(date_string="red") == []
    (message,) = warned()
    assert "writes the time of asking" in message
    assert 'template={"date_string"' in message
    assert warned() == [message], "said once"


@pytest.mark.parametrize(
    ("source", "unread"),
    [
        ("the", ["tools", "style"]),
        ("the tools of style {{ messages[0].tools }}", ["tools", "style"]),
        ("{% for tool in tools %}{{ tool.name }}{% break %}{% endfor %}{{ style }}", []),
        ("{% macro f() %}{{ tools }}{% endmacro %}{% generation %}{{ f() }}{% endgeneration %}{{ style }}", []),
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}{{ style }}", []),
        ("{% set style = 'x' %}{{ style }}{% if tools %}the{% endif %}", ["style"]),
        ({"default": "the {{ tools }}", "tool_use": "the {{ style }}"}, ["tools"]),
    ],
)
def test_a_variable_that_the_template_does_not_read_is_warned_of_once(tiny_gpt2, recwarn, source, unread):
    engine = engine_for(tiny_gpt2)
    if isinstance(source, dict):
        engine.tokenizer.chat_template = {name: text + " red cat" for name, text in source.items()}
    else:
        engine.tokenizer.chat_template = source + " red cat"
    given = {"tools": [{"name": "red"}], "style": "blue", "return_dict": False, "chat_template": None}
    for _ in range(2):
        answers(engine, [Generate(({"role": "user", "content": "x"},), max_new_tokens=1, template=given)])
    found = [str(one.message) for one in recwarn if "does not read" in str(one.message)]
    names = ", ".join(sorted(unread))
    assert len(found) == bool(unread)
    assert all(f"does not read {names}: what template= or tools= gives it there does not reach" in one for one in found)


def test_half_precision_answers_do_not_depend_on_neighbours(tiny_gpt2):
    engine = engine_for(tiny_gpt2, dtype="bfloat16")
    requests = [Generate(prompt, max_new_tokens=10) for prompt in TINY]
    assert answers(engine, requests) == [answers(engine, [request])[0] for request in requests]


def test_a_shared_start_is_computed_once_and_changes_nothing(gpt2):
    header = "the red cat sees the dog. the blue owl likes the hen. the green fox hears the cow. " * 2
    requests = [Generate(header + prompt, max_new_tokens=8) for prompt in TINY]
    single = [first(answers(gpt2, [request])[0]) for request in requests]
    widths = []
    hook = gpt2.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        shared = [first(answer) for answer in answers(gpt2, requests)]
    finally:
        hook.remove()
    assert [one["token_ids"] for one in shared] == [one["token_ids"] for one in single]
    for one, other in zip(shared, single, strict=True):
        assert one["logprobs"] == pytest.approx(other["logprobs"], abs=1e-4)
    assert widths[0][0] == 1, "the header alone"
    assert widths[1][0] == len(TINY)
    assert widths[1][1] < 10, "what is left of the prompts"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            Generate("the " * 120, max_new_tokens=20),
            r"121 tokens and max_new_tokens=20 make 141, but .* context is 128",
        ),
        (Generate("the", options={"suppress_tokens": "no"}), "request 0: suppress_tokens names the token 'no'"),
        (Generate("the", options={"bad_words_ids": [[99999]]}), "bad_words_ids names the token 99999, .* 388 tokens"),
        (Generate("the", options={"bad_words_ids": []}), "transformers refuses these options"),
    ],
)
def test_what_cannot_be_asked(gpt2, request_, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(gpt2, [request_])


def test_an_empty_prompt_starts_from_bos(gpt2, t5, tiny_gpt2):
    empty, bos = answers(gpt2, [Generate("", max_new_tokens=6), Generate("<|endoftext|>", max_new_tokens=6)])
    assert empty == bos
    none = engine_for(tiny_gpt2)
    none.tokenizer.bos_token = None
    none.config.bos_token_id = None
    with pytest.raises(InvalidInputError, match="prompt is empty"):
        answers(none, [Generate("")])


def test_an_encoder_cannot_generate(bert):
    with pytest.raises(
        InvalidInputError, match=r"BertForMaskedLM\) cannot answer 'generate': this masked model answers"
    ):
        answers(bert, [Generate("the")])


@pytest.mark.parametrize(
    ("prompt", "new", "advice"),
    [
        ("the red cat", 10**9, "lower max_new_tokens"),
        ("the " * 120, 20, "shorten the text or lower max_new_tokens"),
    ],
)
def test_what_is_too_long_for_the_context_is_said(gpt2, prompt, new, advice):
    with pytest.raises(InvalidInputError, match=f"the model's context is 128 tokens: {advice}$"):
        answers(gpt2, [Generate(prompt, max_new_tokens=new)])


def test_a_forced_token_that_the_model_rules_out_has_a_finite_logprob(tiny_gpt2):
    engine = engine_for(tiny_gpt2)

    def rule_out(module, args, output):
        output = output.clone()
        output[..., 14] = -float("inf")
        return output

    engine.model.lm_head.register_forward_hook(rule_out)
    request = Generate("the red", max_new_tokens=2, options={"forced_eos_token_id": 14})
    answer = first(answers(engine, [request])[0])
    assert (answer["token_ids"][1], answer["logprobs"][1], answer["margins"][1]) == (14, -1e4, 1e4)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_the_best_token_is_torchs(size):
    scores = torch.randn(9, size, generator=torch.Generator().manual_seed(size))
    scores[1] = scores[1].round()  # several are best
    scores[2] = -torch.inf
    scores[3, size // 2] = torch.nan
    scores[4, -1] = torch.inf
    scores[5, 0] = torch.inf
    assert choosing.argmax(scores).tolist() == scores.argmax(-1).tolist()
