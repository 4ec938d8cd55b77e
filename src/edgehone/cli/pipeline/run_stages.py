"""Run the stages of a pipeline file, and write the results.

Into the folder of the run (--out) go the bundle, logs, packages and rules, and as results: results.xml (JUnit),
results.md (for a pull request) and index.html. The same command goes on after an interruption; what has passed and is
unchanged is skipped.

Exit code 0: all stages have passed. 1: a stage failed. 2: the file or an input cannot be used, or the disk is full.
5: a stage waits for approval.
"""

from __future__ import annotations

import argparse
import json
import sys

from edgehone.cli.pipeline.common import add_file, asked, table

EXAMPLE = """examples:
  edgehone pipeline run pipeline.yaml
  edgehone pipeline run edge_ai_pipeline.yaml --model ./my-model --set testing.soak=30s --out run
  edgehone pipeline run pipeline.yaml --stage optimization
  edgehone pipeline run mobile_deployment.yaml --bundle ./bundle
"""
WAITING = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_file(parser)
    parser.add_argument(
        "--stage", metavar="NAME", help="run this stage alone; those before it must have passed"
    )
    parser.add_argument(
        "--again",
        action="append",
        default=[],
        metavar="NAME",
        help="run this stage although it has passed and is unchanged; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.pipeline.plan import check_inputs, check_stage, planned, work_of
    from edgehone.pipeline.run import run as run_pipeline

    work = work_of(asked(args))
    for name in (*args.again, *([args.stage] if args.stage else [])):
        check_stage(name, work.document)
    check_inputs(work)
    results = run_pipeline(
        work,
        lambda text: print(text, file=sys.stderr, flush=True),
        only=args.stage,
        again=args.again,
    )
    outcomes = {one.outcome for one in results}
    if args.json:
        print(json.dumps({"out": str(work.out), "stages": [one.to_json() for one in results]}, indent=1))
    else:
        print(table(planned(work.document), {one.stage: one for one in results}))
        print(f"\n{work.out / 'index.html'}")
    return 1 if "failed" in outcomes else WAITING if "waiting" in outcomes else 0
