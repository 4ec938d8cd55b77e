"""Operate servers: notice problems, name their causes, remedy them, and call a human when no remedy helps.

Watches /metrics of each `edgehone serve` on this machine. Alerts (those of `edgehone monitor`) are diagnosed by live
facts. Remedies are tried one at a time, each proven by the server before requests go to it, kept only if what is
measured afterwards is better, and undone otherwise (docs/monitoring.md). Everything is written down before it is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.operate.escalate import Channel
    from edgehone.operate.options import Options

EXAMPLE = """examples:
  edgehone operate http://127.0.0.1:8080 --admin-key-file operators
  edgehone operate http://127.0.0.1:8080 --admin-key-file operators --dry-run
  edgehone operate http://127.0.0.1:8080 --admin-key-file operators --bundles ./frontier --registry ./registry
  edgehone operate http://127.0.0.1:8080 --admin-key-file operators --webhook http://127.0.0.1:9093/api/v2/alerts
  edgehone operate http://127.0.0.1:8080 http://127.0.0.1:8081 --admin-key-file operators --once --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "urls", nargs="+", metavar="URL", help="a server of this machine: http://127.0.0.1:8080"
    )
    parser.add_argument(
        "--admin-key-file", metavar="FILE", help="file with an operator's key of the servers, mode 600"
    )
    parser.add_argument("--ca", metavar="FILE", help="certificates (PEM) by which HTTPS servers are checked")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done; change nothing and call nobody"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="end when the servers are well, or when the first problem is remedied or a human was called (exit code 1)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="folder of the journals and stories (default: operate in EDGEHONE_HOME)",
    )
    parser.add_argument(
        "--baseline",
        metavar="PATH",
        help="certified bundle or certificate whose baselines count (default: the served)",
    )
    parser.add_argument(
        "--budget", type=int, default=6, metavar="N", help="remedies of a server in an hour (default: 6)"
    )
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="S", help="seconds between two looks (default: 5)"
    )
    parser.add_argument(
        "--control-groups",
        action="store_true",
        help="permit to raise the quota or weight of the server's control group",
    )
    parser.add_argument(
        "--faster",
        type=float,
        default=1.0,
        metavar="N",
        help="for trials: windows and durations are N times shorter",
    )
    _add_bundles(parser.add_argument_group("bundles that may be served instead"))
    _add_escalation(parser.add_argument_group("escalation to a human"))


def _add_bundles(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bundles",
        metavar="DIR",
        action="append",
        default=[],
        help="a bundle that may be served instead, or a folder of such; may be given several times",
    )
    group.add_argument(
        "--registry",
        metavar="WHERE",
        help="registry of the versions, in whose chain every step becomes an event",
    )
    group.add_argument(
        "--blobs", metavar="FOLDER", help="folder of the registry's blobs (default: the registry's)"
    )
    group.add_argument(
        "--verify-key", metavar="FILE", help="key that verifies bundles taken from the registry"
    )
    group.add_argument(
        "--samples", metavar="DIR", help="the --state of the server, with the samples that it keeps"
    )
    group.add_argument("--samples-key-file", metavar="FILE", help="the server's key of these samples")
    group.add_argument("--signing-key", metavar="FILE", help="key that signs challengers made from them")
    group.add_argument(
        "--profile", metavar="FILE", help="thresholds by which challengers are certified (edgehone certify)"
    )
    group.add_argument("--soak", metavar="TIME", help="length of their stability test (default: 10m)")


