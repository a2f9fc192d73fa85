"""The Ray engine on real clusters: one of two machines (processes here), and one that a session starts for itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster as Machines
from safetensors.torch import load_file, save_file

from pytest_llm.engines import ray as engines
from pytest_llm.engines.ray import Cluster, RayEngine
from pytest_llm.engines.replica import _public
from pytest_llm.environment import version
from pytest_llm.errors import InvalidInputError, LLMError, MissingExtraError, ModelNotFoundError, ServiceError
from pytest_llm.loader import ModelLoader
from pytest_llm.options import settings_from
from pytest_llm.requests import Embed, FillMask, Generate, Loss
from tests.conftest import MINILM
from tests.engines.conftest import answers

TEXTS = [f"the {a} {b} sees the {c}." for a in ("red", "small") for b in ("cat", "dog", "fox") for c in ("cow", "cat")]
ASKED = [*(Generate(text[:-5], max_new_tokens=4) for text in TEXTS), *map(Loss, TEXTS), Embed(TEXTS[0])]


@pytest.fixture(scope="module", autouse=True)
def _no_workers():
    """Let a test in a pytest-xdist worker be a session of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
        yield


@pytest.fixture(scope="module")
def address():
    """The address of a cluster of two machines, a core each."""
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": {"worker_niceness": 0}}
    machines = Machines(initialize_head=True, head_node_args=head)
    machines.add_node(num_cpus=1, num_gpus=2)  # Ray does not look for them
    yield machines.address
    machines.shutdown()


@pytest.fixture(scope="module")
def settings(address, tiny_gpt2, shared_cache):
    flags = {"ray": address, "model": str(tiny_gpt2), "device": "cpu", "cache_dir": shared_cache}
    return settings_from(flags, {}, {}, root=tiny_gpt2)


@pytest.fixture(scope="module")
def cluster(settings):
    cluster = Cluster(settings)
    yield cluster
    cluster.close()


@pytest.fixture
def loader(settings):
    loader = ModelLoader(settings)
    yield loader
    loader.close()


def on(replica, ask):
    """Return what ``ask`` finds in the process of ``replica``."""
    return ray.get(replica.__ray_call__.remote(ask))


def test_machines_share_the_work_and_answer_as_this_process_does(cluster, loader, gpt2):
    engine = RayEngine(cluster, loader())
    found = answers(engine, ASKED)
    expected = answers(gpt2, ASKED)
    for index, text in enumerate(TEXTS):
        assert found[index]["sequences"][0]["text"] == expected[index]["sequences"][0]["text"]
        losses = (those[len(TEXTS) + index]["token_logprobs"] for those in (found, expected))
        assert next(losses) == pytest.approx(next(losses), abs=1e-5), text
    assert found[-1]["vector"] == pytest.approx(expected[-1]["vector"], abs=1e-5)
    assert engine.load_seconds == pytest.approx(5, abs=5)
    assert [on(replica, lambda self: len(self._models)) for replica in cluster.replicas("cpu")] == [1, 1]
    assert len({on(replica, lambda self: os.getpid()) for replica in cluster.replicas("cpu")} - {os.getpid()}) == 2


def test_a_part_whose_replica_died_goes_to_another(cluster, loader):
    engine = RayEngine(cluster, loader())
    before = answers(engine, ASKED[:4])
    victim = on(cluster.replicas("cpu")[0], lambda self: os.getpid())
    os.kill(victim, signal.SIGKILL)
    after = answers(engine, ASKED[:4])
    assert [a["sequences"][0]["text"] for a in after] == [b["sequences"][0]["text"] for b in before]


class Deadly(Loss):
    """A request that ends the process it arrives in."""

    def __reduce__(self):
        return os._exit, (1,)


def test_requests_that_kill_replicas_are_given_up(cluster, loader):
    engine = RayEngine(cluster, loader())
    with pytest.raises(ServiceError, match=r"2 replicas died of 1 request of kind loss.*lower --llm-batch-size"):
        list(engine.answer([Loss(TEXTS[0]), Deadly(TEXTS[1])]))
    assert answers(engine, [Loss(TEXTS[0])])


def test_what_a_replica_says_names_its_machine(cluster, loader):
    with pytest.raises(InvalidInputError, match=rf"^on {socket.gethostname()}: .*fill_mask"):
        list(RayEngine(cluster, loader()).answer([FillMask("the [MASK]")]))
    with pytest.raises(InvalidInputError, match=r"tokens"):
        list(RayEngine(cluster, loader()).answer([Generate("the cat " * 500)]))


