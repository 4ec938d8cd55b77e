"""OpenVINO IR files: file names, saving, and the facts that are read back from a saved IR."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgehone.backends.shared import quantized_weights

MODEL = "openvino_model.xml"
# Graphs only: {"inputs": [...], "outputs": [...]}, the original's names in the order of the IR's ports.
PORTS = "ports.json"

# Names of routers and experts in an exported graph, derived from transformers' modules (MixtralSparseMoeBlock.gate, …).
ROUTER = re.compile(r"\blayers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate\b")
_PARTS = {"router": ROUTER, "experts": re.compile(r"\blayers\.\d+\..*\bexperts\b")}
# Element types of float weights, and of those with 8 bits or fewer.
_FLOATS = ("f16", "f32", "f64", "bf16")
_SHORT = ("u8", "i8", "u4", "i4", "u2", "i2", "u1", "u3", "u6", "nf4", "f4e2m1", "f8e4m3", "f8e5m2")


def save(model: Any, folder: Path, *, fp16: bool = False, name: str = MODEL) -> None:
    """Write the IR (worker side) with compact XML.

    `fp16` stores float weights in 16 bits.
    """
    import openvino as ov

    ov.save_model(model, folder / name, compress_to_fp16=fp16)
    compact(folder / name)


def compact(path: Path) -> None:
    """Remove the whitespace between the tags of an XML file.

    That is an eighth of the IR of a small model. It is safe because `<` is written `&lt;` inside values.
    """
    path.write_text(re.sub(r">\s+<", "><", path.read_text("utf-8")), encoding="utf-8")


def facts(folder: Path, model: str = MODEL) -> dict[str, Any]:
    """Read the facts of a saved IR (worker side).

    Returns `weight_types` (weight tensors by element type), the facts of `quantized_weights`, `bytes` (of all files in
    the folder) and, for a mixture of experts, `experts` (element types of routers and experts separately).
    """
    import openvino as ov

    weights: list[tuple[str, str]] = []
    elements: list[tuple[str, int, bool]] = []
    for node in ov.Core().read_model(folder / model).get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() != "Constant" or "/zero_point" in name or "/scale" in name:
            continue
        shape = list(node.get_output_shape(0))
        # Weights are matrices, or of rank 3 when grouped. Constants of lower rank are norms, masks and shapes.
        if quantized_weights.is_matrix(shape):
            kind = node.get_output_element_type(0).get_type_name()
            weights.append((name, kind))
            if kind in _FLOATS or kind in _SHORT:
                elements.append((name, math.prod(shape), kind in _SHORT))
    result: dict[str, Any] = {
        "weight_types": dict(Counter(kind for _, kind in weights)),
        **quantized_weights.facts(elements),
        "bytes": size(folder),
    }
    if experts := expert_types(weights):
        result["experts"] = experts
    return result


def size(folder: Path) -> int:
    """Return the total size of the folder's files in bytes."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def expert_types(constants: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Count weights by element type, separately for routers and experts.

    `constants` holds the name and element type of each weight.
    """
    counts = {part: Counter[str]() for part in _PARTS}
    for name, kind in constants:
        for part, pattern in _PARTS.items():
            if pattern.search(name):
                counts[part][kind] += 1
    return {part: dict(kinds) for part, kinds in counts.items() if kinds}
