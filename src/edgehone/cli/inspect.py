"""Show the facts in a model's headers, and which backends can build it.

The weights are not loaded.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.model.info import ModelInfo, Tensor

EXAMPLE = """examples:
  edgehone inspect ./my-model
  edgehone inspect ./classifier.onnx --json
"""
_SHOWN = 12  # operators in the table; --json lists all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a Hugging Face model, or a model file: .onnx, .pt2, .gguf",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb: print a table, or JSON."""
    from edgehone.model.inspect import inspect

    info = inspect(args.model)
    backends = _backends(info)
    if args.json:
        print(json.dumps({**info.to_json(), "backends": backends}, indent=2))
        return 0
    for name, value in _rows(info):
        print(f"{name:<20}{value}")
    print("\nbackends")
    for name, support in backends.items():
        answer = "; ".join(["yes" if support["ok"] else "no", *support["reasons"]])
        print(f"  {name:<18}{printable(answer)}")
    return 0


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
        ("operators", _operators(info)),
        ("quantized", info.quantized),
        ("remote code", "yes: the model needs the code in its folder" if info.remote_code else None),
        ("licence", info.licence or "not stated"),
    ]
    rows += [("note", note) for note in info.notes]
    return [(name, printable(str(value))) for name, value in rows if value is not None]


def printable(text: str) -> str:
    """Return `text` with control characters escaped: names in a model file may contain terminal commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join("?" if extent is None else str(extent) for extent in tensor.shape)
    return f"{tensor.name}: {tensor.dtype} [{shape}]"


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