def _add_escalation(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--webhook", metavar="URL", help="POST escalations there, as alerts for Alertmanager")
    group.add_argument("--mail", metavar="ADDRESS", help="send escalations to this address")
    group.add_argument(
        "--mail-server",
        default="localhost",
        metavar="HOST:PORT",
        help="SMTP server; smtps://… for TLS (default: localhost)",
    )
    group.add_argument("--mail-from", metavar="ADDRESS", help="sender (default: that of --mail)")
    group.add_argument(
        "--mail-user", metavar="NAME", help="user at the SMTP server (needs --mail-password-file)"
    )
    group.add_argument("--mail-password-file", metavar="FILE", help="file with the user's password")
    group.add_argument(
        "--command",
        metavar="LINE",
        help="run a command with escalations: JSON on its input, the page in EDGEHONE_STORY",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 with --once if a human was called."""
    import signal
    import threading

    from edgehone.execution.home import home
    from edgehone.operate.run import operate
    from edgehone.operate.server import Server

    key = operator_key(args.admin_key_file)
    servers = [Server(url, key, Path(args.ca) if args.ca else None) for url in dict.fromkeys(args.urls)]
    state = Path(args.state) if args.state else home() / "operate"
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def say(kind: str, facts: Mapping[str, Any]) -> None:
        _say(kind, facts, as_json=args.json)

    return operate(servers, state, _options(args), say, ended)


def _options(args: argparse.Namespace) -> Options:
    from edgehone.core.absence import why_absent
    from edgehone.core.errors import InputError
    from edgehone.operate.options import Options
    from edgehone.optimize.search.clock import seconds_of

    for name, least, most in (("budget", 0, 1000), ("every", 0.05, 3600), ("faster", 0.01, 10_000)):
        if not least <= getattr(args, name) <= most:
            raise InputError(
                f"--{name} is {getattr(args, name)}", hint=f"give a number from {least} to {most:g}"
            )
    for name in (
        "bundles",
        "verify_key",
        "baseline",
        "samples",
        "samples_key_file",
        "signing_key",
        "profile",
    ):
        given = getattr(args, name)
        for path in given if isinstance(given, list) else [given] if given else []:
            if not Path(path).exists():
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option}: {why_absent(Path(path), f'{path} does not exist')}",
                    hint="give an existing path",
                )
    if args.soak:
        seconds_of(args.soak, "--soak")
    return Options(
        every=args.every, budget=args.budget, times=args.faster, dry_run=args.dry_run, once=args.once,
        control_groups=args.control_groups, bundles=tuple(map(Path, args.bundles)), baseline=_path(args.baseline),
        registry=args.registry, blobs=_path(args.blobs), verify_key=_path(args.verify_key),
        samples=_path(args.samples), samples_key=_path(args.samples_key_file), signing_key=_path(args.signing_key),
        profile=_path(args.profile), soak=args.soak, channels=_channels(args),
    )  # fmt: skip


def _channels(args: argparse.Namespace) -> tuple[Channel, ...]:
    from edgehone.core.errors import InputError
    from edgehone.operate.escalate import Mail, command, webhook

    if bool(args.mail_user) != bool(args.mail_password_file):
        raise InputError("--mail-user and --mail-password-file belong together", hint="give both, or none")
    found: list[Channel] = []
    if args.webhook:
        found.append(webhook(args.webhook))
    if args.mail:
        sender = args.mail_from or args.mail
        found.append(
            Mail(args.mail, sender, args.mail_server, args.mail_user, _path(args.mail_password_file))
        )
    if args.command:
        found.append(command(args.command))
    return tuple(found)


def operator_key(file: str | None) -> str:
    """Return the key in a file. Raises InputError if none is given or it cannot be read."""
    from edgehone.core.errors import InputError, SetupError

    if file is None:
        raise InputError(
            "no operator's key is given",
            hint="--admin-key-file FILE: the file that edgehone serve --admin-key-file has",
        )
    try:
        from edgehone.serve.keys import read_keys
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the operator's key is read by the package {error.name}", hint='pip install "edgehone[serve]"'
        ) from error
    return read_keys(Path(file))[0]


def _path(given: str | None) -> Path | None:
    return Path(given) if given else None


def _say(kind: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a step: a line of text, or of JSON."""
    if as_json:
        print(json.dumps({"event": kind, **facts}), flush=True)
    elif kind == "warning":
        print(f"warning: {facts['text']}", file=sys.stderr, flush=True)
    else:
        number = f" incident {facts['incident']}" if facts.get("incident") else ""
        print(f"{facts['at'][:19]} {facts['server']}{number} {kind}: {facts['says']}", flush=True)
