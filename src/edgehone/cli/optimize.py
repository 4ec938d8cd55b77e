"""Optimize a model for a device, prove the result against the original, and write a bundle.

Builds candidates, compares each with the original, measures them, chooses one and writes it as a bundle.

MODEL is a Hugging Face folder (config.json, safetensors, tokenizer), an ONNX, exported PyTorch (.pt2) or GGUF file, or
a name in a store of this machine: OWNER/NAME in the hub's cache, ollama:NAME, lmstudio:PUBLISHER/NAME. A hub name is
downloaded only with --download. To continue an interrupted run, run the same command again. Exit
code 3 if no candidate passes every gate; then the best that keeps the quality is written, marked as not approved. Exit
code 4 if one may pass, but other programs kept the machine too busy to tell.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.core.events import Emit
    from edgehone.decision.decision import Decision
    from edgehone.decision.errors import NothingPasses

EXAMPLE = """examples:
  edgehone optimize ./my-model
  edgehone optimize ./my-model --workload chat --effort quick --out ./bundle
  edgehone optimize ./my-model --time 10m --minimize latency --subject-to "accuracy>=0.97"
  edgehone optimize ./my-model --device raspberry-pi-5 --out ./for-the-pi
  edgehone optimize ./my-model --device ssh://pi@kitchen --out ./for-the-pi
  edgehone optimize ollama:llama3.2:3b --backends llamacpp
  edgehone optimize ./my-model --adapter ./my-lora
  edgehone optimize ./my-model --gate speedup=1.5 --gate memory_cut=off --backends llamacpp,openvino
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model's folder or file, OWNER/NAME in the hub's cache, ollama:NAME or lmstudio:PUBLISHER/NAME",
    )
    parser.add_argument(
        "--download", action="store_true", help="download MODEL (OWNER/NAME[:PART]) from the hub"
    )
    parser.add_argument(
        "--revision",
        metavar="REV",
        help="with --download: a commit, which pins the model, a tag or a branch (default: main)",
    )
    parser.add_argument(
        "--adapter", metavar="DIR", help="a LoRA adapter (PEFT folder) to merge into MODEL first"
    )
    parser.add_argument(
        "--keep-adapter",
        action="store_true",
        help="keep the adapter in a file beside the base model, where the runtime can (llama.cpp)",
    )
    parser.add_argument(
        "--against",
        metavar="FLOAT",
        help="for a quantized GGUF file: its float original; the loss is told against both (the gates use MODEL)",
    )
    parser.add_argument(
        "--out", metavar="BUNDLE", help="folder of the bundle (default: MODEL's name + -edgehone)"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: ./edgehone.toml)")
    _add_device(parser.add_argument_group("device and workload"))
    _add_evaluation(parser.add_argument_group("evaluation"))
    _add_search(parser.add_argument_group("recipes and time"))
    _add_requirements(parser.add_argument_group("requirements and objectives"))


def _add_device(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--device",
        metavar="NAME",
        help="ssh://user@host is measured over SSH; a name of the device catalogue is predicted "
        "(default: this machine)",
    )
    group.add_argument(
        "--workers",
        metavar="SCHEDULER",
        help="scheduler of a Dask cluster, tcp://host:8786: its workers build; those named --device measure",
    )
    group.add_argument(
        "--workload",
        metavar="NAME",
        help="prompt and output lengths, batch, concurrency (default: chat; classify or embed for models "
        "that generate no text)",
    )


