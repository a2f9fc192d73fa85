"""Loss, logprobs and scores, against the direct computation."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, XLNetConfig, XLNetLMHeadModel

from pytest_llm.engines import head as head_module
from pytest_llm.engines.products import multiplying
from pytest_llm.errors import InvalidInputError
from pytest_llm.requests import Logprobs, Loss, Score, Tokenize
from tests.engines.conftest import answers, engine_for

TEXTS = [
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Colourless green ideas sleep furiously.",
    "for i in range(10):\n    print(i)\n",
    "a b",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
]


def direct(engine, ids):
    """Logprob of each token but the first: [T - 1]."""
    with torch.no_grad():
        logits = engine.model(torch.tensor([ids])).logits[0, :-1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def mean(groups):
    values = [value for group in groups for value in group]
    return sum(values) / len(values)


def test_loss_equals_the_direct_computation(smol):
    found = answers(smol, [Loss(text) for text in TEXTS])
    expected = []
    for text, answer in zip(TEXTS, found, strict=True):
        ids = smol.tokenizer(text)["input_ids"]
        assert answer["token_ids"] == ids[1:]
        expected.append(direct(smol, ids).tolist())
        assert answer["token_logprobs"] == pytest.approx(expected[-1], abs=1e-4)
        assert mean([answer["token_logprobs"]]) == pytest.approx(mean([expected[-1]]), rel=1e-5)
    assert mean(answer["token_logprobs"] for answer in found) == pytest.approx(mean(expected), abs=1e-5)


def test_loss_of_one_text_alone_is_exact_in_float32(smol):
    # One pass of the same shape by the same library: what is left is the log-softmax, where torch's own float32 one
    # is 1e-5 off.
    with multiplying(smol.model, onednn=False):
        for text in TEXTS:
            (answer,) = answers(smol, [Loss(text)])
            expected = direct(smol, smol.tokenizer(text)["input_ids"]).tolist()
            assert mean([answer["token_logprobs"]]) == pytest.approx(mean([expected]), abs=3e-6)


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (16, 16), (10, 3), (0, 0), (0, 50)])
def test_sliding_window_is_the_perplexity_guides(gpt2, window, stride):
    text = " ".join(
        f"the {c} {a} sees the {b}."
        for c in ("red", "blue", "green")
        for a in ("cat", "dog", "fox")
        for b in ("owl", "hen", "cow")
    )
    ids = torch.tensor([gpt2.tokenizer(text)["input_ids"]])
    assert ids.shape[1] > 128, "longer than the context"
    # The loop of https://huggingface.co/docs/transformers/perplexity
    max_length, step = window or 128, stride or (window or 128) // 2
    nll_sum, n_tokens, prev_end_loc = 0.0, 0, 0
    for begin_loc in range(0, ids.size(1), step):
        end_loc = min(begin_loc + max_length, ids.size(1))
        trg_len = end_loc - prev_end_loc
        input_ids = ids[:, begin_loc:end_loc]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        with torch.no_grad():
            neg_log_likelihood = gpt2.model(input_ids, labels=target_ids).loss
        num_valid_tokens = (target_ids[:, 1:] != -100).sum().item()
        if num_valid_tokens:
            nll_sum += neg_log_likelihood.item() * num_valid_tokens
        n_tokens += num_valid_tokens
        prev_end_loc = end_loc
        if end_loc == ids.size(1):
            break
    answer, _ = answers(gpt2, [Loss(text, window=window, stride=stride), Loss("the red cat sees the dog.")])
    assert len(answer["token_logprobs"]) == n_tokens
    assert -sum(answer["token_logprobs"]) == pytest.approx(nll_sum, rel=1e-5)


def test_a_score_after_nothing_has_the_first_token_that_a_loss_leaves_out(smol):
    # lm_eval's loglikelihood_rolling, up to the model's context
    for text in (TEXTS[1], "a"):
        (answer,) = answers(smol, [Score("", (text,))])
        ids = smol.tokenizer(text)["input_ids"]
        expected = direct(smol, [smol.tokenizer.bos_token_id, *ids]).sum().item()
        assert answer["scores"][0]["tokens"] == len(ids)
        assert answer["scores"][0]["logprob"] == pytest.approx(expected, abs=1e-3)


def test_logprobs_and_their_alternatives(smol):
    text = TEXTS[0]
    (answer, fewer) = answers(smol, [Logprobs(text, top_k=3), Logprobs("Hello there", top_k=0)])
    ids = smol.tokenizer(text)["input_ids"]
    positions = answer["positions"]
    assert [p["token_id"] for p in positions] == ids
    assert "".join(p["token"] for p in positions) == text
    assert (positions[0]["logprob"], positions[0]["top"]) == (None, [])
    assert [p["logprob"] for p in positions[1:]] == pytest.approx(direct(smol, ids).tolist(), abs=1e-4)
    with torch.no_grad():
        best = smol.model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1).topk(3)
    for position, tokens, values in zip(positions[1:], best.indices.tolist(), best.values.tolist(), strict=True):
        assert [token for token, _, _ in position["top"]] == tokens
        assert [text for _, text, _ in position["top"]] == [smol.tokenizer.decode([token]) for token in tokens]
        assert [value for _, _, value in position["top"]] == pytest.approx(values, abs=1e-4)
    assert all(p["top"] == [] for p in fewer["positions"])


def test_score_is_the_harness_loglikelihood(smol):
    prompts = ["The capital of France is", "Q: 2 + 2 = ", "Once"]
    continuations = (" Paris", " Rome", " London, of course", " a city", "4", " Paris is")
    for prompt, answer in zip(prompts, answers(smol, [Score(p, continuations) for p in prompts]), strict=True):
        for continuation, found in zip(continuations, answer["scores"], strict=True):
            # lm_eval.api.model.TemplateLM._encode_pair
            n_spaces = len(prompt) - len(prompt.rstrip())
            context, rest = prompt, continuation
            if n_spaces > 0:
                context, rest = prompt[:-n_spaces], prompt[-n_spaces:] + continuation
            whole_enc = smol.tokenizer(context + rest)["input_ids"]
            context_enc = smol.tokenizer(context)["input_ids"]
            continuation_enc = whole_enc[len(context_enc) :]
            ids = context_enc + continuation_enc
            expected = direct(smol, ids)[len(context_enc) - 1 :]
            with torch.no_grad():
                greedy = smol.model(torch.tensor([ids])).logits[0, len(context_enc) - 1 : -1].argmax(-1).tolist()
            assert found["tokens"] == len(continuation_enc)
            assert found["logprob"] == pytest.approx(expected.sum().item(), abs=1e-4)
            assert found["is_greedy"] == (greedy == continuation_enc)


def test_an_answer_in_a_chat_is_scored_without_the_templates_last_line_break(smol):
    chat = ({"role": "user", "content": "What do cows drink as adults? Answer briefly."},)
    rendered = smol.tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=False)
    assert rendered.endswith("assistant\n")
    prompt = smol.tokenizer(rendered)["input_ids"]
    continuations = ("Water", "They drink milk", " Milk")
    (answer,) = answers(smol, [Score(chat, (*continuations, "\n"))])
    for continuation, found in zip(continuations, answer["scores"], strict=False):
        ids = smol.tokenizer(continuation)["input_ids"]
        assert found["tokens"] == len(ids)
        expected = direct(smol, prompt + ids)[len(prompt) - 1 :].sum().item()
        assert found["logprob"] == pytest.approx(expected, abs=1e-3)
    # One token with the template's own line break: nothing of the continuation is lost.
    assert answer["scores"][-1]["tokens"] == 1


def test_one_pass_serves_all_continuations_of_one_token(gpt2):
    question = Score("the red cat sees the", tuple(" " + a for a in ("cat", "dog", "fox", "owl")))
    answers(gpt2, [question])  # the first question ever finds out about the output layer
    shapes = []
    hook = gpt2.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        (answer,) = answers(gpt2, [question])
    finally:
        hook.remove()
    assert [s["tokens"] for s in answer["scores"]] == [1, 1, 1, 1]
    assert shapes == [(1, 5)]


def test_a_shared_header_is_computed_once(gpt2):
    header = "the red cat sees the dog. the blue owl likes the hen. the green fox hears the cow. " * 2
    requests = [Score(f"{header}the {c} cat sees", (" the dog.", " the owl", "z")) for c in ("red", "blue", "white")]
    alone = [answers(gpt2, [request])[0] for request in requests]
    tokens = 0

    def count(module, args, kwargs):
        nonlocal tokens
        tokens += kwargs["input_ids"].numel()

    hook = gpt2.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        together = answers(gpt2, requests)
    finally:
        hook.remove()
    length = len(gpt2.tokenizer(header)["input_ids"])
    assert tokens < 2 * length
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one["scores"], other["scores"], strict=True):
            assert a["logprob"] == pytest.approx(b["logprob"], abs=1e-4)
            assert (a["tokens"], a["is_greedy"]) == (b["tokens"], b["is_greedy"])


def test_encoder_decoder_loss_and_score(t5):
    source, target = "le chat noir voit le chien", "the black cat sees the dog"
    good, bad = answers(t5, [Loss(target, source=source), Loss("the red cow wants the hen", source=source)])
    batch = t5.tokenizer(source, return_tensors="pt")
    labels = t5.tokenizer(target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = t5.model(**batch, labels=labels).loss.item()
    assert good["token_ids"] == labels[0].tolist()
    assert good["token_ids"][-1] == t5.tokenizer.eos_token_id
    assert -sum(good["token_logprobs"]) / 7 == pytest.approx(expected, abs=1e-5)
    assert sum(bad["token_logprobs"]) < sum(good["token_logprobs"]) - 5
    (answer,) = answers(t5, [Score(source, ("the black cat", "the red"))])
    assert [s["is_greedy"] for s in answer["scores"]] == [True, False]
    assert answer["scores"][0]["logprob"] == pytest.approx(sum(good["token_logprobs"][:3]), abs=1e-4)


def test_masked_loss_is_the_pseudo_log_likelihood(bert):
    text = "the red cat sees the dog."
    answer, _ = answers(bert, [Loss(text), Loss("the capital of peru is lima.")])
    ids = bert.tokenizer(text)["input_ids"]
    expected = []
    for position in range(1, len(ids) - 1):
        masked = [*ids[:position], bert.tokenizer.mask_token_id, *ids[position + 1 :]]
        with torch.no_grad():
            logits = bert.model(torch.tensor([masked])).logits[0, position]
        expected.append(logits.log_softmax(-1)[ids[position]].item())
    assert answer["token_ids"] == ids[1:-1]
    assert answer["token_logprobs"] == pytest.approx(expected, abs=1e-4)


def test_logits_never_exist_for_more_than_a_chunk(gpt2, monkeypatch):
    monkeypatch.setattr(head_module, "CHUNK", 16)
    sizes = []
    hook = gpt2.model.lm_head.register_forward_hook(lambda layer, args, out: sizes.append(out.numel() // out.shape[-1]))
    texts = ["the red cat sees the dog. " * 8, "the blue owl likes the hen. " * 9]
    try:
        found = answers(gpt2, [Loss(text) for text in texts])
    finally:
        hook.remove()
    assert max(sizes) == 16
    monkeypatch.undo()
    for one, other in zip(found, answers(gpt2, [Loss(text) for text in texts]), strict=True):
        assert one["token_logprobs"] == pytest.approx(other["token_logprobs"], abs=1e-5)


class _Capped(GPT2LMHeadModel):
    """A model that does something to its logits after the output layer, as Gemma 2 does."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 3 * torch.tanh(output.logits / 3)
        return output


