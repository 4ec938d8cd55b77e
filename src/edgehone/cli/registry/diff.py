"""Show what changed from one version to another: figures, gates, recipe, packages, data, files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgehone.cli.registry.common import megabytes, opened
from edgehone.core.printable import printable

if TYPE_CHECKING:
    from edgehone.core.figure import Figure
    from edgehone.registry.differences import Differences

EXAMPLE = """examples:
  edgehone registry diff demo-model:2 demo-model:3
  edgehone registry diff demo-model:production demo-model:challenger --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("before", metavar="A", help="a version: NAME:3, NAME:production, …")
    parser.add_argument("after", metavar="B", help="another version")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    registry = opened(args)
    from edgehone.registry.differences import compare
    from edgehone.registry.names import parse

    found = compare(registry, parse(args.before), parse(args.after))
    print(json.dumps(found.to_json(), indent=1) if args.json else "\n".join(map(printable, _lines(found))))
    return 0


def _lines(found: Differences) -> Iterator[str]:
    yield f"{found.before} → {found.after}"
    if found.figures:
        yield "figures" if found.comparable else "figures (another device, model or workload: not comparable)"
    for one in found.figures:
        mark = " " if one.differs else "≈"
        yield f"  {mark} {one.name}: {_shown(one.before)} → {_shown(one.after)}"
    parts: Mapping[str, Mapping[str, Any]] = {
        "gates": found.verdicts,
        "recipe": found.recipe,
        "packages": found.versions,
        "data": found.data,
    }
    for title, changes in parts.items():
        if changes:
            yield title
        for name, (before, after) in changes.items():
            yield f"    {name}: {_plain(before)} → {_plain(after)}"
    kinds = {"added": 0, "removed": 0, "changed": 0}
    for before, after in found.files.values():
        kinds["added" if before is None else "removed" if after is None else "changed"] += 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "all equal"
    yield f"files: {counts}; {megabytes(found.shared_bytes)} of {megabytes(found.bytes)} are in both"
    if any(not one.differs for one in found.figures):
        yield "≈ differs by no more than the 95 % interval of the difference"


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return f"none ({figure.reason})" if figure else "none"
    interval = "" if figure.low is None else f" ({figure.low:.4g}–{figure.high:.4g})"
    return f"{figure.value:.4g}{interval} {figure.unit}".rstrip()


def _plain(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