def _add_evaluation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--eval",
        metavar="FILE",
        help="evaluation text, UTF-8 (default: the shipped text); for models that generate no text, samples: "
        "npz, jsonl or a folder of images",
    )
    group.add_argument(
        "--calibrate",
        metavar="FILE",
        help="calibration text (default: the shipped text), or samples (default: a part of --eval)",
    )
    group.add_argument(
        "--chat",
        metavar="FILE",
        nargs="?",
        const="",
        help="evaluate a chat model on conversations (JSON lines with messages; without FILE the shipped ones), on the "
        "answers that the original gives",
    )
    group.add_argument(
        "--task",
        metavar="FILE",
        help="multiple-choice questions, JSON lines: prompt, choices, answer; or tasks for chat: messages, check "
        "('chat': the shipped ones)",
    )
    group.add_argument(
        "--metric",
        metavar="NAME",
        help="metric for samples with labels: accuracy, topK, f1, auroc, average_precision, map, iou, cer, wer, mse, "
        "rmse, cosine, ndcg, spearman or MODULE:FUNCTION",
    )
    _add_graph(group)
    group.add_argument(
        "--pictures",
        metavar="PATH",
        help="for vision-language models: a folder of pictures, or JSON lines: image, text, answer "
        "(default: drawn pictures)",
    )


def _add_graph(group: argparse._ArgumentGroup) -> None:
    """Add what the inputs and outputs of a graph are."""
    group.add_argument(
        "--task-kind",
        metavar="KIND",
        help="what the outputs of a graph decide: classification, multi-label, binary, audio-decisions, "
        "token-classification, ctc, embedding, detection, segmentation, regression, sound or unknown (default: "
        "recognized)",
    )
    group.add_argument(
        "--axes",
        metavar="NAME=AXIS,…",
        action="append",
        default=[],
        help="the axes of an input or output of a graph; the one called batch holds the samples: "
        "x=time,batch,features, and rate= for one value for all samples; may be repeated (default: recognized)",
    )
    group.add_argument(
        "--state",
        metavar="OUTPUT=INPUT",
        action="append",
        default=[],
        help="an output of a graph that the next step takes as an input, such as hn=h: samples are then sequences, "
        "with an axis of steps after that of the samples, and without the state; may be repeated (default: "
        "recognized by the names, if the samples lack these inputs)",
    )


def _add_search(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--effort",
        choices=("quick", "normal", "thorough"),
        default="normal",
        help="number of recipes, evaluation windows and benchmark rounds (default: normal)",
    )
    group.add_argument(
        "--time",
        metavar="LENGTH",
        help="search all recipes for this long (90s, 10m, 1h30m) and choose the best one proven by then",
    )
    group.add_argument(
        "--when-busy",
        choices=("wait", "measure", "stop"),
        default="wait",
        help="if other programs leave no undisturbed time to measure speed in: wait for a while and measure again, "
        "measure as it is, or stop with exit code 4 (default: wait)",
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory that a build may take, such as 12GB; recipes that need more are left out (default: what is free)",
    )
    group.add_argument(
        "--disk", metavar="SIZE", help="disk that the run may take, such as 20GB (default: what is free)"
    )
    group.add_argument(
        "--backends", metavar="NAME,…", help="try only these backends (default: all that take the model)"
    )


def _add_requirements(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gate",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a gate's threshold, or drop the gate with NAME=off; may be repeated",
    )
    group.add_argument(
        "--subject-to",
        metavar="LIMIT",
        action="append",
        default=[],
        help='additional gate: "bytes<=60MB", "ttft<=200ms", "accuracy>=0.97" (accuracy, or accuracy_kept, is '
        "the share of the original's accuracy that is kept; next_token_accuracy and task_accuracy are the candidate's "
        "own, whatever the original's is); may be repeated",
    )
    group.add_argument(
        "--target",
        metavar="LIMIT",
        action="append",
        default=[],
        help='a wish, not a gate: "decode>=30", "ttft<=300ms", "bytes<=60MB": of the candidates that pass, the best '
        "that meets all targets is chosen, else the nearest; may be repeated",
    )
    group.add_argument(
        "--no-fallback",
        action="store_true",
        help="write no bundle if no candidate passes every gate (default: the best that keeps the "
        "quality, not approved)",
    )
    group.add_argument(
        "--minimize",
        metavar="OBJECTIVE",
        action="append",
        default=[],
        help="latency, memory, bytes or divergence; several get equal weight",
    )
    group.add_argument(
        "--maximize",
        metavar="OBJECTIVE",
        action="append",
        default=[],
        help="speed or quality; several get equal weight",
    )
    group.add_argument(
        "--weights",
        metavar="NAME=N,…",
        help="weights of speed, throughput, quality, memory and size (default: those of the workload)",
    )


