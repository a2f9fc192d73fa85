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


def test_without_groups_it_is_the_machines(tmp_path):
    assert machine.installed(tmp_path) == psutil.virtual_memory().total
    assert machine.available(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


@pytest.mark.parametrize(
    ("lines", "files", "left"),
    [
        pytest.param(
            "0::/pod/container\n",
            {
                "pod/memory.max": f"{GIB}\n",
                "pod/memory.current": f"{GIB - 1000}\n",
                "pod/memory.stat": "anon 5\nactive_file 100\ninactive_file 20\nshmem 7\n",
                "pod/container/memory.max": "max\n",
                "pod/container/memory.current": "5\n",
            },
            1000 + 120,
            id="version two, the narrowest group above",
        ),
        pytest.param(
            "9:name=systemd:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/\n",
            {
                "memory/memory.limit_in_bytes": f"{GIB}\n",
                "memory/memory.usage_in_bytes": f"{GIB}\n",
                "memory/memory.stat": "total_active_file 30\ntotal_inactive_file 0\nactive_file 7\n",
            },
            30,
            id="version one, its path one of the machine outside",
        ),
    ],
)
def test_a_limit_is_that_of_the_groups_of_this_process(tmp_path, lines, files, left):
    for path, content in {"proc/self/cgroup": lines, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert machine.installed(tmp_path) == GIB
    assert machine.available(tmp_path) == left


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
