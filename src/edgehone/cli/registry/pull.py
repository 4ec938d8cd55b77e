"""Write a version to a folder as the bundle that was pushed; from an OCI registry with oci://.

Every file is compared with its digest, the bundle is verified, and with --key its signature as well. A bundle from an
OCI registry is registered here too; files and chunks of files that this registry has are not downloaded. To continue an
interrupted download, repeat the command.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgehone.cli.registry.common import add_who, opened, who

EXAMPLE = """examples:
  edgehone registry pull demo-model:production --out ./bundle
  edgehone registry pull oci://registry.example/models/demo:3 --out ./bundle --key public.pem
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "version", metavar="VERSION", help="NAME:3, NAME:production, … or oci://HOST/REPOSITORY:TAG"
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="folder to write the bundle to")
    parser.add_argument(
        "--key", metavar="FILE", type=Path, help="verify the bundle's signature with this public key"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name to register it under (default: that of its model)"
    )
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError

    remote = args.version.partition("://")[0] in ("oci", "oci+https", "oci+http")
    if args.out is None and not remote:
        raise InputError(
            "pull needs --out FOLDER", hint=f"edgehone registry pull {args.version} --out ./bundle"
        )
    registry = opened(args)
    from edgehone.registry.names import parse
    from edgehone.registry.pull import pull

    received = None
    if remote:
        from edgehone.registry.remote.pull import pull_from

        received = pull_from(registry, args.version, name=args.name, out=args.out, by=who(args), key=args.key)
        version = received.version
    else:
        version = pull(registry, parse(args.version), args.out, key=args.key)
    if args.json:
        more = received.to_json() if received else {}
        out = str(args.out) if args.out else None
        print(json.dumps({**version.to_json(), **more, "out": out}, indent=1))
        return 0
    print(f"{version.reference}  {version.digest}")
    if received:
        print(received.line())
    if args.out:
        print(f"{args.out}: every file is as it was pushed")
    return 0
