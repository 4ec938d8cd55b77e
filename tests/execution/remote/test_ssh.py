"""A host over SSH, against a real server: what it answers, and what each failure is told as."""

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
from edgehone.execution.executors import SshExecutor
from edgehone.execution.job import Input, Job, run
from edgehone.execution.remote import ssh
from edgehone.execution.remote.agent import inside
from edgehone.execution.watch import Watch
from edgehone.worker import energy
from tests import sshd

Connect = Callable[..., SshExecutor]
NULL = "edgehone.backends.null.backend"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.SshExecutor]:
    made = sshd.make(tmp_path / "host", monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def connect(host: sshd.SshExecutor, own_home: Path) -> Iterator[Connect]:
    """Connect to the host, which is started first."""
    open_ones: list[SshExecutor] = []

    def make(folder: str = "") -> SshExecutor:
        if host.server is None:
            host.start()
        open_ones.append(
            SshExecutor(ssh.address(host.url + folder), ["edgehone"], lambda fraction, what: None)
        )
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()


def refused(connect: Connect) -> SetupError:
    with pytest.raises(SetupError) as caught:
        connect()
    assert caught.value.hint
    return caught.value


def job(
    host: SshExecutor, call: str, inputs: dict[str, Input], watch: Callable[[], Watch] = Watch, **args: object
) -> Job:
    env = host.ensure("null", NULL, backend.NEEDS, lambda what: None)
    return Job(f"{NULL}:{call}", env, args, inputs, watch=watch)


def test_a_job_runs_there_and_its_result_is_here(
    connect: Connect, own_home: Path, host: sshd.SshExecutor, null_model: Path
) -> None:
    far = connect()
    assert far.device.fingerprint == detect().fingerprint
    assert far.name == host.name
    given = Input(null_model, "the model", ("config.json", "model.safetensors"))
    (null_model / "not-part-of-it").write_text("x")
    told: list[str] = []
    asked = job(far, "convert", {"model": given}, MemoryWatch)
    done = run(asked, lambda fraction, what: told.append(what), far.fill)
    assert done.folder.is_relative_to(own_home) and not done.cached
    assert (done.out / "table.npy").stat().st_size > 100_000 and done.facts["weight_types"] == {"f32": 1}
    assert done.watch  # sampled by that side
    assert any(what.startswith("sending") for what in told)
    (sent,) = host.home.glob("store/inputs/*/null-model")
    assert sorted(path.name for path in sent.iterdir()) == ["config.json", "model.safetensors"]
    assert run(asked, fill=far.fill).cached

    # What a job made there is not sent there again.
    second = job(far, "quantize", {"converted": Input.of(done)}, bits=4)
    made = run(second, lambda fraction, what: told.append(what), far.fill)
    assert made.facts["weight_types"] == {"q4": 1}
    assert len(list(host.home.glob("store/inputs/*"))) == 1


def test_files_folders_and_links_arrive_as_they_are(
    connect: Connect, host: sshd.SshExecutor, tmp_path: Path
) -> None:
    from edgehone.execution.remote import transfer

    place = tmp_path / "given"
    (place / "sub" / "empty").mkdir(parents=True)
    (place / "nothing").touch()
    big = os.urandom(9_000_000)  # more than two pieces
    (tmp_path / "elsewhere").write_bytes(big)
    (place / "link").symlink_to(tmp_path / "elsewhere")
    far = connect()
    ask = far._agent.ask
    transfer.send(ask, Input(place, "folder"), lambda fraction, what: None)
    transfer.send(ask, Input(place / "link", "file"), lambda fraction, what: None)
    (there,) = host.home.glob("store/inputs/*/given")
    assert (there / "link").read_bytes() == big and not (there / "link").is_symlink()
    assert (there / "nothing").read_bytes() == b"" and (there / "sub" / "empty").is_dir()
    (lone,) = host.home.glob("store/inputs/*/link")
    assert lone.read_bytes() == big
    assert not list(host.home.glob("store/inputs/*.partial"))


def test_a_job_that_fails_there_leaves_its_log_here(
    connect: Connect, own_home: Path, null_model: Path
) -> None:
    far = connect()
    converted = run(job(far, "convert", {"model": Input(null_model, "model")}), fill=far.fill)
    with pytest.raises(JobError, match="asked to crash") as caught:
        run(job(far, "quantize", {"converted": Input.of(converted)}, bits=8, fault="crash"), fill=far.fill)
    assert caught.value.log and caught.value.log.is_relative_to(own_home)
    assert "asked to crash" in caught.value.log.read_text()


def test_an_environment_that_cannot_be_made_there_is_told(
    connect: Connect, host: sshd.SshExecutor, tmp_path: Path
) -> None:
    host.variables = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "no-cache"), "UV_FIND_LINKS": ""}
    from edgehone.backends.onnxruntime import backend as onnxruntime

    far = connect()
    with pytest.raises(SetupError, match="the environment of onnxruntime cannot be installed") as caught:
        far.ensure(
            "onnxruntime", "edgehone.backends.onnxruntime.backend", onnxruntime.NEEDS, lambda what: None
        )
    assert caught.value.message.startswith(host.name) and host.name in (caught.value.hint or "")
    assert far.ask("edgehone.worker.energy:why_unreadable") == energy.why_unreadable()  # it answers on


def test_what_a_shell_prints_first_does_no_harm(connect: Connect, host: sshd.SshExecutor) -> None:
    host.first = "echo welcome; echo '{}'; echo '[]'; echo 7"
    assert connect().device.threads >= 1


