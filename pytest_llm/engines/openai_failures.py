"""What the failures of the client ``openai`` mean: whether another try may help, whom they concern, how they read."""

from __future__ import annotations

import contextlib
import email.utils
import html
import json
import math
import os
import random
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: Seconds before the first try after a failure; they double.
PAUSE = 0.5
#: How an answer ends that its provider did not finish (OpenRouter, Mistral; vLLM, SGLang; DeepSeek).
_UNFINISHED = ("error", "abort", "insufficient_system_resource")


def check(response: Any) -> None:
    """Look for a failure in what came with the status of success, as gateways pass on those of a model's provider.

    Raises:
        openai.APIError: there is one. Its ``status_code`` is the code that the failure has, 500 where it has none.
    """
    import openai

    choices = getattr(response, "choices", None)
    for one in (response, *(choices if isinstance(choices, list) else ())):
        said, reason = getattr(one, "error", None), getattr(one, "finish_reason", None)
        if not said and reason not in _UNFINISHED:
            continue
        body = said if isinstance(said, Mapping) else {"message": said} if said else {}
        what = "it failed while it answered" + (f" (finish_reason {reason})" if reason else "")
        words = body.get("message") or body
        error: Any = openai.APIError(f"{what}: {words}" if words else what, cast("Any", None), body=body)
        code = str(body.get("code"))
        error.status_code = int(code) if re.fullmatch("[45][0-9][0-9]", code) else 500
        raise error


def whole(call: Callable[[], T]) -> T:
    """Return ``call()``.

    Raises:
        openai.APIConnectionError: its answer ends inside its JSON, or before it: where nothing says how long it is, the
            client takes a connection that was lost for its end.
    """
    import openai

    try:
        return call()
    except json.JSONDecodeError as error:
        text = error.doc.strip()
        if text and (text[0] != "{" or (text[-1] == "}" and error.pos < len(text))):
            raise
        message = f"its answer breaks off after {len(error.doc)} characters"
        raise openai.APIConnectionError(message=message, request=cast("Any", None)) from None


def pause(error: Any, tries: int) -> float:
    """Return the seconds after which another try may help; infinite where none does."""
    import openai

    step = PAUSE * 2.0 ** min(tries, 5)
    backoff = step * random.uniform(0.75, 1.0)  # not all that failed together come again together
    if timed_out(error):
        return math.inf  # whoever has waited for as long as they allow does not want to do so once more
    if isinstance(error, openai.APIConnectionError):
        return math.inf if unreadable(error) else backoff
    status: int = getattr(error, "status_code", 0)
    if status not in (408, 409, 429) and status < 500:
        return math.inf
    if used_up(error) or about(error, "logprobs"):
        return math.inf
    later = retry_after(error)
    return max(backoff, later) + random.uniform(0.0, step) if later else backoff


def retry_after(error: Any) -> float:
    """Return the seconds of the header ``Retry-After``, which is a number or a date; 0 without it."""
    said = error.response.headers.get("retry-after", "") if hasattr(error, "response") else ""
    with contextlib.suppress(ValueError):
        return max(0.0, float(said))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    return 0.0


def unreadable(error: BaseException) -> bool:
    """Whether something was answered that is no answer to anything: redirects in a circle, a broken compression."""
    return type(error.__cause__).__name__ in ("TooManyRedirects", "DecodingError")


def timed_out(error: BaseException) -> bool:
    """Whether the time for a request is over; a connection that is not made has a limit of its own."""
    import openai

    unconnected = type(error.__cause__).__name__ == "ConnectTimeout"
    return isinstance(error, TimeoutError) or (isinstance(error, openai.APITimeoutError) and not unconnected)


def shared(error: Exception) -> bool:
    """Whether other requests would fare no better."""
    import openai

    if isinstance(error, (TimeoutError, openai.APIConnectionError)):
        return True
    status: int = getattr(error, "status_code", 0)
    return (status in (401, 402, 403, 429) or status >= 500) and not about(error, "logprobs")


def used_up(error: Any) -> bool:
    """Whether what the key may spend is spent, which OpenAI calls "too many requests" too."""
    return "insufficient_quota" in _all(error)


def about(error: Any, name: str) -> bool:
    """Whether the argument ``name`` may be what the service has refused; gateways and servers have no one status for
    that, and some repeat all of a request that is wrong otherwise.
    """
    return getattr(error, "status_code", 0) not in (0, 401, 404, 429) and name in _all(error)


def about_temperature(error: Any) -> bool:
    """Whether the model has a temperature of its own, as OpenAI's reasoning models have."""
    said, words = _all(error), ("does not support 0", "Only the default", "Unsupported parameter: 'temperature'")
    return "temperature" in said and any(one in said for one in words)


def _all(error: Any) -> str:
    return f"{error} {getattr(error, 'body', '')} {getattr(error, 'code', '')}"


def tried(error: Any) -> str:
    """Return what a message adds about the tries there were, and when the service wants the next."""
    tries, later = getattr(error, "tries", 0), retry_after(error)
    said = f", after {tries} more {'try' if tries == 1 else 'tries'}" if tries else ""
    return said + (f", to be asked again in {later:.0f} s" if later else "")


def words(error: BaseException) -> str:
    """Return what ``error`` says: the status and what the body says, of a page its title; or what broke the connection.

    The client's own message leaves out bodies that are not as OpenAI's.
    """
    import openai

    if isinstance(error, openai.APIConnectionError):
        error = error.__cause__ or error
    if not isinstance(error, openai.APIStatusError):
        return str(error) or type(error).__name__
    body: Any = error.body
    if isinstance(body, Mapping):
        body = body.get("message") or body.get("detail") or body
    said = _page(body) if isinstance(body, str) else str(body or "")
    sent_on = f", from {error.response.url}, where it was redirected to" if error.response.history else ""
    return f"Error code: {error.status_code}{' - ' if said else ''}{said}{sent_on}"


def _page(text: str) -> str:
    title = re.search(r"<title[^>]*>(.+?)</title>", text, re.IGNORECASE | re.DOTALL)
    plain = title[1] if title else re.sub(r"<[^>]*>", " ", text) if text.lstrip().startswith("<") else text
    return " ".join(html.unescape(plain).split())


def proxies(url: str = "") -> list[str]:
    """Return the variables that name a proxy: the one for ``url``, if any; without it all that are set."""
    parts = urllib.parse.urlsplit(url)
    if url and urllib.request.proxy_bypass(parts.netloc):
        return []
    kinds = (parts.scheme, "all") if url else ("http", "https", "all")
    names = [name for kind in kinds for name in (f"{kind}_proxy", f"{kind}_PROXY".upper()) if os.environ.get(name)]
    return names[:1] if url else names
