"""What the actions share: the registry that the arguments name, and who acts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.core.printable import printable

if TYPE_CHECKING:
    from edgehone.registry.session import Registry

_MISSING = ("sqlalchemy", "alembic", "httpx")


def opened(args: argparse.Namespace) -> Registry:
    """Open the registry that the arguments name. Raises SetupError if the extra `registry` is not installed."""
    from edgehone.core.errors import SetupError

    try:
        from edgehone.registry.session import open_registry
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _MISSING:
            raise
        raise SetupError(
            f"the registry needs the package {error.name}", hint="pip install 'edgehone[registry]'"
        ) from error
    return open_registry(args.registry, Path(args.blobs) if args.blobs else None)


def add_why(parser: argparse.ArgumentParser) -> None:
    """Add --why."""
    parser.add_argument("--why", metavar="TEXT", required=True, help="the reason, for the history")


def why(args: argparse.Namespace) -> str:
    """Return the reason. Raises InputError if it is blank or not one line of text."""
    return _line("--why", args.why)


def _line(option: str, text: str) -> str:
    from edgehone.core.errors import InputError

    if not text.strip() or not text.isprintable():
        raise InputError(f"{option} {text!a} is not a line of text", hint="the history will show it as it is")
    return text


def add_who(parser: argparse.ArgumentParser) -> None:
    """Add --by."""
    parser.add_argument("--by", metavar="WHO", help="who acts, for the history (default: user@host)")


def who(args: argparse.Namespace) -> str:
    """Return who acts. Raises InputError if --by is blank or not one line of text."""
    from edgehone.core.who import whoever

    return whoever() if args.by is None else _line("--by", args.by)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text with aligned columns, without control characters. Lists may have 10,000 rows."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    return "\n".join(form.format(*row).rstrip() for row in rows)


def megabytes(size: int) -> str:
    """Return a size as text."""
    return f"{size / 1e6:.1f} MB"
