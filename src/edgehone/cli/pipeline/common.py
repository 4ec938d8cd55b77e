"""What the actions share: the file, and the options that stand above it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.pipeline.plan import Asked
    from edgehone.pipeline.result import Result
    from edgehone.pipeline.stage import Stage


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add FILE, and the options that must be the same for all actions on one run."""
    parser.add_argument("file", metavar="FILE", help="pipeline file (YAML)")
    parser.add_argument("--model", metavar="MODEL", help="folder or file of the model (default: model.path)")
    parser.add_argument("--name", metavar="NAME", help="name in the registry (default: that of the model)")
    parser.add_argument(
        "--bundle", metavar="BUNDLE", help="bundle to take, where the file has no stage optimization"
    )
    parser.add_argument(
        "--registry", metavar="WHERE", help="folder or database of the registry (default: registry.where)"
    )
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value in the place of the file's, such as testing.soak=30s; may be repeated",
    )
    add_out(parser)


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    parser.add_argument("--out", metavar="DIR", help="folder of the run (default: FILE's name + -run)")


def asked(args: argparse.Namespace) -> Asked:
    """Return what the arguments ask for."""
    from edgehone.pipeline.plan import Asked

    return Asked(
        Path(args.file), args.model, args.name, args.bundle, args.registry, args.out, tuple(args.changes)
    )


def table(stages: Sequence[Stage], results: Mapping[str, Result]) -> str:
    """Return a line for each stage: its outcome, how long it took, and what it found."""
    from edgehone.pipeline.reports.markdown import word_of

    lines = []
    for stage in stages:
        result = results.get(stage.name)
        word = word_of(result) if result else "not run"
        took = f"{result.seconds:.1f} s" if result and result.seconds else ""
        said = result.said if result else stage.says
        lines.append(f"{stage.name:<22} {word:<24} {took:>8}  {' '.join(said.split())[:200]}".rstrip())
    return "\n".join(lines)
