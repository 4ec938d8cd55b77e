"""Write the report of a bundle, or of several beside each other: one HTML file that needs nothing else.

Of a bundle that is cut, edited or of another edgehone the report shows all that is known, and says what is not. Also as
Markdown for a comment on a pull request, and the raw samples as CSV or Parquet. Exit 1 where something is missing,
changed or cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.report.export import Line
    from edgehone.report.findings import Findings

EXAMPLE = """examples:
  edgehone report ./bundle --open
  edgehone report ./monday ./tuesday --out both.html
  edgehone report ./bundle --markdown
  edgehone report ./bundle --csv samples.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", help="a bundle's folder")
    parser.add_argument("--out", metavar="FILE", help="the report's file (default: report.html here)")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, to --out or to standard output")
    parser.add_argument(
        "--csv", metavar="FILE", help="all raw samples, a line a reading; - for standard output"
    )
    parser.add_argument("--parquet", metavar="FILE", help="the same as Parquet (edgehone[parquet])")


def run(args: argparse.Namespace) -> int:
    """Run the verb; exit 1 where a bundle is not as it should be."""
    from edgehone.report.bundle_findings import read_findings

    found = [read_findings(path) for path in args.bundles]
    told = {"bundles": [_told(one) for one in found], "files": _write(args, found)}
    if args.json:
        print(json.dumps(told, indent=1))
    for one in found:
        for problem in one.problems:
            print(f"warning: {one.name}: {problem}", file=sys.stderr)
    return 1 if any(one.problems for one in found) else 0


def _told(found: Findings) -> dict[str, Any]:
    decision = found.decision
    return {
        "name": found.name,
        "chosen": decision.chosen,
        "reason": decision.reason,
        "candidates": len(decision.candidates),
        "problems": list(found.problems),
    }


def _write(args: argparse.Namespace, found: Sequence[Findings]) -> list[str]:
    """Write what was asked for: samples, Markdown, or the page; the files' names."""
    from edgehone.report import export

    made = []
    for path, to in ((args.csv, export.to_csv), (args.parquet, export.to_parquet)):
        if path:
            count = to(_lines(args.bundles, found), Path(path))
            made.append(path)
            if path != "-":
                print(f"{path}: {count:,} readings", file=sys.stderr)
    if args.markdown:
        from edgehone.report.markdown import markdown

        text = markdown(found)
        if args.out:
            made.append(_file(args.out, text))
        elif not args.json:
            print(text, end="")
    elif not made or args.out or args.open:
        from edgehone.report.html import page

        made.append(_file(args.out or "report.html", page(found)))
        if not args.json:
            print(f"Report: {made[-1]}")
        if args.open:
            _show(Path(made[-1]))
    return made


def _lines(places: Sequence[str], found: Sequence[Findings]) -> Iterator[Line]:
    from edgehone.report.sample_export import lines

    for place, one in zip(places, found, strict=True):
        yield from lines(Path(place), one, lambda what: print(f"warning: {what}", file=sys.stderr))


def _file(name: str, text: str) -> str:
    from edgehone.core.errors import InputError

    try:
        Path(name).write_text(text, "utf-8")
    except OSError as error:
        raise InputError(
            f"{name} cannot be written: {error.strerror or error}", hint="give another --out"
        ) from error
    return name


def _show(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        print(f"no browser is known here; open {path.resolve()} in one", file=sys.stderr)
