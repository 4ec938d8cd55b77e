"""Watch a server of bundles: rules and dashboards for Prometheus and Grafana, from the baselines of certificates.

With --out, alert rules with their tests, configurations of Prometheus and Alertmanager, and a Grafana dashboard are
written; README.md in the folder says how to start each. Limits are multiples of what `edgehone certify` measured;
alerts without a baseline are left out and named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = """examples:
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
    raise InputError("nothing to do", hint=f"edgehone monitor {args.source} --out DIR")


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
