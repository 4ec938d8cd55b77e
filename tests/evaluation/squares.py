"""A detector as an ONNX graph: bright squares of two sizes in a picture, found by averages, best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, STEP, FOUND = 48, 8, 6
SIZES = (8, 16)
NAMES = ("1234", "1241", "1250")


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    """[count, 1, SIDE, SIDE]: up to five squares on a grid of STEP, of several brightnesses, and noise."""
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 0.02, (count, 1, SIDE, SIDE))
    for picture in found[:, 0]:
        for _ in range(rng.integers(1, 6)):
            size = SIZES[rng.integers(2)]
            x, y = (STEP * rng.integers(0, (SIDE - size) // STEP + 1, 2)).tolist()
            picture[y : y + size, x : x + size] = rng.uniform(0.4, 1.0)
    return found.astype(np.float32)


def save(path: Path, names: Sequence[str] = NAMES, shares: bool = False) -> Path:
    """Write the graph. Outputs: corners [1, FOUND, 4] (of 0 to 1 if `shares`), scores and classes [1, FOUND].

    A square that holds all of a bright one of half its size scores a quarter of it.
    """
    places = [(x, y, x + size, y + size) for size in SIZES for y in _steps(size) for x in _steps(size)]
    classes = [label for label, size in enumerate(SIZES) for _ in range(len(_steps(size)) ** 2)]
    scale = SIDE if shares else 1
    stored: dict[str, NDArray[Any]] = {
        "places": np.array(places, np.float32) / np.float32(scale),
        "labels": np.array(classes, np.int64),
        "flat": np.array([1, -1], np.int64),
        "many": np.array([FOUND], np.int64),
        **{f"mean{i}": np.full((1, 1, size, size), 1 / size**2, np.float32) for i, size in enumerate(SIZES)},
    }
    nodes = []
    for i, size in enumerate(SIZES):
        nodes += [
            helper.make_node(
                "Conv", ["picture", f"mean{i}"], [f"map{i}"], kernel_shape=[size, size], strides=[STEP] * 2
            ),
            helper.make_node("Reshape", [f"map{i}", "flat"], [f"flat{i}"]),
        ]
    boxes, scores, labels = names
    nodes += [
        helper.make_node("Concat", ["flat0", "flat1"], ["every"], axis=1),
        helper.make_node("Clip", ["every", "zero", "one"], ["clipped"]),
        helper.make_node("TopK", ["clipped", "many"], [scores, "which"], axis=1),
        helper.make_node("Gather", ["places", "which"], [boxes]),
        helper.make_node("Gather", ["labels", "which"], [labels]),
    ]
    stored |= {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    whole = {labels: TensorProto.INT64}
    shapes = {boxes: [1, FOUND, 4], scores: [1, FOUND], labels: [1, FOUND]}
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, whole.get(name, TensorProto.FLOAT), shapes[name])
            for name in names
        ],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _steps(size: int) -> range:
    return range(0, SIDE - size + 1, STEP)
