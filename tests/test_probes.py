"""The probes on a tiny model: what they measure, and the negative controls, where they must fail."""

import shutil

import pytest

PROMPTS = ["the red", "the blue cat sees the", "the capital of france is", "the", "the white hen knows the red"]

HEAD = f"""
    import pytest
    from pytest_llm import assert_batch_invariant, assert_deterministic

    PROMPTS = {PROMPTS!r}
"""


@pytest.fixture
def run(pytester, cache_dir, tiny_gpt2, monkeypatch):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(body, *arguments):
        pytester.makepyfile(HEAD + body)
        return pytester.runpytest("-p", "no:xdist", "--llm-model=gpt2", "-rP", *arguments)

    return run


def test_float32_is_deterministic_and_batch_invariant_and_the_store_is_not_asked(run):
    body = """
    def test_a(llm):
        verdict = assert_deterministic(llm, PROMPTS, times=3, max_new_tokens=8)
        assert (verdict.figures["value"], verdict.figures["tokens that differ"].split()[0]) == (0, "0")
        verdict = assert_batch_invariant(llm, PROMPTS, max_new_tokens=8)
        assert 0 < verdict.figures["value"] < 1e-4
        print("HEADLINE", verdict.headline)

    def test_sampled_and_chat(llm):
        assert_deterministic(llm, PROMPTS[:2], max_new_tokens=8, do_sample=True, num_return_sequences=2)
        chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:3]]
        assert_batch_invariant(llm, chats, max_new_tokens=4, do_sample=True)
    """
    for _ in range(2):
        result = run(body)
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(
            [
                "HEADLINE 5 prompts in batches of 64 are batch invariant: logprobs moved by up to * nats",
                "model     gpt2 * 43 answers: 0 from the store, 43 computed; *",
                "gates     deterministic    0 * <= 0      pass  *::test_a",
                "          batch invariant  * <= 0.001  pass  *::test_a",
            ]
        )


def test_bfloat16_is_invariant_in_batches_of_one_shape_and_not_in_others(run):
    """The negative control: the same probe must fail where neighbours are known to change answers."""
    body = """
    TEXTS = ["Once upon a time there was", "The capital of France is", "Water boils at", "def fibonacci(n):",
             "My favourite food is", "The quick brown fox jumps over the lazy dog and then it", "Roses are red,"]

    @pytest.mark.llm(dtype="bfloat16")
    def test_as_the_engine_does(llm):
        print("HEADLINE", assert_batch_invariant(llm, TEXTS[:3], max_new_tokens=8, atol=0).headline)

    @pytest.mark.llm(dtype="bfloat16")
    def test_batched(llm):
        assert_batch_invariant(llm, TEXTS, max_new_tokens=16, batch_size=7)
    """
    result = run(body)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: 7 prompts in batches of 7 are not batch invariant: logprobs moved by up to 0.0* nats*",
            "HEADLINE 3 prompts in batches of 8 are batch invariant: their logprobs are equal bit by bit",
        ]
    )


def test_a_model_that_sees_its_neighbours_is_not_batch_invariant(run):
    """The negative control that no processor's arithmetic can spare: each row gets something of the others."""
    result = run(
        """
    def test_a(llm):
        with llm._loader.engine(llm, 1) as (engine, _):
            engine.model.transformer.drop.register_forward_hook(lambda module, given, out: out + 0.05 * out.mean(0))
        assert_deterministic(llm, PROMPTS, max_new_tokens=8)
        assert_batch_invariant(llm, PROMPTS, max_new_tokens=8)
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: 5 prompts in batches of 64 are not batch invariant: logprobs moved by up to * nats*",
            "gates     batch invariant * <= 0.001  fail *",
            "          deterministic    0 * <= 0      pass *",
        ]
    )


def test_an_engine_that_leaks_chance_is_not_deterministic(run):
    """The negative control: dropout left on."""
    result = run(
        """
    def test_a(llm):
        with llm._loader.engine(llm, 1) as (engine, _):
            for module in engine.model.modules():
                if type(module).__name__ == "Dropout":
                    module.p = 0.5
            engine.model.train()
        assert_deterministic(llm, PROMPTS, max_new_tokens=8)
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: 5 prompts computed 2 times are not deterministic: logprobs moved by up to * nats*",
            "E*prompt *, run 2: token *: * → *, margins * and * nats: no tie within 0",
            "gates     deterministic  *  <= 0  fail  *",
        ]
    )


