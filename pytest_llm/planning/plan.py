"""The plan: which requests the selected tests will make, as far as it is known before they run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm import jsontext
from pytest_llm.golden.file import module_folder
from pytest_llm.location import plain_nodeid
from pytest_llm.request_json import request_from_json, split_requests
from pytest_llm.requests import Request

if TYPE_CHECKING:
    import pytest

    from pytest_llm.loader import ModelLoader
    from pytest_llm.model import LanguageModel

#: Requests to answer by model, each by its digest.
Plan = dict["LanguageModel", dict[str, Request]]


def make_plan(items: Iterable[pytest.Item], loader: ModelLoader) -> Plan:
    """Return what ``items`` will ask and the store cannot answer; under ``--llm-cache=refresh`` what it can, too.

    From the request log, what each test asked when it last ran on this machine; for a test that is not in it (a
    fresh clone), from its goldens. A test that changed asks something else: that is a miss, computed in its turn.
    """
    users = {plain_nodeid(item): item for item in items if "llm_loader" in _fixtures(item)}
    if not users:
        return {}
    logged = loader.log.recall(users)
    wanted: dict[LanguageModel, set[str]] = {}
    named = {role: _named(role, loader) for role in {role for asked in logged.values() for role, _ in asked} if role}
    for test, questions in logged.items():
        under_test = _under_test(users[test], loader) if any(not role for role, _ in questions) else None
        for role, digest in questions:
            model = named[role] if role else under_test
            if model is not None:
                wanted.setdefault(model, set()).add(digest)
    plan: Plan = {}
    for model, digests in wanted.items():
        missing = digests - loader.store.has(model.identity_digest, list(digests), since=loader.since)
        if missing:
            plan[model] = {}
            for digest, data in loader.log.read(missing).items():
                with contextlib.suppress(Exception):  # what this version refuses, or is damaged
                    request = request_from_json(data)
                    plan[model].update({digest: request} if request.digest == digest else {})
    _add_goldens(plan, [item for test, item in users.items() if test not in logged], loader)
    return plan


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


def _under_test(item: pytest.Item, loader: ModelLoader) -> LanguageModel | None:
    with contextlib.suppress(Exception):  # whatever it is, the test itself will say why
        return _found(loader.under_test(item))
    return None


def _named(role: str, loader: ModelLoader) -> LanguageModel | None:
    """Return a model that a test names; no judge behind a service where its prompts are made of answers asked anew."""
    with contextlib.suppress(Exception):  # a model that a test makes may not be there yet
        model = _found(loader.named(role))
        return None if loader.since and model.spec.base_url is not None else model
    return None


def _found(model: LanguageModel) -> LanguageModel:
    """Return ``model`` once its weights are found and digested; else raise."""
    assert model.identity_digest
    return model


def _add_goldens(plan: Plan, items: Iterable[pytest.Item], loader: ModelLoader) -> None:
    """Add what the goldens of ``items`` hold. They are taken to be of the model under test."""
    folders: dict[Path, dict[str, list[Request]]] = {}
    for item in items:
        if not {"llm", "llm_snapshot"} <= set(_fixtures(item)):
            continue
        folder = module_folder(item.path)
        if folder not in folders:
            folders[folder] = _golden_requests(folder)
        requests = {request.digest: request for request in folders[folder].get(plain_nodeid(item), ())}
        model = _under_test(item, loader) if requests else None
        if model is not None:
            known = loader.store.has(model.identity_digest, list(requests), since=loader.since)
            missing = {digest: request for digest, request in requests.items() if digest not in known}
            if missing:
                plan.setdefault(model, {}).update(missing)


def _golden_requests(folder: Path) -> dict[str, list[Request]]:
    """Return the requests in a folder of goldens, by test. What cannot be read is the test's to report."""
    found: dict[str, list[Request]] = {}
    files: list[Path] = []
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.json"))
    for file in files:
        with contextlib.suppress(Exception):
            golden = jsontext.load(file.read_text("utf-8"))
            if golden["request"]:
                requests = [request_from_json(data) for data in split_requests(golden["request"])]
                # A golden's keys are sorted: where their order counts, it is not known here.
                plain = [request for request in requests if not request.key_orders]
                found.setdefault(golden["nodeid"], []).extend(plain)
    return found
