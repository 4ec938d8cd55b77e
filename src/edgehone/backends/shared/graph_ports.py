"""Which inputs and outputs of a graph can be fed and compared: tensors of numbers that numpy has."""

from __future__ import annotations

from collections.abc import Iterator

from edgehone.model.info import ModelInfo

_DTYPES = frozenset({
    "float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
})  # fmt: skip
_TEXT = ("str", "object", "string")
# Kinds of ONNX values that are not tensors: "a sequence", "an optional".
_ARTICLES = ("a ", "an ")


def refusals(model: ModelInfo) -> list[str]:
    """Return, for each input and output that is not a tensor of numpy's numbers, why the graph cannot be run."""
    return [*_refusals(model)]


def _refusals(model: ModelInfo) -> Iterator[str]:
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        for one in tensors:
            if one.dtype in _DTYPES:
                continue
            if one.dtype in _TEXT:
                yield f"the {what} {one.name!r} is text: only numbers are supported"
            elif one.dtype.startswith(_ARTICLES) or one.dtype == "opaque":
                yield f"the {what} {one.name!r} is {one.dtype}, not a tensor: export the model with tensors only"
            else:
                yield f"the {what} {one.name!r} is {one.dtype}: export the model with float32 inputs and outputs"
