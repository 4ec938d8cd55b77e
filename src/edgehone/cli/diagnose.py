"""Find the causes of problems with a bundle, a model or a toolchain's log, and their remedies.

Causes are judged by facts about the bundle and this machine; nothing is measured but what other programs want of the
processors, for half a second. With --apply, remedies that change runtime settings are measured before and after, and
kept only if they help.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.diagnosis import Diagnosis

EXAMPLE = """examples:
  edgehone diagnose ./bundle
  edgehone diagnose ./bundle --symptom slow --all
  edgehone diagnose ./bundle --apply
  edgehone diagnose ./my-model
  edgehone diagnose ./build.log
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("path", metavar="PATH", help="folder of a bundle, a model, or a log file")
    parser.add_argument(
        "--symptom",
        metavar="NAME",
        help="only this symptom: memory, slow, accuracy, compatibility, latency or throughput",
    )
    parser.add_argument("--all", action="store_true", help="show excluded and undetermined causes too")
    parser.add_argument(
        "--apply", action="store_true", help="try the remedies that change settings, and keep those that help"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="the original model, for --apply (default: the path recorded in the bundle)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.diagnosis import diagnose
    from edgehone.diagnosis.text import diagnosis_text

    diagnosis = diagnose(args.path, args.symptom)
    if args.apply:
        return _apply(args, diagnosis)
    as_json = json.dumps(diagnosis.to_json(), indent=1)
    print(as_json if args.json else diagnosis_text(diagnosis, everything=args.all))
    return 0


def _apply(args: argparse.Namespace, diagnosis: Diagnosis) -> int:
    from edgehone.core.errors import InputError
    from edgehone.diagnosis.apply import apply
    from edgehone.diagnosis.text import applied_text, diagnosis_text
    from edgehone.report.live import live

    if diagnosis.about != "bundle":
        raise InputError(
            f"{args.path} is a {diagnosis.about}: --apply needs a bundle",
            hint=f"edgehone diagnose {args.path}",
        )
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        applied = apply(args.path, diagnosis.found, model=args.model, emit=emit)
    if args.json:
        print(json.dumps({**diagnosis.to_json(), "applied": [one.to_json() for one in applied]}, indent=1))
    else:
        print(f"{diagnosis_text(diagnosis, everything=args.all)}\n\n{applied_text(applied)}")
    return 0
