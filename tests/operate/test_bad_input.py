"""What a user can do wrong: every error says what it is and what to type next, with exit code 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli.main import main
from tests.operate.operated import operating
from tests.serve.conftest import chatty
from tests.serve.server import running
from tests.serve.test_change import key_file

__all__ = ["chatty", "key_file"]  # fixtures


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = main(["operate", *words, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == told["exit_code"] == 2 and told["hint"]
    return told


def unused() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_wrong_words(capsys: pytest.CaptureFixture[str], key_file: Path, tmp_path: Path) -> None:
    key = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "state"))
    for words, said in (
        (("http://127.0.0.1:1",), "no operator's key"),
        (("ftp://127.0.0.1:1", *key), "is no URL of a server"),
        (("http://127.0.0.1:99999", *key), "is no URL of a server"),
        (("http://127.0.0.1:1", "--admin-key-file", str(tmp_path / "none")), "cannot be read"),
        (("http://127.0.0.1:1", *key, "--webhook", "nowhere"), "--webhook nowhere is no URL"),
        (("http://127.0.0.1:1", *key, "--bundles", str(tmp_path / "none")), "does not exist"),
        (("http://127.0.0.1:1", *key, "--budget", "-1"), "--budget is -1"),
        (("http://127.0.0.1:1", *key, "--faster", "nan"), "--faster is nan"),
        (("http://127.0.0.1:1", *key, "--mail-user", "me"), "belong together"),
    ):
        assert said in error_of(capsys, *words)["error"]


def test_a_server_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], key_file: Path, tmp_path: Path
) -> None:
    url = unused()
    code = main(["operate", url, "--admin-key-file", str(key_file), "--state", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 2 and f"{url} does not answer" in told["error"] and "edgehone serve" in told["hint"]


@pytest.mark.whole
def test_servers_that_cannot_be_operated(
    capsys: pytest.CaptureFixture[str], chatty: Path, key_file: Path, tmp_path: Path
) -> None:
    key = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "state"))
    with running(chatty) as server:
        told = error_of(capsys, server.url, *key)
        assert "was started without keys of operators" in told["error"] and "--admin-key-file" in told["hint"]
    with running(chatty, "--admin-key-file", str(key_file)) as server:
        wrong = tmp_path / "wrong"
        wrong.write_text("other\n")
        wrong.chmod(0o600)
        told = error_of(capsys, server.url, "--admin-key-file", str(wrong), "--state", str(tmp_path / "b"))
        assert "does not know this operator's key" in told["error"]
        gone = tmp_path / "gone"
        gone.write_text("a file")
        assert "is a file" in error_of(capsys, server.url, *key, "--registry", str(gone))["error"]
        with operating(server, key_file, tmp_path / "first") as run:
            run.wait_for("begins", 30)
            told = error_of(
                capsys, server.url, "--admin-key-file", str(key_file), "--state", str(tmp_path / "c")
            )
            assert "is operated already" in told["error"]
            same = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "first"))
            assert "another edgehone operate has the state" in error_of(capsys, server.url, *same)["error"]
