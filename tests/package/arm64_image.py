"""The image of a package for arm64: its root file system, with programs for arm64 alone, under QEMU's user mode."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from edgehone.package.targets.container.layout import read_image
from tests.package.containers import podman
from tests.ports import free_port
from tests.registry.servers import program

SCRIPT = Path(__file__).with_name("arm64_root.sh")
# Emulation is some 20 times slower, and the machine may be busy.
PATIENCE = 900.0
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
_AARCH64 = b"\xb7\x00"  # e_machine of ELF


@dataclass(frozen=True)
class Served:
    """A started image: the address of its server, the process that made its namespaces, and its log."""

    url: str
    child: subprocess.Popen[bytes]
    log: Path

    def end(self) -> int:
        """Send SIGTERM to the first process of the image, and return its exit code."""
        number = self.child.pid
        (first,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        return self.child.wait(PATIENCE)


def needs() -> None:
    """Skip a test unless images are built here and interpreters of a namespace's own can be registered."""
    podman()
    program("qemu-aarch64-static", "qemu-user-static")
    mount = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && test -w /proc/sys/fs/binfmt_misc/register"
    done = subprocess.run([*NAMESPACES, "sh", "-c", mount], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no binfmt_misc in a user namespace (Linux 6.7 has it): {done.stderr.strip()[-200:]}")


@contextmanager
def started(package: Path, folder: Path, path: str = "/readyz") -> Iterator[Served]:
    """Start the first process of a package's image; gives its server once `path` answers, with the default once the
    engine is proven."""
    image, root, log = read_image(package / "image"), folder / "root", folder / "log"
    root.mkdir()
    for layer in image.layers:
        with tarfile.open(layer) as archive:
            # By our own build, from Debian's and Python's packages; it has absolute links.
            archive.extractall(root, filter="fully_trusted")
    heads = [one.open("rb").read(20) for one in root.rglob("*") if one.is_file() and not one.is_symlink()]
    assert {head[18:20] for head in heads if head[:4] == b"\x7fELF"} == {_AARCH64}
    settings = image.config["config"]
    variables = dict(one.split("=", 1) for one in settings["Env"])
    port = free_port()
    words = [*NAMESPACES, "sh", str(SCRIPT), str(root), *settings["Entrypoint"], "--port", str(port)]
    with log.open("wb") as file:
        child = subprocess.Popen(
            words,
            stdout=file,
            stderr=file,
            env={**variables, "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
    try:
        url, begun = f"http://127.0.0.1:{port}", time.monotonic()
        while not _ready(f"{url}{path}"):
            assert child.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() - begun < PATIENCE, log.read_text("utf-8", "replace")
            time.sleep(0.5)
        yield Served(url, child, log)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        shutil.rmtree(root, ignore_errors=True)


def _ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False
