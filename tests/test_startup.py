"""What a suite that does not use the plugin pays: nothing it can see."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from pytest_llm.cli import main

HEAVY = {"torch", "transformers", "evaluate", "datasets", "pandas", "numpy", "scipy", "sacrebleu", "rich", "sqlite3"}


def imported(*command, cwd):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=cwd, capture_output=True, text=True, check=False
    )
    return result, {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


def test_an_empty_suite_imports_nothing_heavy(pytester):
    _, modules = imported("-m", "pytest", "--co", cwd=pytester.path)
    assert "pytest_llm.options" in modules
    assert not modules & HEAVY


def test_a_suite_that_does_not_use_the_plugin_imports_nothing_heavy_and_shows_nothing(pytester):
    pytester.makepyfile("def test_a(tmp_path): assert 1 + 1 == 2")
    result, modules = imported("-m", "pytest", cwd=pytester.path)
    assert not modules & HEAVY
    assert not modules & {"pytest_llm.record", "pytest_llm.testhooks"}
    assert "model regression" not in result.stdout
    assert not list(pytester.path.glob("__llm*"))


LATE = """
def test_before(): pass

def test_name():
    from pytest_llm import assert_contains
    assert_contains(["a cat"], "cat")

def test_bad_input():
    from pytest_llm.assertions import assert_contains
    assert_contains([], "cat")
