"""Run a graph with states on whole sequences, step by step (worker side).

Every step gets the states that the step before it returned; the first one gets zeros, or the states that were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import GraphSession, WorkerJob
from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Run = Callable[[Mapping[str, Any]], dict[str, Any]]


def runner(session: GraphSession, axes: Axes, keep_states: bool = False) -> Run:
    """Return a function that runs the session on samples: on sequences if the graph has states, else directly.

    Outputs of sequences have an axis of steps after that of the samples (first if they have none). States are left out;
    with `keep_states`, the last ones are returned to callers that give the first ones.
    """
    if not axes.states:
        return session.run

    def run(feeds: Arrays) -> dict[str, Any]:
        return _whole(session, axes, feeds, keep_states and axes.fed_back <= feeds.keys())

    return run


def steps(session: GraphSession, axes: Axes, feeds: Arrays) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield the inputs and outputs of each step of the sequences in `feeds`.

    Raises InputError if the inputs differ in their number of steps.
    """
    size, count = _extent(axes, feeds)
    state = _first_states(axes, feeds, size)
    for step in range(count):
        taken = {**_at(axes, feeds, step), **state}
        outputs = session.run(taken)
        yield taken, outputs
        state = {one.input: outputs[one.output] for one in axes.states}


def first_step(axes: Axes, feeds: Arrays) -> Arrays:
    """Return the inputs of the first step of sequences; the feeds themselves for a graph without states."""
    if not axes.states:
        return feeds
    return {**_at(axes, feeds, 0), **_first_states(axes, feeds, _extent(axes, feeds)[0])}


def collect(job: WorkerJob) -> dict[str, Any]:
    """Write steps of sequences as samples of the graph itself, with the original's own states, for calibration.

    args: backend, settings, batch, most (the most steps; chosen by a fixed seed). inputs: artifact, samples (a folder
    that `Batches.write` filled). Writes a folder `calibration` in the form of `Batches`. Returns steps (their number).
    """
    import numpy as np

    batches, size = Batches.read(job.inputs["samples"]), job.args["batch"]
    axes = batches.axes
    session = require(load_backend(job), GraphBackend).open_graph(
        job.inputs["artifact"], job.args["settings"], job
    )
    length = _extent(axes, batches.around(0, size))[1]
    lengths = [length] * batches.count if batches.lengths is None else batches.lengths.tolist()
    every = [(row, step) for row, count in enumerate(lengths) for step in range(count)]
    order = np.random.default_rng(0).permutation(len(every))[: job.args["most"]]
    wanted = {every[at] for at in order}
    rows: dict[str, list[Any]] = {}
    shared: dict[str, Any] = {}
    for begin in range(0, batches.count, size):
        for step, (taken, _) in enumerate(steps(session, axes, batches.around(begin, size))):
            chosen = [at for at in range(size) if (begin + at, step) in wanted]
            for name, array in taken.items():
                axis = axes.of_input(name)
                if axis is None:
                    shared[name] = array
                elif chosen:
                    rows.setdefault(name, []).append(np.moveaxis(array, axis, 0)[chosen])
        job.progress(min(1.0, (begin + size) / batches.count), "steps for calibration")
    session.close()
    folder = job.out / "calibration"
    folder.mkdir()
    arrays = {name: np.concatenate(parts) for name, parts in rows.items()}
    Batches(arrays, None, shared, axes.of_one_step()).write(folder)
    return {"steps": len(wanted)}


def _whole(session: GraphSession, axes: Axes, feeds: Arrays, with_states: bool) -> dict[str, Any]:
    import numpy as np

    size, _ = _extent(axes, feeds)
    fed_back = {one.output for one in axes.states}
    parts: dict[str, list[Any]] = {}
    last: Arrays = {}
    for _, outputs in steps(session, axes, feeds):
        for name, array in outputs.items():
            if name not in fed_back:
                parts.setdefault(name, []).append(np.asarray(array))
        last = outputs
    whole = {}
    for name, each in parts.items():
        axis = axes.of_output(name, each[0].shape, size)
        whole[name] = np.stack(each, 0 if axis is None else axis + 1)
    return whole | ({name: last[name] for name in fed_back} if with_states else {})


def _extent(axes: Axes, feeds: Arrays) -> tuple[int, int]:
    """Return the number of samples and of steps."""
    shapes = {name: (feeds[name].shape, axis) for name, axis in _moving(axes, feeds).items()}
    lengths = {name: shape[axis + 1] for name, (shape, axis) in shapes.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(
            f"the inputs must have the same number of steps, at least one ({told or 'no input has any'})"
        )
    shape, axis = next(iter(shapes.values()))
    return shape[axis], next(iter(lengths.values()))


def _moving(axes: Axes, feeds: Arrays) -> dict[str, int]:
    """Return the inputs that have a value for every step, with the axis of their samples."""
    found = {name: axes.of_input(name) for name in feeds if name not in axes.fed_back}
    return {name: axis for name, axis in found.items() if axis is not None}


def _at(axes: Axes, feeds: Arrays, step: int) -> dict[str, Any]:
    """Return the inputs of a step but its states."""
    import numpy as np

    moving = _moving(axes, feeds)
    still = {name: array for name, array in feeds.items() if name not in moving and name not in axes.fed_back}
    now = {name: np.ascontiguousarray(np.take(feeds[name], step, axis + 1)) for name, axis in moving.items()}
    return still | now


def _first_states(axes: Axes, feeds: Arrays, size: int) -> dict[str, Any]:
    return {
        one.input: feeds[one.input] if one.input in feeds else one.start(axes.of_input(one.input), size)
        for one in axes.states
    }
