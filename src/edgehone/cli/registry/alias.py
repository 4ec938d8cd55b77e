"""Let an alias of a model point to a version, or remove it.

Only approved versions get an alias, unless --force. An alias moves from the version that it pointed to when the
command began, or that --from names; if someone else has moved it meanwhile, the exit code is 1 and nothing changes.
Usual aliases are challenger, champion, staging and production.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.registry.common import add_who, add_why, opened, who, why
from edgehone.cli.registry.history import line

EXAMPLE = """examples:
  edgehone registry alias demo-model production 3 --why "passed the field test"
  edgehone registry alias demo-model production staging --from 2 --why "as planned"
  edgehone registry alias demo-model challenger --remove --why "the trial is over"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument("alias", metavar="ALIAS", help="the alias")
    parser.add_argument("version", metavar="VERSION", nargs="?", help="number, digest, or another alias")
    add_why(parser)
    parser.add_argument(
        "--from",
        dest="expected",
        metavar="NUMBER",
        help="only if it points to this version now (none: to none)",
    )
    parser.add_argument("--force", action="store_true", help="also to a version that is not approved")
    parser.add_argument("--remove", action="store_true", help="remove the alias")
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError

    if (args.version is None) != args.remove:
        name, _, alias = args.name.partition(":")
        example = f"{name} {alias or args.alias} {args.alias if alias else 'VERSION'} --why TEXT"
        raise InputError(
            "alias needs NAME, ALIAS and either VERSION or --remove",
            hint=f"edgehone registry alias {example}",
        )
    registry = opened(args)
    from edgehone.registry import aliases
    from edgehone.registry.names import check_name, parse

    name = check_name(args.name)
    if args.remove:
        event = aliases.drop(registry, name, args.alias, by=who(args), why=why(args))
    else:
        mark = "@" if args.version.startswith("sha256:") else ":"
        moved = aliases.move(
            registry,
            args.alias,
            parse(f"{name}{mark}{args.version}"),
            by=who(args),
            why=why(args),
            expected=_expected(args.expected),
            force=args.force,
        )
        if moved is None:
            print(json.dumps(None) if args.json else f"{name}:{args.alias} points to {args.version} already")
            return 0
        event = moved
    print(json.dumps(event.to_json(), indent=1) if args.json else line(event))
    return 0


def _expected(text: str | None) -> int | None:
    from edgehone.core.errors import InputError
    from edgehone.registry.aliases import CURRENT

    if text is None:
        return CURRENT
    if text == "none":
        return None
    if not text.isdecimal():
        raise InputError(f"--from {text}: the number of a version, or none", hint="edgehone registry list")
    return int(text)
