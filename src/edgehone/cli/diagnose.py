"""Diagnose a bundle, a model, or a toolchain's log: causes with the evidence found here, and remedies in order.

Causes are judged by facts of the bundle and of this machine; nothing is measured. With --apply the remedies that are
runtime settings are tried: measured before and after, and kept only if they helped.
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
    """The verb's arguments."""
    parser.add_argument("path", metavar="WHAT", help="a bundle's folder, a model, or a log file")
    parser.add_argument(
        "--symptom", metavar="NAME", help="memory, slow, accuracy, compatibility, latency or throughput alone"
    )
    parser.add_argument("--all", action="store_true", help="show excluded causes and those left open too")
    parser.add_argument(
        "--apply", action="store_true", help="try the remedies that are settings, and keep what helps"
    )
    parser.add_argument("--model", metavar="MODEL", help="the original, for --apply (default: where it was)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.diagnosis import diagnose
    from edgehone.diagnosis.text import diagnosis_text

    made = diagnose(args.path, args.symptom)
    if args.apply:
        return _apply(args, made)
    told = json.dumps(made.to_json(), indent=1)
    print(told if args.json else diagnosis_text(made, everything=args.all))
    return 0


def _apply(args: argparse.Namespace, made: Diagnosis) -> int:
    from edgehone.core.errors import InputError
    from edgehone.diagnosis.apply import apply
    from edgehone.diagnosis.text import applied_text, diagnosis_text
    from edgehone.report.live import live

    if made.about != "bundle":
        raise InputError(
            f"{args.path} is a {made.about}: settings can be put into a bundle only",
            hint=f"edgehone diagnose {args.path}",
        )
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        done = apply(args.path, made.found, model=args.model, emit=emit)
    if args.json:
        print(json.dumps({**made.to_json(), "applied": [one.to_json() for one in done]}, indent=1))
    else:
        print(f"{diagnosis_text(made, everything=args.all)}\n\n{applied_text(done)}")
    return 0
