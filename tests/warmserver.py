"""Fork worker processes from one process that has imported an environment's framework.

    python -I warmserver.py SOCKET IMPORTS

Runs in a backend's environment, so it imports the standard library and the names in IMPORTS (a JSON list of
`module` or `module:attribute`) only. `warmclient.py` connects to SOCKET and sends one message: JSON text and its own
standard input, output and error. The server forks; the child takes over those three files, the client's environment
variables and working directory, and runs `bootstrap.py` as if it had been started by the command line. The server sends
the child's wait status back. It ends, and its children with it, when its standard input closes.
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
from typing import Any

ENOUGH = 1 << 20


def main(path: str, imports: str) -> None:
    """Import, listen, fork, until standard input closes."""
    for name in json.loads(imports):
        module, _, attribute = name.partition(":")
        found = importlib.import_module(module)
        if attribute:
            getattr(found, attribute)
    gc.freeze()  # so that children's collections do not copy these pages
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for source in (listener, woken, sys.stdin):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    _fork(client, children, [listener, woken, wake])
                elif key.fileobj is woken:
                    woken.recv(ENOUGH)
                    _reap(children)
                else:
                    _end(children)


def _fork(client: socket.socket, children: dict[int, socket.socket], others: list[socket.socket]) -> None:
    text, files, _, _ = socket.recv_fds(client, ENOUGH, 3)
    if pid := os.fork():
        children[pid] = client
        for file in files:
            os.close(file)
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for other in (client, *children.values(), *others):
        other.close()
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _run(json.loads(text))


def _run(order: dict[str, Any]) -> None:
    os.chdir(order["cwd"])
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


def _reap(children: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = children.pop(pid)
            with suppress(OSError):  # the client was killed meanwhile
                client.send(str(status).encode())
            client.close()


def _end(children: dict[int, socket.socket]) -> None:
    for pid in children:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
