"""Give values of subgraphs names that no other graph of the model has (worker side).

The bodies of loops and branches may use the same names for different values, as tf2onnx writes them. Olive's passes
keep all of a model's values in one table, and end at the second value of a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def rename(model: Any) -> None:
    """Rename values of subgraphs whose name an outer or an earlier graph has already given to another value."""
    _rename(model.graph, {}, set())


def _rename(graph: Any, outer: Mapping[str, str], taken: set[str]) -> None:
    """Rename a graph's values; `outer` are the new names of values that it may read from the graphs around it."""
    own = {name: _unused(name, taken) for name in dict.fromkeys(_defined(graph))}
    names = {**outer, **own}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
        for body in _bodies(node):
            _rename(body, names, taken)


def _defined(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's own values."""
    yield from (one.name for one in (*graph.input, *graph.initializer))
    yield from (one.values.name for one in graph.sparse_initializer)
    yield from (name for node in graph.node for name in node.output if name)


def _bodies(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _unused(name: str, taken: set[str]) -> str:
    """Return the name, or one with a number that is not in `taken`, and add it."""
    number, found = 0, name
    while found in taken:
        number += 1
        found = f"{name}__{number}"
    taken.add(found)
    return found
