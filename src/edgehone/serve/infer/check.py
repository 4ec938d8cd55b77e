"""Compare a request with what the graph takes, before it reaches the engine."""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.inputs import proven
from edgehone.inputs.axes import Axes
from edgehone.model import info
from edgehone.serve.http import Refused
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.infer.tensor import DATATYPES, Tensor

Extent = int | str | None


def check_inputs(tensors: Sequence[Tensor], served: ServedGraph) -> None:
    """Raise Refused for inputs that are missing, unknown or given twice, and for wrong numbers of samples."""
    names = [one.name for one in tensors]
    states = [one.name for one in served.first_states if one.name in names]
    if states and len(states) < len(served.first_states):
        absent = next(one.name for one in served.first_states if one.name not in states)
        raise Refused(400, f"the state {states[0]!r} is given without {absent!r}: give all or none")
    known = [*(one.name for one in served.inputs), *states]
    if unknown := [name for name in names if name not in known]:
        raise Refused(400, f"there is no input {_short(unknown[0])}; the inputs are {', '.join(known)}")
    if missing := [name for name in known if name not in names]:
        raise Refused(400, f"the input {missing[0]!r} is missing")
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refused(400, f"the input {twice[0]!r} is given twice")
    _check_equal_sizes(tensors, served.inputs)
    _check_counts(tensors, served.axes)
    _check_sizes(tensors, served)
    check_values(tensors, served)


def check_values(tensors: Sequence[Tensor], served: ServedGraph) -> None:
    """Raise Refused for numbers on which the size of the outputs depends, far beyond those of the evaluation."""
    known = served.bundle.manifest.proven
    for one in tensors if known.get("values") else ():
        if one.name in known["values"]:
            axis = served.axes.of_input(one.name)
            why = proven.beyond_values(known, one.name, one.array, axis, served.limits.times)
            if why is not None:
                raise Refused(400, why)


def port_of(name: str, served: ServedGraph) -> info.Tensor:
    """Return the input of that name. Raises Refused if there is none."""
    for one in (*served.inputs, *served.first_states):
        if one.name == name:
            return one
    names = ", ".join(one.name for one in served.inputs)
    raise Refused(400, f"there is no input {_short(name)}; the inputs are {names}")


def check_form(port: info.Tensor, datatype: str, shape: Sequence[int]) -> None:
    """Raise Refused unless the type and the shape are those of the input."""
    expected = DATATYPES[port.dtype]
    if datatype != expected:
        raise Refused(400, f"the input {port.name!r} is {expected}, not {_short(datatype)}")
    fits = len(shape) == len(port.shape) and all(
        given == size if isinstance(size, int) else given > 0
        for given, size in zip(shape, port.shape, strict=True)
    )
    if not fits:
        raise Refused(
            400, f"the input {port.name!r} has the shape {public(port.shape)}, not {str(list(shape))[:200]}"
        )


def check_outputs(names: Sequence[str], served: ServedGraph) -> None:
    """Raise Refused for an output that the graph does not have, or that is asked for twice."""
    known = [*(one.name for one in served.outputs), *(one.output for one in served.axes.states)]
    for at, name in enumerate(names):
        if name not in known:
            raise Refused(400, f"there is no output {_short(name)}; the outputs are {', '.join(known)}")
        if name in names[:at]:
            raise Refused(400, f"the output {name!r} is asked for twice")


def public(shape: Sequence[Extent]) -> list[int]:
    """Return a shape as the protocol has it: -1 for a free size."""
    return [size if isinstance(size, int) else -1 for size in shape]


def _check_equal_sizes(tensors: Sequence[Tensor], ports: Sequence[info.Tensor]) -> None:
    """Raise Refused if sizes that have one name in the graph are not equal."""
    shapes = {one.name: one.shape for one in tensors}
    seen: dict[str, tuple[int, str]] = {}
    for port in ports:
        for extent, size in zip(port.shape, shapes[port.name], strict=True):
            if not isinstance(extent, str):
                continue
            first, where = seen.setdefault(extent, (size, port.name))
            if first != size:
                raise Refused(
                    400,
                    f"{extent!r} is {first} in the input {where!r} and {size} in {port.name!r}: give equal ones",
                )


def _check_counts(tensors: Sequence[Tensor], axes: Axes) -> None:
    counts = {one.name: one.shape[axis] for one in tensors if (axis := axes.of_input(one.name)) is not None}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise Refused(400, f"the inputs have different numbers of samples ({told})")


def _check_sizes(tensors: Sequence[Tensor], served: ServedGraph) -> None:
    """Raise Refused for sizes so far beyond the evaluated ones that the memory they take is not known."""
    known = served.bundle.manifest.proven
    for one in tensors if known else ():
        port, axis = port_of(one.name, served), served.axes.of_input(one.name)
        free = [at for at, size in enumerate(port.shape) if not isinstance(size, int) and at != axis]
        why = proven.beyond_sizes(known, one.name, one.shape, free, served.limits.times)
        if why is not None:
            raise Refused(400, why)


def _short(text: str) -> str:
    return repr(text[:80])
