"""What a process of an engine does before it is ready."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker import engine


def test_the_tokenizer_is_loaded_while_the_model_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = threading.Event()

    def text(job: WorkerJob) -> Any:
        loaded.set()
        raise EdgehoneError("no tokenizer")

    def opened(job: WorkerJob) -> Any:
        assert loaded.wait(60)
        raise EdgehoneError("no model")

    monkeypatch.setattr(engine, "_text", text)
    monkeypatch.setattr(engine, "_open", opened)
    mine, its = socket.socketpair()
    with mine, its, pytest.raises(EdgehoneError, match="no model"):
        engine.serve(WorkerJob({"channel": its.detach()}, {}, tmp_path, None, 1, lambda done, doing: None))
    monkeypatch.setattr(engine, "_open", lambda job: None)
    mine, its = socket.socketpair()
    with mine, its, pytest.raises(EdgehoneError, match="no tokenizer"):
        engine.serve(WorkerJob({"channel": its.detach()}, {}, tmp_path, None, 1, lambda done, doing: None))
