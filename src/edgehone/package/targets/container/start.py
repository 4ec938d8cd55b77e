"""The first process of the image: checks the processor, then serves the bundles of /bundles on port 8080.

    start.py [OPTION …]    serve, with options of `edgehone serve`
    start.py probe         exit code 0 if the server answers /healthz, else 1: a health check
    start.py ready         the same with /readyz: the model answers as it did when it was proven

It lies beside cpu.json (the instruction sets that the programs of the image need). A public key that is mounted at
/etc/edgehone/key.pem, or key.pem beside it, makes it serve only bundles that this key has signed.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from pathlib import Path

HERE = Path(__file__).parent
BUNDLES = Path("/bundles")
KEYS = (Path("/etc/edgehone/key.pem"), HERE / "key.pem")
PROBES = {"probe": "healthz", "ready": "readyz"}


def lacking(cpuinfo: str) -> list[str]:
    """Return the instruction sets that the programs need and the processor does not have."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    found = next((value.split() for name, _, value in lines if name.strip() in ("flags", "Features")), None)
    needed: list[str] = json.loads((HERE / "cpu.json").read_text("utf-8"))
    return [] if found is None else sorted(set(needed) - set(found))


def probe(path: str) -> int:
    """Return 0 if the server answers a path with 200, else 1."""
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:8080/{path}", timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:  # refused, timed out, or another status
        sys.stderr.write(f"{path}: {error}\n")
        return 1


def main(words: list[str]) -> int:
    """Serve, or probe."""
    # The kernel gives signals of the first process no default action: without this, one that comes before the server
    # handles it would be ignored.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    if len(words) == 1 and words[0] in PROBES:
        return probe(PROBES[words[0]])
    if missing := lacking(Path("/proc/cpuinfo").read_text("utf-8")):
        sys.stderr.write(
            f"error: this processor lacks {', '.join(missing)}, which the programs of this image were compiled for\n"
            "       run it on another machine, or package the bundle on a machine with this processor\n"
        )
        return 2
    key = next((path for path in KEYS if path.is_file()), None)
    if key is None:
        sys.stderr.write(
            f"warning: who signed the bundle is not checked: mount a public key (PEM) at {KEYS[0]}\n"
        )
    trust = ["--verify-key", str(key)] if key else []
    bundles = sorted(str(path) for path in BUNDLES.iterdir())
    sys.argv = ["edgehone", "serve", *bundles, "--host", "0.0.0.0", "--port", "8080", *trust, *words]
    runpy.run_module("edgehone.cli.main", run_name="__main__")  # ends the process with the server's exit code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
