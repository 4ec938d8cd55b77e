"""Say why a path cannot be used: nothing is there, a link leads nowhere or in a circle, or the system refuses."""

from __future__ import annotations

import errno
from pathlib import Path


def why_absent(path: Path, absent: str) -> str:
    """Return why a path cannot be used, as a clause that names it.

    `absent` is returned if nothing is there, or if something is there that the caller cannot use. Otherwise the clause
    names the link, the path's own or that of a folder above it, or what the system says, such as "Permission denied".
    """
    try:
        path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOENT, errno.ENOTDIR):
            return _dangling(path) or absent
        if number == errno.ELOOP:
            return f"{path} is behind links that lead in a circle"
        return f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}"
    return absent


def _dangling(path: Path) -> str | None:
    """Return which link leads nowhere: the path, or the nearest folder above it that is one."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            subject = str(place) if place == path else f"{path} is not there: {place}"
            return f"{subject} is a link to {place.readlink()}, which does not exist"
    return None
