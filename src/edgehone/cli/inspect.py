"""Show the facts in a model's headers, and which backends can build it.

The weights are not loaded. With --scan, --parity or --baseline the model is also validated: its files are scanned, each
backend converts it without quantization and must give the original's outputs, and the original is measured.

Exit code 1 if a scan finds a problem, or no backend's conversion matches.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from edgehone.core.printable import printable

if TYPE_CHECKING:
    from edgehone.model.info import ModelInfo, Tensor
    from edgehone.optimize.validate import Validated

EXAMPLE = """examples:
  edgehone inspect ./my-model
  edgehone inspect ./classifier.onnx --json
  edgehone inspect ./my-model --scan --parity --baseline --backends llamacpp,openvino
"""
_SHOWN = 12  # operators in the table; --json lists all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a Hugging Face model, or a model file: .onnx, .pt2, .gguf",
    )
    parser.add_argument(
        "--scan",
        action="store_true",
        help="scan all files: code in pickles, damaged files, foreign operators",
    )
    parser.add_argument(
        "--parity", action="store_true", help="convert it by each backend, and compare with the original"
    )
    parser.add_argument(
        "--baseline", action="store_true", help="measure the original's speed and memory (with --parity)"
    )
    options = parser.add_argument_group("for --parity and --baseline, as of edgehone optimize")
    options.add_argument("--backends", metavar="NAME,…", help="only these backends")
    options.add_argument("--device", metavar="NAME", help="ssh://user@host (default: this machine)")
    options.add_argument("--workload", metavar="NAME", help="lengths and number of the requests")
    options.add_argument("--effort", choices=("quick", "normal", "thorough"), default="normal")
    options.add_argument("--eval", metavar="FILE", help="evaluation text or samples")
    options.add_argument("--calibrate", metavar="FILE", help="calibration text or samples")
    options.add_argument("--metric", metavar="NAME", help="metric of labelled samples")
    options.add_argument("--config", metavar="FILE", help="configuration file (default: ./edgehone.toml)")
    options.add_argument("--when-busy", choices=("wait", "measure", "stop"), default="wait")


def run(args: argparse.Namespace) -> int:
    """Run the verb: print a table, or JSON."""
    from edgehone.model.inspect import inspect

    info = inspect(args.model)
    backends = _backends(info)
    found = _scan(args) if args.scan else None
    validated = _validated(args) if args.parity or args.baseline else None
    code = _code(found, validated)
    if args.json:
        more = {"scan": found} if found else {}
        more |= {"validation": validated.to_json()} if validated else {}
        print(json.dumps({**info.to_json(), "backends": backends, **more}, indent=2))
        return code
    for name, value in _rows(info):
        print(f"{name:<20}{value}")
    print("\nbackends")
    for name, support in backends.items():
        answer = "; ".join(["yes" if support["ok"] else "no", *support["reasons"]])
        print(f"  {name:<18}{printable(answer)}")
    _print_validated(found, validated)
    return code


def _scan(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from edgehone.certify.original_files import scan

    found = scan(args.model).items()
    return {name: {"outcome": one.outcome, "reason": one.reason, **dict(one.evidence)} for name, one in found}


def _validated(args: argparse.Namespace) -> Validated:
    from edgehone.optimize.validate import validate
    from edgehone.report.live import live

    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        return validate(
            args.model,
            baseline=args.baseline,
            device=args.device,
            workload=args.workload,
            effort=args.effort,
            backends=[name for name in args.backends.split(",") if name] if args.backends else None,
            evaluation=args.eval,
            calibration=args.calibrate,
            metric=args.metric,
            when_busy=args.when_busy,
            config_file=args.config,
            emit=emit,
        )


def _code(found: dict[str, dict[str, Any]] | None, validated: Validated | None) -> int:
    unsafe = any(one["outcome"] == "failed" for one in (found or {}).values())
    unlike = validated is not None and not any(one.passed for one in validated.conversions)
    return 1 if unsafe or unlike else 0


def _print_validated(found: dict[str, dict[str, Any]] | None, validated: Validated | None) -> None:
    if found:
        print("\nscan")
        for name, one in found.items():
            print(f"  {name:<18}{one['outcome']}: {printable(one['reason'])}")
    if validated is None:
        return
    print("\nunquantized conversions")
    for conversion in validated.conversions:
        answer = "passed" if conversion.passed else "failed"
        print(f"  {conversion.backend:<18}{answer}: {printable(conversion.reason)}")
    for name, reason in validated.refused.items():
        print(f"  {name:<18}not tried: {printable(reason)}")
    measured = {name: one for name, one in validated.baseline.items() if one.value is not None}
    if measured:
        print("\nthe original")
    for name, figure in measured.items():
        print(f"  {name:<26}{figure.value:.6g} {figure.unit}")


def _backends(info: ModelInfo) -> dict[str, dict[str, Any]]:
    from edgehone.backends.registry import load_all

    answers = {name: backend.supports(info) for name, backend in load_all().items()}
    return {name: {"ok": answer.ok, "reasons": list(answer.reasons)} for name, answer in answers.items()}


def _rows(info: ModelInfo) -> list[tuple[str, str]]:
    stored = ", ".join(f"{dtype} {count:,}" for dtype, count in info.dtypes.items())
    rows: list[tuple[str, Any]] = [
        ("model", info.path),
        ("format", info.format),
        ("architecture", f"{info.architecture} ({info.model_type})"),
        ("task", info.task),
        ("parameters", f"{info.parameters:,} ({stored})"),
        ("weights", f"{info.bytes:,} bytes"),
        ("layers", info.layers),
        ("hidden size", info.hidden_size),
        ("heads", _heads(info)),
        ("vocabulary", info.vocabulary),
        ("context", info.context),
        ("experts", _experts(info)),
        ("KV cache", _cache(info) if info.kind == "language" else None),
        ("tokenizer", info.tokenizer),
        ("chat template", ("yes" if info.chat_template else "no") if info.kind == "language" else None),
        ("opset", info.opset),
        *(("input", _tensor(tensor)) for tensor in info.inputs),
        *(("output", _tensor(tensor)) for tensor in info.outputs),
        *(("state", f"{pair}, if samples are sequences") for pair in _states(info)),
        ("operators", _operators(info)),
        ("quantized", info.quantized),
        ("remote code", "yes: the model needs the code in its folder" if info.remote_code else None),
        ("licence", info.licence or "not stated"),
    ]
    rows += [("note", note) for note in info.notes]
    return [(name, printable(str(value))) for name, value in rows if value is not None]


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join("?" if extent is None else str(extent) for extent in tensor.shape)
    return f"{tensor.name}: {tensor.dtype} [{shape}]"


def _states(info: ModelInfo) -> list[str]:
    """Return the outputs that look like the next value of an input, as --state names them."""
    from edgehone.inputs import states

    return states.recognize(info.inputs, info.outputs)


def _operators(info: ModelInfo) -> str | None:
    if not info.operators:
        return None
    more = len(info.operators) - _SHOWN
    shown = ", ".join(info.operators[:_SHOWN])
    return f"{len(info.operators)}: {shown}" + (f" and {more} more" if more > 0 else "")


def _heads(info: ModelInfo) -> str | None:
    if info.heads is None:
        return None
    parts = [str(info.heads)]
    if info.kv_heads is not None:
        parts.append(f"{info.kv_heads} for keys and values")
    if info.head_dim is not None:
        parts.append(f"{info.head_dim} wide")
    return ", ".join(parts)


def _experts(info: ModelInfo) -> str | None:
    if info.experts is None:
        return None
    used = info.experts_per_token
    return f"{info.experts}" if used is None else f"{info.experts}, {used} per token"


def _cache(info: ModelInfo) -> str:
    if info.kv_bytes_per_token is None:
        return "unknown"
    text = f"{info.kv_bytes_per_token:,} bytes per token at 16 bits"
    if info.kv_windowed_bytes_per_token and info.sliding_window:
        text += (
            f", {info.kv_windowed_bytes_per_token:,} of them for the last {info.sliding_window:,} tokens only"
        )
    return text
