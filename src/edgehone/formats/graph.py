"""The inputs and outputs of a graph, as the parsers of ONNX and .pt2 return them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: `dtype` as numpy names it; free dimensions of `shape` are names or None.

    `ranked` is False where the file states no shape; `shape` is then empty, as a single number's is.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    ranked: bool = True
