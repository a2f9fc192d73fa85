"""The server of the review page: this machine only, and only for who has the address.

Every request must name this server as its host (a name rebound to 127.0.0.1 does not), come from its own page or from
none, and carry the token of the address. What changes anything is a POST of JSON from the page itself. Paths are looked
up in a table: no file is ever opened by a name that a request gives.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from pytest_llm.errors import InvalidInputError, LLMError
from pytest_llm.review.session import MODES, GoneError, Session

#: Bytes of a request's body.
MAX_BODY = 1 << 16
#: Seconds a connection may keep a thread waiting.
TIMEOUT = 30

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ReviewServer(ThreadingHTTPServer):
    """Serves one `Session` at ``address`` until `run` returns."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, session: Session, port: int = 0) -> None:
        """Listen on ``port`` of 127.0.0.1, on a free one by default.

        Raises:
            InvalidInputError: the port is taken, or none.
        """
        self.session, self.token = session, secrets.token_urlsafe(32)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise InvalidInputError(f"cannot listen on port {port}: {error}; leave --port out for a free one") from None
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost"))
        self.pages = _pages(session)

    @property
    def address(self) -> str:
        """The address with its token."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def run(self) -> None:
        """Serve until the reader says done."""
        try:
            self.serve_forever(poll_interval=0.1)
        finally:
            self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke, and all of a bug."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Refusal(Exception):  # noqa: N818 (an answer, not an error)
    """What the client is told in place of an answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pytest-llm", ""
    timeout = TIMEOUT
    server: ReviewServer

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Any) -> None:
        try:
            kind, body, stop = method(self._path())
        except _Refusal as refusal:
            self._fail(refusal.status, refusal)
        except GoneError as error:
            self._fail(HTTPStatus.NOT_FOUND, error)
        except InvalidInputError as error:
            self._fail(HTTPStatus.BAD_REQUEST, error)
        except LLMError as error:
            self._fail(HTTPStatus.CONFLICT, error)
        else:
            self._send(HTTPStatus.OK, kind, body)
            if stop:
                threading.Thread(target=self.server.shutdown, daemon=True).start()

    def _path(self) -> str:
        """Return the path below the token of a request that may be answered."""
        if self.headers.get("Host") not in self.server.hosts:
            where = f"127.0.0.1:{self.server.server_port}"
            raise _Refusal(HTTPStatus.FORBIDDEN, f"this page is at {where} only: a tunnel has one port at both ends")
        origin = self.headers.get("Origin")
        if origin is not None and (not origin.startswith("http://") or origin[7:] not in self.server.hosts):
            raise _Refusal(HTTPStatus.FORBIDDEN, "not from this page")
        _, _, rest = self.path.partition("?")[0].partition("/")
        token, _, path = rest.partition("/")
        if not secrets.compare_digest(token.encode("utf-8", "surrogateescape"), self.server.token.encode()):
            raise _Refusal(HTTPStatus.FORBIDDEN, "not the address that pytest-llm printed")
        return path

    def _get(self, path: str) -> tuple[str, bytes, bool]:
        if path in self.server.pages:
            return *self.server.pages[path], False
        what, _, rest = path.partition("/")
        mode, _, id = rest.partition("/")
        if mode in MODES and what == "list" and not id:
            return *_json(self.server.session.items(mode)), False
        if mode in MODES and what == "item":
            return *_json(self.server.session.item(mode, id)), False
        raise _Refusal(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self, path: str) -> tuple[str, bytes, bool]:
        if self.headers.get("Origin") is None:
            raise _Refusal(HTTPStatus.FORBIDDEN, "not from this page")
        said = self._body()
        session, id = self.server.session, _text(said, "id")
        if path == "settle":
            return *_json(session.settle(id, _text(said, "action"))), False
        if path == "rate":
            return *_json(session.rate(id, said.get("rating"), _text(said, "comment"))), False
        if path == "prefer":
            return *_json(session.prefer(id, said.get("choice"), _text(said, "comment"))), False
        if path == "done":
            return *_json({"left": session.left()}), True
        raise _Refusal(HTTPStatus.NOT_FOUND, "there is no such action")

    def _body(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an action is JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "say the length of the body")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an action has at most {MAX_BODY} bytes")
        try:
            said = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "an action is a JSON object")
        return said

    def _fail(self, status: HTTPStatus, why: Exception) -> None:
        self.close_connection = True  # the body, if there is one, was perhaps not read
        self._send(status, *_json({"error": str(why)}))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the terminal: the address holds the token."""


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is text")
    return value


def _json(data: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(data).encode("ascii")  # ASCII: a lone surrogate is no UTF-8


def _pages(session: Session) -> dict[str, tuple[str, bytes]]:
    from pytest_llm.reports import html

    own = resources.files("pytest_llm.review").joinpath("page")
    read = {name: own.joinpath(name).read_text("utf-8") for name in ("review.html.j2", "review.css", "review.js")}
    page = html.template(read["review.html.j2"]).render(rater=session.rater, root=session.settings.root)
    return {
        "": ("text/html; charset=utf-8", page.encode("utf-8", "replace")),
        "style.css": ("text/css; charset=utf-8", (html.asset("report.css") + read["review.css"]).encode()),
        "script.js": ("text/javascript; charset=utf-8", (html.asset("verdict.js") + read["review.js"]).encode()),
    }
