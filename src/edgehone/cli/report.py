"""Write the report of one or several bundles as HTML or Markdown, or export the raw samples.

The HTML report is one self-contained file. Markdown suits a comment on a pull request. Raw samples are exported as CSV
or Parquet. For a bundle that is incomplete, edited or written by another version of edgehone, the report shows what can
be read and states what is missing. Exit code 1 if a file is missing, changed or unreadable.
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
    """Add the verb's arguments."""
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", help="folder of a bundle")
    parser.add_argument("--out", metavar="FILE", help="file of the report (default: ./report.html)")
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    parser.add_argument(
        "--markdown", action="store_true", help="write Markdown to --out, or to standard output"
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="write all raw samples, one per line; - is standard output"
    )
    parser.add_argument(
        "--parquet", metavar="FILE", help="write all raw samples as Parquet (needs edgehone[parquet])"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if a bundle has problems."""
    from edgehone.report.bundle_findings import read_findings

    findings = [read_findings(path) for path in args.bundles]
    result = {"bundles": [_overview(one) for one in findings], "files": _write(args, findings)}
    if args.json:
        print(json.dumps(result, indent=1))
    for one in findings:
        for problem in one.problems:
            print(f"warning: {one.name}: {problem}", file=sys.stderr)
    return 1 if any(one.problems for one in findings) else 0


def _overview(found: Findings) -> dict[str, Any]:
    decision = found.decision
    return {
        "name": found.name,
        "chosen": decision.chosen,
        "fallback": decision.fallback,
        "reason": decision.reason,
        "candidates": len(decision.candidates),
        "problems": list(found.problems),
    }


def _write(args: argparse.Namespace, found: Sequence[Findings]) -> list[str]:
    """Write samples, Markdown or the HTML page, as the arguments say. Returns the names of the files."""
    from edgehone.report import export

    written = []
    for path, to in ((args.csv, export.to_csv), (args.parquet, export.to_parquet)):
        if path:
            count = to(_lines(args.bundles, found), Path(path))
            written.append(path)
            if path != "-":
                print(f"{path}: {count:,} samples", file=sys.stderr)
    if args.markdown:
        from edgehone.report.markdown import markdown

        text = markdown(found)
        if args.out:
            written.append(_file(args.out, text))
        elif not args.json:
            print(text, end="")
    elif not written or args.out or args.open:
        from edgehone.report.html import page

        written.append(_file(args.out or "report.html", page(found)))
        if not args.json:
            print(f"Report: {written[-1]}")
        if args.open:
            _open(Path(written[-1]))
    return written


def _lines(paths: Sequence[str], found: Sequence[Findings]) -> Iterator[Line]:
    from edgehone.report.sample_export import lines

    for path, one in zip(paths, found, strict=True):
        yield from lines(Path(path), one, lambda what: print(f"warning: {what}", file=sys.stderr))


def _file(name: str, text: str) -> str:
    from edgehone.core.errors import InputError

    try:
        Path(name).write_text(text, "utf-8")
    except OSError as error:
        raise InputError(
            f"{name} cannot be written: {error.strerror or error}", hint="give another --out"
        ) from error
    return name


def _open(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        print(f"no browser was found; open {path.resolve()} yourself", file=sys.stderr)
