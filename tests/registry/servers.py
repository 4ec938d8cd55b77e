"""Real servers for tests of the registry: Debian's docker-registry, and PostgreSQL on a socket and port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

# Where Debian keeps PostgreSQL's programs, which are not on the PATH.
_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def program(name: str, package: str) -> str:
    """Return the path of a program; skipped where it is not installed, but never in CI."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, _POSTGRES[-1:])]))
    if found is None:
        message = f"{name} is not installed: tools/system_packages.sh installs it (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@contextmanager
def oci_registry(place: Path, more: str = "") -> Iterator[str]:
    """Run docker-registry with its data in a folder; gives HOST:PORT. `more` is added to its settings of HTTP."""
    command = program("docker-registry", "docker-registry")
    port = free_port()
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {place / 'data'}}}, delete: {{enabled: true}}}}\n"
        f"http:\n  addr: '127.0.0.1:{port}'\n{more}"
    )
    with (place / "log").open("ab") as log:
        server = subprocess.Popen([command, "serve", str(place / "config.yml")], stdout=log, stderr=log)
    try:
        _wait(port, server, place / "log")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def postgres(place: Path) -> Iterator[str]:
    """Run PostgreSQL with its data in a folder; gives the URL of its database."""
    initdb, server_program = program("initdb", "postgresql"), program("postgres", "postgresql")
    as_root = os.geteuid() == 0
    place.mkdir(parents=True, exist_ok=True)
    if as_root:  # PostgreSQL refuses to run as root
        _give(place, "postgres")
    user = "postgres" if as_root else getpass.getuser()
    before = ["runuser", "-u", "postgres", "--"] if as_root else []
    data, port = place / "data", free_port()
    make = [initdb, "-D", str(data), "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C", "-U", user]
    subprocess.run([*before, *make], check=True, capture_output=True, cwd=place)
    settings = [
        "-c",
        f"port={port}",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={place}",
    ]
    log = (place / "log").open("ab")
    # As the postmaster's own user with exec, so that a signal reaches it.
    server = subprocess.Popen(
        [*before, server_program, "-D", str(data), *settings], stdout=log, stderr=log, cwd=place
    )
    try:
        _wait(port, server, place / "log")
        yield f"postgresql://{user}@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def _give(place: Path, user: str) -> None:
    shutil.chown(place, user)
    for folder in place.parents:  # made by pytest for its own user only
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
    raise AssertionError(log.read_text())
