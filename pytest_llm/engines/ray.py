"""The engine for a Ray cluster: the local engine in many processes, one a GPU, or one a machine where CPUs compute.

A process on the cluster is a replica (`pytest_llm.engines.replica`). It finds the weights by the name and the place
they have here, and answers only where their content and its environment are what the store's key says. Requests are
shared out in parts; a replica that has answered one takes the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm import environment
from pytest_llm.engines import threads
from pytest_llm.engines.batching import PART
from pytest_llm.errors import InvalidInputError, LLMError, MissingExtraError, ServiceError
from pytest_llm.reports.text import counted, one_line
from pytest_llm.requests import Request

if TYPE_CHECKING:
    from pytest_llm.asking import Asker
    from pytest_llm.engines.protocol import Answer
    from pytest_llm.settings import Settings

    Part = list[tuple[int, Request]]

#: Seconds to wait for a replica while the cluster has none for us.
ROOM = 600
#: Seconds in which a machine of the cluster must be reached, and how often that is tried.
_REACH, _TRIES = 20, 2
#: How many replicas may die of one part.
_DEATHS = 2
#: The device of a replica, and what Ray calls it.
_RESOURCES = {"cuda": "GPU", "cpu": "CPU"}


class Cluster:
    """The connection to a Ray cluster, and our replicas on it, by the device they compute on.

    A session in which Ray is already connected (in a ``conftest.py``, say) is used as it is.

    Raises:
        InvalidInputError: this is one of several pytest-xdist workers: each would want the whole cluster.
        MissingExtraError: the package ``ray`` is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        # Ray would send usage statistics, and warn of what we do not use.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray is not installed: pip install 'pytest-llm-regression[ray]'") from None
        if threads.workers() > 1:
            raise InvalidInputError("--llm-ray shares the work out itself: run pytest without -n, or with -n 0")
        self.ray: Any = ray
        self.settings = settings
        self._replicas: dict[str, list[Any]] = {}
        self._own = self._connected = False
        self._failures: list[str] = []

    def __str__(self) -> str:
        return f"Ray at {self.settings.ray}"

    def connect(self) -> None:
        """Connect, where that is not done. What failed twice is not tried again: each time may take half a minute.

        Raises:
            ServiceError: no cluster answers at the address.
        """
        if self._connected:
            return
        if len(self._failures) < _TRIES:
            try:
                own = not self.ray.is_initialized()
                if own:
                    self._init(self.settings.ray)
                self._own, self._connected = own, True
                return
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                self._failures.append(one_line(error))
        raise ServiceError(
            f"{self}: no connection ({self._failures[-1]}): is the cluster up, and is --llm-ray its address: HOST:6379 "
            "on one of its machines, ray://HOST:10001 from elsewhere, or local for this machine alone? If it wants a "
            "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        )

    def _init(self, address: str) -> None:
        if address == "local":  # it is ours alone: no page to look at it, and no politeness to other work
            arguments = {"include_dashboard": False, "_system_config": {"worker_niceness": 0}}
        else:  # its machines need torch and transformers; this package comes from here
            arguments = {"runtime_env": {"py_modules": [str(Path(__file__).parents[1])]}}
            host, _, port = address.removeprefix("ray://").rpartition(":")
            if host and port.isdigit():  # Ray would try for minutes
                socket.create_connection((host, int(port)), _REACH).close()
        self.ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **arguments)

    def replicas(self, device: str) -> list[Any]:
        """Return the replicas for ``device``, started if there are none. They may wait for room.

        Raises:
            InvalidInputError: a device that is no kind of device Ray knows, or that the cluster has none of.
            ServiceError: no cluster answers at the address.
        """
        self.connect()
        if not self._replicas.get(device):
            if device not in _RESOURCES:
                raise InvalidInputError(
                    f"{self}: it gives each process a device of its own: choose {' or '.join(_RESOURCES)}, not {device}"
                )
            places = self._places(_RESOURCES[device])
            if not places:
                raise InvalidInputError(f"{self}: none of its machines has a {_RESOURCES[device]}")
            from pytest_llm.engines.replica import Replica

            replica = self.ray.remote(Replica)
            self._replicas[device] = [
                replica.options(**place, max_restarts=_DEATHS).remote(self.settings, socket.gethostname())
                for place in places
            ]
        return self._replicas[device]

    def room(self, device: str) -> str:
        """Say how much of what replicas for ``device`` need is free."""
        name = _RESOURCES[device]
        has, free = self.ray.cluster_resources().get(name, 0), self.ray.available_resources().get(name, 0)
        return f"of its {has:g} {name}s {free:g} are free"

    def _places(self, resource: str) -> list[dict[str, Any]]:
        """Return where replicas go: one a GPU, wherever that is, or one a machine, with all its CPUs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        amounts = [(node["NodeID"], int(node["Resources"].get(resource, 0))) for node in nodes]
        if resource == "GPU":
            return [{"num_gpus": 1, "num_cpus": 0}] * sum(amount for _, amount in amounts)
        return [
            {"num_cpus": amount, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            for node, amount in amounts
            if amount
        ]

    def close(self) -> None:
        """End the replicas, and the connection if it is ours."""
        for replicas in self._replicas.values():
            for replica in replicas:
                with contextlib.suppress(Exception):  # the cluster may be gone
                    self.ray.kill(replica)
        self._replicas.clear()
        if self._own:
            self.ray.shutdown()


class RayEngine:
    """Answers with one model on a cluster; see `pytest_llm.engines.protocol.Engine`."""

    def __init__(self, cluster: Cluster, model: Asker) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        self.device = environment.resolve_device(model.spec.device)
        self._model = dataclasses.replace(model.spec, device=self.device), model.digest, model.identity
        #: As the replica that answered last says.
        self.load_seconds = 0.0

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield ``(index, answer)`` as parts are answered.

        After a failure nothing more is asked; what is under way is still waited for and kept, then the failure raised.
        A part whose replica died (its machine did, or memory ran out) goes to another.

        Raises:
            ServiceError: the cluster has no room for a replica, or replicas die.
            LLMError: what a replica says, with the name of its machine.
        """
        replicas = self.cluster.replicas(self.device)
        starting = {self._ready(replica): replica for replica in replicas}
        waiting = deque(self._parts(requests, len(replicas)))
        under_way: dict[Any, tuple[Any, Part]] = {}
        idle: list[Any] = []
        deaths: Counter[int] = Counter()
        failure: BaseException | None = None
        patience = time.monotonic() + ROOM
        while True:
            while idle and waiting and failure is None:
                replica, part = idle.pop(), waiting.popleft()
                under_way[replica.answer.remote(self._model, [request for _, request in part])] = replica, part
            if not under_way and (failure is not None or not waiting):
                break
            done, _ = self.ray.wait([*under_way, *starting], num_returns=1, timeout=1)
            if done or under_way:
                patience = time.monotonic() + ROOM
            elif time.monotonic() > patience:
                room = self.cluster.room(self.device)
                raise ServiceError(f"{self.cluster}: no room for a replica in {ROOM} s: {room}")
            for task in done:
                replica, part = under_way.pop(task) if task in under_way else (starting.pop(task), [])
                try:
                    found, load_seconds = self.ray.get(task) or ([], 0.0)
                except self.ray.exceptions.RayActorError as error:
                    failure = failure or self._died(error, replica, part, deaths)
                    if part:
                        waiting.appendleft(part)
                        starting[self._ready(replica)] = replica  # Ray starts it again
                    continue
                except self.ray.exceptions.RayTaskError as error:
                    failure = failure or (error.cause if isinstance(error.cause, LLMError) else error)
                    continue
                idle.append(replica)
                if part:
                    self.load_seconds = load_seconds
                    for (index, _), answer in zip(part, found, strict=True):
                        yield index, answer
        if failure is not None:
            raise failure

    def _ready(self, replica: Any) -> Any:
        return replica.ready.options(max_task_retries=-1).remote()

    def _died(self, error: BaseException, replica: Any, part: Part, deaths: Counter[int]) -> ServiceError | None:
        """Say what the death of a replica means: nothing, while there are others and its part did not kill two."""
        if not part:  # it was not started again
            replicas = self.cluster.replicas(self.device)
            replicas.remove(replica)
            return None if replicas else ServiceError(f"{self.cluster}: no replica is left: {one_line(error)}")
        first = part[0][0]
        deaths[first] += 1
        if deaths[first] < _DEATHS:
            return None
        return ServiceError(
            f"{self.cluster}: {_DEATHS} replicas died of {counted(len(part), 'request')} of kind {part[0][1].kind}, "
            f"the last one: {one_line(error)}; if memory ran out, lower --llm-batch-size"
        )

    def _parts(self, requests: Sequence[Request], replicas: int) -> list[Part]:
        size = min(PART * self.cluster.settings.batch_size, math.ceil(len(requests) / replicas))
        every = list(enumerate(requests))
        return [every[start : start + size] for start in range(0, len(every), size)]
