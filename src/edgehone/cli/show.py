"""Show a bundle's decision and every candidate's figures, and check its files against the manifest.

Exit code 1 if a file differs from the manifest.
"""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """examples:
  edgehone show ./bundle
  edgehone show ./bundle --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if files differ from the manifest."""
    from edgehone.bundle import read, verify
    from edgehone.report.plot import plot
    from edgehone.report.summary import summary

    bundle = read(args.bundle)
    problems = verify(bundle)
    if args.json:
        result = {
            "manifest": bundle.manifest.to_json(),
            "decision": bundle.decision.to_json(),
            "problems": problems,
        }
        print(json.dumps(result, indent=1))
        return 1 if problems else 0
    print(summary(bundle.decision))
    if drawn := plot(bundle.decision, unicode=sys.stdout.isatty()):
        print(f"\n{drawn}")
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    print(f"\n{len(bundle.manifest.files)} files, {size / 1e6:.1f} MB, created {bundle.manifest.created}")
    for problem in problems:
        print(f"warning: {problem}")
    if not problems:
        print("every file matches the manifest")
    return 1 if problems else 0