class _Hookless(GPT2LMHeadModel):
    """A model whose output layer is not called as a module."""

    def get_output_embeddings(self):
        return torch.nn.Linear(1, 1)


@pytest.mark.parametrize("size", [1, 0.01])  # of logits so small a cap leaves no trace
@pytest.mark.parametrize(
    ("model_class", "way"), [(GPT2LMHeadModel, "layer"), (_Capped, "selected"), (_Hookless, "all")]
)
def test_every_kind_of_output_layer_gives_the_models_logits(model_class, way, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
        model.transformer.wte.weight.data.normal_(std=size)
        ids = torch.randint(0, 50, (5, 30))
    head = head_module.Head(model)
    rows, columns = torch.tensor([0, 2, 1, 1]), torch.tensor([19, 0, 7, 3])
    with torch.no_grad():
        found = torch.cat(list(head.logits({"input_ids": ids}, rows, columns)))
        expected = model(ids).logits[rows, columns]
    assert head._way == way
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("exact", "passes"), [(False, [1, 1]), (True, [4, 1])])
def test_a_first_input_whose_logits_are_few_pays_for_no_probe_but_where_bits_must_not_hang_on_the_order(exact, passes):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
    head, counts, seen = head_module.Head(model, exact=exact), [], []
    model.register_forward_hook(lambda *_: seen.append(1))
    ids, rows, columns = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([0, 1]), torch.tensor([2, 0])
    with torch.no_grad():
        for _ in range(2):
            seen.clear()
            found = torch.cat(list(head.logits({"input_ids": ids}, rows, columns)))
            counts.append(len(seen))
        torch.testing.assert_close(found, model(ids).logits[rows, columns])
    assert counts == passes


