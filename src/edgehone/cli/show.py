"""Print a bundle: what was chosen and why, every candidate's figures, and whether its files are untouched."""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """example:
  edgehone show ./bundle
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Run the verb; exit 1 where files differ from the manifest."""
    from edgehone.bundle import read, verify
    from edgehone.report.plot import plot
    from edgehone.report.summary import summary

    bundle = read(args.bundle)
    problems = verify(bundle)
    if args.json:
        told = {
            "manifest": bundle.manifest.to_json(),
            "decision": bundle.decision.to_json(),
            "problems": problems,
        }
        print(json.dumps(told, indent=1))
        return 1 if problems else 0
    print(summary(bundle.decision))
    if drawn := plot(bundle.decision, unicode=sys.stdout.isatty()):
        print(f"\n{drawn}")
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    print(f"\n{len(bundle.manifest.files)} files, {size / 1e6:.1f} MB, made {bundle.manifest.created}")
    for problem in problems:
        print(f"warning: {problem}")
    if not problems:
        print("every file is as the manifest says")
    return 1 if problems else 0
