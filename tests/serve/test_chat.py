"""`edgehone chat URL` against a server."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgehone.cli.main import main
from tests.serve.server import Server, running

pytestmark = pytest.mark.whole


def chat(text: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["chat", *words])


def test_a_conversation_with_a_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (server.url, "--json", "--max-tokens", "9", "--system", "Be short.")
    assert chat("Hello\nAgain\n", monkeypatch, *words) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["tokens"] == second["tokens"] == 9 and first["ttft_s"] > 0
    history = "[system] Be short.\n[user] Hello\n[assistant] "
    assert first["prompt_tokens"] == 1 + len(history)
    assert second["prompt_tokens"] == first["prompt_tokens"] + len(first["answer"].encode()) + len(
        "\n[user] Again\n[assistant] "
    )


def test_what_a_server_refuses(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat("refused\n", monkeypatch, server.url) == 2
    assert "not that" in capsys.readouterr().err
    assert chat("Hello\n", monkeypatch, server.url, "--model", "other") == 2
    assert "has no model 'other': it serves bundle" in capsys.readouterr().err
    assert chat("Hello\n", monkeypatch, "http://127.0.0.1:9") == 2
    assert "cannot reach http://127.0.0.1:9" in capsys.readouterr().err


def test_the_key_comes_from_the_environment(
    chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    keys.chmod(0o600)
    with running(chatty, "--api-key-file", str(keys)) as server:
        assert chat("Hello\n", monkeypatch, server.url) == 2
        assert "EDGEHONE_API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("EDGEHONE_API_KEY", "secret")
        assert chat("Hello\n", monkeypatch, server.url, "--max-tokens", "3") == 0


def test_the_key_goes_to_no_other_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, str | None]] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(302 if self.path == "/v1/models" else 401)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *of_server: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setenv("EDGEHONE_API_KEY", "secret")
        assert chat("Hello\n", monkeypatch, f"http://127.0.0.1:{other.server_port}") == 2
        other.shutdown()
    assert seen == [("/v1/models", "Bearer secret"), ("/elsewhere", None)]
    assert "secret" not in capsys.readouterr().err