def test_a_model_that_names_no_output_layer_is_scored_by_its_own_logits(tiny_gpt2, gpt2):
    engine = engine_for(tiny_gpt2)
    engine.model.get_output_embeddings = lambda: None
    (found,), (expected,) = (answers(one, [Loss("the cat sees the dog.")]) for one in (engine, gpt2))
    assert found["token_logprobs"] == pytest.approx(expected["token_logprobs"], abs=1e-4)


def test_tokenize_needs_no_weights(tiny_gpt2):
    engine = engine_for(tiny_gpt2)
    (answer,) = answers(engine, [Tokenize("the red cat")])
    assert engine.tokenizer.decode(answer["token_ids"]) == "the red cat"
    assert "model" not in vars(engine)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([Loss("the red"), Loss("")], "request 1: the text is empty"),
        ([Logprobs("")], "request 0: the text is empty"),
        ([Loss("the")], r"request 0: 'the' is a single token.*: leave it out; score\('', \[text\]\) has it"),
        ([Loss("the red", window=500)], "window=500 is larger than the model's context of 128 tokens"),
        ([Loss("the red", window=4, stride=5)], "stride 5 is larger than window 4"),
        ([Loss("the red", window=1)], "window must be at least 2"),
        ([Loss("the red", source="x")], "a source is for encoder-decoders"),
        ([Logprobs("the " * 200)], "201 tokens, but the model's context is 128"),
        ([Score("the", ())], "no continuations"),
        ([Score("the", (" red", ""))], "the continuation '' has no tokens"),
    ],
)
def test_what_cannot_be_measured(gpt2, requests, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(gpt2, requests)


def test_what_a_single_token_could_follow_is_said_of_a_model_with_such_a_token(tiny_gpt2):
    engine = engine_for(tiny_gpt2)
    engine.tokenizer.bos_token = engine.config.bos_token_id = None
    with pytest.raises(InvalidInputError, match="no token to start from"):
        answers(engine, [Score("", ("the",))])
    with pytest.raises(InvalidInputError, match="which nothing before it predicts: leave it out$"):
        answers(engine, [Loss("the")])


def test_an_encoder_decoder_needs_a_source(t5):
    with pytest.raises(InvalidInputError, match="needs the source"):
        answers(t5, [Loss("the black cat")])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Loss("the red cat", source="le chat"), "request 0: a source is for encoder-decoders$"),
        (Loss("the red cat", window=4), "request 0: window and stride are for decoders: this masked model"),
    ],
)
def test_a_masked_model_ignores_no_argument_of_loss(bert, question, message):
    with pytest.raises(InvalidInputError, match=message):
        answers(bert, [question])


@pytest.mark.parametrize("question", [Loss("the red cat"), Logprobs("the red cat"), Score("the red", (" cat",))])
def test_a_model_that_reads_both_ways_has_no_likelihood(tiny_gpt2, tmp_path, question):
    AutoTokenizer.from_pretrained(tiny_gpt2).save_pretrained(tmp_path)
    config = XLNetConfig(vocab_size=400, d_model=32, n_layer=1, n_head=2, d_inner=64)
    XLNetLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="an XLNet reads a text both ways"):
        answers(engine_for(tmp_path), [question])
