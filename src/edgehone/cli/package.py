"""Package a bundle for a kind of device or platform, with its manifest, certificate and signature beside it.

The package is a folder; the same bundle gives the same bytes on every machine. What was built is checked with programs
that do not belong to edgehone. `edgehone verify PACKAGE` checks it later, offline.

Exit code 0: made, and checked. 2: the bundle is not approved, cannot run there or does not fit, or a tool is missing;
nothing is written, but for the other blocks of a deployment file. 1: the bundle was changed since it was made, or a
check of --conform failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.package.deployment import Block
    from edgehone.package.write import Packed

EXAMPLE = """examples:
  edgehone package --list
  edgehone package ./bundle --for android --out ./apk --budget 100MB --key signing.pem
  edgehone package ./bundle --for desktop --set name=tiny
  edgehone package ./bundle --from mobile_deployment.yaml --out ./packages
  edgehone package --conform desktop ./bundle
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="folder of a bundle")
    parser.add_argument("--for", dest="target", metavar="TARGET", help="what to package it for (see --list)")
    parser.add_argument(
        "--list", action="store_true", help="list the targets, their options and what they need"
    )
    parser.add_argument(
        "--from",
        dest="blocks",
        metavar="FILE",
        help="deployment file (YAML) whose block for TARGET says what is needed; without --for a package is made of "
        "each block, in DIR/BLOCK",
    )
    parser.add_argument(
        "--conform",
        metavar="TARGET",
        help="run the checks that every target must pass; with BUNDLE also those of its packages",
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
    if args.conform:
        return _conform(args)
    if args.bundle is None or (args.target is None and args.blocks is None):
        missing = "BUNDLE" if args.bundle is None else "--for TARGET"
        raise InputError(
            f"{missing} is missing", hint=f"edgehone package --list; targets: {', '.join(registry.names())}"
        )
    if args.blocks is not None:
        return _from_file(args)
    packed = _packed(args, args.target, _place(args, args.target))
    _warn(packed)
    print(json.dumps(_facts(packed), indent=1)) if args.json else _print(packed)
    return 0


def _from_file(args: argparse.Namespace) -> int:
    """Make the packages that a deployment file asks for. Without --for those of all its blocks, as far as possible."""
    from edgehone.attestation.errors import NotVerified
    from edgehone.bundle.read import read
    from edgehone.core.errors import EdgehoneError, InputError
    from edgehone.package.deployment import block_for, read_blocks, target_of

    blocks, bundle = read_blocks(Path(args.blocks)), read(args.bundle)
    if args.target:
        block = block_for(blocks, args.target, bundle)
        packed = _packed(args, args.target, _place(args, args.target), block)
        _warn(packed)
        print(json.dumps(_facts(packed), indent=1)) if args.json else _print(packed)
        return 0
    if args.set:
        raise InputError("--set needs a target where several are made", hint="add --for TARGET")
    rows, failed = [], False
    for block in blocks:
        try:
            packed = _packed(args, target_of(block), _place(args, "packages") / block.name, block)
        except NotVerified:
            raise  # the bundle is not as it was written, for every block
        except EdgehoneError as error:
            failed = True
            rows.append({"block": block.name, "error": error.message, "hint": error.hint})
            print(f"{block.name} is not made: {error.message}\n  {error.hint}", file=sys.stderr)
        else:
            _warn(packed)
            rows.append({"block": block.name, **_facts(packed)})
            if not args.json:
                _print(packed)
    if args.json:
        print(json.dumps(rows, indent=1))
    return 2 if failed else 0


def _place(args: argparse.Namespace, what: str) -> Path:
    """Return the folder that --out names, by default one beside the bundle."""
    bundle = Path(args.bundle).absolute()
    return Path(args.out) if args.out else bundle.with_name(f"{bundle.name}-{what}")


def _packed(args: argparse.Namespace, name: str, out: Path, block: Block | None = None) -> Packed:
    """Make a package for a target; `block` is what a deployment file asks of it. The command line comes first."""
    from edgehone.attestation.keys import read_signing_key, read_verification_key
    from edgehone.bundle.read import read
    from edgehone.core.sizes import bytes_of_size
    from edgehone.package import registry
    from edgehone.package.deployment import Wishes, wishes_of
    from edgehone.package.write import Order, pack

    target = registry.load(name)
    given = _options(args.set)
    budget = bytes_of_size(args.budget, "--budget") if args.budget is not None else None
    wishes = wishes_of(block, target, read(args.bundle)) if block else Wishes({}, None, ())
    order = Order(
        target,
        out,
        {**wishes.options, **given},
        wishes.budget if budget is None else budget,
        read_signing_key(args.key, password_file=args.password_file) if args.key else None,
        read_verification_key([args.trusted]) if args.trusted else None,
        args.unapproved,
        wishes.notes,
    )
    return pack(Path(args.bundle), order, _tell)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _warn(packed: Packed) -> None:
    for warning in packed.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _conform(args: argparse.Namespace) -> int:
    """Run the conformance suite of a target."""
    from edgehone.package import registry
    from edgehone.package.conform import conform

    target = registry.load(args.conform)
    bundle = Path(args.bundle) if args.bundle is not None else None
    outcomes = conform(target, bundle, _tell, _options(args.set))
    failed = sum(one.state == "fail" for one in outcomes)
    if args.json:
        print(json.dumps({"name": target.NAME, "checks": [one.to_json() for one in outcomes]}, indent=1))
        return 1 if failed else 0
    for one in outcomes:
        print(f"{one.state}  {one.check.replace('_', ' '):<38}  {one.seen}")
        if one.state == "fail":
            print(f"      required: {one.demand}")
    print(f"{target.NAME}: {len(outcomes)} checks, {failed} failed")
    return 1 if failed else 0


def _options(words: Sequence[str]) -> dict[str, str]:
    from edgehone.core.errors import InputError

    options = dict[str, str]()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"--set is {word!r}", hint="give NAME=VALUE")
        if name in options:
            raise InputError(
                f"--set gives {name} twice: {options[name]!r} and {value!r}", hint="give it once"
            )
        options[name] = value
    return options


def _facts(packed: Packed) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "path": str(packed.path),
        "package": packed.package.to_json(),
        "checks": [asdict(one) for one in packed.checks],
        "warnings": list(packed.warnings),
    }


def _print(packed: Packed) -> None:
    from edgehone.core.sizes import shown

    package = packed.package
    print(f"{packed.path}: {package.recipe} for {package.target}")
    for deliverable, filling in zip(package.deliverables, package.fillings, strict=True):
        limit = f" of {shown(filling.limit)}" if filling.limit else ""
        print(f"{deliverable.path}  {shown(filling.bytes)}{limit}  {deliverable.what}")
        for name, size in list(filling.parts.items())[:4]:
            print(f"    {shown(size):>10}  {name}")
    for check in packed.checks:
        print(f"{check.outcome:<8} {check.name}" + (f": {check.reason}" if check.reason else ""))
    for note in package.notes[len(packed.warnings) :]:  # those were printed as warnings
        print(f"note: {note}")
    print(f"next: read {packed.path / 'README.md'}")


def _list(as_json: bool) -> None:
    from edgehone.core.sizes import shown
    from edgehone.package import registry

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
            default = f"default: {option.default}" if option.default is not None else ""
            said = "; ".join(filter(None, (" or ".join(option.choices), default)))
            print(f"    --set {option.name}=…  {option.help}{f' ({said})' if said else ''}")
        if one.TOOLS:
            print(f"    needs {', '.join(f'{tool.program} ({tool.package})' for tool in one.TOOLS)}")
