"""A folder that is made once, is whole or not there, and is checked before it is used.

It is filled beside its place, gets a marker with the size of every file, and is moved into place by one
rename. What a killed process left half-made is swept by the next; what was damaged later is noticed by the
sizes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgehone.execution.home import file_lock
from edgehone.execution.processes import CHILDREN

MARKER = "edgehone-made.json"
_PARTIAL = ".partial-"
# What ends the name of a folder: NAME-DIGEST.
_DIGEST = re.compile(r"(?<=-)[0-9a-f]{12}$")
_LOOK_AGAIN_SECONDS = 0.2

State = Literal["ready", "missing", "broken"]


@dataclass(frozen=True)
class Made:
    """What is at a place: whether it can be used, if not why, its versions and bytes on disk."""

    state: State
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    bytes: int | None = None


def look(folder: Path) -> Made:
    """Check a made folder against its marker. Files that came later (bytecode, …) don't matter."""
    found, sizes = _marked(folder)
    for name, size in sizes.items():
        try:
            now = os.lstat(f"{folder}/{name}").st_size
        except OSError:
            return Made("broken", f"{folder / name} is gone")
        if now != size:
            return Made("broken", f"{folder / name} has {now} bytes, not {size}")
    return found


def glance(folder: Path) -> Made:
    """What the marker says, the files themselves not looked at: tens of times as quick."""
    return _marked(folder)[0]


def _marked(folder: Path) -> tuple[Made, dict[str, int]]:
    """What the marker says, and the sizes that it gives the files; none where there is no good marker."""
    if not folder.exists():
        return Made("missing", "not installed"), {}
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text("utf-8"))
        versions: dict[str, str] = dict(marker["versions"])
        sizes: dict[str, int] = dict(marker["files"])
    except FileNotFoundError:
        return Made("broken", f"{folder} was not finished"), {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Made("broken", f"{folder / MARKER} cannot be read: {error}"), {}
    return Made("ready", "", versions, sum(sizes.values())), sizes


def make(
    folder: Path,
    lock: Path,
    fill: Callable[[Path], Mapping[str, str]],
    check: Callable[[Path], Made],
    on_progress: Callable[[str], None],
) -> Made:
    """Make a folder, unless another process just did: `fill` gets an empty one and returns its versions.

    Whatever `fill` raises leaves nothing in place. Folders of one name and different digests share the lock.
    """
    told = False
    while True:
        with suppress(BlockingIOError), file_lock(lock, wait=False):
            return _make(folder, fill, check, on_progress)
        if not told:
            on_progress("waiting for another process that is installing it")
            told = True
        # A thread that slept in the lock itself could not be ended by Ctrl-C.
        CHILDREN.check()
        time.sleep(_LOOK_AGAIN_SECONDS)


def _make(
    folder: Path,
    fill: Callable[[Path], Mapping[str, str]],
    check: Callable[[Path], Made],
    on_progress: Callable[[str], None],
) -> Made:
    found = check(folder)
    if found.state == "ready":
        return found
    if found.state == "broken":
        on_progress(f"making it again: {found.reason}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    # A name of its own: an orphan of a killed process may still be writing into the last one.
    partial = Path(tempfile.mkdtemp(prefix=folder.name + _PARTIAL, dir=folder.parent))
    partial.chmod(0o755)
    try:
        versions = fill(partial)
        files = _sizes(partial)
        marker = {"versions": dict(versions), "files": files}
        (partial / MARKER).write_text(json.dumps(marker, indent=0), "utf-8")
        if folder.exists():
            folder.rename(partial.with_name(partial.name + "-replaced"))
        partial.rename(folder)
    finally:
        _sweep(folder)
    return Made("ready", "", versions, sum(files.values()))


def _sweep(folder: Path) -> None:
    """Remove what was left half-made under this name, whatever its digest; the caller holds the name's lock."""
    anything = _DIGEST.sub("?" * 12, folder.name)
    for left in folder.parent.glob(anything + _PARTIAL + "*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


def _sizes(folder: Path) -> dict[str, int]:
    """Size by relative path of every file and link. Bytecode comes and goes, so it doesn't count."""
    sizes = {}
    for place, folders, names in os.walk(folder):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*names, *links):
            path = f"{place}/{name}"
            sizes[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return sizes