def _task(given: str | None) -> str | Path | None:
    """Return the file of the tasks; that of the shipped ones for "chat", unless there is a file of this name."""
    from edgehone.inputs import chat_tasks

    return chat_tasks.shipped() if given == "chat" and not Path(given).exists() else given


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.decision.errors import NothingPasses
    from edgehone.model.stores.locate import named
    from edgehone.report.live import live

    out = Path(args.out or f"{named(args.model)}-edgehone")
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        failed: NothingPasses | None = None
        try:
            decision = _decide(args, out, emit)
        except NothingPasses as error:
            failed, decision = error, error.decision
    _print_decision(decision, args.json)
    if failed is not None:
        return _print_failure(failed)
    if not args.json:
        graph = decision.workload["task"] == "graph"
        example = "--input SAMPLES.npz" if graph else '--prompt "Once upon a time"'
        print(f"\nBundle: {out}\nNext:   edgehone run {out} {example}")
    return 0


def _decide(args: argparse.Namespace, out: Path, emit: Emit) -> Decision:
    from edgehone import optimize
    from edgehone.core.sizes import bytes_of_size
    from edgehone.optimize.search.clock import seconds_of

    return optimize(
        _model(args, emit),
        adapter=args.adapter,
        keep_adapter=args.keep_adapter,
        against=args.against,
        device=args.device,
        workers=args.workers,
        workload=args.workload,
        effort=args.effort,
        backends=[name for name in args.backends.split(",") if name] if args.backends else None,
        evaluation=args.eval,
        calibration=args.calibrate,
        chat=args.chat,
        task=_task(args.task),
        metric=args.metric,
        task_kind=args.task_kind,
        axes=args.axes,
        states=args.state,
        pictures=args.pictures,
        gates=args.gate,
        time=seconds_of(args.time) if args.time else None,
        minimize=args.minimize,
        maximize=args.maximize,
        subject_to=args.subject_to,
        targets=args.target,
        fallback=not args.no_fallback,
        weights=args.weights,
        when_busy=args.when_busy,
        memory=bytes_of_size(args.memory, "--memory") if args.memory else None,
        disk=bytes_of_size(args.disk, "--disk") if args.disk else None,
        out=out,
        config_file=args.config,
        emit=emit,
    )


def _model(args: argparse.Namespace, emit: Emit) -> str | Path:
    """Return the model, downloaded if that was asked for."""
    from edgehone.core.errors import InputError
    from edgehone.hub.download import download

    if args.download:
        return download(args.model, emit, args.revision)
    if args.revision:
        raise InputError(
            f"--revision {args.revision} without --download",
            hint=f"add --download, or name a revision in the hub's cache: {args.model}@{args.revision}",
        )
    return str(args.model)


def _print_decision(decision: Decision, as_json: bool) -> None:
    from edgehone.report.plot import plot
    from edgehone.report.summary import summary

    if as_json:
        print(json.dumps(decision.to_json(), indent=1))
        return
    print(summary(decision))
    if drawn := plot(decision, unicode=sys.stdout.isatty()):
        print(f"\n{drawn}")


def _print_failure(failed: NothingPasses) -> int:
    """Say what was written nevertheless and what to do next; return the exit code."""
    if failed.bundle is not None:
        print(f"\nBundle, not approved: {failed.bundle} ({failed.decision.fallback})", file=sys.stderr)
    print(f"\nnext:  {failed.hint}", file=sys.stderr)
    return failed.exit_code
