"""A service on loopback that speaks OpenAI's API with a real model behind it, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import uuid

from pytest_llm.engines.local import LocalEngine
from pytest_llm.requests import Embed, Generate, Logprobs


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # of five, one of 16 connections made at once can come a second later, into another test


class Service:
    """Serves ``engine`` under the name ``name`` at ``url``.

    ``asked`` holds the body of every POST with its path; ``most`` is how many were under way at once. ``before`` is
    called with path and body, and may return ``(status, body)`` to answer in the model's place. ``headers_back`` go
    with it; with ``trickle`` every byte takes that many seconds.
    """

    def __init__(self, engine: LocalEngine, name: str = "smol") -> None:
        self.engine, self.name = engine, name
        self.asked, self.headers, self.most, self.under_way = [], [], 0, 0
        self.before = lambda path, body: None
        self.fingerprint = "fp_1"
        self.content_type = "application/json"
        self.pause, self.trickle, self.headers_back = 0.0, 0.0, {}
        self._lock, self._model_lock = threading.Lock(), threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        self.asked, self.headers, self.most = [], [], 0
        self.pause, self.trickle, self.headers_back = 0.0, 0.0, {}
        self.before = lambda path, body: None
        self.fingerprint = "fp_1"

    def _handler(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                if self.path != "/v1/models":
                    return self.send(*error(404, "Not Found"))
                return self.send(
                    200, {"object": "list", "data": [{"id": service.name, "object": "model", "created": 0}]}
                )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path = self.path.removeprefix("/v1")
                with service._lock:
                    service.asked.append((path, body))
                    service.headers.append({name.lower(): value for name, value in self.headers.items()})
                    service.under_way += 1
                    service.most = max(service.most, service.under_way)
                try:
                    time.sleep(service.pause)
                    self.send(*(service.before(path, body) or service.respond(path, body)))
                finally:
                    with service._lock:
                        service.under_way -= 1

            def send(self, status, data):
                raw = data if isinstance(data, bytes) else json.dumps(data).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Type", service.content_type)
                    self.send_header("Content-Length", str(len(raw)))
                    for name, value in service.headers_back.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for piece in map(bytes, zip(raw, strict=True)) if service.trickle else (raw,):
                        self.wfile.write(piece)
                        time.sleep(service.trickle)

        return Handler

    def respond(self, path, body):
        if body["model"] != self.name:
            return error(404, f"The model `{body['model']}` does not exist.")
        with self._model_lock:
            return 200, {
                "/completions": self._completion,
                "/chat/completions": self._chat,
                "/embeddings": self._embedding,
            }[path](body)

    def _ask(self, request):
        return dict(self.engine.answer([request]))[0]

    def _generated(self, prompt, body):
        sampled = body["temperature"] > 0
        request = Generate(
            prompt,
            max_new_tokens=body["max_tokens"],
            do_sample=sampled,
            temperature=body["temperature"] or 1.0,
            top_p=body.get("top_p", 1.0),
            top_k=body.get("top_k", 0),
            num_return_sequences=body.get("n", 1),
            seed=body.get("seed", 0),
            stop=tuple(body.get("stop", ())),
        )
        return self._ask(request)["sequences"]

    def _text(self, token_id):
        return self.engine.tokenizer.decode([token_id])

    def _steps(self, sequence):
        """Token, logprob, and the two best, of each step but the end token."""
        ended = sequence["finish_reason"] == "stop" and sequence["token_ids"][-1] in {
            self.engine.tokenizer.eos_token_id, self.engine.config.eos_token_id
        }  # fmt: skip
        n = len(sequence["token_ids"]) - ended
        for i in range(n):
            own = self._text(sequence["token_ids"][i]), sequence["logprobs"][i]
            yield *own, [own, (self._text(sequence["runner_ups"][i]), own[1] - sequence["margins"][i])]

    def _completion(self, body):
        if body.get("echo"):
            return self._echoed(body)
        choices = []
        for i, sequence in enumerate(self._generated(body["prompt"], body)):
            steps = list(self._steps(sequence))
            logprobs = {
                "tokens": [token for token, _, _ in steps],
                "token_logprobs": [logprob for _, logprob, _ in steps],
                "top_logprobs": [dict(top) for _, _, top in steps],
                "text_offset": [],
            }
            choices.append(
                choice(i, sequence, text=sequence["text"], logprobs=logprobs if "logprobs" in body else None)
            )
        return self._whole("text_completion", choices[::-1])  # the order says nothing, the index does

    def _echoed(self, body):
        positions = self._ask(Logprobs(body["prompt"], top_k=body["logprobs"]))["positions"]
        (more,) = self._generated(body["prompt"], body)
        tokens = [one["token"] for one in positions]
        logprobs = {
            "tokens": [*tokens, *more["tokens"]],
            "token_logprobs": [*(one["logprob"] for one in positions), *more["logprobs"]],
            "top_logprobs": [
                *({text: value for _, text, value in one["top"]} or None for one in positions),
                {more["tokens"][0]: more["logprobs"][0]},
            ],
            "text_offset": [sum(map(len, tokens[:i])) for i in range(len(tokens) + 1)],
        }
        text = body["prompt"] + more["text"]
        return self._whole("text_completion", [choice(0, more, text=text, logprobs=logprobs)])

    def _chat(self, body):
        choices = []
        for i, sequence in enumerate(self._generated(tuple(body["messages"]), body)):
            content = [
                {**named(token, logprob), "top_logprobs": [named(*one) for one in top]}
                for token, logprob, top in self._steps(sequence)
            ]
            logprobs = {"content": content} if body.get("logprobs") else None
            choices.append(choice(i, sequence, logprobs=logprobs, **self._said(sequence["text"], body)))
        return self._whole("chat.completion", choices)

    def _said(self, text, body):
        """The model's text as it is, in JSON, or as the argument of the tool that is named, or else of the first."""
        tools, named = body.get("tools"), body.get("tool_choice")
        if not tools or named == "none":
            content = json.dumps({"answer": text}) if "response_format" in body else text
            return {"message": {"role": "assistant", "content": content}}
        name = (named if isinstance(named, dict) else tools[0])["function"]["name"]
        function = {"name": name, "arguments": json.dumps({"text": text})}
        calls = [{"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}]
        reason = "stop" if isinstance(named, dict) else "tool_calls"  # as OpenAI's own
        return {"message": {"role": "assistant", "content": None, "tool_calls": calls}, "finish_reason": reason}

    def _embedding(self, body):
        data = [
            {"object": "embedding", "index": i, "embedding": self._ask(Embed(text, normalize=False))["vector"]}
            for i, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return {"object": "list", "data": data, "model": self.name, "usage": usage}

    def _whole(self, kind, choices):
        return {
            "id": "1", "object": kind, "created": 0, "model": self.name, "choices": choices,
            "system_fingerprint": self.fingerprint,
        }  # fmt: skip


def choice(index, sequence, **fields):
    return {"index": index, "finish_reason": sequence["finish_reason"], **fields}


def named(token, logprob):
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def error(status, message):
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}
