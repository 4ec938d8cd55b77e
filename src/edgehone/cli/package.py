"""Package a bundle for a kind of device or platform, with its manifest, certificate and signature beside it.

The package is a folder; the same bundle gives the same bytes on every machine. What was built is checked with programs
that do not belong to edgehone. `edgehone verify PACKAGE` checks it later, offline.

Exit code 0: made, and checked. 2: the bundle is not approved, cannot run there or does not fit, or a tool is missing;
nothing is written. 1: the bundle was changed since it was made.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.package.write import Packed

EXAMPLE = """examples:
  edgehone package --list
  edgehone package ./bundle --for android --out ./apk --budget 100MB --key signing.pem
  edgehone package ./bundle --for desktop --set name=tiny
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="folder of a bundle")
    parser.add_argument("--for", dest="target", metavar="TARGET", help="what to package it for (see --list)")
    parser.add_argument(
        "--list", action="store_true", help="list the targets, their options and what they need"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the package (default: BUNDLE-TARGET)")
    parser.add_argument(
        "--budget",
        metavar="SIZE",
        help="limit of each deliverable, such as 100MB (default: the target's own)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the target"
    )
    parser.add_argument("--key", metavar="FILE", help="private EC key (PEM) that signs the package")
    parser.add_argument("--password-file", metavar="FILE", help="file with the password of the key")
    parser.add_argument(
        "--trusted", metavar="FILE", help="public key (PEM) of whoever must have signed the bundle"
    )
    parser.add_argument(
        "--unapproved",
        action="store_true",
        help="also package a bundle that was not approved; the package says so",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.core.errors import InputError
    from edgehone.package import registry

    if args.list:
        _list(args.json)
        return 0
    if args.bundle is None or args.target is None:
        missing = "BUNDLE" if args.bundle is None else "--for TARGET"
        raise InputError(
            f"{missing} is missing", hint=f"edgehone package --list; targets: {', '.join(registry.names())}"
        )
    packed = _packed(args)
    for warning in packed.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    _print(packed, args.json)
    return 0


def _packed(args: argparse.Namespace) -> Packed:
    from edgehone.attestation.keys import read_signing_key, read_verification_key
    from edgehone.core.errors import InputError
    from edgehone.package import registry
    from edgehone.package.budget import bytes_of_size
    from edgehone.package.write import Order, pack

    options = dict(one.split("=", 1) for one in args.set if "=" in one)
    if wrong := [one for one in args.set if "=" not in one]:
        raise InputError(f"--set is {wrong[0]!r}", hint="give NAME=VALUE")
    bundle = Path(args.bundle)
    order = Order(
        registry.load(args.target),
        Path(args.out)
        if args.out
        else bundle.absolute().with_name(f"{bundle.absolute().name}-{args.target}"),
        options,
        bytes_of_size(args.budget, "--budget") if args.budget else None,
        read_signing_key(args.key, password_file=args.password_file) if args.key else None,
        read_verification_key([args.trusted]) if args.trusted else None,
        args.unapproved,
    )
    return pack(bundle, order, lambda text: print(text, file=sys.stderr, flush=True))


def _print(packed: Packed, as_json: bool) -> None:
    from dataclasses import asdict

    from edgehone.package.budget import shown

    package = packed.package
    if as_json:
        facts = {
            "path": str(packed.path),
            "package": asdict(package),
            "checks": [asdict(one) for one in packed.checks],
        }
        print(json.dumps(facts, indent=1))
        return
    print(f"{packed.path}: {package.recipe} for {package.target}")
    for deliverable, filling in zip(package.deliverables, package.fillings, strict=True):
        limit = f" of {shown(filling.limit)}" if filling.limit else ""
        print(f"{deliverable.path}  {shown(filling.bytes)}{limit}  {deliverable.what}")
        for name, size in list(filling.parts.items())[:4]:
            print(f"    {shown(size):>10}  {name}")
    for check in packed.checks:
        print(f"{check.outcome:<8} {check.name}" + (f": {check.reason}" if check.reason else ""))
    for note in package.notes:
        print(f"note: {note}")
    print(f"next: read {packed.path / 'README.md'}")


def _list(as_json: bool) -> None:
    from edgehone.package import registry
    from edgehone.package.budget import shown

    targets = [registry.load(name) for name in registry.names()]
    if as_json:
        facts = [
            {
                "name": one.NAME,
                "summary": one.SUMMARY,
                "budget": one.BUDGET,
                "tools": {tool.program: tool.package for tool in one.TOOLS},
                "options": {option.name: option.help for option in one.OPTIONS},
            }
            for one in targets
        ]
        print(json.dumps(facts, indent=1))
        return
    for one in targets:
        limit = f" (limit {shown(one.BUDGET)})" if one.BUDGET else ""
        print(f"{one.NAME}: {one.SUMMARY}{limit}")
        for option in one.OPTIONS:
            default = f" (default: {option.default})" if option.default is not None else ""
            print(f"    --set {option.name}=…  {option.help}{default}")
        if one.TOOLS:
            print(f"    needs {', '.join(f'{tool.program} ({tool.package})' for tool in one.TOOLS)}")
