"""The first canary of a graph as plain files, so that samples in any language can run it and compare the outputs.

    canary.json                   {"inputs": […], "outputs": […]}, each {"name", "type", "shape", "file"}
    input-0.bin, output-0.bin     the entries in C order, little-endian

Each output also has `allowed`: how far it may be from the proven one, as a share of its largest entry; for whole
numbers, the share of entries that may differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgehone.worker.closeness import largest, limit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FOLDER: Final = "canary"
FILE: Final = "canary.json"
# Kernels for whole numbers round ties in another way on another processor: then a quantized value is another step of
# 255, and later layers may double it. A wrong layout or scale changes outputs by a tenth or more.
QUANTIZED_ALLOWED: Final = 0.02


def write(
    folder: Path, question: Arrays, answer: Arrays, *, quantized: bool
) -> dict[str, list[dict[str, Any]]]:
    """Write a request and the proven outputs; return the content of canary.json."""
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, list[dict[str, Any]]] = {}
    for part, arrays in (("input", question), ("output", answer)):
        told[f"{part}s"] = [
            _write_one(folder / f"{part}-{at}.bin", name, array)
            for at, (name, array) in enumerate(arrays.items())
        ]
    for one, array in zip(told["outputs"], answer.values(), strict=True):
        exact = limit_of(array.dtype)
        one["allowed"] = max(exact, QUANTIZED_ALLOWED) if quantized and array.dtype.kind == "f" else exact
    (folder / FILE).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return told


def _write_one(path: Path, name: str, array: NDArray[Any]) -> dict[str, Any]:
    import numpy as np

    path.write_bytes(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return {"name": name, "type": array.dtype.name, "shape": list(array.shape), "file": path.name}


def read(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, float]]:
    """Return the request, the proven outputs, and how far each output may be from them."""
    import numpy as np

    told = json.loads((folder / FILE).read_text("utf-8"))
    question, answer = (
        {
            one["name"]: np.frombuffer((folder / one["file"]).read_bytes(), one["type"]).reshape(one["shape"])
            for one in told[part]
        }
        for part in ("inputs", "outputs")
    )
    return question, answer, {one["name"]: one["allowed"] for one in told["outputs"]}


def differing(expected: Arrays, found: Arrays, allowed: Mapping[str, float]) -> str:
    """Return a sentence on the first output that is too far from the proven one; '' if none is."""
    for name, array in expected.items():
        value = largest([{name: array}], [found]).value
        if not value <= allowed[name]:
            return f"{name} differs by {value:.2g} from the proven output (allowed: {allowed[name]:.2g})"
    return ""
