"""Find attention in the nodes of an ONNX graph: a softmax between two matrix products."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

# Operators between a matrix product and the softmax (scaling and masks) or between the softmax and the next product.
_BETWEEN = frozenset({
    "Add", "Cast", "Clip", "Div", "Dropout", "Expand", "Identity", "IsNaN", "Mul", "Reshape", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_PRODUCTS = frozenset({"MatMul", "Einsum", "BatchMatMul"})
# Longer paths are something else; exporters write at most five operators between.
_STEPS = 8

Node = tuple[str, Sequence[str], Sequence[str]]  # operator, inputs, outputs


def has_attention(nodes: Iterable[Node]) -> bool:
    """Return True if a softmax takes its input from a matrix product and gives its output to another."""
    known = list(nodes)
    producers = {name: node for node in known for name in node[2]}
    consumers: defaultdict[str, list[Node]] = defaultdict(list)
    for node in known:
        for name in node[1]:
            consumers[name].append(node)
    return any(
        _reaches(node[1], producers, forward=False) and _reaches(node[2], consumers, forward=True)
        for node in known
        if node[0] == "Softmax"
    )


def _reaches(
    names: Sequence[str], neighbours: Mapping[str, Node] | Mapping[str, list[Node]], *, forward: bool
) -> bool:
    """Return True if a matrix product is reached from values over operators of `_BETWEEN`."""
    pending, seen = [(name, 0) for name in names], set(names)
    while pending:
        name, steps = pending.pop()
        adjacent = neighbours.get(name, [])
        for node in adjacent if isinstance(adjacent, list) else [adjacent]:
            if node[0] in _PRODUCTS:
                return True
            if node[0] in _BETWEEN and steps < _STEPS:
                new = [one for one in (node[2] if forward else node[1]) if one not in seen]
                seen.update(new)
                pending += [(one, steps + 1) for one in new]
    return False
