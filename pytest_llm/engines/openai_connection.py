"""The connection to a service: its client, how often and how long it is asked, and what went wrong in our words.

The client's own tries are turned off: they know no limit on a whole request, and differ between versions of ``openai``.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from pytest_llm.engines import openai_failures as failures
from pytest_llm.engines.openai_key import Key
from pytest_llm.errors import (
    InvalidInputError,
    LLMError,
    MissingExtraError,
    ModelNotFoundError,
    ServiceError,
    UnavailableError,
)
from pytest_llm.reports.text import shorten, visible
from pytest_llm.weights.spec import OPENAI

T = TypeVar("T")

#: How often what may pass is tried again.
RETRIES = 5
#: Seconds in which a service that has been silent twice is not asked again, or as many as the silence took.
QUIET = 60.0
#: Bytes of an answer, unpacked.
LARGEST = 256 << 20
#: Seconds for a connection to be made.
_CONNECT = 15.0

#: What reading an answer of another form raises.
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError)


class TooManyError(UnavailableError):
    """The service has refused a request, all its tries, as one too many."""


class Connection:
    """Asks the service at ``base_url`` for its model ``name``, each request within ``timeout`` seconds.

    No message holds the key (see `openai_key.Key`), also where the service repeats it.

    A run goes on where a service went down, so what every test learns anew must cost little: after a failure that
    others would meet too there is one try for each, and after two that were silence none for a while.
    """

    def __init__(self, name: str, base_url: str, timeout: float, key: Key) -> None:
        self.name, self.base_url, self.timeout, self.key = name, base_url, timeout, key
        #: What went wrong since anything went well: how the last failure reads, and when the first and last were.
        self._trouble, self._first, self._last = "", 0.0, 0.0
        #: How many of these in a row were silence, whether the last was a rate limit, and until when nothing is asked.
        self._silences, self._limited, self._quiet_until = 0, False, 0.0

    def __str__(self) -> str:
        return f"openai:{self.name} at {self.base_url}"

    @functools.cached_property
    def client(self) -> Any:
        """The HTTP client. It connects when it is first used.

        Raises:
            MissingExtraError: the package ``openai`` is not installed.
            UnavailableError: a key is missing or wrong (see `openai_key.Key.read`), or a proxy is none.
        """
        try:
            import openai
        except ImportError:
            raise MissingExtraError("openai is not installed: pip install 'pytest-llm-regression[openai]'") from None
        self.key.read(str(self), needed=self.base_url == OPENAI)
        limits = openai.Timeout(self.timeout, connect=min(self.timeout, _CONNECT))
        key = self.key.value or "none"
        try:
            http = openai.DefaultHttpxClient(event_hooks={"response": [self._look]}, timeout=limits)
            return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=limits, http_client=http)
        except Exception as error:  # whatever the environment holds: a proxy, certificates
            names = ", ".join(failures.proxies())
            hint = f"; is what {names} says the address of a proxy?" if names else ""
            raise UnavailableError(f"{self}: it cannot be asked: {self.said(error)}{hint}") from None

    def _look(self, response: Any) -> None:
        """Look at the head of a response, and count what will be read of it.

        Raises:
            UnavailableError: it sends the request on to another service.
        """
        response.iter_bytes = functools.partial(self._counted, response.iter_bytes)
        if not response.has_redirect_location:
            return
        target, url = response.url.join(response.headers["Location"]), response.url
        if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
            end = url.path.removeprefix(urllib.parse.urlsplit(self.base_url).path)
            address = self._shown(str(target).removesuffix(end), 300)
            raise UnavailableError(
                f"{self}: it sends the request on to {address}, which is another service: it is not asked, as its "
                "answer would be kept as this one's. If it is the one that you mean, give --llm-base-url its address"
            )

    def _counted(self, read: Callable[..., Iterator[bytes]], *arguments: Any) -> Iterator[bytes]:
        size = 0
        for piece in read(*arguments):
            size += len(piece)
            if size > LARGEST:
                raise ServiceError(f"{self}: its answer is larger than {LARGEST >> 20} MB, and is not read to its end")
            yield piece

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client = vars(self).pop("client", None)
        if client is not None:
            client.close()

    def ask(self, call: Callable[[], T]) -> T:
        """Return ``call()``, tried again where that may help; all of it takes at most ``timeout`` seconds.

        Raises:
            TimeoutError: there was no whole answer in time.
            openai.APIError: what the last try raised, or what failed inside its answer; ``tries`` counts those before.
            UnavailableError: it was silent just now, and is not asked.
        """
        import openai

        start = time.monotonic()
        if self._silences > 1 and start < self._quiet_until:
            ago = f"{start - self._last:.0f} s ago ({self._trouble})"
            raise UnavailableError(f"{self}: it did not answer {ago}, and is left alone for a while")
        # What is counted by the minute may be free again in the next one.
        whole = not self._trouble or (self._limited and start - self._first < QUIET)
        try:
            found = self._tried(call, start + self.timeout, RETRIES if whole else 0)
        except (openai.APIError, TimeoutError) as error:
            self._note(error if failures.shared(error) else None, start)
            raise
        self._note(None, start)
        return found

    def _tried(self, call: Callable[[], T], end: float, retries: int) -> T:
        """Return ``call()``, tried again up to ``retries`` times, or for as long as the service itself says when."""
        import openai

        tries = 0
        while True:
            try:
                found = _within(end - time.monotonic(), lambda: failures.whole(call))
                failures.check(found)
                return found
            except openai.APIError as error:
                if isinstance(error.__cause__, LLMError):
                    raise error.__cause__ from None
                error.tries = tries
                last = tries >= retries and not (retries and failures.retry_after(error))
                pause = failures.pause(error, tries)
                if last or pause > end - time.monotonic():
                    raise
            time.sleep(pause)
            tries += 1

    def _note(self, error: Exception | None, start: float) -> None:
        """Remember how a request that began at ``start`` failed; ``None`` where the service is well."""
        now = time.monotonic()
        if error is None:
            self._trouble, self._silences = "", 0
            return
        self._first = self._first if self._trouble else start
        self._trouble, self._last = self.said(error), now
        self._silences = 0 if hasattr(error, "status_code") else self._silences + 1
        self._limited = getattr(error, "status_code", 0) == 429
        self._quiet_until = now + max(QUIET, now - start)

    @contextlib.contextmanager
    def errors(self, kind: str) -> Iterator[None]:
        """Say what went wrong with a request of ``kind`` in our words."""
        try:
            yield
        except LLMError:
            raise
        except Exception as error:
            # Alone, as whoever logs it would print the client's own with all that the service repeats.
            raise self._explained(kind, error) from None

    def _explained(self, kind: str, error: Exception) -> LLMError:
        import openai

        said, proxy = self.said(error), "".join(failures.proxies(self.base_url))
        if failures.timed_out(error):
            return UnavailableError(f"{self}: {said}")
        if isinstance(error, openai.APIConnectionError) and not failures.unreadable(error):
            hint = ": is the service up, and is --llm-base-url its address, with the /v1?"
            if proxy:
                host = urllib.parse.urlsplit(self.base_url).hostname
                hint = f" through the proxy in {proxy}: is the proxy up? NO_PROXY={host} goes without it"
            return UnavailableError(f"{self}: no connection ({said}){hint}")
        if failures.about_temperature(error):
            return InvalidInputError(
                f"{self}: it samples at a temperature of its own, so no greedy answer can be asked of it: {said}; "
                "ask with do_sample=True and temperature=1.0"
            )
        refusals = (openai.BadRequestError, openai.UnprocessableEntityError)
        if isinstance(error, refusals) or failures.about(error, "logprobs"):
            return InvalidInputError(f"{self}: it refuses this {kind} request: {said}")
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return UnavailableError(f"{self}: it refuses {self.key}: {said}")
        if isinstance(error, openai.NotFoundError):
            names = self._names()
            if self.name in names:
                return InvalidInputError(f"{self} has the model, but no answer to {kind}: {said}")
            hint = self.offer(names) or "; is --llm-base-url the address with the /v1, and nothing after it?"
            return ModelNotFoundError(f"{self}: not found: {said}{hint}")
        if failures.used_up(error):
            return UnavailableError(f"{self}: what {self.key} may spend is used up: {said}")
        if isinstance(error, openai.RateLimitError):
            return TooManyError(
                f"{self}: too many requests: {said}; --llm-batch-size says how many are under way at once"
            )
        if isinstance(error, openai.APIError) and not failures.unreadable(error):
            way = f", through the proxy in {proxy}" if proxy else ""
            return (UnavailableError if failures.shared(error) else ServiceError)(f"{self}: {said}{way}")
        if isinstance(error, (openai.APIError, *_UNREADABLE)):
            return ServiceError(f"{self}: what it answered to {kind} cannot be read: {said}")
        return UnavailableError(f"{self}: it cannot be asked: {type(error).__name__}: {said}")

    def names(self) -> list[str]:
        """Return the names of the models that the service has. Raises as `ask` does."""
        return self.ask(lambda: [model.id for model in self.client.models.list()])

    def _names(self) -> list[str]:
        with contextlib.suppress(Exception):  # a help in an error message
            return self.names()
        return []

    def offer(self, names: list[str]) -> str:
        """Return ``names`` as the end of a message that one was not found."""
        return f"; it offers {self._shown(', '.join(names), 300)}" if names else ""

    def said(self, error: BaseException) -> str:
        """Return what ``error`` says, with the tries there were, as it may be shown."""
        if failures.timed_out(error):
            return f"no answer within {self.timeout:g} s (--llm-timeout)"
        return self._shown(failures.words(error), 500) + failures.tried(error)

    def _shown(self, text: str, width: int) -> str:
        """Return what a service said as it may be shown: the key is cut out first, then the length is cut."""
        return visible(shorten(self.key.hidden(text), width))


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return ``call()``.

    The limits of an HTTP client are on each of its steps: an answer that trickles in byte by byte meets none of them.
    So it is waited for here; a thread that nobody waits for any more ends with its connection, or with the process.

    Raises:
        TimeoutError: it took longer than ``seconds``.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        found, error = done.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return cast("T", found)
