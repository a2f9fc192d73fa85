"""What a suite that does not use the plugin pays: nothing it can see."""

import subprocess
import sys

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
    assert "model regression" not in result.stdout
    assert not list(pytester.path.glob("__llm*"))


def test_the_public_names_are_there_and_lazy():
    code = (
        "import sys, pytest_llm\n"
        "assert not {'numpy', 'pytest_llm.assertions'} & set(sys.modules)\n"
        "missing = [name for name in pytest_llm.__all__ if not hasattr(pytest_llm, name)]\n"
        "assert not missing, missing\n"
        "assert not {'torch', 'numpy', 'transformers', 'scipy'} & set(sys.modules)\n"
        "assert set(pytest_llm.__all__) == set(dir(pytest_llm))\n"
        "try: pytest_llm.nonsense\n"
        "except AttributeError as error: assert 'nonsense' in str(error)\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
