import pytest

from pytest_llm.cli import main
from pytest_llm.cli.common import project_settings
from pytest_llm.options import OPTIONS, settings_from
from pytest_llm.settings import Settings


def resolve(tmp_path, flags=None, environ=None, ini=None):
    return settings_from(flags or {}, environ or {}, ini or {}, root=tmp_path)


def test_defaults(tmp_path):
    settings = resolve(tmp_path)
    assert (settings.model, settings.dtype, settings.update, settings.cache, settings.offline) == (
        None, "float32", "none", "use", False,
    )  # fmt: skip
    assert settings.given == frozenset()


def test_a_flag_beats_the_environment_beats_the_ini_file(tmp_path):
    ini = {"model": "ini", "dtype": "float16", "batch_size": "2"}
    environ = {"PYTEST_LLM_MODEL": "env", "PYTEST_LLM_DTYPE": "bfloat16"}
    settings = resolve(tmp_path, {"model": "flag"}, environ, ini)
    assert (settings.model, settings.dtype, settings.batch_size) == ("flag", "bfloat16", 2)
    assert settings.given == {"model", "dtype"}


def test_flags_of_the_model_are_those_given(tmp_path):
    flags = {"model": "out/my model", "dtype": "bfloat16", "exact": True, "alpha": "0.1", "base_url": "http://a:8/v1"}
    environ, ini = {"PYTEST_LLM_TRUST_PICKLE": "0", "PYTEST_LLM_REVISION": "main"}, {"device": "cpu"}
    assert resolve(tmp_path, flags, environ, ini).flags == (
        " '--llm-model=out/my model' --llm-revision=main --llm-base-url=http://a:8/v1 --llm-dtype=bfloat16 --llm-exact"
    )


def test_a_flag_given_as_false_still_beats_the_ini_file(tmp_path):
    assert resolve(tmp_path, {}, {"PYTEST_LLM_OFFLINE": "no"}, {"offline": "true"}).offline is False


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dtype", "float8", "PYTEST_LLM_DTYPE: 'float8' is not one of float32, bfloat16, float16, float64"),
        ("batch_size", "many", "PYTEST_LLM_BATCH_SIZE: 'many' is not a whole number"),
        ("batch_size", "1.5", "PYTEST_LLM_BATCH_SIZE: '1.5' is not a whole number"),
        ("alpha", "low", "PYTEST_LLM_ALPHA: 'low' is not a number"),
        ("batch_size", "0", "llm_batch_size must be at least 1"),
        ("timeout", "0", "llm_timeout is the seconds that a service may take: it must be above 0"),
        ("timeout", "1e10", "it must be above 0, and at most 1000000"),
        ("timeout", "inf", "PYTEST_LLM_TIMEOUT: 'inf' is not a finite number"),
        ("offline", "perhaps", "PYTEST_LLM_OFFLINE: 'perhaps' is not a yes or no (true, false, 1, 0)"),
        ("logprob_margin", "nan", "PYTEST_LLM_LOGPROB_MARGIN: 'nan' is not a finite number"),
        ("logprob_margin", "-1", "llm_logprob_margin is a distance in nats: it cannot be negative"),
        ("memory_limit", "lots", "llm_memory_limit: 'lots' is not a size such as 8GB, 512MB or 50%"),
        *(
            ("memory_limit", size, f"{size!r} is not a size")
            for size in ("inf%", "infGB", "nan%", "-5GB", "0", "0%", "1e999")
        ),
        ("drift_levels", "drifted", "llm_drift_levels: 'drifted' is not STATUS=LEVEL"),
        ("drift_levels", "drifted=ignore", "llm_drift_levels: 'drifted=ignore' is not STATUS=LEVEL"),
    ],
)
def test_a_bad_value_says_where_it_was_set_and_what_would_do(tmp_path, name, value, message):
    with pytest.raises(pytest.UsageError) as caught:
        resolve(tmp_path, environ={f"PYTEST_LLM_{name.upper()}": value})
    assert message in str(caught.value)


def test_the_revision_and_the_adapter_of_an_ini_file_are_of_its_own_model(tmp_path):
    ini = {"model": "org/base", "revision": "abc", "adapter": "lora"}
    assert (resolve(tmp_path, ini=ini).revision, resolve(tmp_path, ini=ini).adapter) == ("abc", "lora")
    for given in ({"flags": {"model": "merged"}}, {"environ": {"PYTEST_LLM_MODEL": "merged"}}):
        found = resolve(tmp_path, ini=ini, **given)
        assert (found.model, found.revision, found.adapter) == ("merged", None, None)
    found = resolve(tmp_path, {"model": "merged"}, environ={"PYTEST_LLM_ADAPTER": "other"}, ini=ini)
    assert (found.revision, found.adapter) == (None, "other")
    assert resolve(tmp_path, {"adapter": "other"}, ini=ini).revision == "abc"