def test_other_weights_do_not_answer(cluster, settings, tiny_gpt2, tmp_path):
    folder = shutil.copytree(tiny_gpt2, tmp_path / "model")
    loader = ModelLoader(settings)
    model = loader(str(folder))
    assert model.digest
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(ModelNotFoundError, match=rf"are others here: .* not {model.digest[:12]}"):
        list(RayEngine(cluster, model).answer([Loss("the cat")]))
    shutil.rmtree(folder)
    with pytest.raises(ModelNotFoundError, match=rf"on {socket.gethostname()}: "):
        list(RayEngine(cluster, model).answer([Loss("the cat")]))
    loader.close()


def test_another_environment_does_not_answer(cluster, loader):
    model = loader()
    model.identity["torch"] = "1.0.0+cu128"
    with pytest.raises(ServiceError, match=r"this one has torch [\d.]+, not 1\.0\.0: install the same versions"):
        list(RayEngine(cluster, model).answer([Loss("the cat")]))
    model.identity["torch"] = f"{_public(version('torch'))}+cu128"
    assert answers(RayEngine(cluster, model), [Loss("the cat")])


def test_each_gpu_has_a_replica(cluster, loader):
    with pytest.raises(LLMError, match=rf"^on {socket.gethostname()}: .*(CUDA|NVIDIA)"):
        list(RayEngine(cluster, loader(device="cuda")).answer([Loss("the cat")]))
    devices = {on(replica, lambda self: os.environ["CUDA_VISIBLE_DEVICES"]) for replica in cluster.replicas("cuda")}
    assert devices == {"0", "1"}


def test_devices_that_are_not_there(cluster, loader, monkeypatch):
    with pytest.raises(InvalidInputError, match="choose cuda or cpu, not mps"):
        list(RayEngine(cluster, loader(device="mps")).answer([Loss("the cat")]))
    monkeypatch.setitem(engines._RESOURCES, "mps", "TPU")
    with pytest.raises(InvalidInputError, match="none of its machines has a TPU"):
        list(RayEngine(cluster, loader(device="mps")).answer([Loss("the cat")]))


def test_a_cluster_without_room_is_given_up(cluster, loader, settings, monkeypatch):
    answers(RayEngine(cluster, loader()), [Loss("the cat")])
    monkeypatch.setattr(engines, "ROOM", 2)
    other = Cluster(settings)  # on the same connection
    try:
        with pytest.raises(ServiceError, match=r"no room for a replica in 2 s: of its 2 CPUs \d are free"):
            list(RayEngine(other, loader()).answer([Loss("the cat")]))
    finally:
        other.close()
    assert answers(RayEngine(cluster, loader()), [Loss("the cat")]), "a connection of others was closed"


SUITE = """
def test_a(llm, llm_snapshot):
    assert llm.embed("The cat sat on the mat.")[:4] == llm_snapshot
"""


def test_a_session_has_a_cluster_of_its_own_and_needs_none_when_warm(pytester, monkeypatch):
    pytester.makepyfile(SUITE)
    pytester.makeini(f"[pytest]\nllm_model = {MINILM}\nllm_cache_dir = {pytester.path}/cache\n")
    pytester.runpytest_subprocess("--llm-update=new", "--llm-cache=off").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("--llm-ray=local")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["model * 1 answer: 0 from the store, 1 computed*; loaded in *"])
    assert result.stderr.str() == ""
    monkeypatch.setenv("PYTEST_LLM_RAY", "192.0.2.1:6379")  # an address that is nobody's
    warm = pytester.runpytest_subprocess()
    warm.stdout.fnmatch_lines(["model * 1 answer: 1 from the store, 0 computed*"])
    split = pytester.runpytest_subprocess("--llm-cache=refresh", "-n", "2")
    split.assert_outcomes(errors=1)
    split.stdout.fnmatch_lines(["*--llm-ray shares the work out itself: run pytest without -n, or with -n 0"])
    calibrated = pytester.runpytest_subprocess("--llm-calibrate=20")
    calibrated.stderr.fnmatch_lines(["*do not give llm_ray with it"])


@pytest.mark.parametrize("where", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nonsense"])
def test_an_address_where_no_cluster_is(where, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # as in a session of its own
    cluster = Cluster(settings_from({"ray": where.format(port=port)}, {}, {}, root=Path()))
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"no connection \(.*\): is the cluster up"):
            cluster.connect()
    monkeypatch.setattr(ray, "init", lambda *arguments, **further: pytest.fail("tried a third time"))
    with pytest.raises(ServiceError, match=r"no connection \(.*\): is the cluster up"):
        cluster.connect()
    cluster.close()


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pytest-llm-regression\[ray\]"):
        Cluster(settings_from({"ray": "local"}, {}, {}, root=Path()))