def test_a_folder_in_the_address_is_where_it_keeps_things(
    connect: Connect, host: sshd.SshExecutor, tmp_path: Path
) -> None:
    far = connect(f"/{tmp_path.relative_to('/')}/on-the-ssd")
    assert far.ask("edgehone.execution.executors:bandwidth")["unit"] == "GB/s"
    assert (tmp_path / "on-the-ssd" / "bandwidth").is_dir() and not host.home.exists()


def test_nobody_listens(connect: Connect, host: sshd.SshExecutor) -> None:
    host.start()
    host.stop()
    with pytest.raises(SetupError, match=r"cannot be reached .*refused") as caught:
        SshExecutor(ssh.address(host.url), ["edgehone"], lambda fraction, what: None)
    assert f"ssh -p {host.port}" in (caught.value.hint or "")


def test_the_host_key_is_unknown_or_another(connect: Connect, host: sshd.SshExecutor) -> None:
    (host.place / "known_hosts").write_text("")
    error = refused(connect)
    assert "host key is not known" in error.message and "accept it: ssh -p" in (error.hint or "")
    sshd.know(host, "user_key.pub")
    assert "host key is another one" in refused(connect).message


def test_the_key_is_refused(connect: Connect, host: sshd.SshExecutor) -> None:
    (host.place / "user_key.pub").write_text("")
    assert "lets nobody in" in refused(connect).message


def test_no_python_or_one_that_is_too_old(connect: Connect, host: sshd.SshExecutor) -> None:
    bare = host.place / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to("/bin/sh")
    host.path = str(bare)
    error = refused(connect)
    assert "has no Python 3.11 or newer" in error.message
    old = bare / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.9.2; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    assert "has no Python 3.11 or newer (found: Python 3.9.2)" in refused(connect).message


def test_a_python_that_can_make_no_venv(connect: Connect, host: sshd.SshExecutor) -> None:
    # Without numpy and uv, and an index that has nothing.
    venv.create(host.place / "plain", with_pip=False)
    host.path = f"{host.place}/plain/bin:/usr/bin:/bin"
    host.variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    error = refused(connect)
    assert "cannot install numpy" in error.message or "cannot make a venv" in error.message
    assert not list(host.home.glob("agent/python-*"))


@pytest.mark.real
def test_a_plain_python_gets_what_the_agent_needs_once(connect: Connect, host: sshd.SshExecutor) -> None:
    venv.create(host.place / "plain", with_pip=False)
    host.path = f"{host.place}/plain/bin:/usr/bin:/bin"
    assert connect().device.threads >= 1
    (made,) = host.home.glob("agent/python-*/bin/python")
    born = made.lstat().st_ino
    assert connect().device.threads >= 1
    assert made.lstat().st_ino == born


def test_the_disk_of_the_host_is_full(connect: Connect, host: sshd.SshExecutor, null_model: Path) -> None:
    host.home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(host.home)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        assert "No space left" in refused(connect).message
        subprocess.run(["mount", "-o", "remount,size=60m", str(host.home)], check=True)
        far = connect()
        free = os.statvfs(host.home).f_bavail * os.statvfs(host.home).f_frsize
        (host.home / "filler").write_bytes(bytes(free - 1_200_000))
        asked = job(far, "convert", {"model": Input(null_model, "model")})
        with pytest.raises(SetupError, match=r"MB are left on the disk of ") as caught:
            run(asked, fill=far.fill)
        assert caught.value.message.startswith(host.name)
        (host.home / "filler").unlink()
        assert run(asked, fill=far.fill).facts["weight_types"] == {"f32": 1}
        far.close()
    finally:
        host.stop()
        subprocess.run(["umount", "-l", str(host.home)], check=True)


def test_the_same_source_is_sent_once(connect: Connect, host: sshd.SshExecutor) -> None:
    connect()
    (folder,) = host.home.glob("agent/*")
    born = folder.stat().st_ino
    connect()
    assert [path.stat().st_ino for path in host.home.glob("agent/*")] == [born]
    assert not list(folder.glob("edgehone/data/demo-model"))
    assert (folder / "edgehone" / "backends" / "mlx" / "lock.txt").is_file()


def test_there_is_no_ssh_here(
    host: sshd.SshExecutor, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="no ssh on this machine"):
        SshExecutor(ssh.address(host.url), ["edgehone"], lambda fraction, what: None)


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://pi@", "ssh://-oProxyCommand=x", "ssh://pi@kitchen:port", "ssh://pi:secret@kitchen",
     "ssh://kitchen:99999", "ssh://kitchen?x=1", "ssh://-l@kitchen"],
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="--device ssh:"):
        ssh.address(url)


def test_an_address() -> None:
    assert ssh.address("ssh://pi@kitchen:2222/mnt/my%20ssd/") == ssh.Address(
        "pi@kitchen", 2222, "/mnt/my ssd"
    )
    assert ssh.address("ssh://kitchen") == ssh.Address("kitchen")
    assert ssh.address("ssh://pi@[::1]").destination == "pi@::1"


@given(st.text())
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    try:
        path = inside(Path("/place"), name)
    except SetupError:
        return
    assert Path(os.path.normpath(path)).is_relative_to("/place")


def test_json_of_a_device_comes_back(own_home: Path) -> None:
    device = detect()
    assert type(device).from_json(json.loads(json.dumps(device.to_json()))) == device
