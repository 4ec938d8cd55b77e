"""Tell which frameworks and recipes deserve a try for a model on a device, and what to expect. Nothing is built.

Predictions are labelled as such: bytes and memory by the recipe's bits, decode by the memory's bandwidth. `optimize`
follows the same plan, and measures.
"""

from __future__ import annotations

import argparse
import json

EXAMPLE = """examples:
  edgehone recommend ./my-model
  edgehone recommend ./my-model --device raspberry-pi-5 --workload chat
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model's folder or file")
    parser.add_argument("--device", metavar="NAME", help="a device of the catalogue (default: this machine)")
    parser.add_argument("--workload", help="what will be asked of it (default: by the model)")
    parser.add_argument(
        "--effort", choices=("quick", "normal", "thorough"), default="normal", help="how many recipes"
    )
    parser.add_argument("--backends", metavar="NAME,…", help="only these backends (default: all that can)")
    parser.add_argument("--config", metavar="FILE", help="instead of ./edgehone.toml")


def run(args: argparse.Namespace) -> int:
    """Run the verb; exit 1 where this machine cannot build what it recommends."""
    from edgehone.core import config
    from edgehone.optimize.recommend import advise
    from edgehone.report.recommendation import shown

    names = [name for name in args.backends.split(",") if name] if args.backends else None
    model, target, found, note = advise(
        args.model,
        config.read(args.config),
        device=args.device,
        work=args.workload,
        effort=args.effort,
        backends=names,
    )
    if args.json:
        told = {"model": str(model.path), "device": target.name, "bandwidth": target.bandwidth.to_json()}
        print(json.dumps({**told, "note": note, **found.to_json()}, indent=1))
    else:
        print(shown(model, target, found, note))
    return 1 if found.obstacles else 0
