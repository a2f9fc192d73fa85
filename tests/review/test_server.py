"""Who the review page lets in, with raw HTTP: no browser's good manners stand between."""

import json
import socket

import pytest

from pytest_llm.errors import InvalidInputError
from pytest_llm.review.server import MAX_BODY, ReviewServer


@pytest.fixture
def server(story, serve):
    return serve(story.session())


def raw(server, text):
    """Send ``text`` as it is; return status, headers and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(text.encode())
        head, _, rest = connection.makefile("rb").read().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), rest


def ask(server, path="", *, method="GET", token=None, host=None, headers=(), body=None):
    origin = f"http://127.0.0.1:{server.server_port}"
    host = f"127.0.0.1:{server.server_port}" if host is None else host
    lines = [f"{method} /{server.token if token is None else token}/{path} HTTP/1.1", f"Host: {host}", *headers]
    if body is not None:
        sent = {line.split(":")[0] for line in headers}
        defaults = {"Origin": origin, "Content-Type": "application/json", "Content-Length": str(len(body))}
        lines += [f"{name}: {value}" for name, value in defaults.items() if name not in sent]
    return raw(server, "\r\n".join([*lines, "Connection: close", "", body or ""]))


def first(server):
    """The id of the first candidate, after listing."""
    return json.loads(ask(server, "list/review")[2])[0]["id"]


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 43  # 256 bits


def test_every_answer_forbids_all_that_is_not_its_own(server):
    for path in ("", "script.js", "list/review", "nothing"):
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
        assert policy.endswith("base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"].strip() == "pytest-llm"


@pytest.mark.parametrize("token", ["", "x", "../..", "%00", "é", "a" * 5000])
def test_a_wrong_token(server, token):
    assert ask(server, "", token=token)[0] == 403
    assert ask(server, "settle", method="POST", token=token, body="{}")[0] == 403


def test_the_token_is_not_enough_by_half_or_in_another_place(server):
    assert ask(server, token=server.token[:-1])[0] == 403
    assert ask(server, token=server.token + "x")[0] == 403
    assert ask(server, token="", headers=[f"Authorization: Bearer {server.token}"])[0] == 403
    assert raw(server, f"GET /?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n")[0] == 403
    assert ask(server)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil.example", "[::1]:{port}"]
)
def test_a_name_that_was_rebound_to_this_machine(server, host):
    host = host.format(port=server.server_port)
    status, _, body = ask(server, host=host)
    assert (status, json.loads(body)["error"].partition(":")[0]) == (403, "this page is at 127.0.0.1")
    assert ask(server, "settle", method="POST", host=host, body="{}")[0] == 403


def test_no_host(server):
    assert raw(server, f"GET /{server.token}/ HTTP/1.0\r\n\r\n")[0] == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", ""]
)
def test_another_pages_request(server, story, origin):
    origin = origin.format(port=server.server_port)
    body = json.dumps({"id": first(server), "action": "accept"})
    assert ask(server, "settle", method="POST", headers=[f"Origin: {origin}"], body=body)[0] == 403
    assert ask(server, "list/review", headers=[f"Origin: {origin}"])[0] == 403
    assert len(story.pending()) == 1


def test_an_action_without_an_origin(server, story):
    body = json.dumps({"id": first(server), "action": "accept"})
    text = (
        f"POST /{server.token}/settle HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    assert raw(server, text)[0] == 403
    assert len(story.pending()) == 1


def test_a_form_cannot_act(server, story):
    body = json.dumps({"id": first(server), "action": "accept"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(server, "settle", method="POST", headers=[f"Content-Type: {kind}"], body=body)[0] == 415
    assert len(story.pending()) == 1


def test_reading_changes_nothing(server, story):
    before = sorted((path, path.read_bytes()) for path in story.root.rglob("*") if path.is_file())
    for path in (
        "settle",
        f"settle?id={first(server)}&action=accept",
        "rate",
        "prefer",
        "done",
        f"settle/{first(server)}",
    ):
        assert ask(server, path)[0] == 404
    for mode in ("review", "rate", "compare"):
        for item in json.loads(ask(server, f"list/{mode}")[2]):
            assert ask(server, f"item/{mode}/{item['id']}")[0] == 200
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS"):
        assert ask(server, "settle", method=method)[0] == 501
    assert len(story.pending()) == 1
    assert sorted((path, path.read_bytes()) for path in story.root.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**30])
def test_an_action_that_is_too_large(server, length):
    text = (
        f"POST /{server.token}/rate HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
        f"Origin: http://127.0.0.1:{server.server_port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    assert raw(server, text)[0] == 413


@pytest.mark.parametrize("length", ["", "-1", "1e3", "²"])
def test_an_action_of_no_length(server, length):
    assert ask(server, "rate", method="POST", headers=[f"Content-Length: {length}"], body="{}")[0] == 411


@pytest.mark.parametrize(
    "path",
    ["../etc/passwd", "../../../../etc/passwd", "..%2f..%2fetc/passwd", "item/review/../../x", "list/review/x", "list/x",
     "item/rate/", "page/review.js", "/etc/passwd", "style.css/", "script.js%00"],
)  # fmt: skip
def test_a_path_leads_nowhere(server, path):
    status, headers, body = ask(server, path)
    assert status == 404
    assert headers["Content-Type"] == "application/json"
    assert set(json.loads(body)) == {"error"}


@pytest.mark.parametrize("body", ["", "{", "[]", "[" * 60_000, '{"id": 5}', '{"id": "x", "action": "accept"}'])
def test_nonsense_is_refused(server, body, story):
    status, _, answer = ask(server, "settle", method="POST", body=body)
    assert status in (400, 404)
    assert json.loads(answer)["error"]
    assert len(story.pending()) == 1


@pytest.mark.parametrize(
    "said",
    [{"rating": 6}, {"rating": "5"}, {"rating": True}, {"rating": None}, {"rating": 3, "comment": "x" * 10_001},
     {"rating": 3, "comment": 7}],
)  # fmt: skip
def test_what_is_no_rating_is_refused(server, said, story):
    id = json.loads(ask(server, "list/rate")[2])[0]["id"]
    assert ask(server, "rate", method="POST", body=json.dumps({"id": id, **said}))[0] == 400
    assert story.ratings() == []


def test_an_action_is_done(server, story):
    status, _, body = ask(server, "settle", method="POST", body=json.dumps({"id": first(server), "action": "accept"}))
    assert (status, json.loads(body)["done"]) == (200, "accept")
    assert story.pending() == []


def test_a_port_that_is_taken(server, story):
    with pytest.raises(InvalidInputError, match=f"cannot listen on port {server.server_port}: .*leave --port out"):
        ReviewServer(story.session(), server.server_port)
    with pytest.raises(InvalidInputError, match="cannot listen on port 99999"):
        ReviewServer(story.session(), 99999)
