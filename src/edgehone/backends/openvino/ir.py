"""What is common to every IR that the openvino backend writes: its file's name, and what it really holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MODEL = "openvino_model.xml"
PORTS = (
    "ports.json"  # of a graph: {"inputs": [...], "outputs": [...]}, the original's names in the IR's order
)

# Names that the export gives them, after those of transformers' modules (MixtralSparseMoeBlock.gate and its like).
ROUTER = re.compile(r"\blayers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate\b")
_PARTS = {"router": ROUTER, "experts": re.compile(r"\blayers\.\d+\..*\bexperts\b")}


def save(model: Any, folder: Path, *, fp16: bool = False, name: str = MODEL) -> None:
    """Write the IR (worker side), its XML without the spaces between its tags: an eighth of it in a small model."""
    import openvino as ov

    ov.save_model(model, folder / name, compress_to_fp16=fp16)
    compact(folder / name)


def compact(path: Path) -> None:
    """Take the spaces between tags out of an XML file; no `<` stands in a value, where it is written `&lt;`."""
    path.write_text(re.sub(r">\s+<", "><", path.read_text("utf-8")), encoding="utf-8")


def facts(folder: Path, model: str = MODEL) -> dict[str, Any]:
    """What the saved IR really holds (worker side): weight tensors by element type, the bytes of all files,
    and of a mixture of experts the types of routers and experts apart."""
    import openvino as ov

    weights: list[tuple[str, str]] = []
    for node in ov.Core().read_model(folder / model).get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() != "Constant" or "/zero_point" in name or "/scale" in name:
            continue
        shape = list(node.get_output_shape(0))
        # Weights are matrices (grouped: of rank 3); what is smaller are norms, masks and shapes.
        if len(shape) > 1 and sum(size > 1 for size in shape) > 1:
            weights.append((name, node.get_output_element_type(0).get_type_name()))
    found: dict[str, Any] = {
        "weight_types": dict(Counter(kind for _, kind in weights)),
        "bytes": size(folder),
    }
    if experts := expert_types(weights):
        found["experts"] = experts
    return found


def size(folder: Path) -> int:
    """Bytes of the folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def expert_types(constants: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Element type → weights, of routers and experts apart; `constants` are names and types of the weights."""
    found = {part: Counter[str]() for part in _PARTS}
    for name, kind in constants:
        for part, pattern in _PARTS.items():
            if pattern.search(name):
                found[part][kind] += 1
    return {part: dict(kinds) for part, kinds in found.items() if kinds}
