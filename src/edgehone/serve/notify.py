"""Report the server's state to the program that started it, by systemd's protocol (sd_notify(3)).

systemd, and `edgehone agent`, name a datagram socket in the environment variable NOTIFY_SOCKET. Without it nothing is
sent. What cannot be sent is lost: the listener has a time-out of its own.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"
_LONGEST = 1000


def notify(message: str) -> None:
    """Send a message, such as READY=1 or STATUS=text."""
    address = os.environ.get(VARIABLE)
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # Linux' abstract namespace
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.sendto(message.encode(), address)


def tell_ready() -> None:
    """Say that every model has proven itself and that requests are accepted."""
    notify("READY=1")


def tell_problem(problem: str) -> None:
    """Say why the server ends, in one line."""
    notify(f"STATUS={' '.join(problem.split())[:_LONGEST]}")
