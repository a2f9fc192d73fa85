"""The key of a service: where it is read, and that nobody reads it in what the service says."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytest_llm.errors import UnavailableError
from pytest_llm.weights.spec import KEY


class Key:
    """The key in the variable ``name`` of ``environ``: the environment as it was before the tests.

    So no fixture that sets a variable changes whom a key goes to.
    """

    def __init__(self, name: str = KEY, environ: Mapping[str, str] = os.environ) -> None:
        self._name, self._environ = name, environ
        #: The key once it is read; ``""`` where the service is asked without one.
        self.value = ""

    def __str__(self) -> str:
        if self.value or not os.environ.get(self._name):
            return f"the key in {self._name}"
        return f"a request without a key, as {self._name} was set after the tests began"

    def read(self, service: str, *, needed: bool) -> None:
        """Read the key; ``service`` is for messages. It is ``needed`` under any name but `KEY` too.

        Raises:
            UnavailableError: it is needed and there is none; it is none; or a test or a fixture has changed it.
        """
        name, given = self._name, self._environ.get(self._name, "")
        if given and given != os.environ.get(name):
            raise UnavailableError(
                f"{service}: {name} was changed after the tests began, and keys are read before: for another service "
                "set another variable by then, and name it beside base_url=: api_key_env='NAME'"
            )
        key = given.strip()
        if not key and (needed or name != KEY):
            before = " before the tests begin" if os.environ.get(name) else ""
            other = ", or --llm-base-url to the address of another service" if name == KEY and not before else ""
            raise UnavailableError(f"{service}: no key: set {name}{before}{other}")
        if not (key.isascii() and key.isprintable()):
            raise UnavailableError(f"{service}: {name} holds what no key has (a line break, an accent): set it anew")
        self.value = key

    def hidden(self, text: str) -> str:
        """Return ``text``, which may repeat the key, with stars in its place."""
        # A shorter one is a stand-in ("EMPTY"), and perhaps a part of other words.
        return text.replace(self.value, "***") if len(self.value) >= 8 else text
