"""Let an alias point to the version that it pointed to before; again, to the one before that."""

from __future__ import annotations

import argparse
import json

from edgehone.cli.registry.common import add_who, add_why, opened, who, why
from edgehone.cli.registry.history import line

EXAMPLE = """examples:
  edgehone registry rollback demo-model production --why "errors since noon"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument("alias", metavar="ALIAS", help="the alias")
    add_why(parser)
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    registry = opened(args)
    from edgehone.registry.aliases import roll_back
    from edgehone.registry.names import check_alias, check_name

    name, alias = check_name(args.name), check_alias(args.alias)
    event = roll_back(registry, name, alias, by=who(args), why=why(args))
    print(json.dumps(event.to_json(), indent=1) if args.json else line(event))
    return 0
