"""Hone a model for a device: build candidates, prove each against the original, measure, choose, bundle.

MODEL is a Hugging Face folder (config.json, safetensors, tokenizer), an ONNX, exported PyTorch (.pt2) or GGUF file,
or a hub name, which is fetched only with --download. An interrupted run goes on where it was: run the same again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

EXAMPLE = """examples:
  edgehone optimize ./my-model
  edgehone optimize ./my-model --workload chat --effort quick --out ./bundle
  edgehone optimize ./my-model --time 10m --minimize latency --subject-to "next_token_accuracy>=0.97"
  edgehone optimize ./my-model --device raspberry-pi-5 --out ./for-the-pi
  edgehone optimize ./my-model --device ssh://pi@kitchen --out ./for-the-pi
  edgehone optimize ./my-model --gate speedup=1.5 --gate memory_cut=off --backends llamacpp,openvino
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model's folder, or a hub name with --download")
    parser.add_argument("--download", action="store_true", help="fetch MODEL from the hub")
    parser.add_argument(
        "--out", metavar="BUNDLE", help="the bundle's folder (default: MODEL's name + -edgehone)"
    )
    parser.add_argument("--config", metavar="FILE", help="instead of ./edgehone.toml")
    _where(parser.add_argument_group("where it will run, and what will be asked of it"))
    _proof(parser.add_argument_group("what it is proven by"))
    _tried(parser.add_argument_group("what is tried, and for how long"))
    _aims(parser.add_argument_group("what is aimed at"))


def _where(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--device",
        metavar="NAME",
        help="ssh://user@host: measured there; a name of the catalogue: predicted (default: this machine)",
    )
    group.add_argument(
        "--workers",
        metavar="SCHEDULER",
        help="tcp://host:8786: the workers of a Dask cluster build, and measure where they are --device",
    )
    group.add_argument(
        "--workload", help="what will be asked of it (default: chat, or classify for what generates no text)"
    )


def _proof(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--eval",
        metavar="FILE",
        help="evaluation text, UTF-8 (default: a shipped one); else samples: npz, jsonl, a folder of images",
    )
    group.add_argument(
        "--calibrate",
        metavar="FILE",
        help="calibration text (default: a shipped one), or samples (default: a part of --eval)",
    )
    group.add_argument("--task", metavar="FILE", help="multiple choice, JSON lines: prompt, choices, answer")
    group.add_argument(
        "--metric",
        metavar="NAME",
        help="of samples with labels: accuracy, topK, f1, mse, cosine, spearman, MODULE:FUNCTION",
    )
    group.add_argument(
        "--pictures",
        metavar="PATH",
        help="of a model that sees: a folder of pictures, or JSON lines: image, text, answer (default: drawn ones)",
    )


def _tried(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--effort",
        choices=("quick", "normal", "thorough"),
        default="normal",
        help="how many recipes, how long",
    )
    group.add_argument(
        "--time",
        metavar="LENGTH",
        help="search all recipes for so long (90s, 10m, 1h30m) and take the best proven by then",
    )
    group.add_argument("--backends", metavar="NAME,…", help="only these backends (default: all that can)")


def _aims(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gate",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a gate, or drop it with NAME=off",
    )
    group.add_argument(
        "--subject-to",
        metavar="LIMIT",
        action="append",
        default=[],
        help='a gate of your own beside the others: "bytes<=60MB", "ttft<=200ms", "accuracy>=0.97"',
    )
    group.add_argument(
        "--minimize",
        metavar="WHAT",
        action="append",
        default=[],
        help="latency, memory, bytes or divergence alone; several weigh alike",
    )
    group.add_argument(
        "--maximize", metavar="WHAT", action="append", default=[], help="speed or quality, likewise"
    )
    group.add_argument(
        "--weights",
        metavar="NAME=N,…",
        help="of speed, throughput, quality, memory, size, instead of the workload's",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone import optimize
    from edgehone.decision.errors import (
        NothingPasses,
    )
    from edgehone.optimize.search.clock import seconds_of
    from edgehone.report.live import live
    from edgehone.report.plot import plot
    from edgehone.report.summary import summary

    model = args.model
    out = Path(args.out or f"{Path(model).resolve().name}-edgehone")
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        if args.download:
            from edgehone.optimize.download import download

            model = download(model, emit)
        failed: NothingPasses | None = None
        try:
            decision = optimize(
                model,
                device=args.device,
                workers=args.workers,
                workload=args.workload,
                effort=args.effort,
                backends=[name for name in args.backends.split(",") if name] if args.backends else None,
                evaluation=args.eval,
                calibration=args.calibrate,
                task=args.task,
                metric=args.metric,
                pictures=args.pictures,
                gates=args.gate,
                time=seconds_of(args.time) if args.time else None,
                minimize=args.minimize,
                maximize=args.maximize,
                subject_to=args.subject_to,
                weights=args.weights,
                out=out,
                config_file=args.config,
                emit=emit,
            )
        except NothingPasses as error:
            failed, decision = error, error.decision
    if args.json:
        print(json.dumps(decision.to_json(), indent=1))
    else:
        print(summary(decision))
        if drawn := plot(decision, unicode=sys.stdout.isatty()):
            print(f"\n{drawn}")
    if failed is not None:
        print(f"\nnext:  {failed.hint}", file=sys.stderr)
        return failed.exit_code
    if not args.json:
        graph = decision.workload["task"] == "graph"
        asked = "--input SAMPLES.npz" if graph else '--prompt "Once upon a time"'
        print(f"\nBundle: {out}\nNext:   edgehone run {out} {asked}")
    return 0
