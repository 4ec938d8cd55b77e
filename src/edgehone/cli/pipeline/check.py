"""Check a pipeline file and its inputs, and say what each stage would do; nothing is run or written.

Exit code 2, with the place and the nearest known word, for what cannot be run.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.pipeline.common import add_file, asked

EXAMPLE = """examples:
  edgehone pipeline check pipeline.yaml
  edgehone pipeline check edge_ai_pipeline.yaml --model ./my-model
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_file(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.pipeline.plan import check_inputs, planned, work_of

    work = work_of(asked(args))
    check_inputs(work)
    stages = planned(work.document)
    rows = [
        {
            "stage": one.name,
            "says": one.says,
            "needs": one.needs,
            "approval": one.approval(work.pipeline),
            "settings": dict(one.settings(work.pipeline)),
        }
        for one in stages
    ]
    if args.json:
        print(json.dumps({"out": str(work.out), "stages": rows}, indent=1))
        return 0
    for row in rows:
        after = f" (after {row['needs']})" if row["needs"] else ""
        waits = "; waits for approval" if row["approval"] == "manual" else ""
        print(f"{row['stage']}{after}: {row['says']}{waits}")
        for name, value in row["settings"].items():
            if value not in (None, (), []):
                print(f"    {name}: {_shown(value)}")
    print(f"next: edgehone pipeline run {args.file}")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
