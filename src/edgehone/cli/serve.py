"""Serve bundles over HTTP: language models behind the OpenAI API, graphs behind the Open Inference Protocol v2.

Each bundle gets an engine process of its own framework, which batches the requests of all clients. The server is
ready (/readyz) once the engine has given the answers again that the proven artifact gave to the bundle's canaries.
/healthz and /metrics (Prometheus) answer at any time. Clients ask for a bundle by the name of its folder. SIGTERM
lets accepted requests end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.serve.server import Listening

EXAMPLE = """examples:
  edgehone serve ./bundle
  edgehone serve ./chat-model ./summarizer --port 9000
  edgehone serve ./bundle --host 0.0.0.0 --api-key-file keys --tls-cert cert.pem --tls-key key.pem
  curl http://127.0.0.1:8080/v1/completions -H "Content-Type: application/json" \\
    -d '{"model": "bundle", "prompt": "Once upon a time", "max_tokens": 40}'
"""
# Milliseconds that a request may wait for others.
_LONGEST_DELAY = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on; 0: any free one (default: 8080)"
    )
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="file with the keys that clients may use, one a line, mode 600"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM) for HTTPS")
    parser.add_argument("--tls-key", metavar="FILE", help="private key (PEM) of the certificate")
    parser.add_argument(
        "--parallel",
        type=int,
        default=8,
        metavar="N",
        help="requests that an engine answers at once (default: 8)",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=64,
        metavar="N",
        help="requests that may wait for a place; further ones are refused with 429 (default: 64)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help="samples of a graph that are joined to one batch; 1: none (default: the best batch that was measured)",
    )
    parser.add_argument(
        "--batch-delay",
        type=float,
        default=0.0,
        metavar="MS",
        help="milliseconds that a request to a graph waits for others to join it (default: 0: for none)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.core.errors import SetupError

    try:
        from edgehone.serve import server
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the server needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[serve]"',
        ) from error
    from edgehone.bundle import read
    from edgehone.serve.models import read_served
    from edgehone.serve.served import Limits

    listening = _listening(args)
    _check_temporary_folder()
    names = _names(args.bundles)
    bound = server.bind(listening)
    limits = Limits(args.parallel, args.max_queue, args.max_batch, args.batch_delay / 1000)
    served = [
        read_served(read(path), name, limits, lambda text: print(text, file=sys.stderr))
        for name, path in names.items()
    ]
    host, port = bound.getsockname()[:2]
    scheme = "https" if listening.certificate else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    _say(args.json, "listening", url=url, models=list(names))
    if warning := _warning(listening):
        print(f"warning: {warning}", file=sys.stderr)
    server.serve(served, listening, bound, lambda text: _say(args.json, "engine", text=text))
    return 0


def _listening(args: argparse.Namespace) -> Listening:
    from edgehone.core.errors import InputError
    from edgehone.serve.server import Listening, check_certificate, read_keys

    for name, value, least in (
        ("--parallel", args.parallel, 1),
        ("--max-queue", args.max_queue, 0),
        ("--max-batch", args.max_batch, 1),
    ):
        if value is not None and value < least:
            raise InputError(f"{name} is {value}", hint=f"give {least} or more")
    if not 0 <= args.batch_delay <= _LONGEST_DELAY:
        raise InputError(f"--batch-delay is {args.batch_delay:g}", hint=f"give 0 to {_LONGEST_DELAY} (ms)")
    if not 0 <= args.port < 65536:
        raise InputError(f"--port is {args.port}", hint="give a number from 0 to 65535")
    if bool(args.tls_cert) != bool(args.tls_key):
        raise InputError("--tls-cert and --tls-key belong together", hint="give both, or none")
    certificate = key = None
    if args.tls_cert:
        certificate, key = Path(args.tls_cert), Path(args.tls_key)
        check_certificate(certificate, key)
    keys = read_keys(Path(args.api_key_file)) if args.api_key_file else ()
    return Listening(args.host, args.port, keys, certificate, key)


def _warning(listening: Listening) -> str | None:
    """Return what may surprise who lets other machines connect."""
    if listening.is_local:
        return None
    if not listening.keys:
        return f"anyone who can reach {listening.host} can use the server: give --api-key-file"
    if not listening.certificate:
        return (
            "keys and texts are sent unencrypted: give --tls-cert and --tls-key, unless a proxy encrypts them"
        )
    return None


def _check_temporary_folder() -> None:
    """Raise SetupError unless there is a folder for the files of engines: the only one that a server writes to."""
    from edgehone.core.errors import SetupError

    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SetupError(
            "there is no temporary folder that can be written, for the files of the engines",
            hint="export TMPDIR=/path/to/folder",
        ) from error


def _names(paths: list[str]) -> dict[str, Path]:
    """Return the bundles' folders by the names under which clients ask for them."""
    from edgehone.core.errors import InputError

    names: dict[str, Path] = {}
    for path in map(Path, paths):
        name = path.resolve().name
        if name in names:
            raise InputError(f"{names[name]} and {path} have the same name", hint="rename one of the folders")
        names[name] = path
    return names


def _say(as_json: bool, event: str, **facts: object) -> None:
    """Print an event: a line of text, or of JSON."""
    if as_json:
        print(json.dumps({"event": event, **facts}), flush=True)
    elif event == "listening":
        models = facts["models"]
        assert isinstance(models, list)
        print(f"listening on {facts['url']}; models: {', '.join(models)}", flush=True)
    else:
        print(facts["text"], flush=True)