def test_a_tie_is_told_from_a_preference(run):
    """Two tokens with equal output rows tie; rounding decides between them, and that is no dependence on the batch."""
    result = run(
        """
    from pytest_llm.probes import _compare
    from pytest_llm.results import Generation, Origin

    ORIGIN = Origin(request={"do_sample": False, "num_beams": 1})

    def answer(tokens, runner_ups, margins, **more):
        return [Generation("x", token_ids=tokens, tokens=map(str, tokens), logprobs=[-1.0] * len(tokens),
                           runner_ups=runner_ups, margins=margins, origin=ORIGIN)]

    def test_a():
        old = answer([1, 2, 3], [9, 4, 9], [5.0, 1e-3, 5.0])
        tied = _compare("batched", [old], [answer([1, 4, 7], [9, 2, 9], [5.0, 5e-4, 5.0])], 2e-3)
        assert (tied.ties, tied.parted, tied.differing, tied.tokens) == (1, 0, 2, 3)
        assert tied.shift == pytest.approx((1e-3 + 5e-4) / 2)
        assert tied.lines == ["prompt 0, batched: token 1: '2' → '4', margins 0.001 and 0.0005 nats: a tie"]
        preferred = _compare("batched", [old], [answer([1, 4, 7], [9, 2, 9], [5.0, 3e-3, 5.0])], 2e-3)
        assert (preferred.ties, preferred.parted) == (0, 1)
    """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("assert_deterministic(llm, [])", "the list of prompts is empty*"),
        ("assert_deterministic(llm, {'role': 'user', 'content': 'a'})", "*not a dict: put one message in a list"),
        ("assert_deterministic(None, PROMPTS)", "a probe takes a model, as the fixture llm gives it, not None"),
        ("assert_batch_invariant('org/name', PROMPTS)", "a probe takes a model, *, not 'org/name'"),
        ("assert_deterministic(llm, PROMPTS, times=1)", "*times must be an integer of at least 2, not 1"),
        ("assert_deterministic(llm, PROMPTS, max_tokens=1)", "generate() does not know the argument 'max_tokens'*"),
        ("assert_deterministic(llm, PROMPTS, max_length=9)", "*'max_length': max_new_tokens= counts the tokens of*"),
        ("assert_deterministic(llm, PROMPTS, min_length=9)", "*'min_length': min_new_tokens= counts the tokens of*"),
        ("assert_deterministic(llm, [{'role': 'user', 'content': 'a'}])", "*put the conversation into a list"),
        ("assert_batch_invariant(llm, ['a'])", "assert_batch_invariant needs at least two prompts*"),
        ("assert_batch_invariant(llm, PROMPTS, atol=-1)", "assert_batch_invariant: atol is a distance in nats, not -1"),
        ("assert_batch_invariant(llm, PROMPTS, batch_size=1)", "*batch_size must be an integer of at least 2, not 1"),
        ('assert_batch_invariant(llm, PROMPTS, batch_size="8")', "*batch_size must be an integer of at least 2*"),
    ],
)
def test_wrong_arguments_are_errors(run, call, message):
    result = run(f"\n    def test_a(llm): {call}\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"E*InvalidInputError: {message.replace('[', '[[]')}"])


@pytest.mark.parametrize(("words", "padded"), [(30, True), (80, True), (125, False)])
def test_prompts_that_fill_the_context_are_put_beside_a_neighbour_that_fits(run, words, padded):
    result = run(f"""
    def test_a(llm):
        verdict = assert_batch_invariant(llm, ["the " * {words}, "the red cat"], max_new_tokens=2)
        assert bool(verdict.notes) is {not padded}
    """)
    result.assert_outcomes(passed=1)


def test_offline_nothing_can_be_probed(run):
    result = run("\n    def test_a(llm): assert_deterministic(llm, PROMPTS)\n", "--llm-offline")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*StoreMissError: --llm-offline: a probe computes answers anew*"])
