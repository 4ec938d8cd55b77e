"""Folders that edgehone creates once and checks before use: environments and toolchains.

A folder is filled under a temporary name beside its final path, gets a marker file with the size of every file, and is
renamed, so it is complete or absent. What an interrupted process left is removed by the next one, and later damage is
detected by the sizes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgehone.execution.home import file_lock

MARKER = "edgehone-made.json"
_PARTIAL = ".partial-"
# The end of a folder's name, NAME-DIGEST.
_DIGEST = re.compile(r"(?<=-)[0-9a-f]{12}$")

State = Literal["ready", "missing", "broken"]


@dataclass(frozen=True)
class FolderState:
    """The state of a managed folder: if it is not ready, the reason; the versions of its content; its bytes on disk."""

    state: State
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    bytes: int | None = None


def check(folder: Path) -> FolderState:
    """Compare a folder with its marker. Files that were added later, such as bytecode, do not matter."""
    state, sizes = _read_marker(folder)
    for name, expected in sizes.items():
        try:
            size = os.lstat(f"{folder}/{name}").st_size
        except OSError:
            return FolderState("broken", f"{folder / name} is missing")
        if size != expected:
            return FolderState("broken", f"{folder / name} has {size} bytes, not {expected}")
    return state


def read_marker(folder: Path) -> FolderState:
    """Return the state that the marker describes. It checks no files and is tens of times faster than `check`."""
    return _read_marker(folder)[0]


def _read_marker(folder: Path) -> tuple[FolderState, dict[str, int]]:
    """Return the state that the marker describes, and the sizes of the files; none if there is no valid marker."""
    if not folder.exists():
        return FolderState("missing", "not installed"), {}
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text("utf-8"))
        versions: dict[str, str] = dict(marker["versions"])
        sizes: dict[str, int] = dict(marker["files"])
    except FileNotFoundError:
        return FolderState("broken", f"{folder} is incomplete"), {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return FolderState("broken", f"{folder / MARKER} cannot be read: {error}"), {}
    return FolderState("ready", "", versions, sum(sizes.values())), sizes


def create(
    folder: Path,
    lock: Path,
    fill: Callable[[Path], Mapping[str, str]],
    check: Callable[[Path], FolderState],
    on_progress: Callable[[str], None],
) -> FolderState:
    """Create a folder unless another process has just done so. `fill` gets an empty folder and returns its versions.

    If `fill` raises, nothing is left behind. Folders with the same name and different digests share the lock.
    """
    with file_lock(
        lock, on_wait=lambda held: on_progress(f"waiting: it is being installed already ({held})")
    ):
        return _create(folder, fill, check, on_progress)


def _create(
    folder: Path,
    fill: Callable[[Path], Mapping[str, str]],
    check: Callable[[Path], FolderState],
    on_progress: Callable[[str], None],
) -> FolderState:
    present = check(folder)
    if present.state == "ready":
        return present
    if present.state == "broken":
        on_progress(f"installing it again: {present.reason}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_partial(folder)
    # A unique name: a child of a process that was killed may still be writing into the previous one.
    partial = Path(tempfile.mkdtemp(prefix=folder.name + _PARTIAL, dir=folder.parent))
    partial.chmod(0o755)
    try:
        versions = fill(partial)
        sizes = _file_sizes(partial)
        marker = {"versions": dict(versions), "files": sizes}
        (partial / MARKER).write_text(json.dumps(marker, indent=0), "utf-8")
        if folder.exists():
            folder.rename(partial.with_name(partial.name + "-replaced"))
        partial.rename(folder)
    finally:
        _remove_partial(folder)
    return FolderState("ready", "", versions, sum(sizes.values()))


def _remove_partial(folder: Path) -> None:
    """Remove incomplete folders with this name and any digest. The caller holds the lock of the name."""
    any_digest = _DIGEST.sub("?" * 12, folder.name)
    for partial in folder.parent.glob(any_digest + _PARTIAL + "*"):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink()


def _file_sizes(folder: Path) -> dict[str, int]:
    """Return the size of every file and link by relative path, without bytecode, which may change at any time."""
    sizes = {}
    for parent, folders, names in os.walk(folder):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*names, *links):
            path = f"{parent}/{name}"
            sizes[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return sizes
