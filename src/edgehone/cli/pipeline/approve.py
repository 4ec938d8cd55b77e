"""Approve a stage that waits, or reject it; the next run goes on.

The answer holds for the stage with these inputs and settings: if a stage before it has another result, it waits again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

from edgehone.cli.pipeline.common import add_out

EXAMPLE = """examples:
  edgehone pipeline approve pipeline.yaml production_deployment --by "A. Person" --why "field test passed"
  edgehone pipeline approve pipeline.yaml production_deployment --by "A. Person" --reject --why "too slow"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("file", metavar="FILE", help="pipeline file (YAML)")
    parser.add_argument("stage", metavar="STAGE", help="the stage that waits")
    parser.add_argument("--by", metavar="NAME", required=True, help="who answers")
    parser.add_argument("--why", metavar="TEXT", default="", help="the reason")
    parser.add_argument("--reject", action="store_true", help="reject it: the stage fails")
    add_out(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError
    from edgehone.pipeline.plan import Asked, work_of
    from edgehone.pipeline.record import NAME, Record

    out = work_of(Asked(Path(args.file), out=args.out)).out
    hint = f"edgehone pipeline run {args.file}"
    if not (out / NAME).is_file():
        raise InputError(f"{out} has no record of a run", hint=hint)
    record = Record(out)
    waiting = {
        name: one
        for name, one in record.results().items()
        if one.outcome == "waiting" or (one.outcome == "failed" and record.answer(name, one.key))
    }
    if args.stage not in waiting:
        names = ", ".join(waiting) or "no stage"
        raise InputError(f"{args.stage} does not wait for approval; {names} does", hint=hint)
    answer: Literal["approved", "rejected"] = "rejected" if args.reject else "approved"
    record.decide(args.stage, waiting[args.stage].key, answer, args.by, args.why)
    told = {"stage": args.stage, "answer": answer, "by": args.by, "why": args.why}
    print(json.dumps(told, indent=1) if args.json else f"{args.stage}: {answer} by {args.by}\nnext: {hint}")
    return 0
