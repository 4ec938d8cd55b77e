"""Facts about the tensor types that a GGUF file holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from edgehone.backends.shared.quantized_weights import is_matrix
from edgehone.formats.gguf import Header

# Tensor names of a mixture-of-experts model, gguf-py/gguf/constants.py: FFN_GATE_INP, FFN_GATE_EXP and the like.
_PARTS = {
    "router": re.compile(r"\.ffn_gate_inp\.weight$"),
    "experts": re.compile(r"\.ffn_(gate|up|down|gate_up)_exps\.weight$"),
}
_FLOATS = ("F32", "F16", "BF16", "F64")


def tensor_types(header: Header) -> dict[str, int]:
    """Return the number of tensors of each GGML type."""
    return _count(header.types.values())


def weights(header: Header) -> Iterator[tuple[str, int, bool]]:
    """Yield name, number of elements and whether it is quantized of every weight matrix."""
    for name, tensor in header.tensors.items():
        if is_matrix(tensor.dims):
            yield name, tensor.elements, tensor.type.name not in _FLOATS


def expert_types(header: Header) -> dict[str, dict[str, int]]:
    """Return the same for the routers and for the experts of a mixture-of-experts model; empty for other models."""
    found = {
        part: _count(type_ for name, type_ in header.types.items() if pattern.search(name))
        for part, pattern in _PARTS.items()
    }
    return {part: types for part, types in found.items() if types}


def _count(types: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(types).items()))
