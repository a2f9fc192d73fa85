"""Memory, in containers too: real control groups where this machine lets a test make one, else their files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_llm import machine

GIB = 1 << 30


def tree(root: Path, lines: str, **groups: str) -> Path:
    """Write ``proc/self/cgroup`` and files of groups, ``path=content`` with __ for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for path, content in groups.items():
        file = root / "sys/fs/cgroup" / path.replace("__", "/").replace("memory_", "memory.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_without_groups_it_is_the_machines(tmp_path):
    assert machine.installed(tmp_path) == psutil.virtual_memory().total
    assert machine.available(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_limit_of_version_two_is_that_of_the_narrowest_group_above(tmp_path):
    root = tree(
        tmp_path,
        "0::/pod/container\n",
        pod__memory_max=f"{GIB}\n", pod__memory_current=f"{GIB - 1000}\n",
        pod__memory_stat="anon 5\nactive_file 100\ninactive_file 20\nshmem 7\n",
        pod__container__memory_max="max\n", pod__container__memory_current="5\n",
    )  # fmt: skip
    assert machine.installed(root) == GIB
    assert machine.available(root) == 1000 + 120


def test_a_limit_of_version_one_whose_path_is_one_of_the_machine_outside(tmp_path):
    root = tree(
        tmp_path,
        "9:name=systemd:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/\n",
        memory__memory_limit_in_bytes=f"{GIB}\n", memory__memory_usage_in_bytes=f"{GIB}\n",
        memory__memory_stat="total_active_file 30\ntotal_inactive_file 0\nactive_file 7\n",
    )  # fmt: skip
    assert machine.installed(root) == GIB
    assert machine.available(root) == 30


def group() -> Path | None:
    """Return a folder for groups below the one of this process, if there is a memory controller that may be used."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
    return None


LIMITED = """
import os, sys
from pathlib import Path

group = Path(sys.argv[2])
(group / "memory.limit_in_bytes").write_text(str(1 << 30))
(group / "cgroup.procs").write_text(str(os.getpid()))

from pytest_llm import machine
from pytest_llm.engines import memory
from pytest_llm.engines.local import LocalEngine
from pytest_llm.options import settings_from
from pytest_llm.weights.spec import ModelSpec

model = LocalEngine(Path(sys.argv[1]), ModelSpec(sys.argv[1], device="cpu")).model
tokens = memory.tokens_in_memory(model) * memory.bytes_per_token(model)
print(tokens, settings_from({}, {}, {}, root=Path.cwd()).memory_limit)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not group() or not os.access(group(), os.W_OK),
    reason="needs a control group to write to",
)
def test_in_a_real_group_passes_and_loaded_models_keep_to_its_limit(tiny_gpt2):
    own = group() / f"pytest_llm_{os.getpid()}"
    own.mkdir()
    try:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(tiny_gpt2), str(own)], check=True, capture_output=True, text=True
        )
    finally:
        own.rmdir()
    a_pass, models = map(int, done.stdout.split())
    assert 0 < a_pass < GIB // 4  # a quarter of what is left of it
    assert models == GIB // 2  # 50%, as by default
