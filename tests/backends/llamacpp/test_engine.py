"""The engine over a program that speaks as llama-server does: when it looks for tokens, and what ends its waiting."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.llamacpp import engine as module
from edgehone.backends.llamacpp.engine import LlamaEngine, next_look
from edgehone.backends.serving import EngineRequest, Produced, TextEngine

# Answers every prompt with tokens 7, 8 and 9, each some milliseconds after the other, and closes the connection. The
# prompt [1] is answered by one token only, and the connection stays open.
PROGRAM = """
import json, socket, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    client_address = ("", 0)
    def address_string(self): return ""
    def log_message(self, *more): pass
    def do_GET(self): self.answer({"status": "ok", "data": [{"meta": {"n_vocab": 10}}]})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.answer({"tokens": [{"id": 1, "piece": SPACE + asked["content"]}]})
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at, token in enumerate((7, 8, 9), 1):
            content = (SPACE if at == 1 else "") + " abc"[at]
            self.event({"content": content, "tokens": [token], "tokens_predicted": at, "stop": False})
            if asked["prompt"] == [1]:
                time.sleep(60)
            time.sleep(0.005)
        self.event({"content": "", "tokens": [], "tokens_predicted": 3, "stop": True, "stop_type": "limit"})
        self.wfile.write(b"0\\r\\n\\r\\n")
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.recv(1)  # the other side stays open
    def event(self, content):
        data = b"data: " + json.dumps(content).encode() + b"\\n\\n"
        self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(data), data))
    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

SPACE = sys.argv[1]
Server(sys.argv[3], Handler).serve_forever()
"""


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of the channel of a job."""
    mine, its = socket.socketpair()
    with mine, its:
        yield mine, its


@pytest.fixture
def engine(
    tmp_path: Path,
    channel: tuple[socket.socket, socket.socket],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LlamaEngine]:
    """An engine over the program; its tokenizer adds the space that the test states, if any."""
    # The end of the program must not end the process of the tests.
    monkeypatch.setattr(module.LlamaEngine, "_end_with_server", lambda self: None)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), getattr(request, "param", "")]
    found = LlamaEngine(command, tmp_path, 100, 200, channel[1].fileno())
    yield found
    found.close()


def answer(engine: LlamaEngine, ids: list[int]) -> Iterator[list[Produced]]:
    """Ask, and yield what each step produces, of those that produce anything."""
    engine.add(EngineRequest(1, ids, 3))
    while engine.busy:
        if produced := engine.step():
            yield produced


def test_a_token_does_not_wake_a_paused_answer_but_its_end_does(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 60.0)
    begun = time.monotonic()
    first, rest = answer(engine, [2])
    ids = [token for one in (*first, *rest) for token in one.ids]
    # A busy machine may have several tokens ready at the first look.
    assert first[0].ids[0] == 7 and ids == [7, 8, 9] and rest[-1].reason == "length"
    assert time.monotonic() - begun < 30


def test_a_paused_answer_goes_on_after_the_pause(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.001)
    steps = list(answer(engine, [2]))
    assert [token for step in steps for one in step for token in one.ids] == [7, 8, 9]


@given(st.floats(0, 1e7), st.integers(1, 256), st.floats(0, 1e4))
def test_all_answers_are_looked_at_together(now: float, answers: int, rate: float) -> None:
    pause = max(0.03, min(0.065, answers / 300))
    pause = min(pause, 40 / max(rate, 1e-9))  # before the connection is full
    look = next_look(now, answers, rate)
    assert 0.74 * pause <= look - now <= 1.76 * pause
    assert look == pytest.approx(round(look / pause) * pause)


def test_a_message_ends_the_waiting(
    engine: LlamaEngine, channel: tuple[socket.socket, socket.socket]
) -> None:
    (first,) = next(answer(engine, [1]))
    assert first.ids == [7]
    begun = time.monotonic()
    channel[0].send(b"{}\n")
    while engine.step():
        pass
    assert time.monotonic() - begun < 30
    engine.cancel(1)
    assert not engine.busy


@pytest.mark.parametrize(("engine", "text"), [("", "abc"), (" ", "abc")], indirect=["engine"])
def test_it_tells_the_text(engine: LlamaEngine, text: str) -> None:
    assert isinstance(engine, TextEngine)
    assert "".join(text for step in answer(engine, [2]) for one in step for text in one.texts) == text


def test_a_start_that_fails_leaves_no_server(
    channel: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """A server that answers something else than llama-server is ended."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace('"n_vocab"', '"unknown"').replace('"tokens"', '"unknown"'))
    with pytest.raises(KeyError):
        LlamaEngine([sys.executable, str(program), ""], tmp_path, 100, 100, channel[1].fileno())
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(tmp_path / "llama.sock"))
