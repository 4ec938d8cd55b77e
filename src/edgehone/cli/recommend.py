"""Recommend backends and recipes for a model on a device, with predicted size, memory and speed.

Nothing is built. Predictions are labelled as such: size and memory follow from the bits per weight, decoding speed
from the memory bandwidth. `edgehone optimize` follows the same plan and measures. Exit code 1 if this machine cannot
build what is recommended.
"""

from __future__ import annotations

import argparse
import json

EXAMPLE = """examples:
  edgehone recommend ./my-model
  edgehone recommend ./my-model --device raspberry-pi-5 --workload chat
  edgehone recommend ./my-model --effort quick --memory 12GB --disk 20GB
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model's folder or file")
    parser.add_argument("--device", metavar="NAME", help="device of the catalogue (default: this machine)")
    parser.add_argument(
        "--workload",
        metavar="NAME",
        help="prompt and output lengths, batch, concurrency (default: by the model)",
    )
    parser.add_argument(
        "--effort",
        choices=("quick", "normal", "thorough"),
        default="normal",
        help="number of recipes (default: normal)",
    )
    parser.add_argument(
        "--backends", metavar="NAME,…", help="only these backends (default: all that take the model)"
    )
    parser.add_argument("--memory", metavar="SIZE", help="memory that a build may take, such as 12GB")
    parser.add_argument("--disk", metavar="SIZE", help="disk that the run may take, such as 20GB")
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: ./edgehone.toml)")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if this machine cannot build what is recommended."""
    from edgehone.core import config
    from edgehone.core.sizes import bytes_of_size
    from edgehone.optimize.recommend import advise
    from edgehone.plan.run_cost import RunLimits
    from edgehone.report.recommendation import shown

    names = [name for name in args.backends.split(",") if name] if args.backends else None
    model, target, recommendation, note = advise(
        args.model,
        config.read(args.config),
        device=args.device,
        work=args.workload,
        effort=args.effort,
        backends=names,
        limits=RunLimits(
            memory=bytes_of_size(args.memory, "--memory") if args.memory else None,
            disk=bytes_of_size(args.disk, "--disk") if args.disk else None,
        ),
    )
    if args.json:
        subject = {"model": str(model.path), "device": target.name, "bandwidth": target.bandwidth.to_json()}
        print(json.dumps({**subject, "note": note, **recommendation.to_json()}, indent=1))
    else:
        print(shown(model, target, recommendation, note))
    return 1 if recommendation.obstacles else 0
