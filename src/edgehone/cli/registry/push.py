"""Push a bundle into the registry, and with --to also to an OCI registry or an MLflow server.

The bundle is verified first, and stored under the name of its model unless --name gives another. A bundle that is
already there is not stored again. With --to a version of the registry (NAME:3) can be given in the place of a bundle.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.cli.registry.common import add_who, megabytes, opened, who

if TYPE_CHECKING:
    from edgehone.registry.mlflow import Exported
    from edgehone.registry.remote.push import Sent
    from edgehone.registry.session import Registry, Version

EXAMPLE = """examples:
  edgehone registry push ./bundle
  edgehone registry push ./bundle --name kitchen/assistant --key public.pem
  edgehone registry push demo-model:production --to oci://registry.example/models/demo:3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle, or with --to a version: NAME:3")
    parser.add_argument("--name", metavar="NAME", help="name of the model (default: the bundle's)")
    parser.add_argument(
        "--key", metavar="FILE", type=Path, help="verify the bundle's signature with this public key"
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        help="also push it there: oci://HOST/REPOSITORY:TAG, or mlflow+http://HOST:PORT/NAME",
    )
    parser.add_argument(
        "--delta",
        action="store_true",
        help="with --to oci://: send only the chunks that the repository lacks; only edgehone can pull it",
    )
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.delta and not (args.to or "").startswith("oci"):
        from edgehone.core.errors import InputError

        raise InputError("--delta is for OCI registries", hint="add --to oci://HOST/REPOSITORY:TAG")
    registry = opened(args)
    version, result = _stored(registry, args)
    if not args.json:
        print(_told(version, result))
    if args.to:
        sent = _sent(registry, version, args)
        result["to"] = sent.to_json()
        if not args.json:
            print(sent.line())
    if args.json:
        print(json.dumps({**version.to_json(), **result}, indent=1))
    return 0


def _sent(registry: Registry, version: Version, args: argparse.Namespace) -> Sent | Exported:
    if args.to.startswith("mlflow+"):
        from edgehone.registry.mlflow import export

        return export(registry, version, args.to, by=who(args))
    from edgehone.registry.remote.push import push_to

    return push_to(registry, version, args.to, by=who(args), delta=args.delta)


def _stored(registry: Registry, args: argparse.Namespace) -> tuple[Version, dict[str, Any]]:
    from edgehone.registry.names import parse
    from edgehone.registry.push import push
    from edgehone.registry.session import find

    folder = Path(args.bundle)
    if args.to and not folder.is_dir():
        with registry.database.reading() as connection:
            return find(connection, parse(args.bundle)), {}
    pushed = push(registry, folder, name=args.name, by=who(args), key=args.key)
    amounts = {"new_bytes": pushed.new_bytes, "own_bytes": pushed.own_bytes}
    return pushed.version, {"new": pushed.new, **amounts}


def _told(version: Version, result: dict[str, Any]) -> str:
    line = f"{version.reference}  {version.digest}"
    if not result:
        return line
    stored = f"stored {megabytes(result['new_bytes'])} of {megabytes(version.size)}"
    if own := result["own_bytes"]:
        stored += f", and {own / 1e3:.1f} kB of manifests and lists of chunks"
    return f"{line}\n{stored}" if result["new"] else f"{line}\nalready there; {stored}"
