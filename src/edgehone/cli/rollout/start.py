"""Begin a rollout, and follow it to its end.

Strategies: `ramp` copies requests to the challenger (shadow), then lets it answer 1, 5, 25, 50 and 100 % of them;
`blue-green` goes from copies to all at once; `shadow` copies only; `ab` lets half of the callers have it, and reports
its effect. The champion stays loaded until the end. The exit code is 0 for a promoted challenger and a finished test,
and 1 if the champion serves on: rolled back, aborted, not enough traffic.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.cli.rollout.common import haproxy_state, interrupted, line, over_haproxy, say, server_of

if TYPE_CHECKING:
    from edgehone.operate.server import Server
    from edgehone.rollout.drive.version import Challenger

EXAMPLE = """examples:
  edgehone rollout start demo-model@3 --to http://127.0.0.1:8080 --admin-key-file operators --strategy ramp
  edgehone rollout start demo-model@challenger --to http://127.0.0.1:8080 --admin-key-file operators \\
    --strategy ramp --sticky X-User --alias production
  edgehone rollout start chat --bundle ./chat-v2 --to http://127.0.0.1:8080 --admin-key-file operators \\
    --strategy ab --sticky X-User --metric feedback
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "name",
        metavar="NAME[@VERSION]",
        help="a version of the registry: NAME@3, NAME@challenger; NAME alone: the newest one",
    )
    parser.add_argument(
        "--bundle", metavar="FOLDER", help="the challenger, in the place of a version of the registry"
    )
    parser.add_argument(
        "--serves",
        metavar="NAME",
        help="the name that it is served under (default: NAME, without what is before a /)",
    )
    parser.add_argument(
        "--strategy", metavar="S", default="ramp", help="blue-green, ramp, ab or shadow (default: ramp)"
    )
    parser.add_argument(
        "--sticky", metavar="HEADER", help="callers keep their version, by the value of this header"
    )
    parser.add_argument(
        "--metric",
        choices=("latency", "errors", "confidence", "feedback"),
        default="latency",
        help="what an A/B test is about (default: latency)",
    )
    parser.add_argument(
        "--champion",
        metavar="SERVER=URL",
        action="append",
        default=[],
        help="over HAProxy: a server of the old version, by its name there; may be given several times",
    )
    parser.add_argument(
        "--challenger",
        metavar="SERVER=URL",
        action="append",
        default=[],
        help="over HAProxy: a server of the new version, which runs already",
    )
    parser.add_argument("--rules", metavar="FILE", help="TOML file with other margins, error rates or stages")
    parser.add_argument(
        "--other-model", action="store_true", help="the challenger is built from a model of another name"
    )
    parser.add_argument("--alias", metavar="ALIAS", help="alias of the registry to move when it is promoted")
    parser.add_argument(
        "--registry", metavar="WHERE", help="the registry (default: registry in EDGEHONE_HOME)"
    )
    parser.add_argument(
        "--blobs", metavar="FOLDER", help="folder of the blobs (default: that of the registry)"
    )
    parser.add_argument("--verify-key", metavar="FILE", help="key that verifies the pulled version")
    parser.add_argument("--why", metavar="TEXT", default="", help="the reason, for the history")
    parser.add_argument("--by", metavar="WHO", help="who acts, for the history (default: user@host)")
    parser.add_argument("--detach", action="store_true", help="begin, and do not follow")


def run(args: argparse.Namespace) -> int:
    """Run the action. Returns 1 if it ends with the champion."""
    from edgehone.core.errors import InputError
    from edgehone.rollout.drive.follow import GOOD, follow, start
    from edgehone.rollout.drive.version import split_name

    name, version = split_name(args.name)
    if over_haproxy(args):
        return _over_haproxy(args, args.serves or name, version)
    if args.alias and (args.bundle or args.detach):
        raise InputError(
            "--alias needs a version of the registry, and that its rollout is followed", hint="leave it out"
        )
    body, server = _body(args, args.serves or name.rpartition("/")[2]), server_of(args)
    challenger = _challenger(args, name, version)
    begun = start(server, {**body, "path": str(challenger.path), "label": challenger.label})
    if args.detach:
        _print(args, begun)
        return 0
    last: Mapping[str, Any] = begun
    for last in follow(server, begun["id"], lambda text: say(f"warning: {text}")):
        _print(args, last)
    if last["status"] == "promoted" and args.alias:
        _move(args, challenger, server)
    return 0 if last["status"] in GOOD else 1


def _over_haproxy(args: argparse.Namespace, name: str, version: str | None) -> int:
    """Drive a rollout over HAProxy in this process."""
    import secrets

    from edgehone.rollout.decision.plan import Plan
    from edgehone.rollout.decision.rules import read_rules, strategy_of
    from edgehone.rollout.drive import balanced
    from edgehone.rollout.drive.follow import GOOD

    urls = [balanced.named_servers(getattr(args, one), f"--{one}") for one in ("champion", "challenger")]
    rules = read_rules(Path(args.rules) if args.rules else None)
    plan = Plan(
        secrets.token_hex(6), name, strategy_of(args.strategy), balanced.version(urls[0], ""),
        balanced.version(urls[1], f"{name}@{version}" if version else ", ".join(urls[1])), rules.table,
        by=_who(args), why=args.why, balancer=args.to,
    )  # fmt: skip
    found = balanced.begin(haproxy_state(args), plan, say, interrupted())
    _print(args, found)
    return 0 if found["status"] in GOOD else 1


def _body(args: argparse.Namespace, served: str) -> dict[str, Any]:
    """Return what the server is asked for, besides the challenger. Raises InputError before anything is pulled."""
    from edgehone.rollout.decision.rules import entries, strategy_of

    return {
        "name": served,
        "strategy": strategy_of(args.strategy),
        "sticky": args.sticky,
        "metric": args.metric,
        "rules": entries(Path(args.rules)) if args.rules else {},
        "other_model": args.other_model,
        "by": _who(args),
        "why": args.why,
    }


def _challenger(args: argparse.Namespace, name: str, version: str | None) -> Challenger:
    from edgehone.core.errors import InputError
    from edgehone.rollout.drive.version import of_folder, of_registry

    if args.bundle:
        if version:
            raise InputError(
                f"--bundle and the version {version} are two challengers", hint="give one of them"
            )
        return of_folder(Path(args.bundle))
    from edgehone.cli.registry.common import opened

    return of_registry(opened(args), name, version, key=Path(args.verify_key) if args.verify_key else None)


def _move(args: argparse.Namespace, challenger: Challenger, server: Server) -> None:
    from edgehone.cli.registry.common import opened
    from edgehone.rollout.drive.alias import promote

    assert challenger.version is not None
    why = args.why or f"promoted by a rollout at {server.url}"
    promote(lambda: opened(args), challenger.version, args.alias, by=_who(args), why=why)


def _who(args: argparse.Namespace) -> str:
    from edgehone.core.who import whoever

    return args.by or whoever()


def _print(args: argparse.Namespace, told: Mapping[str, Any]) -> None:
    print(json.dumps(told) if args.json else line(told), flush=True)