"""


@pytest.mark.parametrize("late", [LATE, LATE.replace("from pytest_llm import", "from pytest_llm.assertions import")])
def test_a_test_that_takes_a_name_when_it_runs_is_attended_to_from_there(pytester, late):
    pytester.makepyfile(late)
    result = pytester.runpytest_subprocess("-v", "--llm-record=record.json")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*::test_bad_input ERROR*"])
    data = json.loads((pytester.path / "record.json").read_text())
    assert {v["nodeid"].partition("::")[2] for v in data["verdicts"]} >= {"test_name"}
    outcomes = {t["nodeid"].partition("::")[2]: t["outcome"] for t in data["tests"]}
    assert outcomes == {"test_name": "passed", "test_bad_input": "unmeasured"}


def test_a_fixture_asked_for_by_name_attends_to_the_test(pytester):
    pytester.makepyfile("def test_a(request): assert 'hello' == request.getfixturevalue('llm_snapshot')")
    pytester.runpytest_subprocess("--llm-update=new").stdout.fnmatch_lines(["goldens   1 created"])
    result = pytester.runpytest_subprocess("-rP", "--llm-record=record.json")
    result.stdout.fnmatch_lines(["goldens   1 identical"])
    data = json.loads((pytester.path / "record.json").read_text())
    assert [(t["nodeid"], t["outcome"]) for t in data["tests"]] == [(f"{pytester.path.name[:-1]}.py::test_a", "passed")]


def test_a_lazy_object_that_a_test_names_is_not_woken(pytester, cache_dir):
    """As django.conf.settings, which raises where Django is not set up; or what opens a database."""
    pytester.makepyfile("""
        class Lazy:
            @property
            def __class__(self):
                raise RuntimeError("settings are not configured")

        settings = Lazy()

        def test_ours(llm_snapshot):
            llm_snapshot.check("a")

        def test_other():
            if not settings:
                settings.later
    """)
    assert pytester.runpytest("--llm-update=new").ret == pytest.ExitCode.OK


def test_an_exception_that_cannot_say_what_it_is_fails_its_test_alone(pytester, cache_dir):
    pytester.makepyfile("""
        class Mute(Exception):
            def __str__(self):
                raise TypeError("not all arguments converted")

        def test_ours(llm_snapshot):
            llm_snapshot.check("a")

        def test_other():
            raise Mute
    """)
    result = pytester.runpytest("--llm-update=new")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=1)


def test_a_cache_that_cannot_even_be_looked_at_ends_no_run(pytester, cache_dir, monkeypatch):
    """As that of a home folder of somebody else, in a container."""
    pytester.makepyfile("""
        import os
        import pytest

        @pytest.mark.xfail
        def test_a(llm_snapshot):
            llm_snapshot.check(os.environ.get("ANSWER", "a"))
    """)
    pytester.runpytest("--llm-update=new").assert_outcomes(xpassed=1)
    monkeypatch.setenv("PYTEST_LLM_CACHE_DIR", "longer-than-a-name-may-be-" * 20)
    monkeypatch.setenv("ANSWER", "b")
    drifted = pytester.runpytest()
    drifted.assert_outcomes(xfailed=1)
    assert drifted.ret == pytest.ExitCode.OK
    pytester.makepyfile(test_broken="import nothing_of_this_name")
    broken = pytester.runpytest("test_broken.py")
    broken.stdout.fnmatch_lines(["*No module named 'nothing_of_this_name'", "*1 error during collection*"])


def test_pytest_does_not_look_for_tests_among_goldens(pytester):
    pytester.makepyfile("def test_a(llm_snapshot): assert 'hello' == llm_snapshot")
    pytester.runpytest_subprocess("--llm-update=new")
    (folder,) = pytester.path.glob("__llm_snapshots__/*")
    for place in (folder, pytester.mkdir("__llm_baselines__")):
        (place / "test_stray.py").write_text("def test_stray(): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_public_names_are_there_and_lazy():
    code = (
        "import sys, pytest_llm\n"
        "assert not {'numpy', 'pytest_llm.assertions'} & set(sys.modules)\n"
        "missing = [name for name in pytest_llm.__all__ if not hasattr(pytest_llm, name)]\n"
        "assert not missing, missing\n"
        "assert not {'torch', 'numpy', 'transformers', 'scipy'} & set(sys.modules)\n"
        "from pytest_llm import Baseline, ModelLoader, Snapshot\n"
        "assert set(pytest_llm.__all__) == set(dir(pytest_llm))\n"
        "from importlib.metadata import version\n"
        "assert pytest_llm.__version__ == version('pytest-llm-regression')\n"
        "try: pytest_llm.nonsense\n"
        "except AttributeError as error: assert 'nonsense' in str(error)\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_says_its_version(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"pytest-llm-regression {version('pytest-llm-regression')}\n"


def test_a_suite_that_uses_the_plugin_imports_it_as_any_package_is_imported(pytester):
    pytester.makepyfile("def test_a(llm_snapshot): assert 'hello' == llm_snapshot")
    pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        "    loaders = {type(m.__loader__).__name__ for n, m in sys.modules.items() if n.startswith('pytest_llm.golden')}\n"
        "    print('LOADERS', loaders)\n"
    )
    result = pytester.runpytest_subprocess("--llm-update=new")
    result.stdout.fnmatch_lines(["LOADERS {'SourceFileLoader'}"])


def test_what_finds_our_modules_is_gone_after_the_last_session():
    code = (
        "import sys, pytest\n"
        "for _ in range(2):\n"
        "    pytest.main(['--co', '-q', '--rootdir=/', '-p', 'no:cacheprovider', sys.argv[1]])\n"
        "    from pytest_llm.imports import Finder\n"
        "    assert Finder not in sys.meta_path\n"
    )
    subprocess.run([sys.executable, "-c", code, __file__], check=True)


def test_a_session_inside_that_breaks_at_its_end_takes_no_verdict_of_the_outer_one(pytester):
    pytester.makeconftest("pytest_plugins = ['pytester']")
    pytester.makepyfile("""
        def test_inner(pytester):
            pytester.makepyfile("def test_p(llm_loader): llm_loader.close = None")
            pytester.runpytest_inprocess()

        def test_outer(llm_snapshot):
            assert "a" == llm_snapshot
    """)
    result = pytester.runpytest_subprocess("--llm-update=new", "-rA")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*TypeError: 'NoneType' object is not callable*", "goldens   1 created"])


def test_it_starts_where_python_has_no_sysconf_as_on_windows(pytester):
    pytester.makepyfile("""
        def test_a(llm_loader):
            assert llm_loader.settings.memory_limit > 2**20
    """)
    start = "import asyncio, os, sys, psutil, pytest; del os.sysconf; sys.exit(pytest.main(['-q', '-p', 'no:xdist']))"
    result = pytester.run(sys.executable, "-c", start)
    result.assert_outcomes(passed=1)
