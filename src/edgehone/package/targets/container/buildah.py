"""Buildah, with a storage of its own in EDGEHONE_HOME/containers, which keeps images and layers for the next package.

Images are built from scratch and committed with a fixed time, so the same files give the same layers.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgehone.core.errors import SetupError
from edgehone.execution.home import home

_POLICY = Path(__file__).with_name("policy.json")
# No namespaces of the kernel, which are not allowed everywhere.
_VARIABLES = {"BUILDAH_ISOLATION": "chroot"}
_NO_SPACE = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True)
class Store:
    """The storage of images below a folder."""

    folder: Path

    @property
    def options(self) -> list[str]:
        """The options by which buildah and podman use this storage."""
        number = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        # What must not survive a restart of the machine. Paths of more than 50 characters are refused there.
        short = (
            Path("/run")
            if os.geteuid() == 0
            else Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir()))
        )
        run = short / f"edgehone-{number}"
        return [
            "--root",
            str(self.folder / "storage"),
            "--runroot",
            str(run),
            "--storage-driver",
            self._driver,
        ]

    @functools.cached_property
    def _driver(self) -> str:
        """overlay; where it cannot be mounted vfs, which copies every file for each layer."""
        noted = self.folder / "driver"
        if not noted.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                places = ["--root", f"{scratch}/root", "--runroot", f"{scratch}/run"]
                words = ["buildah", *places, "--storage-driver", "overlay", "from", "scratch"]
                works = subprocess.run(words, capture_output=True, check=False).returncode == 0
            noted.write_text("overlay" if works else "vfs", "utf-8")
        return noted.read_text("utf-8")

    @functools.cached_property
    def version(self) -> str:
        """What buildah says of its version: another one may write other bytes."""
        return subprocess.run(
            ["buildah", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()

    def run(self, verb: str, *words: str | Path, folder: Path | None = None) -> str:
        """Run a verb of buildah in a folder and return its output. Raises SetupError with buildah's own message."""
        done = subprocess.run(
            ["buildah", *self.options, verb, *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **_VARIABLES},
            cwd=folder,
            check=False,
        )
        if done.returncode:
            raise failure(f"buildah {verb}", done.stderr or done.stdout)
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Return whether an image is stored."""
        words = ["buildah", *self.options, "inspect", "--type", "image", image]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Return a temporary folder beside the storage, after removing what processes left that were killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("scratch-*"):
            if not _lives(path.name):
                shutil.rmtree(path, ignore_errors=True)
        return tempfile.TemporaryDirectory(dir=self.folder, prefix=f"scratch-{os.getpid()}-")

    def sweep(self) -> None:
        """Remove working containers of processes that were killed."""
        for name in self.run("containers", "--format", "{{.ContainerName}}", "--noheading").split():
            if name.startswith("edgehone-") and not _lives(name):
                self.run("rm", name)

    @contextmanager
    def container(self, parent: str, arch: str) -> Iterator[str]:
        """A working container of an image, or of "scratch", that is removed at the end."""
        name = f"edgehone-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.run(
            "from", "--signature-policy", _POLICY, "--pull-never", "--arch", arch, "--name", name, parent
        )
        try:
            yield name
        finally:
            self.run("rm", name)

    def pull(self, layout: Path, name: str, image: str) -> None:
        """Copy an image of an OCI layout into the storage."""
        # The path becomes a part of the image's name, where not every character is allowed.
        words = ("-q", "--signature-policy", _POLICY, f"oci:{layout.name}:{name}")
        self.run("tag", self.run("pull", *words, folder=layout.parent).splitlines()[-1], image)

    def commit(self, container: str, image: str, time: int = 0) -> None:
        """Store a container as an image. `time`, in seconds since 1970 UTC, is that of all its files."""
        words = ("--format", "oci", "--identity-label=false", "--timestamp", str(time))
        self.run("commit", "-q", *words, container, image)

    def write(self, image: str, folder: Path, name: str) -> None:
        """Write an image as an OCI layout."""
        self.run(
            "push", "-q", "--format", "oci", "--signature-policy", _POLICY, image, f"oci:{folder}:{name}"
        )

    def remove(self, image: str) -> None:
        """Remove an image; layers that others share stay."""
        self.run("rmi", image)


def _lives(name: str) -> bool:
    """Return whether the process lives whose id is the second word of a name."""
    number = name.split("-")[1]
    return number.isdecimal() and psutil.pid_exists(int(number))


def store() -> Store:
    """Return the storage in EDGEHONE_HOME."""
    return Store((home() / "containers").resolve())


def failure(what: str, output: str) -> SetupError:
    """Return the error for a program that failed, with the last line that it wrote."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it wrote no reason"]
    full = [line for line in lines if any(one in line.lower() for one in _NO_SPACE)]
    if full:
        hint = f"free some space, or set EDGEHONE_HOME ({home()}) to a folder on another disk"
        return SetupError(f"{what}: no space left on the disk: {full[-1][-300:]}", hint=hint)
    return SetupError(f"{what} failed: {lines[-1][-500:]}", hint="read the message of the program")
