"""As much of the Hugging Face hub as a download asks for, serving a folder of repositories (``org/name/file``)."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class HubServer(ThreadingHTTPServer):
    """Serves ``repositories``; ``requested`` are the paths asked for, without their query."""

    daemon_threads = True

    def __init__(self, repositories: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.requested: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requested.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        org, name, kind, revision, *inside = parts[2:] if api else parts
        folder = self.server.repositories / org / name
        if org == "gated":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif not folder.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "revision":
            self._send(200, json.dumps({"id": f"{org}/{name}", "sha": COMMIT, "siblings": []}).encode())
        elif kind == "tree":
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _etag(file.read_bytes())}
                for file in sorted(folder.iterdir())
            ]
            self._send(200, json.dumps(files).encode())
        else:
            content = (folder / "/".join(inside)).read_bytes()
            self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(content)}"'})

    do_HEAD = do_GET

    def _send(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
