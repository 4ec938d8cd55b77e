"""Who acts, for histories."""

from __future__ import annotations

import getpass
import socket


def whoever() -> str:
    """Return who acts, where the user did not say: the user's name at this host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
