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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.cli.serve_options import SETTINGS, add_options

if TYPE_CHECKING:
    import socket

    from edgehone.attestation.keys import VerificationKey
    from edgehone.bundle.read import Bundle
    from edgehone.monitor.board import Board
    from edgehone.serve.admin import AdminRules
    from edgehone.serve.drift.watching import Rules as Drift
    from edgehone.serve.listening import Listening
    from edgehone.serve.served import Limits, Served
    from edgehone.serve.settings import Settings
    from edgehone.serve.watching import WatchRules

EXAMPLE = """examples:
  edgehone serve ./bundle
  edgehone serve ./chat-model ./summarizer --port 9000
  edgehone serve ./bundle --host 0.0.0.0 --api-key-file keys --tls-cert cert.pem --tls-key key.pem
  edgehone serve --config serve.toml --admin-key-file operators
  edgehone serve ./bundle --verify-key signing.pub
  curl http://127.0.0.1:8080/v1/completions -H "Content-Type: application/json" \\
    -d '{"model": "bundle", "prompt": "Once upon a time", "max_tokens": 40}'
  curl http://127.0.0.1:8080/v2/models/bundle    # inputs and outputs of a graph; POST …/infer computes them
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="folder of a bundle")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.core.errors import EdgehoneError
    from edgehone.serve.notify import tell_problem

    try:
        return _serve(args)
    except EdgehoneError as error:
        tell_problem(error.message)
        raise


def _serve(args: argparse.Namespace) -> int:
    import gc

    from edgehone.execution.owned_folder import remove_abandoned
    from edgehone.execution.service import begun, waiting
    from edgehone.model.early_digests import hashing
    from edgehone.serve.ahead import expected, unknown_files
    from edgehone.serve.listening import bind
    from edgehone.serve.settings import read_settings
    from edgehone.serve.state import state_folder

    settings = read_settings(args.config, {name: getattr(args, name) for name in SETTINGS}, args.bundles)
    if settings.grpc_port is not None:
        _check_grpc()
    verification = _verification(settings)
    _check_temporary_folder()
    remove_abandoned()  # those of servers that were killed
    gc.disable()  # until the server runs: hardly anything of what is imported and read is garbage
    try:
        # What can be wrong with the address, its keys and its certificate is told before an engine starts.
        with _extra():
            listening = replace(_listening(settings), take_over=args.take_over)
            keys = _keys(settings, verification)
        bundles = [Path(one.path) for one in settings.bundles.values()]
        with (
            closing(bind(listening)) as bound,
            state_folder(settings.state) as state,
            ExitStack() as until_the_end,
        ):
            with hashing(unknown_files(bundles)):
                until_the_end.enter_context(waiting(expected(bundles)))
                served = _served(settings, state, verification)
            # The engines load their models while the server is imported.
            with begun(job for one in served for job in one.jobs):
                return _run_server(_Server(args.json, settings, listening, bound, state, keys), served)
    finally:
        gc.enable()


@contextmanager
def _extra() -> Iterator[None]:
    """Raise SetupError if a package is missing that the extra `serve` brings."""
    from edgehone.core.errors import SetupError

    try:
        yield
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the server needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[serve]"',
        ) from error


def _served(settings: Settings, state: Path, verification: VerificationKey | None) -> list[Served]:
    from edgehone.bundle.read import read

    with _extra():
        from edgehone.serve.models import read_served

    limits = _limits(settings)
    return [
        read_served(
            _promoted(read(one.path), name, state),
            name,
            replace(limits, places=one.parallel or limits.places),
            lambda text: print(text, file=sys.stderr),
            verification,
        )
        for name, one in settings.bundles.items()
    ]


def _promoted(bundle: Bundle, name: str, state: Path) -> Bundle:
    """Return the bundle that rollouts have put in the place of this one; an empty folder knows of none."""
    if not any(state.iterdir()):
        return bundle
    from edgehone.serve.rollout.promoted import promoted

    return promoted(bundle, name, state, _warn)


@dataclass(frozen=True)
class _Keys:
    """The keys of operators and of kept samples, None where none are given, and who must have signed a bundle."""

    operators: Sequence[str] | None
    samples: bytes | None
    signers: VerificationKey | None


@dataclass(frozen=True)
class _Server:
    """What a server is run with, checked."""

    as_json: bool
    settings: Settings
    listening: Listening
    bound: socket.socket
    state: Path
    keys: _Keys


def _run_server(about: _Server, served: Sequence[Served]) -> int:
    import asyncio
    import gc

    with _extra():
        import uvloop

        from edgehone.serve import server

    settings, listening = about.settings, about.listening
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host, port = about.bound.getsockname()[:2]
        scheme = "https" if listening.certificate else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        _say(about.as_json, "listening", url=url, models=list(settings.bundles))
        if warning := _warning(listening):
            _warn(warning)
        running = server.Running(
            settings.unload_after,
            _admin(settings, about.keys),
            _watched(settings),
            about.state,
            _drift(settings, about.keys),
            _board,
        )
        gc.freeze()  # what is imported stays: it need not be looked at again
        gc.enable()
        runner.run(
            server.serve(
                served, listening, about.bound, running, lambda text: _say(about.as_json, "engine", text=text)
            )
        )
    return 0


def _board(bundles: Mapping[str, Path]) -> Board:
    """Return the alerts of bundles. It is called in a thread of a running server: no request waits for the imports."""
    from edgehone.monitor import board

    return board.Board(bundles)


def _listening(settings: Settings) -> Listening:
    from edgehone.serve.listening import Listening, check_certificate

    certificate = key = None
    if settings.tls_cert and settings.tls_key:
        certificate, key = Path(settings.tls_cert), Path(settings.tls_key)
        check_certificate(certificate, key)
    keys = tuple(_read_keys(settings.api_key_file) or ())
    return Listening(settings.host, settings.port, keys, certificate, key, settings.grpc_port)


def _keys(settings: Settings, signers: VerificationKey | None) -> _Keys:
    samples = None
    if settings.keep_samples and settings.samples_key_file:
        from edgehone.serve.drift.sealed import read_key

        samples = read_key(Path(settings.samples_key_file))
    return _Keys(_read_keys(settings.admin_key_file), samples, signers)


def _read_keys(file: str | None) -> Sequence[str] | None:
    if not file:
        return None
    from edgehone.serve.keys import read_keys

    return read_keys(Path(file))


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


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


def _check_grpc() -> None:
    """Raise SetupError if the packages for gRPC are missing."""
    from edgehone.core.errors import SetupError

    try:
        import edgehone.serve.infer.grpc.server  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(
            f"--grpc-port needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[serve-grpc]"',
        ) from error


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


def _limits(settings: Settings) -> Limits:
    from edgehone.serve.served import Limits

    return Limits(
        settings.parallel,
        settings.max_queue,
        settings.request_seconds,
        settings.max_batch,
        settings.batch_delay / 1000,
        times=settings.largest_input,
    )


def _watched(settings: Settings) -> WatchRules:
    from edgehone.serve.measured.usage import Price
    from edgehone.serve.watching import WatchRules

    return WatchRules(
        settings.tenant_header,
        settings.route_header,
        settings.most_callers,
        settings.confidence_every,
        Price(settings.price_per_1000_tokens, settings.price_per_engine_second),
        settings.otlp,
    )


def _drift(settings: Settings, keys: _Keys) -> Drift:
    from edgehone.serve.drift.kept import KeepRules
    from edgehone.serve.drift.model_watch import DriftRules
    from edgehone.serve.drift.watching import Rules

    keep = KeepRules(settings.keep_samples, keys.samples) if settings.keep_samples and keys.samples else None
    return Rules(DriftRules(settings.drift_requests, settings.drift_alpha), keep)


def _verification(settings: Settings) -> VerificationKey | None:
    from edgehone.attestation.keys import read_verification_key

    if not settings.verify_key:
        return None
    return read_verification_key(
        [settings.verify_key], revoked=[settings.revoked] if settings.revoked else []
    )


def _admin(settings: Settings, keys: _Keys) -> AdminRules | None:
    if keys.operators is None:
        return None
    from edgehone.serve.admin import AdminRules

    return AdminRules([key.encode() for key in keys.operators], _limits(settings), keys.signers)


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
