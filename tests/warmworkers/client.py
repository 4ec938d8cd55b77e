"""Stand for a worker process that `server.py` forks: `python -I -S client.py SOCKET BOOTSTRAP START`.

It hands its standard files over, waits, and ends as the worker process ended. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path


def main(path: str, bootstrap: str, start: str) -> None:
    """Send the order and end with the worker's exit code or signal."""
    order = {
        "directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "bootstrap": bootstrap,
        "start": start,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(path)
        socket.send_fds(server, [json.dumps(order).encode()], [0, 1, 2])
        told = server.recv(64)
    if not told:
        sys.exit("the server of warm worker processes has ended")
    status = int(told)
    if os.WIFSIGNALED(status):
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
