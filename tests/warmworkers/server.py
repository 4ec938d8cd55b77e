"""Fork worker processes from one process that has imported an environment's framework.

    python -I server.py SOCKET IMPORTS

Runs in a backend's environment, so it imports the standard library and the names in IMPORTS (a JSON list of
`module` or `module:attribute`) only. Two kinds of connections come to SOCKET, each with one message in JSON:
- a lease, `{}`, keeps the server alive while it is open: it ends when the last lease has been closed;
- an order of `client.py` comes with the client's standard input, output and error. The server forks; the child takes
  over these files, the client's environment variables and working directory, and runs edgehone's `bootstrap.py` as if
  it had been started by the command line. The child's wait status is the answer.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST = 1 << 20
# Seconds in which the first lease must come.
PATIENCE = 300.0


class Server:
    """A listening socket, its leases, and the children that run."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.woken, self.wake = socket.socketpair()
        for end in (self.woken, self.wake):
            end.setblocking(False)
        self.leases: set[socket.socket] = set()
        self.children: dict[int, socket.socket] = {}

    def serve(self) -> None:
        """Answer until the last lease is closed."""
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        with selectors.DefaultSelector() as selector:
            for source in (self.listener, self.woken):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = selector.select(None if self.leases else PATIENCE)
                if not ready and not self.leases:
                    return
                for key, _ in ready:
                    if key.fileobj is self.listener:
                        self._accept(selector)
                    elif key.fileobj is self.woken:
                        self.woken.recv(LONGEST)
                        self._reap()
                    else:
                        lease: Any = key.fileobj
                        selector.unregister(lease)
                        self.leases.remove(lease)
                        lease.close()
                        if not self.leases:
                            return

    def end(self) -> None:
        """Kill the children."""
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self.listener.accept()
        text, files, _, _ = socket.recv_fds(client, LONGEST, 3)
        if not files:
            selector.register(client, selectors.EVENT_READ)
            self.leases.add(client)
        elif pid := os.fork():
            self.children[pid] = client
            for file in files:
                os.close(file)
        else:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (
                self.listener,
                self.woken,
                self.wake,
                client,
                *self.leases,
                *self.children.values(),
            ):
                other.close()
            os.setsid()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            run(json.loads(text))

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                client = self.children.pop(found[0])
                with suppress(OSError):  # the client was killed meanwhile
                    client.send(str(found[1]).encode())
                client.close()


def run(order: dict[str, Any]) -> None:
    """Run an order in this process, a child, and end it."""
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = 1
    try:
        spec = importlib.util.spec_from_file_location("edgehone_bootstrap", order["bootstrap"])
        assert spec is not None and spec.loader is not None
        bootstrap = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(bootstrap)
        bootstrap.main(order["start"])
        code = 0
    except BaseException:  # noqa: BLE001 - as the interpreter does: print it and end with 1
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def main(path: str, imports: str) -> None:
    """Import, then serve."""
    for name in json.loads(imports):
        module, _, attribute = name.partition(":")
        found = importlib.import_module(module)
        if attribute:
            getattr(found, attribute)
    gc.freeze()  # so that collections in the children do not copy these pages
    server = Server(Path(path))
    try:
        server.serve()
    finally:
        server.end()
        # Frameworks' threads may hang at exit.
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
