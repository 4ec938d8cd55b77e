"""An image for arm64, started: its root file system, with programs for arm64 alone, under QEMU's user mode."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgehone.package import registry
from edgehone.package.targets.container.layout import read_image
from edgehone.package.write import Order, pack
from edgehone.worker import canaries
from tests.package.containers import podman
from tests.ports import free_port
from tests.registry.servers import program
from tests.serve.test_infer_real import bundle_of

__all__ = ["bundle_of"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("container")]
SCRIPT = Path(__file__).with_name("arm64_root.sh")
# Emulation is some 20 times slower, and the machine may be busy.
PATIENCE = 900.0
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")


def test_an_image_for_arm64_answers_what_was_proven(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    podman()
    program("qemu-aarch64-static", "qemu-user-static")
    _needs_private_interpreters()
    bundle = bundle_of("onnxruntime", "original")
    options = {"name": "digits", "arch": "arm64"}
    packed = pack(bundle, Order(registry.load("container"), tmp_path / "package", options))
    root = tmp_path / "root"
    _unpack(packed.path / "image", root)
    heads = [one.open("rb").read(20) for one in root.rglob("*") if one.is_file() and not one.is_symlink()]
    machines = {head[18:20] for head in heads if head[:4] == b"\x7fELF"}
    assert machines == {b"\xb7\x00"}  # AArch64 alone
    with _served(root, tmp_path / "log") as url:
        questions = canaries.read(bundle / "canaries")
        for question, answer in questions[:2]:
            inputs = [
                {"name": name, "datatype": "FP32", "shape": list(one.shape), "data": one.ravel().tolist()}
                for name, one in question.items()
            ]
            told = httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": inputs}, timeout=PATIENCE)
            assert told.status_code == 200, told.text
            for one in told.json()["outputs"]:
                found = np.asarray(one["data"], np.float32).reshape(one["shape"])
                # The kernels of another instruction set round in another order.
                np.testing.assert_allclose(found, answer[one["name"]], rtol=1e-4, atol=1e-4)


def _needs_private_interpreters() -> None:
    mount = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && test -w /proc/sys/fs/binfmt_misc/register"
    done = subprocess.run([*NAMESPACES, "sh", "-c", mount], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no binfmt_misc in a user namespace (Linux 6.7 has it): {done.stderr.strip()[-200:]}")


def _unpack(layout: Path, root: Path) -> None:
    root.mkdir()
    for layer in read_image(layout).manifest["layers"]:
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/")) as archive:
            # By our own build, from Debian's and Python's packages; it has absolute links.
            archive.extractall(root, filter="fully_trusted")


@contextmanager
def _served(root: Path, log: Path) -> Iterator[str]:
    """Start the first process of the image; gives the address once its engine is proven."""
    port = free_port()
    config = {
        "EDGEHONE_PYTHON_ONNXRUNTIME": "/opt/edgehone/bin/python",
        "EDGEHONE_HOME": "/tmp/edgehone",
        "HOME": "/tmp",
        "PATH": os.environ["PATH"],
    }
    first = ["/opt/edgehone/bin/python", "-I", "/opt/edgehone/start.py", "--port", str(port)]
    with log.open("wb") as file:
        words = [*NAMESPACES, "sh", str(SCRIPT), str(root), *first]
        child = subprocess.Popen(words, stdout=file, stderr=file, env=config, start_new_session=True)
    try:
        url, begun = f"http://127.0.0.1:{port}", time.monotonic()
        while not _ready(url):
            assert child.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() - begun < PATIENCE, log.read_text("utf-8", "replace")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        shutil.rmtree(root, ignore_errors=True)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
