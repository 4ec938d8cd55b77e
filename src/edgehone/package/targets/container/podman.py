"""How podman starts an image for a check: as README.md of a package says, and so that it works in most places."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgehone.package.targets.container.buildah import store

# Options of `podman run`. There is neither a network of the container's own nor a journal, which are not everywhere.
OPTIONS: Final = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges",
    "--network", "none", "--log-driver", "k8s-file", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
)  # fmt: skip


def command() -> list[str]:
    """Return podman with the storage that images are built in."""
    words = ["podman", "--events-backend", "none", "--cgroup-manager", "cgroupfs", *store().options]
    return [*words, "--runtime", "runc"] if shutil.which("runc") else words


def run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder without input, and return what it printed."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        check=False,
    )


def last_line(text: str) -> str:
    """Return the last line that is not empty, or that there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-400:] if lines else "no reason given"
