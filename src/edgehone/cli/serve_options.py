"""The options of `edgehone serve`, grouped by what they are about."""

from __future__ import annotations

import argparse

# The options that a file of settings may contain too.
SETTINGS = (
    "host", "port", "grpc_port", "api_key_file", "admin_key_file", "tls_cert", "tls_key", "verify_key", "revoked",
    "parallel", "max_queue", "max_batch", "batch_delay", "largest_input", "request_seconds", "unload_after", "state",
    "otlp",    "keep_samples", "samples_key_file",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="accept connections only once every model is ready, on a port that another server of the same user may "
        "have until then; end with exit code 1 if one does not get ready",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with these settings and with bundles by name (docs/serving.md)",
    )
    _add_access(parser.add_argument_group("address, keys and TLS"))
    _add_verification(parser.add_argument_group("verification of bundles"))
    _add_capacity(parser.add_argument_group("requests and batches"))
    _add_records(parser.add_argument_group("history, metrics and samples"))


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    group.add_argument("--port", type=int, help="port to listen on; 0: any free one (default: 8080)")
    group.add_argument(
        "--grpc-port",
        type=int,
        metavar="PORT",
        help="also serve graphs by gRPC on this port (extra: serve-grpc); 0: any free one (default: no gRPC)",
    )
    group.add_argument(
        "--api-key-file", metavar="FILE", help="file with the keys that clients may use, one a line, mode 600"
    )
    group.add_argument(
        "--admin-key-file",
        metavar="FILE",
        help="file with the keys of operators, who may change the served bundles by /admin/bundles from this machine",
    )
    group.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM) for HTTPS")
    group.add_argument("--tls-key", metavar="FILE", help="private key (PEM) of the certificate")


def _add_verification(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--verify-key",
        metavar="FILE",
        help="serve only bundles that are approved, and signed by this public key or trusted certificate (PEM)",
    )
    group.add_argument(
        "--revoked",
        metavar="FILE",
        help="keys and certificates that are no longer trusted (edgehone verify --help)",
    )


def _add_capacity(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--parallel", type=int, metavar="N", help="requests that an engine answers at once (default: 8)"
    )
    group.add_argument(
        "--max-queue",
        type=int,
        metavar="N",
        help="requests that may wait for a place; further ones are refused with 429 (default: a quarter of --parallel)",
    )
    group.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help="samples of a graph that are joined to one batch; 1: none (default: the best batch that was measured)",
    )
    group.add_argument(
        "--batch-delay",
        type=float,
        metavar="MS",
        help="milliseconds that a request to a graph waits for others to join it (default: 0: for none)",
    )
    group.add_argument(
        "--largest-input",
        type=float,
        metavar="TIMES",
        help="how many times as large as in its evaluation an input of a graph may be (default: 4)",
    )
    group.add_argument(
        "--request-seconds",
        type=float,
        metavar="S",
        help="longest time of a request, waiting included (default: 600)",
    )
    group.add_argument(
        "--unload-after",
        type=float,
        metavar="S",
        help="unload a model after so many seconds without a request; the next one loads it again (default: never)",
    )


def _add_records(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--state",
        metavar="DIR",
        help="folder for what shall outlive the server: history, state of drift (default: a temporary one)",
    )
    group.add_argument(
        "--otlp",
        metavar="URL",
        help="OpenTelemetry collector that metrics of language models are sent to, by HTTP (extra: otel; default: as "
        "OTEL_EXPORTER_OTLP_ENDPOINT says)",
    )
    group.add_argument(
        "--keep-samples",
        type=int,
        metavar="N",
        help="keep the last N requests of each bundle, encrypted, for edgehone reoptimize (default: none)",
    )
    group.add_argument(
        "--samples-key-file",
        metavar="FILE",
        help="file of mode 600 with the key that encrypts kept samples (extra: samples)",
    )
