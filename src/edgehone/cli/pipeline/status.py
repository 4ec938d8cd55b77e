"""Show how far a pipeline has come: the last result of each stage, what waits, and the events.

The record in the folder of the run is read; nothing is run.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.pipeline.common import add_file, asked, table

EXAMPLE = """examples:
  edgehone pipeline status pipeline.yaml
  edgehone pipeline status pipeline.yaml --out run --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_file(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError
    from edgehone.pipeline.plan import planned, work_of
    from edgehone.pipeline.record import NAME, Record

    work = work_of(asked(args))
    if not (work.out / NAME).is_file():
        raise InputError(f"{work.out} has no record of a run", hint=f"edgehone pipeline run {args.file}")
    record = Record(work.out)
    results, events = record.results(), record.events()
    if args.json:
        found = {name: one.to_json() for name, one in results.items()}
        fields = ("at", "run", "stage", "happened", "key")
        told = [dict(zip(fields, one, strict=True)) for one in events]
        print(json.dumps({"out": str(work.out), "results": found, "events": told}, indent=1))
        return 0
    print(table(planned(work.document), results))
    last = events[-1] if events else None
    if last and last[3] == "begun":
        print(f"\n{last[2]} began at {last[0][:19]} and has not ended: it runs, or was interrupted")
    print(f"\n{work.out / 'index.html'}")
    return 0
