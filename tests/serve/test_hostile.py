"""Requests that are malformed, too large or too slow, and templates that take too much: 4xx each, and no traceback.

They share a server, which must answer a good request after each.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from edgehone.serve.openai.requests import ChatRequest, CompletionRequest
from edgehone.serve.openai.responses_requests import ResponsesRequest
from tests.finished import Finished, list_again
from tests.serve.conftest import with_template
from tests.serve.server import Server, running

pytestmark = pytest.mark.whole
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
HELLO: Any = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "bundle", "messages": HELLO, "max_tokens": 3},
    TEXT: {"model": "bundle", "prompt": "To the ", "max_tokens": 3},
    RESPONSES: {"model": "bundle", "input": "Hello", "max_output_tokens": 3},
}
KINDS: dict[str, type[msgspec.Struct]] = {
    CHAT: ChatRequest,
    TEXT: CompletionRequest,
    RESPONSES: ResponsesRequest,
}
# What a template is told to do by the content of a message.
BOMBS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "range": "{% for i in range(10 ** 12) %}{% endfor %}",
    "times": "{{ 'a' * 10 ** 11 }}",
    "doubling": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "power": "{{ 9 ** ((messages[0].content | length) ** 14) }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "width": "{{ '%099999999999d' % 1 }}",
    "import": "{% import 'os' as os %}",
    "undefined": "{{ nothing.at.all }}",
    "long": "{% for i in range(999) %}{{ 'a' * 9999 }}{% endfor %}",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "log"


@pytest.fixture(scope="module")
def hostile(_finished: Finished, log: Path) -> Iterator[Server]:
    """A server with limits of one second and a template that holds bombs."""
    bundle = with_template(Path(shutil.copytree(_finished.bundle, log.parent / "bundle")))
    branches = "".join(
        f"{{% if messages[0].content == '{name}' %}}{text}{{% endif %}}" for name, text in BOMBS.items()
    )
    config = bundle / "tokenizer" / "tokenizer_config.json"
    template = json.loads(config.read_text())["chat_template"]
    config.write_text(json.dumps({"chat_template": branches + template}))
    list_again(bundle)
    through = [sys.executable, str(Path(__file__).with_name("short_limits.py"))]
    home = {"EDGEHONE_HOME": str(_finished.home), "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(bundle, env=home, through=through, log=log) as server:
        yield server


@pytest.fixture
def server(hostile: Server, log: Path) -> Iterator[Server]:
    """The server; after the test it must still answer, and have written no traceback."""
    yield hostile
    answer = hostile.post(CHAT, GOOD[CHAT])
    assert answer.status_code == 200, answer.text
    assert "Traceback" not in log.read_text("utf-8", "replace")


def refused(status: int, body: bytes) -> dict[str, Any]:
    """Return the error of an answer, which must say that the client is wrong in the form of the API."""
    assert 400 <= status < 500, (status, body[:500])
    error: dict[str, Any] = json.loads(body)["error"]
    assert error["message"] and error.keys() == {"message", "type", "param", "code"}
    return error


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BODIES = {
    "empty": b"", "spaces": b"  ", "null": b"null", "list": b"[]", "number": b"1", "text": b'"a"', "true": b"true",
    "cut": b'{"model": "bundle", "prompt": "a', "garbage after": b'{"model": "bundle", "prompt": "a"}x',
    "two": b'{"model": "bundle", "prompt": "a"} {}', "single quotes": b"{'model': 'bundle'}", "comma": b'{"a": 1,}',
    "bom": b'\xef\xbb\xbf{"model": "bundle", "prompt": "a"}', "utf-16": '{"model": "bundle"}'.encode("utf-16"),
    "not utf-8": b'{"model": "bundle", "prompt": "\xc3\x28"}', "key not utf-8": b'{"\xff": 1}',
    "surrogate": b'{"model": "bundle", "prompt": "\\ud800"}', "bad escape": b'{"model": "bundle", "prompt": "\\x"}',
    "control": b'{"model": "bundle", "prompt": "a\nb"}', "nul": b"\0" * 100,
    "deep": nested(10_000), "deep value": b'{"model": "bundle", "prompt": ' + nested(10_000) + b"}",
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\0\xab\0\0\0",
    "nan": b'{"model": "bundle", "prompt": "a", "temperature": NaN}',
    "infinity": b'{"model": "bundle", "prompt": "a", "temperature": Infinity}',
    "minus infinity": b'{"model": "bundle", "prompt": "a", "top_p": -Infinity}',
    "large exponent": b'{"model": "bundle", "prompt": "a", "temperature": 1e999}',
    "many digits": b'{"model": "bundle", "prompt": "a", "seed": ' + b"9" * 5000 + b"}",
    "many digits of a float": b'{"model": "bundle", "prompt": "a", "temperature": 1.' + b"9" * 5000 + b"e400}",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", GOOD)
def test_bodies_that_are_no_request(server: Server, path: str, name: str) -> None:
    answer = server.post(path, BODIES[name])
    refused(answer.status_code, answer.content)


def wrong_values(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """Yield for each field of a request values that its type does not have."""
    candidates: list[Any] = [{"a": {"b": 1}}, [[[1]]], "text", 1.5, -1, True, 10**30, [None], {}]
    for name, hint in get_type_hints(kind, include_extras=True).items():
        found = 0
        for value in candidates:
            try:
                msgspec.convert(value, hint)
            except msgspec.ValidationError:
                yield name, value
                found += 1
                if found == 3:
                    break


FIELDS = [(path, name, value) for path, kind in KINDS.items() for name, value in wrong_values(kind)]


@pytest.mark.parametrize(("path", "name", "value"), FIELDS)
def test_a_value_of_the_wrong_type(server: Server, path: str, name: str, value: Any) -> None:
    answer = server.post(path, {**GOOD[path], name: value})
    error = refused(answer.status_code, answer.content)
    assert error["param"] is None or error["param"].startswith(name)


def test_every_field_is_tried() -> None:
    tried = {(path, name) for path, name, _ in FIELDS}
    assert tried == {(path, name) for path, kind in KINDS.items() for name in get_type_hints(kind)}
    assert len(FIELDS) + 3 * len(BODIES) > 200


DEEP_VALUES = {
    "metadata": b'{"a": %s}', "response_format": b'{"type": "json_schema", "json_schema": {"schema": {"a": %s}}}',
    "tools": b'[{"type": "function", "function": {"name": "a", "parameters": {"a": %s}}}]', "unknown": b"%s",
    "messages": b'[{"role": "user", "content": %s}]', "stop": b"%s", "tool_choice": b'{"a": %s}',
}  # fmt: skip


@pytest.mark.parametrize("depth", [100, 900, 10_000])
@pytest.mark.parametrize("name", DEEP_VALUES)
def test_deep_values(server: Server, name: str, depth: int) -> None:
    value = DEEP_VALUES[name].replace(b"%s", nested(depth))
    body = b'{"model": "bundle", "max_tokens": 3, "messages": [{"role": "user", "content": "a"}], "%s": %s}'
    answer = server.post(CHAT, body % (name.encode(), value))
    refused(answer.status_code, answer.content)


LARGE: dict[str, tuple[str, Callable[[], Any], int]] = {
    "a million tokens": (TEXT, lambda: {"prompt": "a" * 1_000_000}, 400),
    "a million ids": (TEXT, lambda: {"prompt": [1] * 1_000_000}, 400),
    "a chat of a million tokens": (
        CHAT,
        lambda: {"messages": [{"role": "user", "content": "é" * 500_000}]},
        400,
    ),
    "many messages": (CHAT, lambda: {"messages": HELLO * 50_000}, 400),
    "a body over the limit": (TEXT, lambda: {"prompt": "a" * (9 << 20)}, 413),
    "a long name": (TEXT, lambda: {"model": "x" * 1_000_000, "prompt": "a"}, 404),
    "many stops": (TEXT, lambda: {"prompt": "a", "stop": ["a"] * 100_000}, 400),
    "many prompts": (TEXT, lambda: {"prompt": ["a"] * 100_000}, 400),
    "many fields": (TEXT, lambda: {f"f{at}": 1 for at in range(100_000)}, 400),
    "large ids": (TEXT, lambda: {"prompt": [2**62, -(2**63)]}, 400),
    "many tools": (CHAT, lambda: {"messages": HELLO, "tools": [{}] * 100_000}, 400),
    "a large schema": (CHAT, lambda: {"messages": HELLO, "response_format": schema(["a" * 99] * 2000)}, 400),
}


def schema(values: list[str]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "large", "schema": {"enum": values}}}


@pytest.mark.parametrize("name", LARGE)
def test_large_requests(server: Server, name: str) -> None:
    path, make, status = LARGE[name]
    answer = server.post(path, {"model": "bundle", **make()})
    error = refused(answer.status_code, answer.content)
    assert answer.status_code == status and len(error["message"]) < 1000


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_takes_too_much(server: Server, name: str) -> None:
    answer = server.post(CHAT, {"model": "bundle", "messages": [{"role": "user", "content": name}]})
    refused(answer.status_code, answer.content)


def exchanged(server: Server, *pieces: bytes, pause: float = 0.0, half_closed: bool = False) -> bytes:
    """Send bytes as they are, with pauses between pieces, and return all that comes until the connection ends.

    The server must end it: this raises TimeoutError before an idle connection, of 75 s, is closed anyway.
    """
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as own:
        try:
            for piece in pieces:
                own.sendall(piece)
                time.sleep(pause)
            if half_closed:
                own.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed it
        found = b""
        try:
            while more := own.recv(65536):
                found += more
        except ConnectionResetError:
            pass
        return found


def answer_of(found: bytes) -> tuple[int, bytes]:
    head, _, body = found.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


HOST = b"Host: 127.0.0.1\r\n"
CLOSE = HOST + b"Connection: close\r\n"
BEGIN = b"POST /v1/completions HTTP/1.1\r\n" + CLOSE
RAW: dict[str, tuple[bytes, int]] = {
    "no http": (b"hello\r\n\r\n", 400),
    "zeros": (b"\0" * 500, 400),
    "tls": (bytes.fromhex("16030100a5010000a10303") + b"\x07" * 160, 400),
    "http 9": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "unknown method": (b"FOO / HTTP/1.1\r\n" + CLOSE + b"\r\n", 400),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\n" + CLOSE + b"\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"hOST: 127.0.0.1\r\nConnection: close\r\n\r\n", 400),
    "no path": (b"GET  HTTP/1.1\r\n\r\n", 400),
    "header without colon": (b"GET / HTTP/1.1\r\nhello\r\n\r\n", 400),
    "header with a space": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "length and chunks": (BEGIN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (BEGIN + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "negative length": (BEGIN + b"Content-Length: -3\r\n\r\n", 400),
    "huge length": (BEGIN + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "length over the limit": (BEGIN + b"Content-Length: 99999999\r\n\r\n", 413),
    "bad chunk": (BEGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n", 400),
    "chunks over the limit": (
        BEGIN + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"a" * (1 << 20) + b"\r\n") * 9, 413,
    ),
    "one large header": (b"GET /v1/models HTTP/1.1\r\n" + CLOSE + b"A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET /v1/models HTTP/1.1\r\n" + CLOSE + b"A: aaaaaaaaaaaaaaaa\r\n" * 4000 + b"\r\n", 431),
    "a header without end": (b"GET /v1/models HTTP/1.1\r\nA: " + b"a" * 3_000_000, 431),
    "a long path": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n", 431),
    "unknown path": (b"GET /v1/nothing HTTP/1.1\r\n" + CLOSE + b"\r\n", 404),
    "parent folders": (b"GET /../../etc/passwd HTTP/1.1\r\n" + CLOSE + b"\r\n", 404),
    "bytes in a path": (b"GET /%ff%fe%00 HTTP/1.1\r\n" + CLOSE + b"\r\n", 404),
    "model with bytes": (b"GET /v1/models/%ff%00%0d%0a HTTP/1.1\r\n" + CLOSE + b"\r\n", 404),
    "wrong method": (b"GET /v1/completions HTTP/1.1\r\n" + CLOSE + b"\r\n", 405),
    "another wrong method": (b"PATCH /v1/models HTTP/1.1\r\n" + CLOSE + b"Content-Length: 0\r\n\r\n", 405),
    "delete": (b"DELETE /v1/models/bundle HTTP/1.1\r\n" + CLOSE + b"\r\n", 405),
    "old http": (b"POST /v1/completions HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_request_of_http(server: Server, name: str) -> None:
    data, status = RAW[name]
    found, body = answer_of(exchanged(server, data))
    refused(found, body)
    assert found == status


SLOW: dict[str, tuple[tuple[bytes, ...], int]] = {
    "nothing at all": ((), 408),
    "a first line": ((b"GET /v1",), 408),
    "headers, drop by drop": ((b"GET / HTTP/1.1\r\n", *[b"A: a\r\n"] * 40), 408),
    "a body, drop by drop": ((BEGIN + b"Content-Length: 1000\r\n\r\n", *[b"a"] * 40), 408),
    "chunks, drop by drop": ((BEGIN + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 40), 408),
    "a body that stays away": ((BEGIN + b"Content-Length: 1000\r\n\r\n",), 408),
    "a body that nobody reads": (
        (b"POST /none HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n", *[b"a"] * 60),
        404,
    ),
    "a second head": ((b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /v1", *[b"a"] * 40), 200),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_senders(server: Server, name: str) -> None:
    pieces, status = SLOW[name]
    found, body = answer_of(exchanged(server, *pieces, pause=0.05))
    assert found == status
    if status != 200:
        refused(found, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /v1",
        BEGIN + b"Content-Length: 10\r\n\r\nab",
        BEGIN + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
    ],
)
def test_half_closed_sockets(server: Server, data: bytes) -> None:
    exchanged(server, data, half_closed=True)


def old_http(server: Server, first_line: bytes, body: dict[str, Any] | None = None) -> tuple[bytes, bytes]:
    """Ask by HTTP/1.0, twice in one connection, and return the head and all that follows it."""
    content = b"" if body is None else json.dumps(body).encode()
    head = b"%s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"
    found, _, rest = exchanged(server, (head % (first_line, len(content)) + content) * 2).partition(
        b"\r\n\r\n"
    )
    return found.lower(), rest


def test_a_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection(server: Server) -> None:
    body = {"model": "bundle", "prompt": "To the ", "max_tokens": 20, "stream": True}
    head, rest = old_http(server, b"POST /v1/completions", body)
    assert b"transfer-encoding" not in head and b"content-length" not in head and b"connection: close" in head
    lines = rest.decode().splitlines()
    assert lines[-2:] == ["data: [DONE]", ""] and all(line.startswith("data: ") for line in lines if line)
    text = "".join(
        json.loads(line[6:])["choices"][0]["text"] for line in lines if line and "[DONE]" not in line
    )
    assert text == server.complete("To the ", max_tokens=20)["choices"][0]["text"]


def test_a_whole_answer_for_http_1_0_has_its_length(server: Server) -> None:
    head, rest = old_http(server, b"GET /v1/models")
    assert b"content-length: %d" % len(rest) in head and json.loads(rest)["data"]
    _, rest = old_http(server, b"HEAD /v1/models")
    assert not rest
