"""Humans are called: by a webhook, by e-mail, by a command; each is tried again until it has taken the call."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.operate.calls import Calls
from edgehone.operate.escalate import Call, Command, Mail, NotDelivered, Webhook, command, webhook
from edgehone.operate.journal import Journal
from edgehone.operate.options import Options

URL = "http://127.0.0.1:8080"


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def call(tmp_path: Path) -> Call:
    story = tmp_path / "incident-1.html"
    story.write_text("<p>the story</p>")
    return Call(
        "latency of bundle",
        {"symptom": "latency"},
        {"why": "no remedy is left"},
        story,
        "2026-11-29T00:00:00+00:00",
    )


def test_a_webhook_gets_an_alert(tmp_path: Path) -> None:
    got: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with listening(Handler) as port:
        Webhook(f"http://127.0.0.1:{port}/api/v2/alerts").deliver(call(tmp_path))
    ((path, (alert,)),) = got
    assert path == "/api/v2/alerts" and alert["labels"]["alertname"] == "edgehone_operate_escalated"
    assert alert["annotations"]["summary"] == "latency of bundle" and alert["startsAt"]
    with pytest.raises(NotDelivered):
        Webhook(f"http://127.0.0.1:{port}/").deliver(call(tmp_path))


def test_a_mail_has_the_page(tmp_path: Path) -> None:
    got: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        """As much of SMTP (RFC 5321) as a sender needs."""

        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (one := self.rfile.readline()) != b".\r\n":
                        lines.append(one)
                    got.append(b"".join(lines))
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    with listening(Handler) as port:
        Mail("who@example.org", "edgehone@example.org", f"127.0.0.1:{port}").deliver(call(tmp_path))
    assert b"Subject: latency of bundle" in got[0] and b"incident-1.html" in got[0]
    with pytest.raises(NotDelivered):
        Mail("who@example.org", "edgehone@example.org", f"127.0.0.1:{port}").deliver(call(tmp_path))


def test_a_command_gets_the_call(tmp_path: Path) -> None:
    script = 'cat > "$0"; echo "$EDGEHONE_STORY" >> "$0"'
    Command(("sh", "-c", script, str(tmp_path / "got"))).deliver(call(tmp_path))
    text = (tmp_path / "got").read_text()
    assert '"no remedy is left"' in text and "incident-1.html" in text
    with pytest.raises(NotDelivered):
        Command(("false",)).deliver(call(tmp_path))


def test_wrong_channels() -> None:
    for url in ("nowhere", "ftp://x", "http://"):
        with pytest.raises(InputError, match="is no URL"):
            webhook(url)
    for text in ("", "'unclosed"):
        with pytest.raises(InputError, match="--command"):
            command(text)


def test_a_call_is_repeated_until_every_channel_has_taken_it(tmp_path: Path) -> None:
    marker = tmp_path / "up"
    channels = (Command(("true",)), Command(("test", "-f", str(marker))))
    options = Options(times=10_000.0, channels=channels)
    journal, told = Journal(tmp_path / "state", URL), list[tuple[str, str]]()

    def tell(kind: str, says: str, incident: int, **detail: Any) -> None:
        journal.tell(kind, says, incident, **detail)
        told.append((kind, str(detail.get("channel"))))

    incident = journal.open_incident("bundle", "latency", ["latency_p95"])
    journal.tell(
        "escalating", "no remedy is left <b>", incident.id, why="no remedy is left <b>", not_offered={}
    )
    journal.name_outcome(incident.id, "escalating to a human operator")
    calls = Calls(journal, tmp_path / "state", URL, options, tell)
    calls.deliver()
    assert told == [("delivered", "command true"), ("not delivered", "command test")]
    marker.touch()
    time.sleep(0.02)
    Calls(journal, tmp_path / "state", URL, options, tell).deliver()  # as after a restart
    assert told[2:] == [("delivered", "command test"), ("escalated", "None")]
    page = (tmp_path / "state" / "incident-1.html").read_text()
    assert "no remedy is left &lt;b&gt;" in page and "latency_p95" in page
    assert journal.open_incidents()[0].outcome == "escalated to a human operator"
