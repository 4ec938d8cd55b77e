"""The keys that clients and operators give: files of them, and their check."""

from __future__ import annotations

import hmac
import stat
from collections.abc import Sequence
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.serve.http import Refused


def read_keys(path: Path) -> tuple[str, ...]:
    """Return the keys in a file, one a line; lines that start with # are comments.

    Raises InputError for a file that is missing, empty, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the file of keys {path} cannot be read: {error}",
            hint=f"(umask 077; openssl rand -hex 32 > {path})",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            f"the file of keys {path} can be read by others (mode {stat.S_IMODE(mode):o})",
            hint=f"chmod 600 {path}",
        )
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise InputError(
            f"the file of keys {path} has no key", hint=f"(umask 077; openssl rand -hex 32 > {path})"
        )
    return keys


def check_key(authorization: str, keys: Sequence[bytes]) -> None:
    """Raise Refused (401) unless the header or metadata `authorization` has one of the keys as a bearer token.

    All keys are compared, each in constant time, so that the time tells nothing about them.
    """
    kind, _, given = authorization.partition(" ")
    equal = [hmac.compare_digest(given.strip().encode(), key) for key in keys]
    if kind.lower() != "bearer" or not any(equal):
        raise Refused(401, "no valid key was given", headers={"www-authenticate": "Bearer"})