def test_memory_limits(tmp_path):
    assert resolve(tmp_path, {"memory_limit": "8GB"}).memory_limit == 8 << 30
    assert resolve(tmp_path, {"memory_limit": "1.5MB"}).memory_limit == 3 << 19
    assert resolve(tmp_path, {"memory_limit": "2000000"}).memory_limit == 2_000_000
    assert resolve(tmp_path, {"memory_limit": "100%"}).memory_limit == 2 * resolve(tmp_path).memory_limit


def test_every_option_is_a_flag_with_help_and_an_ini_key(pytester):
    result = pytester.runpytest("--help")
    for option in OPTIONS:
        result.stdout.fnmatch_lines_random([f"*--llm-{option.name.replace('_', '-')}*"])
        result.stdout.fnmatch_lines_random([f"*llm_{option.name}*"])


def test_a_bad_ini_value_stops_the_run_before_any_test(pytester):
    pytester.makeini("[pytest]\nllm_dtype = float8\n")
    pytester.makepyfile("def test_a(): pass")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: llm_dtype (ini): 'float8' is not one of float32, bfloat16, float16, float64"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("llm_batch_size = x", "llm_batch_size in {ini} is not a whole number: *'x'"),
        ("llm_timeout = x", "llm_timeout in {ini} is not a number: *'x'"),
        ("llm_offline = maybe", "llm_offline in {ini} is not a yes or no (true, false, 1, 0): *'maybe'"),
    ],
)
def test_a_value_of_another_type_in_the_ini_file_is_named_with_its_file(pytester, capsys, line, said):
    ini = pytester.makeini(f"[pytest]\n{line}\n")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said.format(ini=ini)}"])
    assert main(["doctor"]) == 2
    assert line.split()[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model", "revision", "adapter"])
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_flag_or_variable_does_not_judge_the_model_of_the_ini_file(pytester, monkeypatch, name, empty):
    pytester.makeini("[pytest]\nllm_model = org/old\n")
    pytester.makepyfile("def test_a(llm): pass")
    said = "ERROR: {}= was given and is empty (an unset variable?): give a value, or leave it out"
    result = pytester.runpytest(f"--llm-{name}={empty}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said.format(f"--llm-{name}")])
    monkeypatch.setenv(f"PYTEST_LLM_{name.upper()}", empty)
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said.format(f"PYTEST_LLM_{name.upper()}")])
    assert pytester.runpytest(f"--llm-{name}=x").ret == 0


def test_another_empty_variable_counts_as_not_given(tmp_path):
    assert resolve(tmp_path, {}, {"PYTEST_LLM_DTYPE": ""}, {"dtype": "float16"}).dtype == "float16"


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "xdist"])
def test_a_misspelt_variable_is_named_once_in_a_suite_that_uses_us(pytester, cache_dir, monkeypatch, workers):
    monkeypatch.setenv("PYTEST_LLM_OFLINE", "1")
    monkeypatch.setenv("PYTEST_LLM_QUUX", "secret")
    pytester.makepyfile("def test_a(): pass")
    assert "PYTEST_LLM" not in pytester.runpytest(*workers).stdout.str()
    pytester.makepyfile("def test_a(llm_snapshot): assert 'a' == llm_snapshot")
    result = pytester.runpytest("--llm-update=new", *workers)
    assert [line for line in result.outlines if "PYTEST_LLM" in line] == [
        "ignored   PYTEST_LLM_OFLINE is no setting: did you mean PYTEST_LLM_OFFLINE?",
        "ignored   PYTEST_LLM_QUUX is no setting",
    ]


def test_a_path_after_a_space_is_refused_as_pytest_would_take_it_for_its_root(pytester, monkeypatch):
    pytester.makepyfile("def test_a(): pass")
    pytester.mkdir("model")
    result = pytester.runpytest("--llm-model", "model")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: write --llm-model=model: with a space, pytest takes the path for a test folder"]
    )
    with monkeypatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "-v --llm-model model")
        assert pytester.runpytest().ret == pytest.ExitCode.USAGE_ERROR
    assert pytester.runpytest("--llm-model", "org/name").ret == 0
    assert pytester.runpytest("--llm-model=model").ret == 0
    too_long = "./" + "longer-than-a-name-may-be-" * 20  # stands for what may not be read
    assert pytester.runpytest("--llm-model", too_long).ret == pytester.runpytest(f"--llm-model={too_long}").ret == 0
    assert (
        pytester.runpytest(
            "--llm-offline", "test_a_path_after_a_space_is_refused_as_pytest_would_take_it_for_its_root.py"
        ).ret
        == 0
    )


