"""Check a pipeline file and its inputs, and say what each stage would do; nothing is run or written.

Exit code 2, with the place and the nearest known word, for what cannot be run.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from edgehone.cli.pipeline.common import add_file, asked

if TYPE_CHECKING:
    from edgehone.pipeline.stage import Stage
    from edgehone.pipeline.work import Work

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
    if args.json:
        print(json.dumps({"out": str(work.out), "stages": [_row(one, work) for one in stages]}, indent=1))
        return 0
    for one in stages:
        after = f" (after {one.needs})" if one.needs else ""
        waits = "; waits for approval" if one.approval(work.pipeline) == "manual" else ""
        print(f"{one.name}{after}: {one.says}{waits}")
        for name, value in one.settings(work.pipeline).items():
            if value not in (None, (), []):
                print(f"    {name}: {_shown(value)}")
    print(f"next: edgehone pipeline run {args.file}")
    return 0


def _row(stage: Stage, work: Work) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "says": stage.says,
        "needs": stage.needs,
        "approval": stage.approval(work.pipeline),
        "settings": dict(stage.settings(work.pipeline)),
    }


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
