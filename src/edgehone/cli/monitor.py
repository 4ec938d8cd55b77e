"""Watch a server of bundles: a live view, or rules and dashboards for Prometheus and Grafana.

Without --out, what a running server does is shown every 2 s, out of its /metrics: on a terminal as tables, elsewhere as
one line each time. Alerts whose limits need baselines are evaluated if --baseline or --admin-key-file is given. Ctrl-C
ends it. GET /dashboard of the server shows the last hours and days.

With --out, alert rules with their tests, configurations of Prometheus and Alertmanager, and a Grafana dashboard are
written; README.md in the folder says how to start each. Limits are multiples of what `edgehone certify` measured;
alerts without a baseline are left out and named.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.monitor.live.view import View
    from edgehone.monitor.live.watch import Watched

# Scrapes more often than this would take a noticeable share of a small server.
_LEAST_INTERVAL, _MOST_INTERVAL = 0.2, 3600.0
# A server that takes longer to tell its metrics counts as not reachable.
_SECONDS = 5.0

EXAMPLE = """examples:
  edgehone monitor http://127.0.0.1:8080
  edgehone monitor http://127.0.0.1:8080 --baseline ./bundle --json
  edgehone monitor ./bundle --out monitoring
  edgehone monitor http://127.0.0.1:8080 --baseline ./bundle --out monitoring
  edgehone monitor http://127.0.0.1:8080 --baseline chat=./chat-v2 --baseline sum=./sum --out monitoring
  edgehone monitor https://kitchen.example:8080 --admin-key-file operators --out monitoring
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("source", metavar="URL|BUNDLE", help="a running server, or the folder of a bundle")
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="certified bundle, or its certificate.json, whose baselines limit the alerts on the model NAME; "
        "may be repeated",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="write rules, configurations and a dashboard into this folder"
    )
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="S", help="seconds between two looks (default: 2)"
    )
    parser.add_argument("--once", action="store_true", help="end after one interval")
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="file with a client's key, for a proxy that asks for one"
    )
    parser.add_argument(
        "--admin-key-file",
        metavar="FILE",
        help="file with an operator's key: the server then tells its bundles",
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="certificates (PEM) that the server's HTTPS is checked by"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.core.errors import InputError

    if args.out:
        return _generate(args)
    if "://" not in args.source:
        raise InputError(
            f"{args.source} is no URL of a running server",
            hint=f"edgehone monitor http://127.0.0.1:8080 --baseline {args.source}, "
            f"or write rules: edgehone monitor {args.source} --out DIR",
        )
    if not _LEAST_INTERVAL <= args.interval <= _MOST_INTERVAL:
        raise InputError(
            f"--interval is {args.interval}",
            hint=f"give a number from {_LEAST_INTERVAL} to {_MOST_INTERVAL:.0f}",
        )
    return _live(args)


def _live(args: argparse.Namespace) -> int:
    from itertools import islice

    from edgehone.monitor.live.watch import Watch, views

    found = views(Watch(_watched(args)), args.interval)
    # The first look has no rates yet.
    shown = islice(found, 1, 2) if args.once else found
    try:
        _show(shown, as_json=args.json)
    except KeyboardInterrupt:
        return 0  # it is how it is ended
    return 0


def _watched(args: argparse.Namespace) -> Watched:
    """Return what is watched. Raises InputError if no server answers there."""
    from edgehone.core.errors import InputError, JobError
    from edgehone.monitor.alert import alerts
    from edgehone.monitor.live.watch import Watched
    from edgehone.monitor.server import Access, models_of, server_url
    from edgehone.monitor.sources import monitored

    url, ca = server_url(args.source), Path(args.ca) if args.ca else None
    access = Access(ca, _key(args.api_key_file), _SECONDS)
    try:
        models_of(url, access=access)
        baselines = (
            monitored(url, args.baseline, admin_key=_key(args.admin_key_file), ca=ca).baselines
            if args.baseline or args.admin_key_file
            else ()
        )
    except JobError as error:
        raise InputError(error.message, hint=error.hint) from error
    return Watched(url, access, alerts(baselines))


def _show(shown: Iterable[View], *, as_json: bool) -> None:
    import sys

    from edgehone.monitor.live import terminal

    if as_json or not sys.stdout.isatty():
        for view in shown:
            print(json.dumps(terminal.to_json(view)) if as_json else terminal.to_line(view), flush=True)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False) as live:
        for view in shown:
            live.update(terminal.to_tables(view), refresh=True)


def _generate(args: argparse.Namespace) -> int:
    from edgehone.monitor.alert import left_out
    from edgehone.monitor.generate import generated
    from edgehone.monitor.sources import monitored
    from edgehone.monitor.write import write

    key, ca = _key(args.admin_key_file), Path(args.ca) if args.ca else None
    server = monitored(args.source, args.baseline, admin_key=key, ca=ca)
    contents, out = generated(server), Path(args.out)
    write(out, contents)
    missing = left_out(server.baselines)
    if args.json:
        told = [{"alert": one.name, "model": one.model, "reason": one.reason} for one in missing]
        print(json.dumps({"out": str(out), "files": list(contents), "left_out": told}, indent=1))
        return 0
    print("\n".join(str(out / name) for name in contents))
    for one in missing:
        print(f"left out: {one.name} of {one.model}: {one.reason}")
    return 0


def _key(file: str | None) -> str | None:
    if file is None:
        return None
    from edgehone.serve.keys import read_keys

    return read_keys(Path(file))[0]
