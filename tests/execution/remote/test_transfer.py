"""Inputs and results between machines, without a connection: the agent is called in this process."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import SetupError
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job, Progress
from edgehone.execution.remote import agent, bootstrap, transfer
from edgehone.execution.remote.ssh import value_of

NULL = "edgehone.backends.null.backend"
Spoil = Callable[[str, bytes], bytes]


class Host:
    """A remote machine in this process. `spoil` may change the bytes of a message, by its method."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.monkeypatch = home, monkeypatch
        self.calls: list[str] = []
        self.spoil: Spoil = lambda method, data: data

    def __call__(
        self,
        method: str,
        params: Mapping[str, Any],
        data: bytes = b"",
        on_progress: Progress = lambda fraction, doing: None,
    ) -> tuple[Any, bytes]:
        self.calls.append(method)
        with self.monkeypatch.context() as patched:
            patched.setenv("EDGEHONE_HOME", str(self.home))
            reply, reply_data = agent.handle(method, params, self.spoil(method, data), on_progress)
        return value_of("host", reply), self.spoil(f"reply to {method}", reply_data)

    def execute(self, job: Job, folder: Path) -> None:
        """Run a job as an SSH executor does."""
        sent: set[str] = set()
        while missing := (reply := self("run_job", transfer.job_message(job)))[0].get("missing"):
            transfer.send_missing(self, job, missing, sent, lambda fraction, doing: None)
        transfer.fetch_result(self, job, reply, folder, lambda fraction, doing: None)


@pytest.fixture
def host(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path / "host", monkeypatch)


def convert(host: Host, model: Input, **args: object) -> Job:
    env: Env = transfer.ensure_environment(host, "null", NULL, lambda doing: None)
    return Job(f"{NULL}:convert", env, args, {"model": model})


def flip(method: str) -> Spoil:
    return lambda name, data: bytes([data[0] ^ 1]) + data[1:] if name == method and data else data


@pytest.fixture
def result(tmp_path: Path) -> Path:
    (tmp_path / "result").mkdir()
    return tmp_path / "result"


def test_an_input_that_is_there_under_another_name_is_not_sent_again(
    host: Host, null_model: Path, result: Path
) -> None:
    host.execute(convert(host, Input(null_model, "the model")), result)
    moved = null_model.rename(null_model.with_name("moved"))
    host.calls.clear()
    host.execute(convert(host, Input(moved, "the model"), again=True), result)
    assert "write_chunk" not in host.calls
    renamed = next(host.home.glob("store/inputs/*.renamed/moved"))
    assert sorted(path.name for path in renamed.iterdir()) == sorted(path.name for path in moved.iterdir())


def test_files_that_count_together_are_added_to_those_with_other_names(host: Host, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx", "data"):
        (tmp_path / name).write_text(name)
    for name in ("a.onnx", "b.onnx"):
        transfer.send_input(host, Input(tmp_path / name, "one", (name, "data")), lambda fraction, doing: None)
    (sent,) = host.home.glob("store/inputs/*")
    assert sorted(path.name for path in sent.iterdir()) == ["a.onnx", "b.onnx", "data"]


def test_an_input_that_the_machine_never_finds_is_an_error(
    host: Host, null_model: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_find_input", lambda identity, name: None)
    with pytest.raises(SetupError, match=r"the input 'model' of .* was sent completely") as caught:
        host.execute(convert(host, Input(null_model, "the model")), result)
    assert caught.value.hint


def test_an_input_that_arrives_damaged_is_refused_and_the_next_transfer_starts_afresh(
    host: Host, null_model: Path, result: Path
) -> None:
    job = convert(host, Input(null_model, "the model"))
    host.spoil = flip("write_chunk")
    with pytest.raises(SetupError, match="was not received as it was sent"):
        host.execute(job, result)
    assert not list(host.home.glob("store/inputs/*"))
    host.spoil = lambda method, data: data
    host.execute(job, result)
    assert (result / "result.json").is_file()


def test_a_result_that_arrives_damaged_is_refused(host: Host, null_model: Path, result: Path) -> None:
    host.spoil = flip("reply to read_chunk")
    with pytest.raises(SetupError, match="of a finished job was not received as it was sent"):
        host.execute(convert(host, Input(null_model, "the model")), result)


def archive(member: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as files:
        files.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../outside", "/tmp/edgehone-outside", "link"])
def test_an_archive_of_the_source_cannot_write_elsewhere(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = tarfile.TarInfo(name)
    if name == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/"
    else:
        member.size = 1
    with pytest.raises(SystemExit):
        bootstrap._unpack(archive(member), tmp_path / "agent")
    assert "source contains" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()) and not Path("/tmp/edgehone-outside").exists()


def test_an_archive_of_plain_files_is_unpacked(tmp_path: Path) -> None:
    member = tarfile.TarInfo("edgehone/module.py")
    member.size = 3
    bootstrap._unpack(archive(member), tmp_path / "agent")
    assert (tmp_path / "agent" / "edgehone" / "module.py").read_text() == "xxx"
