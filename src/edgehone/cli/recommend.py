"""Recommend backends and recipes for a model on a device, with predicted size, memory and speed.

Nothing is built. Predictions are labelled as such: size and memory follow from the bits per weight, decoding speed
from the memory bandwidth. `edgehone optimize` follows the same plan and measures; the last line is its command, with
the options given here. Exit code 1 if this machine cannot build what is recommended.
"""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.model.info import ModelInfo

EXAMPLE = """examples:
  edgehone recommend ./my-model
  edgehone recommend ./my-model --device raspberry-pi-5 --workload chat
  edgehone recommend ./my-model --effort quick --memory 12GB --disk 20GB
  edgehone recommend ./classifier.onnx --eval samples.npz
"""
# Options that `edgehone optimize` has too.
_SHARED = ("device", "workload", "effort", "backends", "eval", "memory", "disk", "config")


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
    parser.add_argument(
        "--eval",
        metavar="FILE",
        help="what `edgehone optimize` is to evaluate on; models that generate no text need samples: npz, jsonl or a "
        "folder of images",
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

    limits = RunLimits(
        memory=bytes_of_size(args.memory, "--memory") if args.memory else None,
        disk=bytes_of_size(args.disk, "--disk") if args.disk else None,
    )
    names = [name for name in args.backends.split(",") if name] if args.backends else None
    model, target, recommendation, note = advise(
        args.model,
        config.read(args.config),
        device=args.device,
        work=args.workload,
        effort=args.effort,
        backends=names,
        limits=limits,
    )
    command = _next(args, model)
    if args.json:
        subject = {"model": str(model.path), "device": target.name, "bandwidth": target.bandwidth.to_json()}
        print(json.dumps({**subject, "note": note, **recommendation.to_json(), "next": command}, indent=1))
    else:
        print(shown(model, target, recommendation, note, command))
    return 1 if recommendation.obstacles else 0


def _next(args: argparse.Namespace, model: ModelInfo) -> str:
    """Return the command that measures what was recommended. Raises an error of `optimize` about --eval now."""
    from edgehone.optimize.evaluate.evaluators import evaluator_for
    from edgehone.optimize.options import OptimizeOptions

    evaluator = evaluator_for(model)
    asked = evaluator.samples_asked(model)
    if args.eval:
        evaluator.inputs(OptimizeOptions(model.path, evaluation=args.eval), model)
    given = {name: value for name in _SHARED if (value := getattr(args, name))}
    if given["effort"] == "normal":  # the default of both
        del given["effort"]
    words = ["edgehone", "optimize", args.model]
    for name, value in given.items():
        words += [f"--{name}", value]
    # What a user must put in is not quoted, so that a shell stops there.
    return shlex.join(words) + (f" --eval {asked}" if asked and not args.eval else "")
