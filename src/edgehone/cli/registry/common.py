"""What the actions share: the registry that the arguments name, and who acts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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


def add_who(parser: argparse.ArgumentParser) -> None:
    """Add --by."""
    parser.add_argument("--by", metavar="WHO", help="who acts, for the history (default: user@host)")


def who(args: argparse.Namespace) -> str:
    """Return who acts."""
    from edgehone.core.who import whoever

    return args.by or whoever()


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text with aligned columns. Lists may have 10,000 rows."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    return "\n".join(form.format(*row).rstrip() for row in rows)


def megabytes(size: int) -> str:
    """Return a size as text."""
    return f"{size / 1e6:.1f} MB"