def test_settings_do_not_change_and_know_their_names(tmp_path):
    settings = settings_from({"model": "m"}, {}, {}, root=tmp_path)
    assert (settings.model, settings.dtype) == ("m", "float32")
    other = settings.replace(dtype="float64")
    assert (other.model, other.dtype, settings.dtype) == ("m", "float64", "float32")
    with pytest.raises(AttributeError, match="do not change: model"):
        settings.model = "other"
    with pytest.raises(TypeError, match="Settings has no modle"):
        Settings(modle="m")
    assert vars(settings).keys() == Settings.__annotations__.keys() | {"cache_dir"}


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest.toml came with pytest 9")
def test_a_number_in_pytest_toml_is_a_number(pytester):
    pytester.path.joinpath("pytest.toml").write_text(
        '[pytest]\nllm_batch_size = 8\nllm_offline = true\nllm_alpha = 0.1\nllm_model = "m"\n'
    )
    pytester.makepyfile("""
        from pytest_llm import lifecycle
        def test_it(pytestconfig):
            found = lifecycle.settings(pytestconfig)
            assert (found.batch_size, found.offline, found.alpha, found.model) == (8, True, 0.1, "m")
    """)
    pytester.runpytest().assert_outcomes(passed=1)
    pytester.path.joinpath("pytest.toml").write_text('[pytest]\nllm_batch_size = "eight"\n')
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*llm_batch_size* expects an int, got str*"])


@pytest.mark.parametrize(
    "text", ["llm_batch_size = 8\nllm_offline = true", 'llm_batch_size = "8"\nllm_offline = "yes"']
)
def test_pyproject_takes_both_spellings(pytester, text):
    pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{text}\n")
    pytester.makepyfile("""
        from pytest_llm import lifecycle
        def test_it(pytestconfig):
            found = lifecycle.settings(pytestconfig)
            assert (found.batch_size, found.offline) == (8, True)
    """)
    pytester.runpytest().assert_outcomes(passed=1)


def test_without_a_home_folder_only_what_needs_the_cache_says_so(pytester, monkeypatch, capsys):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    pytester.makepyfile(
        test_other="def test_other(): pass",
        test_ours="def test_ours(llm_snapshot): llm_snapshot.check('a')",
        test_model="def test_model(llm): llm.generate('a')",
    )
    result = pytester.runpytest("-W", "error", "test_other.py")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*--llm-cache-dir*")
    result = pytester.runpytest("--llm-update=new", "--llm-report=~/r.html", "--llm-model=m")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*the cache has no folder, as this user has no home folder: name one with --llm-cache-dir*"]
    )
    result.stdout.fnmatch_lines(["report    could not be written: *home*"])
    assert main(["review"]) == 2
    assert "name one with --llm-cache-dir" in capsys.readouterr().err


@pytest.mark.parametrize("start", ["", "sub"])
def test_a_cache_folder_in_an_ini_file_starts_from_there(pytester, monkeypatch, start):
    pytester.makeini("[pytest]\nllm_cache_dir = cache\n")
    pytester.mkdir("sub")
    monkeypatch.chdir(pytester.path / start)
    assert project_settings().cache_dir == pytester.path / "cache"
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", "cache")
    assert project_settings().cache_dir == pytester.path / start / "cache"
    monkeypatch.delenv("PYTEST_LLM_CACHE_DIR")
    (pytester.path / "tox.ini").rename(pytester.path / "other.ini")
    monkeypatch.setenv("XDG_CACHE_HOME", "shared")
    assert project_settings().cache_dir == pytester.path / start / "shared" / "pytest_llm"


@pytest.mark.parametrize("addopts", ["", "-p pytest_llm.plugin", "-p pytest_llm"])
def test_the_commands_know_our_settings_where_plugins_are_not_loaded_by_themselves(pytester, monkeypatch, addopts):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(f"[pytest]\naddopts = {addopts}\nllm_model = x/y\n")
    assert project_settings().model == "x/y"


def test_a_flag_with_a_dot_starts_from_the_current_folder(pytester, monkeypatch):
    pytester.makeini("[pytest]\n")
    for name in ("m", "sub/m", "only", "sub/below"):
        (pytester.path / name).mkdir(parents=True)
    (pytester.path / "sub/m.gguf").touch()
    pytester.path.joinpath("sub/test_it.py").write_text(
        "from pytest_llm import lifecycle\n"
        "def test_it(pytestconfig): print('MODEL', lifecycle.settings(pytestconfig).model)\n"
    )
    monkeypatch.chdir(pytester.path / "sub")

    def model(given):
        shown = pytester.runpytest("-s", f"--llm-model={given}").outlines
        return next(line.rpartition("MODEL ")[2] for line in shown if "MODEL " in line)

    sub = pytester.path / "sub"
    assert model("./m") == str(sub / "m")
    assert model("./m#x.gguf") == str(sub / "m#x.gguf")
    assert model("../m") == str(pytester.path / "m")
    assert model("./below/../m.gguf") == str(sub / "m.gguf")
    # What is not there, and what has no dot in front, is looked for from the root first.
    assert [model("./only"), model("m"), model("./none")] == ["./only", "m", "./none"]

    monkeypatch.chdir(pytester.path)  # what is outside of the root keeps its path, as that of an ini file does
    assert [model("../m"), model("./m"), model("..")] == ["../m", "./m", ".."]
