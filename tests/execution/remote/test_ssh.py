"""Jobs on a host over SSH, with a real server: what runs there, and how each failure is reported."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.null import backend
from edgehone.core.errors import InputError, JobError, SetupError
from edgehone.device.detect import detect
from edgehone.evaluation.memory import MemoryWatch
from edgehone.execution.job import Input, Job
from edgehone.execution.remote import ssh
from edgehone.execution.remote.agent import inside
from edgehone.execution.remote.ssh_executor import SshExecutor
from edgehone.execution.run import run
from edgehone.execution.watch import Watch
from edgehone.worker import energy
from tests import sshd
from tests.disks import small_file_system
from tests.rates import BANDWIDTH, know_rates

Connect = Callable[..., SshExecutor]
NULL = "edgehone.backends.null.backend"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.SshServer]:
    server = sshd.make(tmp_path / "host", monkeypatch)
    yield server
    server.stop()


@pytest.fixture
def connect(host: sshd.SshServer, own_home: Path) -> Iterator[Connect]:
    """A function that connects to the host, which it starts first."""
    executors: list[SshExecutor] = []

    def make(folder: str = "") -> SshExecutor:
        if host.server is None:
            host.start()
        executors.append(
            SshExecutor(ssh.parse_address(host.url + folder), ["edgehone"], lambda fraction, doing: None)
        )
        return executors[-1]

    yield make
    for one in executors:
        one.close()


def connection_error(connect: Connect) -> SetupError:
    with pytest.raises(SetupError) as caught:
        connect()
    assert caught.value.hint
    return caught.value


def job(
    host: SshExecutor, call: str, inputs: dict[str, Input], watch: Callable[[], Watch] = Watch, **args: object
) -> Job:
    env = host.ensure_environment("null", NULL, backend.NEEDS, lambda what: None)
    return Job(f"{NULL}:{call}", env, args, inputs, watch=watch)


def test_a_job_runs_on_the_host_and_its_result_is_stored_on_this_machine(
    connect: Connect, own_home: Path, host: sshd.SshServer, null_model: Path
) -> None:
    remote = connect()
    assert remote.device.fingerprint == detect().fingerprint
    assert remote.name == host.name
    model = Input(null_model, "the model", ("config.json", "model.safetensors"))
    (null_model / "not-part-of-it").write_text("x")
    reported: list[str] = []
    convert = job(remote, "convert", {"model": model}, MemoryWatch)
    converted = run(convert, lambda fraction, doing: reported.append(doing), remote.execute)
    assert converted.folder.is_relative_to(own_home) and not converted.cached
    assert (converted.out / "table.npy").stat().st_size > 100_000 and converted.facts["weight_types"] == {
        "f32": 1
    }
    assert converted.watch  # sampled on the host
    assert any(doing.startswith("sending") for doing in reported)
    (sent,) = host.home.glob("store/inputs/*/null-model")
    assert sorted(path.name for path in sent.iterdir()) == ["config.json", "model.safetensors"]
    assert run(convert, execute=remote.execute).cached

    # The result of a job of the host is not sent back to it as an input.
    quantize = job(remote, "quantize", {"converted": Input.of(converted)}, bits=4)
    quantized = run(quantize, lambda fraction, doing: reported.append(doing), remote.execute)
    assert quantized.facts["weight_types"] == {"q4": 1}
    assert len(list(host.home.glob("store/inputs/*"))) == 1


def test_files_folders_and_the_targets_of_links_are_sent(
    connect: Connect, host: sshd.SshServer, tmp_path: Path
) -> None:
    from edgehone.execution.remote import transfer

    folder = tmp_path / "given"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "nothing").touch()
    big = os.urandom(9_000_000)  # more than two chunks
    (tmp_path / "elsewhere").write_bytes(big)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    remote = connect()
    request = remote.connection.request
    transfer.send_input(request, Input(folder, "folder"), lambda fraction, doing: None)
    transfer.send_input(request, Input(folder / "link", "file"), lambda fraction, doing: None)
    (sent,) = host.home.glob("store/inputs/*/given")
    assert (sent / "link").read_bytes() == big and not (sent / "link").is_symlink()
    assert (sent / "nothing").read_bytes() == b"" and (sent / "sub" / "empty").is_dir()
    (sent_file,) = host.home.glob("store/inputs/*/link")
    assert sent_file.read_bytes() == big
    assert not list(host.home.glob("store/inputs/*.partial"))


def test_the_log_of_a_job_that_fails_on_the_host_is_stored_on_this_machine(
    connect: Connect, own_home: Path, null_model: Path
) -> None:
    remote = connect()
    converted = run(job(remote, "convert", {"model": Input(null_model, "model")}), execute=remote.execute)
    with pytest.raises(JobError, match="asked to crash") as caught:
        run(
            job(remote, "quantize", {"converted": Input.of(converted)}, bits=8, fault="crash"),
            execute=remote.execute,
        )
    assert caught.value.log and caught.value.log.is_relative_to(own_home)
    assert "asked to crash" in caught.value.log.read_text()


def test_an_environment_that_cannot_be_installed_on_the_host_is_an_error(
    connect: Connect, host: sshd.SshServer, tmp_path: Path
) -> None:
    host.variables = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "no-cache"), "UV_FIND_LINKS": ""}
    from edgehone.backends.onnxruntime import backend as onnxruntime

    remote = connect()
    with pytest.raises(SetupError, match="the environment of onnxruntime cannot be installed") as caught:
        remote.ensure_environment(
            "onnxruntime", "edgehone.backends.onnxruntime.backend", onnxruntime.NEEDS, lambda what: None
        )
    assert caught.value.message.startswith(host.name) and host.name in (caught.value.hint or "")
    assert remote.call("edgehone.worker.energy:why_unreadable") == energy.why_unreadable()


def test_output_of_the_shells_start_up_files_is_ignored(connect: Connect, host: sshd.SshServer) -> None:
    host.first = "echo welcome; echo '{}'; echo '[]'; echo 7"
    assert connect().device.threads >= 1


def test_the_folder_in_the_address_is_the_home_on_the_host(
    connect: Connect, host: sshd.SshServer, tmp_path: Path
) -> None:
    home = know_rates(tmp_path / "on-the-ssd")
    remote = connect(f"/{home.relative_to('/')}")
    # The rate that this folder holds.
    assert remote.call("edgehone.execution.executor:bandwidth") == BANDWIDTH.to_json()
    assert (home / "agent").is_dir() and not (host.home / "agent").exists()


def test_a_host_without_a_server_cannot_be_reached(connect: Connect, host: sshd.SshServer) -> None:
    host.start()
    host.stop()
    with pytest.raises(SetupError, match=r"cannot be reached .*refused") as caught:
        SshExecutor(ssh.parse_address(host.url), ["edgehone"], lambda fraction, doing: None)
    assert f"ssh -p {host.port}" in (caught.value.hint or "")


def test_an_unknown_and_a_changed_host_key_are_errors(connect: Connect, host: sshd.SshServer) -> None:
    (host.place / "known_hosts").write_text("")
    error = connection_error(connect)
    assert "host key is not known" in error.message and "accept it: ssh -p" in (error.hint or "")
    sshd.know(host, "user_key.pub")
    assert "host key has changed" in connection_error(connect).message


def test_a_refused_key_is_an_authentication_failure(connect: Connect, host: sshd.SshServer) -> None:
    (host.place / "user_key.pub").write_text("")
    assert "authentication failed" in connection_error(connect).message


def test_a_missing_or_old_python_is_an_error(connect: Connect, host: sshd.SshServer) -> None:
    bare = host.place / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to("/bin/sh")
    host.path = str(bare)
    error = connection_error(connect)
    assert "has no Python 3.11 or newer" in error.message
    old = bare / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.9.2; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    assert "has no Python 3.11 or newer (found: Python 3.9.2)" in connection_error(connect).message


@pytest.mark.whole
def test_a_python_that_cannot_make_a_venv_is_an_error(connect: Connect, host: sshd.SshServer) -> None:
    # Without numpy, psutil and uv, and without a package index.
    venv.create(host.place / "plain", with_pip=False)
    host.path = f"{host.place}/plain/bin:/usr/bin:/bin"
    host.variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    error = connection_error(connect)
    assert "cannot install numpy" in error.message or "cannot make a venv" in error.message
    assert not list(host.home.glob("agent/python-*"))


@pytest.mark.real
def test_a_venv_for_the_agent_is_made_once(connect: Connect, host: sshd.SshServer) -> None:
    venv.create(host.place / "plain", with_pip=False)
    host.path = f"{host.place}/plain/bin:/usr/bin:/bin"
    assert connect().device.threads >= 1
    (python,) = host.home.glob("agent/python-*/bin/python")
    inode = python.lstat().st_ino
    assert connect().device.threads >= 1
    assert python.lstat().st_ino == inode


def test_a_full_disk_of_the_host_is_an_error(
    connect: Connect, host: sshd.SshServer, null_model: Path
) -> None:
    with small_file_system(host.home, "200k"):
        try:
            assert "No space left" in connection_error(connect).message
            subprocess.run(["mount", "-o", "remount,size=60m", str(host.home)], check=True)
            remote = connect()
            free = os.statvfs(host.home).f_bavail * os.statvfs(host.home).f_frsize
            (host.home / "filler").write_bytes(bytes(free - 1_200_000))
            asked = job(remote, "convert", {"model": Input(null_model, "model")})
            with pytest.raises(SetupError, match=r"MB are free on the disk of ") as caught:
                run(asked, execute=remote.execute)
            assert caught.value.message.startswith(host.name)
            (host.home / "filler").unlink()
            assert run(asked, execute=remote.execute).facts["weight_types"] == {"f32": 1}
            remote.close()
        finally:
            host.stop()


def test_the_same_source_is_sent_once(connect: Connect, host: sshd.SshServer) -> None:
    connect()
    (folder,) = host.home.glob("agent/*")
    inode = folder.stat().st_ino
    connect()
    assert [path.stat().st_ino for path in host.home.glob("agent/*")] == [inode]
    assert not list(folder.glob("edgehone/data/demo-model"))
    assert (folder / "edgehone" / "backends" / "mlx" / "lock.txt").is_file()


def test_a_missing_ssh_client_is_an_error(
    host: sshd.SshServer, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="no ssh client is installed"):
        SshExecutor(ssh.parse_address(host.url), ["edgehone"], lambda fraction, doing: None)


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://pi@", "ssh://-oProxyCommand=x", "ssh://pi@kitchen:port", "ssh://pi:secret@kitchen",
     "ssh://kitchen:99999", "ssh://kitchen?x=1", "ssh://-l@kitchen"],
)  # fmt: skip
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--device ssh:"):
        ssh.parse_address(url)


def test_an_address_is_parsed() -> None:
    assert ssh.parse_address("ssh://pi@kitchen:2222/mnt/my%20ssd/") == ssh.Address(
        "pi@kitchen", 2222, "/mnt/my ssd"
    )
    assert ssh.parse_address("ssh://kitchen") == ssh.Address("kitchen")
    assert ssh.parse_address("ssh://pi@[::1]").destination == "pi@::1"


@given(st.text())
def test_no_file_name_leads_out_of_a_folder(name: str) -> None:
    try:
        path = inside(Path("/folder"), name)
    except SetupError:
        return
    assert Path(os.path.normpath(path)).is_relative_to("/folder")


def test_a_device_survives_the_conversion_to_json_and_back(own_home: Path) -> None:
    device = detect()
    assert type(device).from_json(json.loads(json.dumps(device.to_json()))) == device
