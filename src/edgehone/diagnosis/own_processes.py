"""Which processes of this machine are a bundle's own: those that serve or run it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil


def processes_of(bundle: Path, proc: Path = Path("/proc")) -> set[int]:
    """Return the ids of this process, of those that are given the bundle's folder or map a file in it, and of all that
    these have started.

    Processes of other users, whose maps cannot be read, are found by their arguments only, and those in containers
    not at all, since they have the folder elsewhere.
    """
    folder, own = bundle.resolve(), {os.getpid()}
    for process in psutil.process_iter():
        try:
            if _is_given(process, folder) or _maps(proc / str(process.pid) / "maps", folder):
                own |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        except psutil.Error:  # it ended meanwhile
            continue
    return own


def _is_given(process: psutil.Process, folder: Path) -> bool:
    """Return whether an argument of a program is the folder, or holds its path (workers are given JSON)."""
    words = process.cmdline()
    # Not that of a folder whose name only begins alike.
    named = re.compile(rf"{re.escape(str(folder))}(?![\w.-])")
    if any(named.search(word) for word in words):
        return True
    if not any(folder.name in word for word in words):
        return False
    try:
        where = Path(process.cwd())
    except psutil.AccessDenied:
        return False
    return any((where / word).resolve() == folder for word in words if folder.name in word)


def _maps(maps: Path, folder: Path) -> bool:
    try:
        return f" {folder}/" in maps.read_text("utf-8", "replace")
    except OSError:
        return False
