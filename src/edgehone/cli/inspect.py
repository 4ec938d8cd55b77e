"""Tell what a model is, from its headers only, and what each backend can do with it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.model import ModelInfo

EXAMPLE = "edgehone inspect ./my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a Hugging Face causal language model")


def run(args: argparse.Namespace) -> int:
    """Print the facts as a table, or as JSON."""
    from edgehone.model import inspect

    info = inspect(args.model)
    backends = _backends(info)
    if args.json:
        print(json.dumps({**info.to_json(), "backends": backends}, indent=2))
        return 0
    for name, value in _rows(info):
        print(f"{name:<20}{value}")
    print("\nbackends")
    for name, support in backends.items():
        print(f"  {name:<18}{'; '.join(['yes' if support['ok'] else 'no', *support['reasons']])}")
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
        ("KV cache", _cache(info)),
        ("tokenizer", info.tokenizer),
        ("chat template", "yes" if info.chat_template else "no"),
        ("quantized", info.quantized),
        ("remote code", "yes: the model brings code of its own" if info.remote_code else None),
        ("licence", info.licence or "not stated"),
    ]
    rows += [("note", note) for note in info.notes]
    return [(name, str(value)) for name, value in rows if value is not None]


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
    return f"{info.experts}" if used is None else f"{info.experts}, {used} a token"


def _cache(info: ModelInfo) -> str:
    if info.kv_bytes_per_token is None:
        return "unknown"
    return f"{info.kv_bytes_per_token:,} bytes a token at 16 bits"
