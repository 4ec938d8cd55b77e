"""A real SSH server for tests: a child on a loopback port, with keys, settings and an EDGEHONE_HOME of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class SshServer:
    """The server's port, where its user's edgehone keeps things, and where this side's ssh settings lie."""

    place: Path
    port: int
    home: Path
    path: str = f"{Path(sys.executable).parent}:/usr/bin:/bin"  # where the host looks for programs
    variables: dict[str, str] = field(default_factory=dict)
    first: str = ":"  # what its shell does before each command
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What --device takes."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """What edgehone calls it."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server with the settings of now; ready when it greets."""
        kept = {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "UV_", "SSL_CERT_"))}
        given = {**kept, "EDGEHONE_HOME": str(self.home), **self.variables}
        variables = " ".join(f"{name}={value}" for name, value in given.items())
        settings = f"""
ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.place}/host_key
AuthorizedKeysFile {self.place}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PrintMotd no
SetEnv {variables}
ForceCommand {self.first}; PATH={self.path}; eval "$SSH_ORIGINAL_COMMAND"
"""
        (self.place / "sshd_config").write_text(settings)
        assert SSHD
        command = [SSHD, "-D", "-e", "-f", str(self.place / "sshd_config")]
        with (self.place / "sshd.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                    if one.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError((self.place / "sshd.log").read_text())

    def stop(self) -> None:
        """End the server and every session of it."""
        if self.server is not None:
            self.cut()
            self.server.kill()
            self.server.wait()
            self.server = None

    def cut(self) -> None:
        """Kill the server's end of every connection, as a cable that is pulled would."""
        assert self.server is not None
        for pid in _descendants(self.server.pid):
            name = Path(f"/proc/{pid}/comm")
            if name.exists() and name.read_text().startswith("sshd"):
                os.kill(pid, 9)


def make(place: Path, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """Keys, a port and an `ssh` that knows them, first on this side's PATH; skipped where there is no sshd."""
    if SSHD is None or shutil.which("ssh") is None:
        if os.environ.get("CI"):
            pytest.fail("no SSH server or client: tools/system_packages.sh installs them")
        pytest.skip("no SSH server or client on this machine: tools/system_packages.sh installs them")
    place.mkdir()
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        subprocess.run(command, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    host = SshServer(place, port, place / "host-home")
    know(host)
    settings = place / "ssh_config"
    settings.write_text(
        f"Host *\nIdentityFile {place}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {place}/known_hosts\n"
        "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
    )
    (place / "bin").mkdir()
    script = place / "bin" / "ssh"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {settings} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    return host


def know(host: SshServer, key: str = "host_key.pub") -> None:
    """Let this side know the host by a key."""
    kind, text, *_ = (host.place / key).read_text().split()
    (host.place / "known_hosts").write_text(f"[127.0.0.1]:{host.port} {kind} {text}\n")


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(one for child in children for one in _descendants(child))]
