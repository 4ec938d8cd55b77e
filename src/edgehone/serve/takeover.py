"""Take the port of another server over without a connection that is refused or reset.

Both servers' sockets share the port (SO_REUSEPORT), and Linux spreads connections over those that listen. Connections
that wait in the queue of a socket are reset when it is closed. So the new server first lets the kernel give all further
connections to itself, by a classic BPF program of one instruction (socket(7), SO_ATTACH_REUSEPORT_CBPF): "the second
socket that began to listen". When the old one is gone, that number is out of range, and the kernel uses the only socket
that is left. The old server goes on for a moment after it is told to end, for connections that it has but that have not
sent their request yet.
"""

from __future__ import annotations

import ctypes
import socket
from contextlib import suppress

# linux/socket.h, linux/bpf_common.h
_SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_RET_K = 0x06
# Seconds for which a server that is told to end still takes the requests of connections that it has.
LINGER_SECONDS = 0.5


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


def take_connections(listening: socket.socket) -> None:
    """Give all further connections to this socket, if another one listened before it.

    On systems without such programs the connections stay spread, and some may be reset when the other one closes.
    """
    filters = (_Filter * 1)(_Filter(_BPF_RET_K, 0, 0, 1))
    program = _Program(1, filters)
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, bytes(program))
