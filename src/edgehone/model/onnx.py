"""The facts about an ONNX model."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.formats.onnx import DEFAULT_DOMAIN, Model, read_model
from edgehone.formats.onnx_attention import has_attention
from edgehone.model.info import ModelInfo
from edgehone.model.licence import read_licence

# Prefixes of operators that only quantized graphs have, by the name of the kind of quantization.
_QUANTIZED = (
    ("matmulnbits", ("MatMulNBits", "GatherBlockQuantized", "MatMulBnb4", "QMoE")),
    ("qoperator", ("QLinear", "QGemm", "QAttention", "QEmbedLayerNormalization", "QOrdered")),
    ("dynamic", ("DynamicQuantize", "MatMulInteger", "ConvInteger")),
    ("qdq", ("DequantizeLinear",)),
)


def read(path: Path) -> ModelInfo:
    """Read the facts about the model in the file `path` and its external data files.

    Raises ModelError if the file violates the format, if the data of a tensor is missing, has the wrong size or lies
    outside of the model's folder, or if no supported runtime knows the opset.
    """
    model = read_model(path)
    _check_opsets(path, model)
    return ModelInfo(
        path=path,
        format="onnx",
        architecture=model.name or "graph",
        model_type="onnx",
        task="graph",
        parameters=model.dtypes.total(),
        bytes=sum({**model.files, path.name: path.stat().st_size}.values()),
        dtypes=dict(sorted(model.dtypes.items())),
        files=tuple(sorted({path.name, *model.files})),
        licence=read_licence(path.parent),
        quantized=_quantized(name for _, name in model.operators),
        notes=tuple(_notes(model)),
        inputs=tuple(tensor for tensor in model.inputs if tensor.name not in model.initializers),
        outputs=tuple(model.outputs),
        opset=model.opsets.get(DEFAULT_DOMAIN),
        attention=has_attention(model.nodes),
        operators=tuple(sorted(_operator(*used) for used in model.operators - model.functions)),
    )


def _check_opsets(path: Path, model: Model) -> None:
    runtime = known_runtime()
    hint = "export it with an older opset, or convert it: onnx.version_converter.convert_version"
    for domain, version in sorted(model.opsets.items()):
        highest = runtime["opsets"].get(domain)
        if highest is not None and not 1 <= version <= highest:
            raise ModelError(
                f"{path}: unsupported opset {version} of {domain}: "
                f"ONNX Runtime {runtime['version']} supports 1 to {highest}",
                hint=hint,
            )
    if model.ir_version is not None and not 1 <= model.ir_version <= runtime["ir_version"]:
        raise ModelError(
            f"{path}: unsupported IR version {model.ir_version}: "
            f"ONNX Runtime {runtime['version']} supports 1 to {runtime['ir_version']}",
            hint=f"save it again with an older onnx package, or with model.ir_version = {runtime['ir_version']}: the "
            "version alone says nothing about the operators in it",
        )


@functools.cache
def known_runtime() -> dict[str, Any]:
    """Return what the newest tested ONNX Runtime loads: its version, ir_version, and highest opsets by domain."""
    return tomllib.loads(Path(__file__).with_name("onnx_runtime.toml").read_text("utf-8"))


def _quantized(names: Iterable[str]) -> str | None:
    used = set(names)
    for quantization, prefixes in _QUANTIZED:
        if any(name.startswith(prefixes) for name in used):
            return quantization
    return None


def _notes(model: Model) -> Iterator[str]:
    producer = " ".join(part for part in (model.producer, model.producer_version) if part)
    yield f"IR version {model.ir_version}" + (f", made by {producer}" if producer else "")
    domains: dict[str, list[str]] = {}
    for domain, name in sorted(model.operators - model.functions):
        domains.setdefault(domain, []).append(name)
    for domain, names in domains.items():
        if domain not in known_runtime()["opsets"]:
            yield f"custom operators of {domain}, which ONNX Runtime does not include: {', '.join(names)}"
    if DEFAULT_DOMAIN in domains and DEFAULT_DOMAIN not in model.opsets:
        yield "it uses ONNX's own operators but states no opset for them"
    if model.constants > model.dtypes.total():
        yield f"{model.constants:,} numbers are in attributes of nodes and are not counted as parameters"
    if model.unranked:
        yield f"shape not stated: {', '.join(model.unranked)}"


def _operator(domain: str, name: str) -> str:
    return name if domain == DEFAULT_DOMAIN else f"{domain}::{name}"
