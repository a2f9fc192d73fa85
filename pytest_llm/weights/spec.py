"""What a test asks for, and what was found for it."""

from __future__ import annotations

import dataclasses
import os
import re
import urllib.parse
from pathlib import Path

from pytest_llm.errors import InvalidInputError, measured

__tracebackhide__ = measured

#: What the name of a service's model starts with.
SERVICE = "openai:"
#: The device of an answer that a service gave.
SERVICE_DEVICE = "service"
#: The service that a model is of where nothing says another.
OPENAI = "https://api.openai.com/v1"
#: The variable that holds the key of a service where nothing names another.
KEY = "OPENAI_API_KEY"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as a test names it, with everything around the weights that decides an answer.

    ``base_url`` is the address of the service that answers for a model ``openai:NAME``; of such a model no dtype
    or attention is known, and its device is ``service``. ``api_key_env`` names the variable that holds its key.
    """

    source: str
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    adapter: str | None = None
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    trust_pickle: bool = False
    exact: bool = False
    base_url: str | None = None
    api_key_env: str = KEY

    @property
    def fixed_shapes(self) -> bool:
        """Whether neighbours in a batch must change nothing at all: on request, and in coarse dtypes always."""
        return self.exact or self.dtype in ("float16", "bfloat16")

    @property
    def host(self) -> str:
        """The host of the service, with its port where the address has one; ``""`` for weights in this process."""
        return urllib.parse.urlsplit(self.base_url or "").netloc.rpartition("@")[2]


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights on this disk, or the name of a model that a service has.

    Attributes:
        source: how to name them in a report or a golden: portable, never an absolute path.
        folder: holds config, tokenizer and weight files; ``Path()`` for a model of a service.
        revision: the commit of a hub model; what the user calls the state of a service's model; else ``""``.
        gguf: file name of the GGUF in ``folder``, else ``""``.
        adapter: folder of the LoRA adapter.
        adapter_source: how to name the adapter, portable as ``source`` is, else ``""``.
        service: the name that a service knows the model by, else ``""``.
        code: folders of code that runs to load the model: its own, and others that it names. None unless trusted.
    """

    source: str
    folder: Path
    revision: str = ""
    gguf: str = ""
    adapter: Path | None = None
    adapter_source: str = ""
    service: str = ""
    code: tuple[Path, ...] = ()


def service_address(given: str) -> str:
    """Return the address of a service as it is asked: without space around it or a slash at its end.

    Raises:
        InvalidInputError: it is none, or holds more, as a password; the message repeats nothing of that.
    """
    url = given.strip().rstrip("/")
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # what is in brackets is no address, or the port is no number
        valid = False
    if not valid:
        shown = re.sub(".*@", "***@", re.split("[?#]", url)[0], flags=re.DOTALL)
        raise InvalidInputError(f"the address of its service is of the form http://host:8000/v1, not {shown!r}")
    more = [what for what, found in (
        ("a user name or password", "@" in parts.netloc), ("a query, from ? on", parts.query),
        ("a fragment, from # on", parts.fragment),
    ) if found]  # fmt: skip
    if more:
        raise InvalidInputError(
            f"the address of its service ({parts.scheme}://{parts.hostname}) holds more than an address "
            f"({', '.join(more)}): leave that out; a key goes into {KEY}"
        )
    return url


def check_key_name(given: str) -> None:
    """Check that ``given`` may be the name of a variable.

    Raises:
        InvalidInputError: it cannot be one, and may be a key; the message does not repeat it.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", given):
        raise InvalidInputError("api_key_env is the name of an environment variable that holds the key, not a key")


def service_spec(
    source: str, revision: str | None, base_url: str | None, adapter: str | None, api_key_env: str | None = None
) -> ModelSpec:
    """Return the model ``openai:NAME`` of the service at ``base_url``, else at ``OPENAI_BASE_URL``, else OpenAI's own.

    Raises:
        InvalidInputError: no name, an adapter, or what `service_address` or `check_key_name` refuses.
    """
    if source == SERVICE:
        raise InvalidInputError(f"{SERVICE} needs the name of a model behind it, as the service has it: {SERVICE}NAME")
    if adapter:
        raise InvalidInputError(f"{source}: no adapter can be put on a service's model: serve it there, under a name")
    key = KEY if api_key_env is None else api_key_env
    try:
        check_key_name(key)
        url = service_address(os.environ.get("OPENAI_BASE_URL") or OPENAI if base_url is None else base_url)
    except InvalidInputError as error:
        raise InvalidInputError(f"{source}: {error}") from None
    return ModelSpec(
        source, revision, dtype="", device=SERVICE_DEVICE, attn_implementation="", base_url=url, api_key_env=key
    )
